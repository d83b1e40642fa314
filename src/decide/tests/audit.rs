//! `action` and `no_data` of every kind of threshold, as the reference has them.

use std::collections::BTreeMap;

use super::{
    stage::{Stage, ratio},
    *,
};
use crate::model::{
    Check, CheckStatus, Checks, Count, Crashes, ExitEvent, Gauge, Kind, Latency, MachineSample,
    Origin, Probe, ProbeFailure, ProbeMethod, ProbeRequest, Promql, Ratio, Readings, Relative,
    Selector, Since, SourceName, Statuses,
};

/// What the new release shows of what is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shows {
    Well,
    Bad,
    Nothing,
}

/// Every kind, and `relative`.
fn kinds() -> Vec<(&'static str, ThresholdKind)> {
    let (bad, total) = (Selector::metric("bad"), Selector::metric("requests"));
    let from = Origin::PAGES;
    let by = Vec::new();
    let ratio = Ratio { bad, total, max: 0.02, relative: None, strict: false, by, from };
    let relative = Some(Relative { times: 1.5, plus: 0.002 });
    let (sustain, quorum) = (Duration::from_secs(10), 0.3);
    let request = ProbeRequest {
        path: "/".to_owned(),
        port: None,
        https: false,
        method: ProbeMethod::Get,
        timeout: Duration::from_secs(1),
        expect: vec![Statuses::SUCCESS],
        body: None,
        grace: Duration::ZERO,
    };
    let server = Origin { source: server(), every: Duration::from_secs(2) };
    vec![
        ("ratio", ThresholdKind::Ratio(ratio.clone())),
        ("relative", ThresholdKind::Ratio(Ratio { relative, ..ratio })),
        (
            "latency",
            ThresholdKind::Latency(Latency {
                histogram: Selector::metric("took"),
                quantile: 0.95,
                bound_s: 0.5,
                relative: None,
                strict: false,
                by: Vec::new(),
                from: Origin::PAGES,
            }),
        ),
        (
            "gauge",
            ThresholdKind::Gauge(Gauge {
                gauge: Selector::metric("bytes"),
                max: 100.0,
                sustain,
                quorum,
                from: Origin::PAGES,
            }),
        ),
        (
            "promql",
            ThresholdKind::Promql(Promql {
                expression: "x{app=\"$app\"}".to_owned(),
                looks_back: Duration::ZERO,
                max: 100.0,
                sustain,
                quorum,
                from: server,
            }),
        ),
        ("probe", ThresholdKind::Probe(Probe { request, max: 0.1, from: Origin::PROBES })),
        ("checks", ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 })),
        ("crashes", ThresholdKind::Crashes(Crashes { exits: 2, oom: 1, failing: 0.3 })),
    ]
}

fn server() -> SourceName {
    SourceName::Server("fly".to_owned())
}

/// What is looked at beside it, and is always well.
fn companion(kind: Kind) -> Threshold {
    let checks = ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 });
    let crashes = ThresholdKind::Crashes(Crashes { exits: 2, oom: 1, failing: 0.3 });
    let kind = if kind == Kind::Checks { crashes } else { checks };
    Threshold { name: "beside".to_owned(), kind, ..ratio() }
}

/// v1 is trusted and has shown itself well, and v2 was just put on every machine.
struct Play {
    stage: Stage,
    kind: Kind,
}

impl Play {
    fn of(kind: ThresholdKind, on_breach: OnBreach, no_data: NoData) -> Self {
        let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
        let word = crate::threshold::room(&kind).kind();
        let subject = Threshold { name: "it".to_owned(), kind, no_data, on_breach };
        stage.policy.thresholds = vec![subject, companion(word)];
        stage.policy.watch.bake = Duration::from_secs(120);
        let mut play = Self { stage, kind: word };
        play.pass(60, Shows::Well);
        play.stage.ship(2, "sha256:2");
        play
    }

    fn pass(&mut self, seconds: i64, shows: Shows) {
        let until = self.stage.second + seconds;
        while self.stage.second < until {
            self.stage.second += 2;
            self.look(shows);
        }
    }

