//! One question of several that a server does not answer, and a page behind which several processes answer in
//! turn: what cannot be seen is neither health nor a breach.

use super::{
    servers::from_fly,
    stage::{Stage, opened},
    *,
};
use crate::model::{Gauge, Obstacle, Oddity, Origin, Selector, SourceName, Wait, reason::Unseen};

/// What hides the numbers of a threshold.
fn hidden() -> [Oddity; 2] {
    [
        Oddity::Unanswered { detail: "no answer within 10 s".to_owned() },
        Oddity::SeveralProcesses { series: "requests".to_owned() },
    ]
}

/// v1 is trusted, and the requests that Fly's server counts decide.
fn settled() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![from_fly()];
    stage.source = SourceName::Server("fly".to_owned());
    for machine in &mut stage.machines {
        machine.has_services = true;
        machine.metrics = None;
    }
    serves(&mut stage, 100.0, 0.0);
    stage.pass(80);
    stage.events.clear();
    stage
}

fn serves(stage: &mut Stage, n: f64, bad: f64) {
    stage.serves = vec![("m1", n, bad), ("m2", n, bad)];
}

/// Nothing is to be seen of any machine.
fn hide(stage: &mut Stage, why: &Oddity) {
    stage.odd = vec![("m1", why.clone()), ("m2", why.clone())];
}

/// Rounds until it is in a phase of this name; what was told until then is put aside.
fn comes_to(mut stage: Stage, phase: &str) -> Stage {
    let until = stage.second + 200;
    while stage.state.phase.word() != phase {
        assert!(stage.second < until, "{:?}", stage.events);
        stage.look();
    }
    stage.events.clear();
    stage
}

/// v2 was healthy for a minute and fails half of its requests now, in a phase of this name.
fn degraded(phase: &str, mode: Mode) -> Stage {
    let mut stage = settled();
    stage.policy.mode = mode;
    stage.ship(2, "sha256:2");
    stage.pass(60);
    serves(&mut stage, 100.0, 50.0);
    comes_to(stage, phase)
}

#[test]
fn what_is_not_answered_is_no_silence_of_the_release() {
    for why in hidden() {
        // Given a threshold whose silence is a breach
        let mut stage = settled();
        stage.policy.thresholds[0].no_data = NoData::Breach;
        stage.ship(2, "sha256:2");
        stage.pass(40);
        // When it cannot be seen for minutes, and is silent for moments after that
        hide(&mut stage, &why);
        stage.pass(300);
        stage.odd.clear();
        serves(&mut stage, 0.0, 0.0);
        stage.pass(40);
        // Then nothing is undone for it
        assert!(stage.told(EventKind::ReleaseDegraded).is_empty(), "{:?}", stage.events);
        // until it was seen to be silent
        stage.pass(300);
        assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{why:?}");
    }
}

type Happens = fn(&mut Stage);

/// Ways in which the server, or everything, is out of sight for a while.
const GOES_DARK: [(&str, Happens); 4] = [
    ("the server does not answer", |stage| {
        stage.silent = Some("no answer".to_owned());
        serves(stage, 0.0, 0.0);
    }),
    ("the platform does not answer", |stage| stage.unreadable = Some("no answer".to_owned())),
    ("a daemon that begins has asked nobody yet", |stage| {
        stage.org.listening = true;
        serves(stage, 0.0, 0.0);
    }),
    ("no answer has come yet", |stage| stage.serves.clear()),
];

#[test]
fn what_was_out_of_sight_is_no_silence_of_the_release() {
    for (why, goes_dark) in GOES_DARK {
        // Given a threshold whose silence is a breach
        let mut stage = settled();
        stage.policy.thresholds[0].no_data = NoData::Breach;
        stage.ship(2, "sha256:2");
        stage.pass(40);
        // When it is out of sight for minutes, and silent for moments after that
        goes_dark(&mut stage);
        stage.pass(300);
        (stage.silent, stage.unreadable, stage.org.listening) = (None, None, false);
        serves(&mut stage, 0.0, 0.0);
        stage.pass(40);
        // Then nothing is undone for it
        assert!(stage.told(EventKind::ReleaseDegraded).is_empty(), "{why}: {:?}", stage.events);
        // until it was heard to be silent
        stage.pass(300);
        assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{why}");
    }
}

#[test]
fn a_countdown_is_called_off_when_what_it_rests_on_is_not_answered_any_more() {
    for why in hidden() {
        let mut stage = degraded("counting_down", Mode::Rollback);
        hide(&mut stage, &why);
        stage.pass(120);
        assert!(stage.told(EventKind::RollbackStarted).is_empty(), "{why:?}");
        let stopped = stage.told(EventKind::RollbackStopped);
        let reasons: Vec<_> = stopped.into_iter().map(|one| one.reason.clone().unwrap()).collect();
        let cause = Box::new(Reason::NotSeen { what: Unseen::Metrics });
        assert_eq!(reasons, [Reason::CountdownCancelled { cause }]);
        // When it is seen again and still fails, then that is acted upon
        stage.odd.clear();
        stage.pass(200);
        assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{why:?}");
    }
}

