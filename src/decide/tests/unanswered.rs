//! One question of several that a server does not answer, and a page behind which several processes answer in
//! turn: what cannot be seen is neither health nor a breach.

use super::{
    servers::from_fly,
    stage::Stage,
    *,
};
use crate::model::{Oddity, SourceName};

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