    fn look(&mut self, shows: Shows) {
        let now = at(self.stage.second);
        for machine in &mut self.stage.machines {
            of_machine(
                machine,
                if self.kind.reads_series() { Shows::Well } else { shows },
                self.kind,
                now,
            );
        }
        let source = match self.kind {
            Kind::Promql => server(),
            Kind::Probe => SourceName::Probes,
            _ => SourceName::Pages,
        };
        let sample = |machine: &Machine| MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: source.clone(),
            readings: Ok(readings(self.kind, shows)),
        };
        let input = Input::Observed(Observation {
            began: now,
            machines: Ok(self.stage.machines.clone()),
            ledger: self.stage.ledger.clone(),
            secrets: None,
            samples: self.stage.machines.iter().map(sample).collect(),
            blind: BTreeMap::new(),
            org: self.stage.org.clone(),
        });
        self.stage.tell(&input);
        let asks = |one: &Command| matches!(one, Command::CheckImage { .. });
        while let Some(command) = self.stage.pending(asks) {
            let outcome = Outcome::ImagePresent;
            self.stage.tell(&Input::Finished { command, outcome });
        }
    }

    fn planned(&self) -> usize {
        self.stage.told(EventKind::RollbackPlanned).len()
    }

    /// How often it was told that something breaches that only alerts.
    fn alerts(&self) -> usize {
        let told = self.stage.told(EventKind::ReleaseDegraded);
        told.iter().filter(|one| matches!(one.reason, Some(Reason::OnlyAlerts { .. }))).count()
    }

    fn trusts_v2(&self) -> bool {
        self.stage
            .state
            .memory
            .newest_trusted()
            .is_some_and(|one| one.revision.digest.as_str() == "sha256:2")
    }
}

fn readings(kind: Kind, shows: Shows) -> Readings {
    let count = |n, k| Count { n, k, since: Since::LastScrape };
    let mut readings = Readings::default();
    let name = || "it".to_owned();
    match (kind, shows) {
        (Kind::Checks | Kind::Crashes, _) | (Kind::Gauge | Kind::Promql, Shows::Nothing) => {}
        (Kind::Gauge | Kind::Promql, _) => {
            let value = if shows == Shows::Bad { 1000.0 } else { 1.0 };
            readings.gauges.insert(name(), value);
        }
        (Kind::Ratio | Kind::Latency | Kind::Probe, Shows::Nothing) => {
            readings.counts.insert(name(), count(0.0, 0.0));
        }
        (Kind::Ratio | Kind::Latency | Kind::Probe, _) => {
            let bad = if shows == Shows::Bad { 50.0 } else { 0.0 };
            readings.counts.insert(name(), count(100.0, bad));
            if kind == Kind::Probe && shows == Shows::Bad {
                readings.failures.insert(name(), ProbeFailure::Status(503));
            }
        }
    }
    readings
}

fn of_machine(machine: &mut Machine, shows: Shows, kind: Kind, now: Timestamp) {
    machine.checks_configured = 1;
    machine.has_services = true;
    let check = |status| Check {
        name: "http".to_owned(),
        status,
        output: String::new(),
        changed_at: machine.started_at,
        interval: Some(Duration::from_secs(2)),
        grace: None,
    };
    machine.checks = match (kind, shows) {
        (Kind::Checks, Shows::Bad) => vec![check(CheckStatus::Critical)],
        (Kind::Checks, Shows::Nothing) => Vec::new(),
        _ => vec![check(CheckStatus::Passing)],
    };
    if kind == Kind::Crashes {
        machine.state = match shows {
            Shows::Nothing => MachineState::Stopped,
            Shows::Well | Shows::Bad => MachineState::Started,
        };
        let is_new = machine.release == Some(ReleaseVersion(2));
        if shows == Shows::Bad && is_new && machine.exits.len() < 4 {
            machine.exits.insert(
                0,
                ExitEvent {
                    at: now,
                    exit_code: 1,
                    oom_killed: false,
                    requested_stop: false,
                    started_at: machine.started_at,
                },
            );
        }
    }
}

#[test]
fn every_kind_rolls_back_by_its_breach() {
    for (name, kind) in kinds() {
        let mut play = Play::of(kind, OnBreach::Rollback, NoData::Hold);
        play.pass(120, Shows::Bad);
        assert_eq!((play.planned(), play.alerts()), (1, 0), "{name}");
    }
}

#[test]
fn what_only_alerts_is_told_once_undoes_nothing_and_keeps_no_release_from_trust() {
    for (name, kind) in kinds() {
        for no_data in [NoData::Hold, NoData::Ignore, NoData::Breach] {
            let mut play = Play::of(kind.clone(), OnBreach::Alert, no_data);
            play.pass(300, Shows::Bad);
            assert_eq!((play.planned(), play.alerts()), (0, 1), "{name}, {no_data:?}");
            assert!(play.trusts_v2(), "{name}, {no_data:?}: {:?}", play.stage.state.phase);
            assert_eq!(play.stage.told(EventKind::HoldPlaced).len(), 0, "{name}, {no_data:?}");
        }
    }
}

