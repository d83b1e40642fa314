//! Yes, no and go on; what is pinned, quarantined and vouched for.

use super::{
    stage::{Stage, fail_checks, put_on},
    *,
};
use crate::{
    decide::hands::would_take,
    model::{Act, Effect, ImageRef, OperatorHold, Refusal, Reply},
};

/// v2 fails its checks, and this is how the policy wants it to be dealt with.
fn failing(change: impl FnOnce(&mut Policy)) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    change(&mut stage.policy);
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage
}

fn asking() -> Stage {
    let mut stage = failing(|policy| {
        policy.mode = Mode::Approve;
        policy.watch.approve_within = Duration::from_secs(300);
    });
    stage.pass(30);
    stage
}

fn label(release: &ReleaseInfo) -> String {
    release.label()
}

fn count(stage: &Stage, kind: EventKind) -> usize {
    stage.told(kind).len()
}

fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        Reply::Done(effect) => panic!("{effect:?}"),
    }
}

fn done(reply: Reply) -> Effect {
    match reply {
        Reply::Done(effect) => effect,
        Reply::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// The newest reason of this kind of event.
fn why(stage: &Stage, kind: EventKind) -> Reason {
    stage.told(kind).pop().and_then(|event| event.reason.clone()).unwrap()
}

#[test]
fn a_rollback_that_needs_a_yes_begins_with_it_and_says_whose_it_was() {
    let mut stage = asking();
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(stage.state.phase.word(), "awaiting_approval");
    assert!(matches!(why(&stage, EventKind::RollbackPlanned), Reason::AwaitsApproval { .. }));
    assert_eq!(count(&stage, EventKind::RollbackPlanned), 1, "asked once");

    let approved = done(stage.order(Act::Approve));
    assert!(matches!(approved, Effect::Approved { release } if label(&release) == "v2"));
    stage.undo();
    let by = why(&stage, EventKind::RollbackStarted);
    assert!(matches!(by, Reason::ApprovedBy { by } if by.by == "dana"));
    assert_eq!(refused(stage.order(Act::Approve)), Refusal::NothingToApprove);
}

#[test]
fn without_a_yes_nothing_is_done_and_that_is_told_once() {
    let mut stage = asking();
    assert_eq!(put_on(&stage.pass(900)), [""; 0]);
    assert_eq!(why(&stage, EventKind::HoldPlaced), HoldReason::NotApproved.into());
    assert_eq!(count(&stage, EventKind::HoldPlaced), 1);
    assert_eq!(count(&stage, EventKind::RollbackPlanned), 1);
    // Late is better than never.
    done(stage.order(Act::Approve));
    stage.undo();
    assert_eq!(count(&stage, EventKind::RollbackCompleted), 1);
}

#[test]
fn what_recovers_needs_no_yes_any_more_and_the_next_breach_asks_anew() {
    let mut stage = asking();
    for machine in &mut stage.machines {
        machine.checks.clear();
        machine.checks_configured = 0;
    }
    stage.pass(10);
    assert_eq!(why(&stage, EventKind::RollbackStopped), Reason::Recovered);
    stage.machines.iter_mut().for_each(fail_checks);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(count(&stage, EventKind::RollbackPlanned), 2);
}

/// The mode is edited while the question stands.
#[test]
fn a_question_follows_the_mode() {
    let mut stage = asking();
    stage.policy.mode = Mode::Rollback;
    assert_eq!(put_on(&stage.pass(10)), ["m1"]);

    let mut stage = asking();
    stage.policy.mode = Mode::Observe;
    stage.pass(10);
    assert_eq!(why(&stage, EventKind::HoldPlaced), HoldReason::ObserveMode.into());
    assert_eq!(refused(stage.order(Act::Approve)), Refusal::NothingToApprove);
}

/// There is nothing to say yes to, and nothing that came to a stop.
#[test]
fn what_waits_for_nobody_is_neither_approved_nor_resumed() {
    let mut stage = asking();
    stage.pass(900);
    stage.policy.mode = Mode::Observe;
    assert_eq!(refused(stage.order(Act::Approve)), Refusal::NothingToApprove);
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::NothingToResume);
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(4);
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::NothingToResume);
    let mut stage = Stage::rolling_back(&["m1"]);
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::NothingToResume);
}

/// The time for a yes is over, and then the mode needs none any more.
#[test]
fn a_question_that_nobody_answered_stands_against_nothing_in_another_mode() {
    let mut stage = asking();
    stage.pass(900);
    assert_eq!(why(&stage, EventKind::HoldPlaced), HoldReason::NotApproved.into());
    stage.policy.mode = Mode::Rollback;
    assert_eq!(put_on(&stage.pass(10)), ["m1"]);
}

