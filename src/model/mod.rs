//! The nouns of Waveoff: machines, releases, policies, evidence, events.
//!
//! Everything here is plain data: no clock, no I/O, no randomness, and ordered collections only,
//! so that whatever is computed from it is the same on every run. The words are those of the
//! glossary at the top of ARCHITECTURE.md.

pub mod change;
pub mod containers;
pub mod event;
pub mod evidence;
pub mod freeze;
pub mod hold;
pub mod ids;
pub mod machine;
pub mod name;
pub mod observation;
pub mod operator;
pub mod policy;
pub mod probe;
pub mod reason;
pub mod release;
pub mod reply;
pub mod report;
pub mod rest;
pub mod selector;
pub mod setup;

pub use event::{Event, EventKind, Severity};
pub use evidence::{
    Ailment, Alone, Block, Evidence, Exits, NotFed, Note, Raised, Tally, Trouble, Troubled, Unit,
    Unknown, Verdict,
};
pub use freeze::{Calendar, Freeze};
pub use ids::{AppName, Digest, InstanceId, MachineId, ProcessGroup, Region, ReleaseVersion};
pub use machine::{
    Check, CheckStatus, ExitEvent, HostStatus, ImageRef, LeaseHolder, Machine, MachineState,
    MetricsPage, RawConfig, RestartPolicy, Transition,
};
pub use name::{Named, Unresolved};
pub use observation::{
    Belated, Count, Distress, MachineSample, Observation, Oddity, OrgContext, Origin, Readings,
    Selection, Since, SourceName, Want, Wanted, Well, busiest, series_name,
};
pub use operator::{Act, OperatorHold, Order, Signed, Wish};
pub use policy::{
    BUDGET_MAX, Checks, ConfirmTime, Crashes, Gauge, Kind, Latency, MaxUnavailable, MirrorRule,
    Mode, NoData, OnBreach, Policy, Probe, Promql, Ratio, RegionOrder, RegionsAtOnce, Relative,
    RollbackPolicy, Strategy, Threshold, ThresholdKind, WatchPolicy,
};
pub use probe::{ProbeFailure, ProbeMethod, ProbeRequest, Statuses};
pub use reason::{HoldReason, MirrorTrouble, Obstacle, Reason};
pub use release::{Release, ReleaseStatus};
pub use reply::{Effect, Plan, PlannedRegion, Refusal, Reply};
pub use report::{MachineFailure, MachineReport, RegionReport, RegionStage, Shown, Unwell, Wait};
pub use rest::Activity;
pub use selector::{LabelMatch, Matcher, Selector};
pub use setup::{Change, ChangeKind, Drift, Edit, PutBack, Secrets, Setups, Texts};
