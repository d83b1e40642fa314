//! What is held against the release: the defaults, with one limit on requests; or all that ships.

use std::{path::Path, sync::LazyLock, time::Duration};

use waveoff::{
    config,
    model::{
        Checks, Crashes, Mode, NoData, OnBreach, Origin, Policy, Probe, ProbeMethod, ProbeRequest,
        Ratio, RollbackPolicy, Selector, SourceName, Statuses, Threshold, ThresholdKind,
        WatchPolicy,
    },
};

use super::scene::From;

/// The threshold that counts requests, and its limit.
pub const SHARE: &str = "5xx";
pub const LIMIT: f64 = 0.02;

/// The thresholds of the policy that ships which are read from Fly's metrics server.
pub const ERRORS: &str = "fly-http 5xx";
pub const LATENCY: &str = "fly-http latency";
pub const HANG: &str = "hang";

/// The name of the metrics server.
const SERVER: &str = "fly";
/// The share of probes that may fail where nobody says it.
const PROBES_MAX: f64 = 0.1;

pub fn source(from: From) -> SourceName {
    match from {
        From::Pages => SourceName::Pages,
        From::Server | From::Shipped => SourceName::Server(SERVER.to_owned()),
        From::Probes => SourceName::Probes,
    }
}

/// The policy that ships, but that it acts. It is read anew by nobody: it does not change.
#[expect(
    clippy::panic,
    clippy::expect_used,
    reason = "an experiment: without what ships there is nothing to judge"
)]
static SHIPPED: LazyLock<Policy> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let config =
        config::load(&dir, |name| (name == "WAVEOFF_ORGANIZATION").then(|| "acme".to_owned()))
            .unwrap_or_else(|errors| panic!("what ships is right: {errors}"));
    let policy = config.policy_for(&"api".into()).expect("what ships watches every app");
    let names: Vec<&str> = policy.thresholds.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, [ERRORS, LATENCY, "checks", "crashes", HANG], "these are simulated");
    Policy { mode: Mode::Rollback, per_organization_max: 1000, ..Policy::clone(&policy) }
});

/// A request for `/` at each look, as `probe = { path = "/" }` asks for it.
fn probe() -> ThresholdKind {
    let request = ProbeRequest {
        path: "/".to_owned(),
        port: None,
        https: false,
        method: ProbeMethod::Get,
        timeout: Duration::from_secs(1),
        expect: vec![Statuses::SUCCESS],
        body: None,
        grace: Duration::from_secs(10),
    };
    ThresholdKind::Probe(Probe { request, max: PROBES_MAX, from: Origin::PROBES })
}

/// `by_path`: endpoints are judged one by one as well.
pub fn policy(from: From, by_path: bool) -> Policy {
    if from == From::Shipped {
        return SHIPPED.clone();
    }
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
            _ => Origin::server(SERVER, Duration::from_secs(15)),
        },
    };
    let share = if from == From::Probes { probe() } else { ThresholdKind::Ratio(share) };
    let crashes = Crashes { exits: 2, oom: 1, failing: 0.3 };
    Policy {
        name: "judging".to_owned(),
        mode: Mode::Rollback,
        watch: WatchPolicy::default(),
        thresholds: vec![
            threshold(SHARE, share),
            threshold("checks", ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 })),
            threshold("crashes", ThresholdKind::Crashes(crashes)),
        ],
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 1000,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}
