//! The words for an app's phases, and how often each is looked at.

use super::{
    stage::{Stage, fail_checks, put, put_on, puts},
    *,
};
use crate::model::{Distress, OperatorHold, Order};

fn word(stage: &Stage) -> &'static str {
    stage.state.phase.word()
}

fn is_active(stage: &Stage) -> bool {
    stage.state.phase.is_active(&stage.state.memory, at(stage.second))
}

#[test]
fn each_phase_has_its_word() {
    let mut stage = Stage::unknown(&["m1", "m2"]);
    assert_eq!(word(&stage), "learning");
    stage.look();
    assert_eq!(word(&stage), "learning");
    stage.pass(80);
    assert_eq!(word(&stage), "steady");
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = crate::model::ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.look();
    assert_eq!(word(&stage), "deploying");
    put(stage.machine("m2"), 2, "sha256:2", now);
    stage.look();
    assert_eq!(word(&stage), "baking");
    stage.policy.watch.countdown = Duration::from_secs(20);
    stage.machines.iter_mut().for_each(fail_checks);
    while !matches!(stage.state.phase, Phase::CountingDown { .. }) {
        assert!(stage.second < 300);
        stage.look();
    }
    assert_eq!(word(&stage), "counting_down");
    stage.begin();
    assert_eq!(word(&stage), "rolling_back");
    stage.look();
    stage.put_back("m1");
    stage.look();
    assert_eq!(word(&stage), "rolling_back", "m2 is still updated");
    stage.put_back("m2");
    stage.look();
    assert_eq!(word(&stage), "confirming");
    stage.undo();
    assert_eq!(word(&stage), "rolled_back");
    stage.policy.mode = Mode::Observe;
    stage.ship(9, "sha256:9");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(60);
    assert_eq!(word(&stage), "held");
}

/// A region that is confirmed while another is still updated.
#[test]
fn while_machines_are_updated_it_is_rolling_back() {
    let mut stage = Stage::trusted(&["b", "c", "d"]);
    for id in ["b", "c", "d"] {
        stage.machine(id).region = id.into();
    }
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.begin();
    stage.look();
    stage.put_back("b");
    stage.pass(32);
    stage.put_back("c");
    assert_eq!(put_on(&stage.look()), ["d"]);
    assert_eq!(word(&stage), "rolling_back", "c is confirmed, and d updated");
    let region = stage.rollback().active_region().map(|work| work.region.as_str());
    assert_eq!(region, Some("c"));
}

#[test]
fn a_watched_release_is_looked_at_closely_for_two_hours() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.machine("m1").state = MachineState::Stopped;
    stage.look();
    stage.second += 2 * 3600 - 1;
    assert!(is_active(&stage));
    stage.second += 1;
    assert!(!is_active(&stage));
}

#[test]
fn a_steady_app_is_looked_at_closely_while_its_word_may_be_wanted() {
    let mut stage = Stage::trusted(&["m1"]);
    assert!(!is_active(&stage));
    let since = at(stage.second);
    let distress = Distress { since, regions: std::collections::BTreeSet::new(), deployed: true };
    stage.state.memory.org.neighbours.insert(AppName::new("shop"), distress);
    assert!(is_active(&stage));
    stage.state.memory.org.neighbours.clear();
    stage.state.memory.suspicion = Some(crate::decide::distress::Suspicion { since, last: since });
    assert!(is_active(&stage));
}

#[test]
fn after_a_rollback_it_is_looked_at_closely_while_something_is_under_way() {
    let mut stage = Stage::rolling_back(&["m1"]);
    assert!(is_active(&stage));
    stage.undo();
    stage.state.memory.pending.clear();
    assert!(!is_active(&stage));
    let now = at(stage.second);
    let mut clone = stage.machine("m1").clone();
    clone.id = "m9".into();
    put(&mut clone, 2, "sha256:2", now);
    stage.machines.push(clone);
    stage.look();
    assert!(is_active(&stage));
}

#[test]
fn holds_that_pass_by_themselves_are_looked_at_closely() {
    let hold = |change: fn(&mut Stage)| {
        let mut stage = Stage::trusted(&["m1"]);
        change(&mut stage);
        stage.ship(2, "sha256:2");
        fail_checks(stage.machine("m1"));
        stage.pass(60);
        assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
        is_active(&stage)
    };
    assert!(hold(|stage| stage.registry = Outcome::ImageUnknown { reason: "503".to_owned() }));
    assert!(!hold(|stage| stage.policy.mode = Mode::Observe));
}

/// A clone that could not be put right after the rollback is tried again when it is due, and one that
/// may not be is no reason to hurry.
#[test]
fn what_is_tried_again_after_a_rollback_is_not_waited_for_until_the_next_pace() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    stage.state.memory.pending.clear();
    let now = at(stage.second);
    let mut clone = stage.machine("m1").clone();
    clone.id = "m9".into();
    put(&mut clone, 2, "sha256:2", now);
    stage.machines.push(clone);
    stage.look();
    let refused = PutOutcome::Refused { reason: "no".to_owned() };
    stage.answer(puts("m9"), Outcome::Put(refused));
    let wakes = |stage: &Stage, after: i64| {
        let now = at(stage.second + after);
        step(&stage.policy, stage.state.clone(), &seen(stage.machines.clone(), now), now).wake_at
    };
    assert_eq!(wakes(&stage, 1), at(stage.second + 3));
    let (by, reason) = ("zoe".to_owned(), String::new());
    let hold = OperatorHold { by, reason, since: at(0), until: None };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    assert_eq!(wakes(&stage, 3), at(stage.second + 18), "it waits for something else");
}

/// What somebody set by hand was told by name.
#[test]
fn after_a_rollback_two_images_are_told_of_unless_somebody_is_known_to_want_them() {
    let mixed = |by_hand: bool| {
        let mut stage = Stage::rolling_back(&["m1", "m2"]);
        stage.undo();
        stage.state.memory.pending.clear();
        stage.pass(60);
        let now = at(stage.second);
        let digest = if by_hand { "sha256:2" } else { "sha256:0" };
        stage.state.memory.previous = Some(watch_of(1, "sha256:0").revision);
        put(stage.machine("m2"), 3, digest, now);
        stage.pass(120);
        let told = stage.told(EventKind::ImageMixed).into_iter();
        told.filter(|event| matches!(event.reason, Some(Reason::MixedImages { .. }))).count()
    };
    assert_eq!((mixed(true), mixed(false)), (0, 1));
}
