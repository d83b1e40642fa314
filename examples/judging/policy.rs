//! What is held against the release: the defaults, with one limit on requests.

use std::time::Duration;

use waveoff::model::{
    Checks, Crashes, Mode, NoData, OnBreach, Origin, Policy, Ratio, RollbackPolicy, Selector,
    SourceName, Threshold, ThresholdKind, WatchPolicy,
};

use super::scene::From;

/// The threshold that counts requests, and its limit.
pub const SHARE: &str = "5xx";
pub const LIMIT: f64 = 0.02;

/// The name of the metrics server.
const SERVER: &str = "fly";

pub fn source(from: From) -> SourceName {
    match from {
        From::Pages => SourceName::Pages,
        From::Server => SourceName::Server(SERVER.to_owned()),
    }
}

/// `by_path`: endpoints are judged one by one as well.
pub fn policy(from: From, by_path: bool) -> Policy {
    let threshold = |name: &str, kind| Threshold {
        name: name.to_owned(),
        kind,
        no_data: NoData::Hold,
        on_breach: OnBreach::Rollback,
    };
    let share = Ratio {
        bad: Selector::metric("errors_total"),
        total: Selector::metric("requests_total"),
        max: LIMIT,
        relative: None,
        strict: false,
        by: if by_path { vec!["path".to_owned()] } else { Vec::new() },
        from: match from {
            From::Pages => Origin::PAGES,
            From::Server => Origin::server(SERVER, Duration::from_secs(15)),
        },
    };
    let crashes = Crashes { exits: 2, oom: 1, failing: 0.3 };
    Policy {
        name: "judging".to_owned(),
        mode: Mode::Rollback,
        watch: WatchPolicy::default(),
        thresholds: vec![
            threshold(SHARE, ThresholdKind::Ratio(share)),
            threshold("checks", ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 })),
            threshold("crashes", ThresholdKind::Crashes(crashes)),
        ],
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 1000,
        metrics_port: None,
        metrics_path: None,
    }
}
