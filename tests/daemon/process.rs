//! A process of the shipped binary, and everything it says.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::wait::s;

/// What a process wrote so far.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn listen(&self, mut source: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let said = self.0.clone();
        tokio::spawn(async move {
            let mut piece = [0; 16 << 10];
            while let Ok(length @ 1..) = source.read(&mut piece).await {
                said.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        })
    }
}

/// Environment variables.
pub type Variables = Vec<(String, String)>;

pub struct Process {
    child: Child,
    pub out: Said,
    pub err: Said,
    listeners: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `waveoff` with these arguments, and no more of an environment than is given.
    pub fn start(arguments: &[&str], variables: &Variables) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_waveoff"))
            .args(arguments)
            .env_clear()
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let (out, err) = (Said::default(), Said::default());
        let listeners = vec![
            out.listen(child.stdout.take().unwrap()),
            err.listen(child.stderr.take().unwrap()),
        ];
        Self { child, out, err, listeners }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Resident memory in bytes, as the kernel counts it.
    pub fn resident(&self) -> u64 {
        self.counted("VmRSS:")
    }

    /// The most that it ever was.
    pub fn most_resident(&self) -> u64 {
        self.counted("VmHWM:")
    }

    fn counted(&self, what: &str) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
        kilobytes << 10
    }

    /// SIGTERM.
    pub async fn tell_to_stop(&self) {
        let id = self.child.id().expect("it runs");
        let kill = format!("kill -TERM {id}");
        let told = Command::new("sh").args(["-c", &kill]).status().await.unwrap();
        assert!(told.success());
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        self.hear_out().await;
    }

    /// The exit code, once everything the process said was heard.
    pub async fn exit(&mut self, within: Duration) -> Option<i32> {
        let status = timeout(within, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end within {within:?}"));
        self.hear_out().await;
        status.unwrap().code()
    }

    async fn hear_out(&mut self) {
        for listener in self.listeners.drain(..) {
            timeout(s(5), listener).await.expect("its pipes are closed").unwrap();
        }
    }
}

/// A command that ends by itself: its exit code, what it printed, and what it complained about.
pub async fn command(arguments: &[&str], variables: &Variables) -> (i32, String, String) {
    let mut process = Process::start(arguments, variables);
    let code = process.exit(s(20)).await.expect("it ends by itself");
    (code, process.out.text(), process.err.text())
}
