//! A real Chromium, driven over its own protocol through a pipe: no port, no driver, no library.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(25);

#[derive(Default)]
struct Heard {
    waiting: BTreeMap<u64, oneshot::Sender<Value>>,
    /// What pages complained of.
    complaints: Vec<String>,
}

/// A browser with one page.
pub struct Browser {
    _process: Child,
    _profile: TempDir,
    input: tokio::sync::Mutex<ChildStdin>,
    heard: Arc<Mutex<Heard>>,
    next: AtomicU64,
    session: String,
}

impl Browser {
    pub async fn start() -> Self {
        let program = std::env::var_os("WAVEOFF_TEST_CHROMIUM")
            .expect("WAVEOFF_TEST_CHROMIUM must name the program: run scripts/test");
        let profile = TempDir::new().unwrap();
        // The browser listens on the third file and answers on the fourth.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >/dev/null 2>&1"])
            .arg(program)
            .args(["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the browser runs");
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let (listener, output) = (heard.clone(), process.stdout.take().unwrap());
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut message = Vec::new();
            while output.read_until(0, &mut message).await.is_ok_and(|length| length > 0) {
                message.pop();
                hear(&listener, serde_json::from_slice(&message).unwrap_or_default());
                message.clear();
            }
        });
        let input = tokio::sync::Mutex::new(process.stdin.take().unwrap());
        let mut browser = Self {
            _process: process,
            _profile: profile,
            input,
            heard,
            next: AtomicU64::new(1),
            session: String::new(),
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach).await;
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// A call of the protocol.
    pub async fn call(&self, method: &str, parameters: Value) -> Value {
        let answer = self.ask(method, parameters).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The same, with whatever is answered.
    async fn ask(&self, method: &str, parameters: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let (answer, answered) = oneshot::channel();
        self.heard.lock().unwrap().waiting.insert(id, answer);
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.lock().await.write_all(&bytes).await.expect("the browser listens");
        let answer = timeout(PATIENCE, answered).await;
        answer.unwrap_or_else(|_| panic!("no answer to {method}")).unwrap()
    }

    /// Goes to a page, and waits until all of it is there.
    pub async fn open(&self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url})).await;
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
        self.until("the page is there", "document.readyState === 'complete'").await;
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        let answer = self.evaluate(expression).await;
        assert!(answer.get("error").is_none(), "{expression}: {answer}");
        answer["result"]["result"]["value"].clone()
    }

    async fn evaluate(&self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", parameters).await;
        assert!(answer["result"].get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer
    }

    pub async fn text(&self, selector: &str) -> String {
        let found = format!("document.querySelector({})?.innerText ?? null", json!(selector));
        let text = self.value(&found).await;
        text.as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // A page that is just left answers nothing any more.
            if self.evaluate(expression).await["result"]["result"]["value"] == json!(true) {
                return;
            }
            if Instant::now() > deadline {
                let text = self.value("document.body?.innerText").await;
                panic!("not within {PATIENCE:?}: {what}\n{}", text.as_str().unwrap_or_default());
            }
        }
    }

    /// The window in pixels.
    pub async fn size(&self, width: u32, height: u32, is_phone: bool) {
        let factor = if is_phone { 2 } else { 1 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": factor, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    pub async fn dark(&self, is_dark: bool) {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    pub async fn without_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    }

    /// One key, by its name.
    pub async fn key(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Goes from element to element with the tabulator until one is reached.
    pub async fn tab_to(&self, selector: &str) {
        let reached = format!("document.activeElement?.matches({}) ?? false", json!(selector));
        for _ in 0..200 {
            if self.value(&reached).await == json!(true) {
                return;
            }
            self.key("Tab").await;
        }
        panic!("the keyboard does not reach {selector}");
    }

    /// Types into what has the focus.
    pub async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Keeps a picture of the page under `target/`, for people to look at.
    pub async fn picture(&self, name: &str, whole: bool) {
        let parameters = json!({"format": "png", "captureBeyondViewport": whole});
        let picture = self.call("Page.captureScreenshot", parameters).await;
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Errors, warnings of the security policy, and failed requests so far.
    pub fn complaints(&self) -> Vec<String> {
        self.heard.lock().unwrap().complaints.clone()
    }
}

fn hear(heard: &Mutex<Heard>, message: Value) {
    let mut heard = heard.lock().unwrap();
    if let Some(waiting) = message["id"].as_u64().and_then(|id| heard.waiting.remove(&id)) {
        let _gone = waiting.send(message).is_err();
        return;
    }
    let parameters = &message["params"];
    match message["method"].as_str() {
        Some("Runtime.exceptionThrown") => heard.complaints.push(parameters.to_string()),
        Some("Log.entryAdded") if parameters["entry"]["level"] != "info" => {
            heard.complaints.push(parameters["entry"].to_string());
        }
        _ => {}
    }
}