#[test]
fn without_data_a_release_is_not_trusted_and_not_undone_where_that_holds() {
    for (name, kind) in kinds() {
        let mut play = Play::of(kind, OnBreach::Rollback, NoData::Hold);
        play.pass(400, Shows::Nothing);
        assert_eq!((play.planned(), play.trusts_v2()), (0, false), "{name}");
        // and data that says that it is well ends that
        play.pass(400, Shows::Well);
        assert!(play.trusts_v2(), "{name}: {:?}", play.stage.state.phase);
    }
}

#[test]
fn without_data_it_is_trusted_by_the_others_where_that_is_ignored() {
    for (name, kind) in kinds() {
        let mut play = Play::of(kind, OnBreach::Rollback, NoData::Ignore);
        play.pass(400, Shows::Nothing);
        // Nothing is trusted of which no machine is up.
        let is_up = name != "crashes";
        assert_eq!((play.planned(), play.trusts_v2()), (0, is_up), "{name}");
    }
}

#[test]
fn without_data_for_a_minute_it_breaches_where_that_is_said() {
    for (name, kind) in kinds() {
        // given: it came with data
        let mut play = Play::of(kind.clone(), OnBreach::Rollback, NoData::Breach);
        play.pass(70, Shows::Well);
        // when: there is none
        play.pass(54, Shows::Nothing);
        assert_eq!(play.planned(), 0, "{name}: not yet a minute");
        // then
        play.pass(12, Shows::Nothing);
        assert_eq!(play.planned(), 1, "{name}");
        // and from the beginning
        let mut play = Play::of(kind, OnBreach::Rollback, NoData::Breach);
        play.pass(54, Shows::Nothing);
        assert_eq!(play.planned(), 0, "{name}");
        play.pass(12, Shows::Nothing);
        assert_eq!(play.planned(), 1, "{name}");
    }
}

#[test]
fn without_data_what_only_alerts_is_told_of_once() {
    for (name, kind) in kinds() {
        let mut play = Play::of(kind, OnBreach::Alert, NoData::Breach);
        play.pass(300, Shows::Nothing);
        assert_eq!((play.planned(), play.alerts()), (0, 1), "{name}");
    }
}

/// What may not be judged yet is no missing data.
#[test]
fn a_warm_up_and_a_grace_are_no_time_without_data() {
    let mut play = Play::of(kinds().remove(0).1, OnBreach::Rollback, NoData::Breach);
    play.stage.policy.watch.warm_up = Duration::from_secs(100);
    play.pass(130, Shows::Well);
    assert_eq!(play.planned(), 0);
    for (name, kind) in kinds().into_iter().filter(|(name, _)| *name == "probe") {
        let ThresholdKind::Probe(mut probe) = kind else { panic!() };
        probe.request.grace = Duration::from_secs(100);
        let kind = ThresholdKind::Probe(probe);
        let mut play = Play::of(kind, OnBreach::Rollback, NoData::Breach);
        play.pass(100, Shows::Nothing);
        play.pass(30, Shows::Well);
        assert_eq!(play.planned(), 0, "{name}");
    }
}

/// A monitor that is down is no missing data of the release.
#[test]
fn while_the_monitor_is_down_nothing_is_undone_whatever_no_data_says() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![Threshold { no_data: NoData::Breach, ..ratio() }];
    stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
    stage.pass(30);
    stage.ship(2, "sha256:2");
    stage.pass(20);
    stage.serves.clear();
    stage.no_page = Some("refused".to_owned());
    stage.pass(300);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0, "{:?}", stage.state.phase);
}

/// What only alerts cannot stand in for a source that tells nothing.
#[test]
fn a_breach_of_what_cannot_be_seen_is_not_acted_on_because_an_alert_can_be() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    let checks = ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 });
    let alert = Threshold {
        name: "checks".to_owned(),
        kind: checks,
        no_data: NoData::Hold,
        on_breach: OnBreach::Alert,
    };
    stage.policy.thresholds = vec![Threshold { no_data: NoData::Breach, ..ratio() }, alert];
    stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
    stage.pass(30);
    stage.ship(2, "sha256:2");
    for id in ["m1", "m2"] {
        super::stage::fail_checks(stage.machine(id));
    }
    stage.pass(20);
    stage.serves.clear();
    stage.no_page = Some("refused".to_owned());
    stage.pass(300);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0, "{:?}", stage.state.phase);
}
