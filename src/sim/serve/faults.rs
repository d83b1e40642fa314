//! Faults of the wire, and the log of what was asked.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{call::Call, reply::Reply};

/// Entries kept of the call log; older ones are forgotten.
const LONGEST_LOG: usize = 20_000;

/// Faults pending at most.
const MOST_FAULTS: usize = 1000;

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Refused with this status; nothing is applied.
    Status { status: u16, retry_after: Option<u64> },
    /// No answer for two minutes; nothing is applied.
    Timeout,
    /// The connection is closed; nothing is applied.
    RequestLost,
    /// The request is applied, then the connection is closed.
    AnswerLost,
    /// The request is applied, and the first half of the answer's body is all there is.
    Truncated,
}

/// A fault and which calls it meets.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    #[serde(flatten)]
    pub fault: Fault,
    /// An action's name as in the call log; `None`: any.
    pub action: Option<String>,
    pub app: Option<String>,
    pub machine: Option<String>,
    /// How many calls.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

impl Rule {
    fn meets(&self, call: &Call) -> bool {
        let is = |wanted: &Option<String>, have: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == have)
        };
        is(&self.action, call.route.action.as_str())
            && is(&self.app, &call.route.app)
            && is(&self.machine, &call.route.machine)
    }
}

/// One line of the call log.
#[derive(Clone, Debug, Serialize)]
pub struct Logged {
    /// Counts up from 1.
    pub number: u64,
    pub at: Timestamp,
    pub action: &'static str,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// Whose token it was; empty when it had none.
    pub owner: String,
    /// What was asked for that is not simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Pending faults and the call log.
#[derive(Default)]
pub struct Faults {
    rules: VecDeque<Rule>,
    log: VecDeque<Logged>,
    count: u64,
}

impl Faults {
    /// Adds a rule; `false` when there are too many already.
    pub fn add(&mut self, rule: Rule) -> bool {
        let fits = self.rules.len() < MOST_FAULTS;
        if fits {
            self.rules.push_back(rule);
        }
        fits
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault that meets this call, used up by it.
    pub fn take(&mut self, call: &Call) -> Option<Fault> {
        let rule = self.rules.iter_mut().find(|rule| rule.times > 0 && rule.meets(call))?;
        rule.times -= 1;
        let fault = rule.fault;
        self.rules.retain(|rule| rule.times > 0);
        Some(fault)
    }

    pub fn record(&mut self, at: Timestamp, call: &Call, path: &str, reply: &Reply) {
        self.count += 1;
        if self.log.len() >= LONGEST_LOG {
            self.log.pop_front();
        }
        self.log.push_back(Logged {
            number: self.count,
            at,
            action: call.route.action.as_str(),
            method: call.method.clone(),
            path: path.to_owned(),
            status: reply.status,
            owner: call.owner.clone(),
            unknown: reply.unknown.clone(),
        });
    }

    /// The log after entry `number`, oldest first, at most 1000 entries.
    pub fn log(&self, number: u64) -> Vec<Logged> {
        self.log.iter().filter(|entry| entry.number > number).take(1000).cloned().collect()
    }
}
