//! What goes wrong between the daemon and the platform, by script; and the log of every call.

use jiff::Timestamp;

use crate::sim::model::rights::Right;
use crate::{
    model::{AppName, MachineId},
    ports::PlatformError,
};

/// Calls kept in the log; older ones are forgotten, not their number.
const LONGEST_LOG: usize = 100_000;

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// It never arrives: not applied, `Unavailable`.
    RequestLost,
    /// It is applied and its answer never arrives: `Unavailable`.
    AnswerLost,
    /// It is refused with this error: not applied.
    Fail(PlatformError),
    /// It is applied, and answered only after so long.
    Slow(std::time::Duration),
}

/// Which calls meet a fault. By default every one, for ever.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    action: Option<CallKind>,
    app: Option<AppName>,
    machine: Option<MachineId>,
    number: Option<u64>,
    skip: u64,
    times: u64,
}

impl FaultRule {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            action: None,
            app: None,
            machine: None,
            number: None,
            skip: 0,
            times: u64::MAX,
        }
    }

    /// Only calls of this action.
    #[must_use]
    pub fn on(mut self, action: CallKind) -> Self {
        self.action = Some(action);
        self
    }

    /// Only calls about this app.
    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        self.app = Some(app.into());
        self
    }

    /// Only calls about this machine.
    #[must_use]
    pub fn machine(mut self, machine: &str) -> Self {
        self.machine = Some(machine.into());
        self
    }

    /// Only the call with this number; the first of all is 1.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.number = Some(number);
        self
    }

    /// Lets so many calls through first.
    #[must_use]
    pub fn after(mut self, calls: u64) -> Self {
        self.skip = calls;
        self
    }

    /// Meets so many calls and is used up.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn meets(&self, call: &CallRecord) -> bool {
        self.times > 0
            && self.action.is_none_or(|action| action == call.action)
            && self.app.as_ref().is_none_or(|app| call.app.as_ref() == Some(app))
            && self.machine.as_ref().is_none_or(|id| call.machine.as_ref() == Some(id))
            && self.number.is_none_or(|number| number == call.number)
    }
}

/// What a call is for: one per method of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    Changes,
    Apps,
    Machines,
    Machine,
    Releases,
    Secrets,
    Lease,
    Refresh,
    Release,
    Update,
    Start,
    Wait,
    LogLines,
    OpenRelease,
    SetReleaseStatus,
    Presence,
    /// The same in the mirror.
    PresenceInMirror,
    /// A part of an image on its way to the mirror.
    Copy,
    /// A machine's metrics page.
    Page,
    /// A request to a machine.
    Probe,
    /// A query of the managed Prometheus.
    Query,
}

impl CallKind {
    /// The right it takes; a metrics page takes none.
    pub(in crate::sim) fn right(self) -> Option<Right> {
        match self {
            Self::Changes
            | Self::Apps
            | Self::Machines
            | Self::Machine
            | Self::Releases
            | Self::Secrets
            | Self::Wait
            | Self::LogLines => Some(Right::Read),
            Self::Lease | Self::Refresh | Self::Release | Self::Update | Self::Start => {
                Some(Right::Write)
            }
            Self::OpenRelease | Self::SetReleaseStatus => Some(Right::Ledger),
            Self::Presence => Some(Right::Registry),
            Self::PresenceInMirror | Self::Copy | Self::Page | Self::Probe | Self::Query => None,
        }
    }
}

/// One call of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Counts up from 1.
    pub number: u64,
    pub at: Timestamp,
    pub action: CallKind,
    pub app: Option<AppName>,
    pub machine: Option<MachineId>,
    /// Whether it came with the nonce of the lease in force at that moment.
    pub leased: bool,
    /// Whether a fault met it.
    pub faulty: bool,
}

/// The script and the log.
#[derive(Debug, Default)]
pub(in crate::sim) struct Faults {
    rules: Vec<FaultRule>,
    log: Vec<CallRecord>,
    count: u64,
}

impl Faults {
    pub(in crate::sim) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(in crate::sim) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Notes a call and tells what goes wrong with it. The first rule that meets it is used.
    pub(in crate::sim) fn note(&mut self, mut call: CallRecord) -> Option<Fault> {
        self.count += 1;
        call.number = self.count;
        let mut fault = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.meets(&call)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            fault = Some(rule.fault.clone());
            break;
        }
        call.faulty = fault.is_some();
        if self.log.len() >= LONGEST_LOG {
            self.log.drain(..LONGEST_LOG / 2);
        }
        self.log.push(call);
        fault
    }

    pub(in crate::sim) fn log(&self) -> &[CallRecord] {
        &self.log
    }

    pub(in crate::sim) fn count(&self) -> u64 {
        self.count
    }
}
