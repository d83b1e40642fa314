//! What a person's word for a release calls off, and what it does not.

use super::{
    stage::{Stage, fail_checks},
    *,
};
use crate::{
    decide::hands::would_take,
    model::{Act, Effect, Refusal, Reply, Wish},
};

/// v1 is trusted, and v2 fails its checks under this policy.
fn failing(change: impl FnOnce(&mut Policy)) -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    change(&mut stage.policy);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage
}

fn trust(stage: &mut Stage, release: &str) -> Reply {
    stage.order(Act::Trust { release: release.to_owned() })
}

fn is_done(reply: &Reply) -> bool {
    matches!(reply, Reply::Done(Effect::Trusted { .. }))
}

/// Whether the last of these says that somebody vouched for the release.
fn vouched(stage: &Stage, kind: EventKind) -> bool {
    match stage.told(kind).last().and_then(|event| event.reason.as_ref()) {
        Some(Reason::CountdownCancelled { cause }) => matches!(**cause, Reason::VouchedBy { .. }),
        Some(reason) => matches!(reason, Reason::VouchedBy { .. }),
        None => false,
    }
}

#[test]
fn the_watch_of_a_release_ends_with_a_word_for_it_and_not_with_one_for_another() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(6);
    assert!(is_done(&trust(&mut stage, "v1")));
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
    assert!(is_done(&trust(&mut stage, "v2")));
    assert_eq!(stage.state.phase, Phase::Steady);
}

#[test]
fn a_countdown_ends_with_a_word_for_the_release_and_not_with_one_for_another() {
    let mut stage = failing(|policy| {
        policy.mode = Mode::Approve;
        policy.watch.approve_within = Duration::from_secs(300);
    });
    stage.pass(30);
    assert!(is_done(&trust(&mut stage, "v1")));
    assert!(matches!(stage.state.phase, Phase::CountingDown { .. }), "{:?}", stage.state.phase);
    assert!(is_done(&trust(&mut stage, "v2")));
    assert_eq!(stage.state.phase, Phase::Steady);
    assert!(vouched(&stage, EventKind::RollbackStopped));
}

#[test]
fn a_hold_ends_with_a_word_for_the_release_and_not_with_one_for_another() {
    let mut stage = failing(|policy| policy.mode = Mode::Observe);
    stage.pass(30);
    assert!(is_done(&trust(&mut stage, "v1")));
    assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
    assert!(is_done(&trust(&mut stage, "v2")));
    assert_eq!(stage.state.phase, Phase::Steady);
    assert!(vouched(&stage, EventKind::HoldCleared));
}

/// Somebody else just ordered it away: two people are not of one mind.
#[test]
fn what_a_person_is_taking_away_is_not_vouched_for() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(6);
    stage.order(Act::Rollback(Wish { to: Some("v1".to_owned()), ..Wish::default() }));
    assert!(matches!(stage.state.phase, Phase::CheckingImage { .. }), "{:?}", stage.state.phase);
    let away = trust(&mut stage, "v2");
    assert!(matches!(away, Reply::Refused(Refusal::IsRolledBack { .. })), "{away:?}");
    assert!(is_done(&trust(&mut stage, "v1")), "where it goes to may be");
}

#[test]
fn what_a_person_says_of_a_release_is_told() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.order(Act::Pin { release: "v1".to_owned() });
    stage.order(Act::Unpin);
    let told = stage.told(EventKind::OperatorOrder);
    let reasons: Vec<_> = told.iter().filter_map(|event| event.reason.as_ref()).collect();
    assert!(matches!(reasons[..], [Reason::Pinned { .. }, Reason::Unpinned { .. }]), "{reasons:?}");
}

/// What `waveoff releases` marks as the one that a rollback would go to.
#[test]
fn what_would_be_gone_to_is_the_newest_healthy_one_other_than_what_runs() {
    let mut stage = Stage::trusted(&["m1"]);
    let would = |stage: &Stage| would_take(&stage.state).map(|one| one.digest.to_string());
    assert_eq!(would(&stage), None, "it runs");
    stage.ship(2, "sha256:2");
    stage.pass(90);
    assert_eq!(would(&stage).as_deref(), Some("sha256:1"));
    stage.ship(3, "sha256:3");
    fail_checks(stage.machine("m1"));
    stage.pass(4);
    assert_eq!(would(&stage).as_deref(), Some("sha256:2"));
    stage.begin();
    stage.opens = Some(stage::opened(4));
    stage.undo();
    assert_eq!(would(&stage).as_deref(), Some("sha256:1"), "v2 runs again");
}
