//! What tests of a past have in common: its times, and the policy that it is judged by.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{
    Mode, NoData, OnBreach, Origin, Policy, Ratio, RollbackPolicy, Selector, Threshold,
    ThresholdKind, WatchPolicy,
};

pub(super) const BEGAN: i64 = 1_772_366_400;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + second).unwrap()
}

/// At most 2 % of the requests may fail.
pub(super) fn ratio(bad: Selector, total: Selector, from: Origin) -> ThresholdKind {
    let (relative, strict, by) = (None, false, Vec::new());
    ThresholdKind::Ratio(Ratio { bad, total, max: 0.02, relative, strict, by, from })
}

pub(super) fn threshold(name: &str, kind: ThresholdKind, no_data: NoData) -> Threshold {
    Threshold { name: name.to_owned(), kind, no_data, on_breach: OnBreach::Rollback }
}

/// What recorded pages count, under `5xx`.
pub(super) fn requests(no_data: NoData) -> Threshold {
    let (bad, total) = (Selector::metric("bad"), Selector::metric("requests"));
    threshold("5xx", ratio(bad, total, Origin::PAGES), no_data)
}

pub(super) fn policy(thresholds: Vec<Threshold>) -> Arc<Policy> {
    Arc::new(Policy {
        name: "web".to_owned(),
        mode: Mode::Observe,
        watch: WatchPolicy::default(),
        thresholds,
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 10,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    })
}
