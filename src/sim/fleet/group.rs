//! The machines of a process group, as a fleet describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The machines of one process group of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    pub name: String,
    /// Started machines per region.
    pub machines: BTreeMap<String, u32>,
    /// Stopped machines per region.
    pub stopped: BTreeMap<String, u32>,
    /// Stopped machines per region that stand by for a started one of the group.
    pub standbys: BTreeMap<String, u32>,
    /// Whether its machines serve requests, and so get traffic.
    pub services: bool,
    /// Whether its machines have a health check.
    pub checks: bool,
    /// Seconds after a start for which its check may fail.
    pub grace_period_s: u32,
    /// Whether its machines have a metrics page.
    pub metrics: bool,
    pub memory_mb: u32,
    /// Gigabytes of the volume that each of its machines mounts; 0: none.
    pub volume_gb: u32,
    /// What the proxy does with a machine that nobody needs.
    pub autostop: Autostop,
    /// Whether the proxy starts one that users need.
    pub autostart: bool,
    /// Machines that the proxy leaves running, in the first region.
    pub min_machines_running: u32,
    /// Requests at once that a machine takes gladly.
    pub soft_limit: u32,
    /// When the supervisor starts a process again that ended.
    pub restart: Restart,
}

/// What the proxy does with a machine that nobody needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autostop {
    #[default]
    Off,
    Stop,
    Suspend,
}

/// When a process that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    No,
    /// When its exit code is not 0, ten times in five minutes.
    #[default]
    OnFailure,
    Always,
}

impl Restart {
    pub(in crate::sim) fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "app".to_owned(),
            machines: BTreeMap::new(),
            stopped: BTreeMap::new(),
            standbys: BTreeMap::new(),
            services: true,
            checks: true,
            grace_period_s: 1,
            metrics: true,
            memory_mb: 256,
            volume_gb: 0,
            autostop: Autostop::Off,
            autostart: false,
            min_machines_running: 0,
            soft_limit: 20,
            restart: Restart::OnFailure,
        }
    }
}

impl Group {
    /// Whether the proxy starts or stops its machines.
    pub(in crate::sim) fn is_proxied(&self) -> bool {
        self.autostart || self.autostop != Autostop::Off
    }

    /// The group `app` with so many started machines per region.
    pub fn of(machines: &[(&str, u32)]) -> Self {
        let machines =
            machines.iter().map(|(region, count)| ((*region).to_owned(), *count)).collect();
        Self { machines, ..Self::default() }
    }
}