/// The platform cannot be read for a while: a question is still a question.
#[test]
fn a_question_stands_while_nothing_can_be_seen_and_a_yes_then_waits_for_sight() {
    let mut stage = asking();
    stage.unreadable = Some("503".to_owned());
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "awaiting_approval");
    assert_eq!(count(&stage, EventKind::RollbackStopped), 0);
    stage.unreadable = None;
    stage.pass(4);
    done(stage.order(Act::Approve));
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
}

#[test]
fn a_yes_opens_no_door_that_is_shut() {
    let mut stage = asking();
    let hold = OperatorHold { by: "zoe".into(), reason: "wait".into(), since: at(0), until: None };
    stage.state.memory.operator_hold = Some(hold);
    done(stage.order(Act::Approve));
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
}

#[test]
fn a_veto_ends_a_countdown_and_holds_until_it_is_lifted() {
    let mut stage = failing(|policy| policy.watch.countdown = Duration::from_secs(60));
    stage.pass(30);
    assert_eq!(stage.state.phase.word(), "counting_down");
    assert!(matches!(done(stage.order(Act::Veto)), Effect::Vetoed { .. }));
    assert_eq!(put_on(&stage.pass(300)), [""; 0]);
    assert_eq!(count(&stage, EventKind::RollbackStopped), 1);
    assert!(
        matches!(why(&stage, EventKind::HoldPlaced), Reason::Held { hold: HoldReason::Vetoed { by } } if by.by == "dana")
    );

    assert!(matches!(done(stage.order(Act::Resume)), Effect::Resumed { .. }));
    assert!(matches!(why(&stage, EventKind::HoldCleared), Reason::ResumedBy { .. }));
    assert_eq!(put_on(&stage.pass(80)), ["m1"]);
    assert_eq!(refused(stage.order(Act::Veto)), Refusal::UnderWay);
}

#[test]
fn a_veto_before_anything_is_wrong_forbids_what_comes_later() {
    let mut stage = Stage::trusted(&["m1"]);
    assert_eq!(refused(stage.order(Act::Veto)), Refusal::NothingToVeto, "steady");
    stage.ship(2, "sha256:2");
    stage.pass(4);
    done(stage.order(Act::Veto));
    stage.machines.iter_mut().for_each(fail_checks);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert!(matches!(&stage.state.phase, Phase::Held { reason: HoldReason::Vetoed { .. }, .. }));
    // The next release is another matter.
    stage.ship(3, "sha256:3");
    stage.pass(4);
    assert!(matches!(&stage.state.phase, Phase::Watching(watch) if watch.vetoed.is_none()));
}

#[test]
fn a_veto_takes_the_place_of_another_hold() {
    let mut stage = failing(|policy| policy.mode = Mode::Observe);
    stage.pass(60);
    done(stage.order(Act::Veto));
    stage.policy.mode = Mode::Rollback;
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    // Lifted while it is well again: it is watched on.
    for machine in &mut stage.machines {
        machine.checks.clear();
        machine.checks_configured = 0;
    }
    done(stage.order(Act::Resume));
    stage.pass(4);
    assert!(matches!(&stage.state.phase, Phase::Watching(watch) if watch.vetoed.is_none()));
}

#[test]
fn there_has_to_be_something_that_stopped() {
    let mut stage = Stage::trusted(&["m1"]);
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::NothingToResume);
    stage.ship(2, "sha256:2");
    stage.pass(4);
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::NothingToResume, "never vetoed");
}

/// The policy is set to observe in the middle, and a person wants it done all the same.
#[test]
fn a_rollback_that_stopped_goes_on_where_it_was_when_a_person_says_so() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    stage.look();
    stage.put_right_now();
    stage.policy.mode = Mode::Observe;
    stage.pass(4);
    assert!(matches!(stage.state.phase, Phase::Stopped { .. }), "{:?}", stage.state.phase);
    let hold = OperatorHold { by: "zoe".into(), reason: "wait".into(), since: at(0), until: None };
    stage.state.memory.operator_hold = Some(hold.clone());
    assert_eq!(refused(stage.order(Act::Resume)), Refusal::Held { hold });
    stage.state.memory.operator_hold = None;

    done(stage.order(Act::Resume));
    let opens = |one: &Command| matches!(one, Command::OpenRelease { .. });
    assert!(stage.pending(opens).is_some(), "the ledger has an entry that is open again");
    stage.opens = Some(stage::opened(4));
    stage.undo();
    assert!(matches!(why(&stage, EventKind::RollbackResumed), Reason::ResumedBy { .. }));
    let good = Digest::new("sha256:1");
    assert!(stage.machines.iter().all(|machine| machine.digest() == Some(&good)));
    assert_eq!(count(&stage, EventKind::RollbackCompleted), 1);
}

