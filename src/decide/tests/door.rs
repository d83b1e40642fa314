//! The last step before a rollback begins: the image is found, and everything is asked once more.

use super::{
    stage::{Stage, fail_checks, opened},
    *,
};
use crate::{
    decide::state::Late,
    model::{Act, Distress, OperatorHold, Order, Wish, reason::Stays},
};

/// A round in which nothing is answered.
fn look(stage: &mut Stage) {
    stage.second += 2;
    let Input::Observed(mut round) = seen(stage.machines.clone(), at(stage.second)) else {
        panic!()
    };
    round.ledger.clone_from(&stage.ledger);
    if let Some(why) = &stage.unreadable {
        round.machines = Err(why.clone());
    }
    stage.tell(&Input::Observed(round));
}

/// v2 fails its checks, is about to be undone, and the image of v1 is being looked up.
fn looking_up() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    while !matches!(stage.state.phase, Phase::CheckingImage { .. }) {
        assert!(stage.second < 400, "{:?}", stage.events);
        look(&mut stage);
    }
    stage.events.clear();
    stage
}

fn is_found(stage: &mut Stage) {
    let asks = |one: &Command| matches!(one, Command::CheckImage { before_use: true, .. });
    stage.answer(asks, Outcome::ImagePresent);
}

fn watched(stage: &mut Stage) -> &mut Watch {
    match &mut stage.state.phase {
        Phase::CheckingImage { watch, .. } => watch,
        other => panic!("{other:?}"),
    }
}

fn hold(stage: &mut Stage) {
    let hold = OperatorHold {
        by: "zoe".to_owned(),
        reason: "wait".to_owned(),
        since: at(stage.second),
        until: None,
    };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
}

/// Why the rollback was called off.
fn why(stage: &Stage) -> Reason {
    let told = stage.told(EventKind::RollbackStopped);
    assert_eq!(told.len(), 1, "{:?}", stage.events);
    match told[0].reason.clone().unwrap() {
        Reason::CountdownCancelled { cause } => *cause,
        other => other,
    }
}

#[test]
fn with_nothing_against_it_a_rollback_begins_when_the_image_is_found() {
    let mut stage = looking_up();
    is_found(&mut stage);
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)), "{:?}", stage.state.phase);
}

#[test]
fn what_could_not_be_seen_meanwhile_is_not_undone() {
    let mut stage = looking_up();
    stage.unreadable = Some("503".to_owned());
    look(&mut stage);
    is_found(&mut stage);
    assert_eq!(stage.state.phase.word(), "baking");
    assert!(matches!(why(&stage), Reason::NotSeen { .. }), "{:?}", stage.events);
}

#[test]
fn what_nobody_runs_any_more_is_not_undone() {
    let mut stage = looking_up();
    watched(&mut stage).gone_since = Some(at(0));
    is_found(&mut stage);
    assert_eq!(why(&stage), Reason::NothingLeft);
}

#[test]
fn what_a_person_holds_meanwhile_is_held() {
    let mut stage = looking_up();
    hold(&mut stage);
    is_found(&mut stage);
    let Phase::Held { reason, .. } = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert!(matches!(reason, HoldReason::Operator { .. }), "{reason:?}");
    assert_eq!(stage.told(EventKind::RollbackStarted), [] as [&Event; 0]);
}

#[test]
fn so_it_is_where_a_person_ordered_it() {
    let mut stage = looking_up();
    stage.order(Act::Rollback(Wish { to: Some("v1".to_owned()), ..Wish::default() }));
    stage.events.clear();
    hold(&mut stage);
    is_found(&mut stage);
    assert!(matches!(why(&stage), Reason::Held { hold: HoldReason::Operator { .. } }));
    assert_eq!(stage.state.phase.word(), "baking", "{:?}", stage.state.phase);
}

/// It was told that it degrades, and that a rollback was about to begin: so it is told that there is none.
#[test]
fn what_is_left_as_it_is_after_trust_is_told_as_called_off() {
    let mut stage = looking_up();
    let late = Late { since: at(0), well_since: None, is_over: false, attempts: 1 };
    watched(&mut stage).late = Some(late);
    is_found(&mut stage);
    assert_eq!(why(&stage), HoldReason::Late { stays: Stays::OnlyAlerts }.into());
}

/// What they said yes to waits for something else: they are not asked again for it.
#[test]
fn a_yes_is_not_asked_for_again_when_what_held_it_is_over() {
    // Given a rollback that waits for a yes
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.mode = Mode::Approve;
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "awaiting_approval", "{:?}", stage.events);
    // When somebody says yes while somebody else holds the app, and the hold is lifted
    hold(&mut stage);
    stage.order(Act::Approve);
    stage.pass(20);
    assert_eq!(stage.state.phase.word(), "held");
    stage.events.clear();
    stage.tell(&Input::Operator { order: Order::Unhold(None), machines: Vec::new() });
    stage.pass(10);
    // Then it begins
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{:?}", stage.events);
}

/// A recovery calls it off: what degrades together may have one cause that is none of them.
#[test]
fn releases_that_degrade_together_count_down_for_half_a_minute() {
    // Given an image that was rolled back before, which needs nobody to vouch that it is bad
    let planned = |together: bool| {
        let mut stage = Stage::rolling_back(&["m1", "m2"]);
        stage.undo();
        stage.pass(20);
        stage.events.clear();
        stage.ship(4, "sha256:2");
        stage.opens = Some(opened(5));
        stage.machines.iter_mut().for_each(fail_checks);
        if together {
            let distress = Distress {
                since: at(stage.second + 6),
                regions: ["iad".into()].into(),
                deployed: true,
            };
            stage.org.neighbours = [(AppName::new("shop"), distress)].into();
        }
        stage.pass(30);
        let told = stage.told(EventKind::RollbackPlanned);
        match told.first().and_then(|event| event.reason.clone()) {
            Some(Reason::CountsDown { seconds, together, .. }) => (seconds, together.len()),
            _ => (0, 0),
        }
    };
    assert_eq!(planned(false), (0, 0));
    // When another app that was deployed degrades at the same time, it waits
    assert_eq!(planned(true), (30, 1));
}
