//! When `step` wants to be woken: what is due before the pace is not waited for.

use super::*;

/// A policy that looks once in ten minutes.
fn slow() -> Policy {
    let mut policy = policy(Mode::Rollback);
    policy.watch.scrape_every = Duration::from_secs(600);
    policy.watch.idle_scrape_every = Duration::from_secs(600);
    policy
}

/// A rollback of v2 that has one machine to put right, and the number of its command.
fn rolling_back(policy: &Policy) -> (AppState, CommandId) {
    let mut state = AppState::new("api".into());
    let target = watch_of(1, "sha256:1").revision;
    state.memory.previous = Some(target.clone());
    let mut watch = watch_of(2, "sha256:2");
    watch.looked_at = Some(at(0));
    watch.regions.insert("iad".into());
    watch.evidence.push(crate::model::Evidence {
        threshold: "checks".to_owned(),
        kind: crate::model::Kind::Checks,
        verdict: crate::model::Verdict::Breach,
        value: Some(1.0),
        limit: 0.3,
        unit: crate::model::Unit::Events,
        source: "checks".to_owned(),
        bad: 1.0,
        total: 1.0,
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 0,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    });
    state.memory.seen_version = ReleaseVersion(2);
    state.memory.current = Some(watch.revision.clone());
    state.memory.current_since = Some(at(0));
    state.memory.next_command = 2;
    let image = target.image.clone();
    state
        .memory
        .pending
        .insert(1, Command::CheckImage { image, before_use: true, in_mirror: false });
    state.phase = Phase::CheckingImage { watch: Box::new(watch), target, by_hand: None };
    let found = Input::Finished { command: 1, outcome: Outcome::ImagePresent };
    let begun = step(policy, state, &found, at(1));
    let opened = Outcome::ReleaseOpened { id: "r3".to_owned(), version: ReleaseVersion(3) };
    let opened = Input::Finished { command: begun.commands[0], outcome: opened };
    let opened = step(policy, begun.state, &opened, at(2));
    assert_eq!(opened.wake_at, at(2), "an outcome is worth a look at once");
    let ordered = step(policy, opened.state, &seen(vec![machine(2, "sha256:2")], at(2)), at(2));
    assert_eq!(ordered.commands.len(), 1, "{:?}", ordered.state.phase);
    (ordered.state, ordered.commands[0])
}

fn first_target_previous() -> Policy {
    let mut policy = slow();
    policy.rollback.first_target_previous = true;
    policy
}

/// The look after an outcome is to see what was ordered on it.
#[test]
fn the_next_machine_is_looked_at_when_it_is_written_to() {
    let policy = first_target_previous();
    let (state, command) = rolling_back(&policy);
    let both = vec![machine(2, "sha256:2"), Machine { id: "m2".into(), ..machine(2, "sha256:2") }];
    let seen = step(&policy, state, &seen(both, at(4)), at(4));
    let verified = rival::Verified { instance: "i1".into(), replaced: None };
    let outcome = Outcome::Put(PutOutcome::Updated { verified });
    let updated = step(&policy, seen.state, &Input::Finished { command, outcome }, at(10));
    assert_eq!(updated.commands.len(), 1, "{:?}", updated.state.phase);
    assert_eq!(updated.wake_at, later(at(10), Duration::from_millis(300)));
}

#[test]
fn what_is_under_way_in_a_rollback_is_looked_at_every_second() {
    let policy = first_target_previous();
    let (state, command) = rolling_back(&policy);
    let outcome = Outcome::Put(PutOutcome::Refused { reason: "422".to_owned() });
    let failed = step(&policy, state, &Input::Finished { command, outcome }, at(10));
    let round = seen(vec![machine(2, "sha256:2")], at(10));
    let looked = step(&policy, failed.state, &round, at(10));
    let soon = later(at(10), Duration::from_millis(1100));
    assert_eq!(looked.wake_at, soon, "every second, while something is undone");
}

#[test]
fn the_end_of_the_time_to_confirm_is_not_waited_for_until_the_next_pace() {
    let policy = first_target_previous();
    let (state, command) = rolling_back(&policy);
    let verified = rival::Verified { instance: "i1".into(), replaced: None };
    let outcome = Outcome::Put(PutOutcome::Updated { verified });
    let updated = step(&policy, state, &Input::Finished { command, outcome }, at(10));
    let round = seen(vec![machine(3, "sha256:1")], at(10));
    let looked = step(&policy, updated.state, &round, at(10));
    let soon = later(at(10), Duration::from_millis(1100));
    assert_eq!(looked.wake_at, soon, "every second, while something is undone");
}

#[test]
fn an_operators_hold_that_ends_is_not_waited_for_until_the_next_pace() {
    let policy = slow();
    let mut state = AppState::new("api".into());
    state.memory.operator_hold = Some(crate::model::OperatorHold {
        reason: "look at it first".to_owned(),
        by: "ops".to_owned(),
        since: at(0),
        until: Some(at(40)),
    });
    let looked = step(&policy, state, &seen(vec![machine(1, "sha256:1")], at(10)), at(10));
    assert_eq!(looked.wake_at, at(40));
    // One that has ended hurries nobody.
    let looked = step(&policy, looked.state, &seen(vec![machine(1, "sha256:1")], at(50)), at(50));
    assert_eq!(looked.wake_at, at(650));
}