/// v1 and v2 earned trust, v2 runs.
fn two_trusted() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    assert_eq!(stage.state.memory.trusted.len(), 2, "{:?}", stage.events);
    stage
}

fn pin(release: &str) -> Act {
    Act::Pin { release: release.to_owned() }
}

#[test]
fn what_is_pinned_is_gone_back_to_whatever_is_trusted_later() {
    let mut stage = two_trusted();
    done(stage.order(pin("v1")));
    stage.ship(3, "sha256:3");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.opens = Some(stage::opened(4));
    stage.undo();
    let good = Digest::new("sha256:1");
    assert!(stage.machines.iter().all(|machine| machine.digest() == Some(&good)));
}

#[test]
fn without_a_pin_the_newest_is_gone_back_to() {
    let mut stage = two_trusted();
    done(stage.order(pin("v1")));
    assert!(matches!(done(stage.order(Act::Unpin)), Effect::Unpinned { release: Some(_) }));
    assert_eq!(refused(stage.order(Act::Unpin)), Refusal::NothingPinned);
    stage.ship(3, "sha256:3");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.opens = Some(stage::opened(4));
    stage.undo();
    let newest = Digest::new("sha256:2");
    assert!(stage.machines.iter().all(|machine| machine.digest() == Some(&newest)));
}

#[test]
fn a_pin_needs_a_release_that_is_trusted_and_keeps_it_remembered() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(4);
    assert!(matches!(refused(stage.order(pin("v2"))), Refusal::NotTrusted { .. }));
    assert!(matches!(refused(stage.order(pin("v9"))), Refusal::NoSuchRelease { .. }));
    done(stage.order(pin("v1")));
    for version in 3..20 {
        stage.ship(version, &format!("sha256:{version}"));
        stage.pass(4);
        done(stage.order(Act::Trust { release: format!("v{version}") }));
    }
    assert_eq!(stage.state.memory.trusted.len(), state::TRUSTED_MAX);
    assert_eq!(stage.state.memory.newest_trusted().unwrap().revision.label(), "v1");
}

/// The image of what is pinned was pruned: nothing else is taken in its place.
#[test]
fn a_pinned_release_whose_image_is_gone_holds() {
    let mut stage = two_trusted();
    done(stage.order(pin("v1")));
    stage.ship(3, "sha256:3");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.registry = Outcome::ImageMissing;
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(why(&stage, EventKind::HoldPlaced), HoldReason::ImagesMissing.into());
}

#[test]
fn what_a_person_quarantines_is_never_gone_back_to_until_they_take_it_out() {
    let mut stage = two_trusted();
    let bad = |stage: &mut Stage, release: &str| {
        stage.order(Act::Quarantine { release: release.to_owned() })
    };
    assert!(matches!(refused(bad(&mut stage, "v2")), Refusal::RunsNow { .. }));
    done(stage.order(pin("v1")));
    assert!(matches!(refused(bad(&mut stage, "v1")), Refusal::IsPinned { .. }));
    done(stage.order(Act::Unpin));
    done(bad(&mut stage, "v1"));
    assert_eq!(would_take(&stage.state), None, "v2 runs, and v1 is bad");
    // It is deployed again.
    stage.ship(3, "sha256:1");
    stage.pass(4);
    assert_eq!(why(&stage, EventKind::ReleaseDetected), Reason::RolledBackBefore);

    let out = |stage: &mut Stage| stage.order(Act::Unquarantine { release: "v3".to_owned() });
    assert!(matches!(done(out(&mut stage)), Effect::Unquarantined { .. }));
    assert!(matches!(refused(out(&mut stage)), Refusal::NotQuarantined { .. }));
    assert_eq!(stage.state.memory.quarantined, []);
}

