//! The boards on a real terminal: drawn in their place, within its size, and left as it was.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    platform::client,
    process::{Process, Variables},
    stage::Stage,
    wait::{s, until},
};

/// A command on a terminal.
struct Terminal {
    _driver: Child,
    wishes: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Terminal {
    fn start(size: (u16, u16), variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let python = std::env::var("WAVEOFF_TEST_PYTHON").expect("run scripts/test, which sets it");
        let mut driver = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/terminal.py"))
            .args([size.0.to_string(), size.1.to_string()])
            .arg(env!("CARGO_BIN_EXE_waveoff"))
            .args(arguments)
            .env_clear()
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python runs");
        let wishes = driver.stdin.take().unwrap();
        let answers = BufReader::new(driver.stdout.take().unwrap()).lines();
        Self { _driver: driver, wishes, answers }
    }

    async fn ask(&mut self, wish: &str) -> String {
        self.wishes.write_all(format!("{wish}\n").as_bytes()).await.unwrap();
        self.answers.next_line().await.unwrap().expect("an answer")
    }

    async fn wish(&mut self, wish: &str) {
        assert_eq!(self.ask(wish).await, "ok", "{wish}");
    }

    async fn interrupt(&mut self) -> Value {
        let answer = self.ask("interrupt").await;
        let ended: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&ended["entered"], &ended["left"]), (&1.into(), &1.into()), "{ended}");
        assert_eq!(ended["too_large"], Value::Array(Vec::new()), "{ended}");
        ended
    }
}

#[tokio::test]
async fn the_demo_is_drawn_within_the_terminal_and_leaves_it_as_it_was_when_it_is_interrupted() {
    // Given a demo on a small terminal, in a directory for temporary files that is its own
    let scratch = tempfile::tempdir().unwrap();
    let temporary = [("TMPDIR", scratch.path().to_str().unwrap())];
    let mut terminal = Terminal::start((80, 24), &temporary, &["demo"]);
    terminal.wish("until api  learning").await;
    terminal.wish("until ◆◆  2 of 2 on v41").await;
    terminal.wish("until failed/s").await;

    // When the window is made smaller, and somebody presses Ctrl-C
    terminal.wish("size 60 20").await;
    terminal.wish("until worker").await;
    let ended = terminal.interrupt().await;

    // Then it ended by that, and nothing is left of it: neither a picture nor a file
    assert_eq!(ended["code"], 130, "{ended}");
    assert_eq!(ended["after"], "", "{ended}");
    assert_eq!(ended["colours"], true, "{ended}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_watched_status_is_drawn_without_colours_where_nobody_wants_them_and_says_when_it_is_not_heard()
 {
    // Given a daemon at an address that it will have again, and its watched status
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_LISTEN", &format!("127.0.0.1:{port}"));
    stage.start().await;
    stage.trusted().await;
    let url = stage.url().to_owned();
    let variables = [("NO_COLOR", "1"), ("WAVEOFF_URL", url.as_str())];
    let mut terminal = Terminal::start((80, 24), &variables, &["status", "--watch"]);
    terminal.wish("until steady").await;

    // When a bad release comes
    stage.platform.ship("errors").await;

    // Then the machines are seen to go back
    terminal.wish("until api  rolling back").await;
    terminal.wish("until on v41, confirmed").await;
    terminal.wish("until api  rolled back").await;

    // and when the daemon goes away, that is said, until it is there again
    stage.daemon().kill().await;
    stage.ended();
    terminal.wish("until NOT HEARD").await;
    stage.start().await;
    terminal.wish("gone NOT HEARD").await;

    // and the last picture stays when somebody presses Ctrl-C
    let ended = terminal.interrupt().await;
    assert_eq!(ended["code"], 0, "{ended}");
    assert_eq!(ended["colours"], false, "{ended}");
    let after = ended["after"].as_str().unwrap();
    assert!(after.contains("rolled back") && after.contains("●●"), "{after}");
    stage.end().await;
}

/// The environment of a desktop that writes down what it is asked to open, or of none.
fn desktop(dir: &Path, display: Option<&str>) -> Variables {
    let opener = dir.join("xdg-open");
    let opened = dir.join("opened");
    let script = format!("#!/bin/sh\necho \"$1\" >{0}.new && mv {0}.new {0}\n", opened.display());
    fs::write(&opener, script).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.display());
    let mut variables =
        vec![("PATH".to_owned(), path), ("TMPDIR".to_owned(), dir.display().to_string())];
    variables.extend(display.map(|display| ("DISPLAY".to_owned(), display.to_owned())));
    variables
}

#[tokio::test]
async fn the_demo_opens_its_status_page_where_there_is_a_browser() {
    // Given somebody who sits at a desktop
    let dir = tempfile::tempdir().unwrap();
    let variables = desktop(dir.path(), Some(":0"));

    // When the demo is to show its page
    let mut demo = Process::start(&["demo", "--json", "--open"], &variables);

    // Then the browser is given an address at which the page is served
    let opened = until("the page is opened", s(30), async || {
        fs::read_to_string(dir.path().join("opened")).ok()
    })
    .await;
    let page = client().get(opened.trim()).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<html"));
    demo.tell_to_stop().await;
    assert_eq!(demo.exit(s(20)).await, Some(130));
}

#[tokio::test]
async fn without_a_browser_the_demo_says_where_its_status_page_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = Process::start(&["demo", "--plain", "--open"], &desktop(dir.path(), None));
    let said = until("it says where", s(30), async || {
        let text = demo.out.text();
        text.split_once("the status page is at ").map(|(_, rest)| rest.trim().to_owned())
    })
    .await;
    assert!(said.starts_with("http://127.0.0.1:"), "{said}");
    assert!(!dir.path().join("opened").exists());
    demo.tell_to_stop().await;
    assert_eq!(demo.exit(s(20)).await, Some(130));
}
