//! Requests that are made to machines to see whether they answer as they should.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// How a machine is asked, and what it has to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// With its query; begins with a slash.
    pub path: String,
    /// `None`: the port of the machine's first service.
    pub port: Option<u16>,
    /// Over TLS. Whose certificate it is is not looked at: none names a machine's private address.
    pub https: bool,
    pub method: ProbeMethod,
    /// For the whole answer, from the connection on.
    pub timeout: Duration,
    /// Never empty.
    pub expect: Vec<Statuses>,
    /// What the answer's body has to have in it.
    pub body: Option<String>,
    /// What fails so soon after a machine's start is still starting.
    pub grace: Duration,
}

impl ProbeRequest {
    /// Whether a status is one of those that are expected.
    pub fn expects(&self, status: u16) -> bool {
        self.expect.iter().any(|some| (some.from..=some.to).contains(&status))
    }
}

impl fmt::Display for ProbeRequest {
    /// `GET :8080/healthz`, as people write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https " } else { "" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        write!(f, "{scheme}{} {port}{}", self.method.as_str(), self.path)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    Get,
    Head,
}

impl ProbeMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// One status, or a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    pub from: u16,
    pub to: u16,
}

impl Statuses {
    pub const SUCCESS: Self = Self { from: 200, to: 299 };
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) if from % 100 == 0 && to == from + 99 => write!(f, "{}xx", from / 100),
            (from, to) => write!(f, "{from} to {to}"),
        }
    }
}

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeFailure {
    /// Another status than is expected.
    Status(u16),
    /// The body has not in it what it should have.
    Body,
    /// Nobody listens.
    Refused,
    /// The machine cannot be reached, where others can.
    Unreachable,
    /// It was connected to, and gave no whole answer in time.
    TimedOut,
    /// It ended the connection, or what came was no answer.
    Broken,
}