#[test]
fn what_a_person_vouches_for_is_trusted_at_once_and_nothing_is_done_about_it() {
    let mut stage = failing(|policy| policy.watch.countdown = Duration::from_secs(60));
    stage.pass(30);
    done(stage.order(Act::Trust { release: "v2".to_owned() }));
    assert_eq!(stage.state.phase, Phase::Steady);
    assert!(matches!(why(&stage, EventKind::ReleaseTrusted), Reason::VouchedBy { .. }));
    assert_eq!(put_on(&stage.pass(120)), [""; 0]);
    let newest = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(newest.revision.label(), "v2");
    assert!(newest.failing.contains_key(&"m1".into()), "they know of these checks");
    // It is what the next one goes back to.
    stage.ship(3, "sha256:3");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.opens = Some(stage::opened(4));
    stage.undo();
    assert_eq!(stage.rollback().target.label(), "v2");
}

/// A release that was undone runs no more: a person may let it out of quarantine, vouch for it, and take that back.
#[test]
fn after_a_rollback_the_release_that_was_undone_is_quarantined_anew_at_a_person_s_word() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    let v2 = || "v2".to_owned();
    done(stage.order(Act::Unquarantine { release: v2() }));
    done(stage.order(Act::Quarantine { release: v2() }));
    let Effect::Trusted { undone: Some(undone), .. } =
        done(stage.order(Act::Trust { release: v2() }))
    else {
        panic!("{:?}", stage.events)
    };
    assert_eq!(undone.evidence, stage.rollback().evidence, "for what it was");
    assert_eq!(would_take(&stage.state).map(|one| one.label()), Some(v2()));
    done(stage.order(Act::Quarantine { release: v2() }));
    assert_eq!(would_take(&stage.state), None, "v1 runs, and v2 is bad");
    // What runs is no such thing, under either of its numbers.
    for name in ["v1", "v3"] {
        let bad = Act::Quarantine { release: name.to_owned() };
        assert!(matches!(refused(stage.order(bad)), Refusal::RunsNow { .. }), "{name}");
    }
}

#[test]
fn nobody_vouches_for_what_is_being_undone() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let trust = Act::Trust { release: "v2".to_owned() };
    assert!(matches!(refused(stage.order(trust)), Refusal::IsRolledBack { .. }));
    let out = Act::Unquarantine { release: "v2".to_owned() };
    assert!(matches!(refused(stage.order(out)), Refusal::IsRolledBack { .. }));
}

/// A digest that an older version noted, without the image it belongs to.
#[test]
fn what_is_known_by_its_digest_alone_cannot_be_vouched_for() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.state.memory.quarantined.push(state::Quarantined {
        digest: Digest::new("sha256:abcdef123456"),
        version: None,
        at: at(0),
        unfinished: false,
        image: None::<ImageRef>,
        groups: std::collections::BTreeSet::new(),
    });
    let trust = Act::Trust { release: "abcdef".to_owned() };
    assert!(matches!(refused(stage.order(trust)), Refusal::NoImage { .. }));
}

#[test]
fn who_calls_a_countdown_off_is_not_paged_for_it() {
    let mut stage = failing(|policy| policy.watch.unvouched_countdown = Duration::from_secs(60));
    stage.policy.watch.countdown = Duration::from_secs(60);
    stage.pass(30);
    assert_eq!(stage.state.phase.word(), "counting_down", "{:?}", stage.events);
    done(stage.order(Act::Veto));
    for kind in [EventKind::RollbackStopped, EventKind::HoldPlaced] {
        let told = stage.told(kind).pop().unwrap();
        assert_eq!(told.severity(), crate::model::Severity::Info, "{told:?}");
    }
    // And a second no says nothing new.
    stage.events.clear();
    done(stage.order(Act::Veto));
    assert!(stage.events.is_empty(), "{:?}", stage.events);
    done(stage.order(Act::Resume));
    assert_eq!(count(&stage, EventKind::HoldCleared), 1);
}

/// What is said for one release says nothing for another one.
#[test]
fn who_vouches_for_another_release_ends_nothing_that_is_done_about_this_one() {
    // Given a release that is watched, waits for a yes, or is held
    let observed = failing(|policy| policy.mode = Mode::Observe);
    let watched = {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        stage.ship(2, "sha256:2");
        stage
    };
    for (mut stage, seconds, word) in
        [(watched, 20, "baking"), (asking(), 2, "awaiting_approval"), (observed, 60, "held")]
    {
        stage.pass(seconds);
        assert_eq!(stage.state.phase.word(), word);
        // When somebody vouches for the one before it
        done(stage.order(Act::Trust { release: "v1".to_owned() }));
        // Then that goes on
        assert_eq!(stage.state.phase.word(), word);
    }
}