/// v1 is trusted, and a gauge that Fly's server tells decides: v2 is above its bound, in a phase of this name.
fn above(phase: &str, mode: Mode) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.mode = mode;
    stage.policy.watch.countdown = Duration::from_secs(30);
    stage.policy.thresholds = vec![Threshold {
        kind: ThresholdKind::Gauge(Gauge {
            gauge: Selector::metric("bytes"),
            max: 100.0,
            sustain: Duration::from_secs(10),
            quorum: 0.5,
            from: Origin::server("fly", Duration::from_secs(15)),
        }),
        ..from_fly()
    }];
    stage.source = SourceName::Server("fly".to_owned());
    serves(&mut stage, 100.0, 0.0);
    stage.gauges = vec![("m1", 50.0), ("m2", 50.0)];
    stage.pass(80);
    stage.ship(2, "sha256:2");
    stage.gauges = vec![("m1", 200.0), ("m2", 200.0)];
    comes_to(stage, phase)
}

#[test]
fn a_gauge_above_its_bound_that_is_not_answered_any_more_is_no_recovery() {
    for why in hidden() {
        // Given a countdown for a value that is above its bound
        let mut stage = above("counting_down", Mode::Rollback);
        // When it cannot be seen for minutes
        hide(&mut stage, &why);
        stage.pass(300);
        // Then the countdown is called off, since nobody sees it
        let told: Vec<_> = stage.events.iter().map(|one| (one.kind, one.reason.clone())).collect();
        let cause = Box::new(Reason::NotSeen { what: Unseen::Metrics });
        let stopped = (EventKind::RollbackStopped, Some(Reason::CountdownCancelled { cause }));
        assert!(told.contains(&stopped), "{told:?}");
        assert!(stage.told(EventKind::RollbackStarted).is_empty(), "{told:?}");
        assert_eq!(stage.state.phase.word(), "baking");
        // and seen to be above it again, it is undone
        stage.odd.clear();
        stage.pass(200);
        assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{:?}", stage.events);
    }
}

#[test]
fn what_is_held_for_a_gauge_stays_held_while_it_is_not_answered_and_recovers_when_it_is_seen_well()
{
    for why in hidden() {
        let mut stage = above("held", Mode::Observe);
        hide(&mut stage, &why);
        stage.pass(3600);
        assert_eq!(stage.state.phase.word(), "held", "{:?}", stage.events);
        assert!(stage.told(EventKind::HoldCleared).is_empty(), "{:?}", stage.events);
        stage.odd.clear();
        stage.gauges = vec![("m1", 50.0), ("m2", 50.0)];
        stage.pass(60);
        assert_eq!(stage.told(EventKind::HoldCleared).len(), 1, "{:?}", stage.events);
        assert_eq!(stage.state.phase.word(), "baking");
    }
}

#[test]
fn a_breach_that_other_machines_still_show_is_acted_upon() {
    let mut stage = degraded("counting_down", Mode::Rollback);
    let [_, several] = hidden();
    stage.odd = vec![("m1", several)];
    stage.pass(200);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{:?}", stage.events);
}

#[test]
fn a_hold_that_is_over_lets_nothing_begin_for_a_breach_of_an_hour_ago() {
    for why in hidden() {
        let mut stage = degraded("held", Mode::Observe);
        hide(&mut stage, &why);
        stage.pass(3600);
        stage.policy.mode = Mode::Rollback;
        stage.pass(120);
        assert!(stage.told(EventKind::RollbackStarted).is_empty(), "{:?}", stage.events);
    }
}

#[test]
fn a_release_that_nobody_saw_earns_nothing_and_is_not_gone_back_to() {
    for why in hidden() {
        let mut stage = settled();
        stage.ship(2, "sha256:2");
        hide(&mut stage, &why);
        stage.pass(300);
        assert_eq!(stage.state.memory.baked, None);
        let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
        let threshold = "5xx".to_owned();
        assert_eq!(watch.obstacle, Some(Obstacle::Undecided { threshold }));
        // When a bad one follows, then the one before both is the target
        stage.odd.clear();
        serves(&mut stage, 100.0, 100.0);
        stage.ship(3, "sha256:3");
        stage.opens = Some(opened(4));
        stage.begin();
        assert_eq!(stage.rollback().target.digest.as_str(), "sha256:1");
    }
}

#[test]
fn an_outage_after_a_short_one_is_told_as_well() {
    for why in hidden() {
        let mut stage = settled();
        hide(&mut stage, &why);
        stage.pass(60);
        stage.odd.clear();
        stage.pass(300);
        let (blind, again) = (EventKind::MonitorBlind, EventKind::MonitorRecovered);
        let kinds = |stage: &Stage| stage.events.iter().map(|one| one.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&stage), [blind, again], "{why:?}");
        hide(&mut stage, &why);
        stage.pass(5 * 3600);
        assert_eq!(kinds(&stage), [blind, again, blind], "{why:?}");
    }
}

#[test]
fn a_region_that_waits_for_an_answer_is_not_told_to_have_no_traffic() {
    for why in hidden() {
        // Given the first of two regions that is put right
        let mut stage = settled();
        stage.machine("m2").region = "fra".into();
        stage.ship(2, "sha256:2");
        serves(&mut stage, 100.0, 50.0);
        stage.begin();
        let puts = |stage: &Stage| stage.pending(|one| matches!(one, Command::PutImage(_)));
        while puts(&stage).is_none() {
            stage.look();
        }
        // When nothing can be seen of it
        hide(&mut stage, &why);
        stage.events.clear();
        for _ in 0..600 {
            stage.put_right_now();
            stage.look();
        }
        // Then that is what people are told
        let waits: Vec<&Wait> = stage
            .events
            .iter()
            .filter_map(|event| match event.reason.as_ref()? {
                Reason::Waits { wait } => Some(wait),
                _ => None,
            })
            .collect();
        assert!(
            matches!(waits[..], [Wait::NotSeen { what: Unseen::Metrics, .. }]),
            "{waits:?}: {:?}",
            stage.events
        );
    }
}
