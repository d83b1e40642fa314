//! How long each call may take, when the lease is prolonged, and what ends an errand early.

use super::{
    super::errand::{COURTESY_MAX, OVERHEAD},
    *,
};

fn failing() -> Machine {
    let check = Check {
        name: "http".to_owned(),
        status: CheckStatus::Critical,
        output: String::new(),
        changed_at: Some(clock(seconds(1))),
        interval: Some(seconds(10)),
        grace: None,
    };
    let started_at = Some(clock(Duration::ZERO));
    Machine { checks: vec![check], checks_configured: 1, started_at, ..good() }
}

fn passing() -> Machine {
    let mut machine = failing();
    machine.checks[0].status = CheckStatus::Passing;
    machine
}

fn unmarked(machine: Machine) -> Machine {
    Machine { metadata: std::collections::BTreeMap::new(), ..machine }
}

/// The errand's end, wherever it stands: the lease is given back if it is held.
fn ends(play: Play) -> PutOutcome {
    put_outcome(if play.errand.lease().is_some() { play.gives_back() } else { play.ended() })
}

fn is_updated(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::Updated { .. })
}

fn is_on_target(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::AlreadyOnTarget { .. })
}

#[test]
fn checks_are_looked_at_sooner_the_first_time() {
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        play.sees(failing());
        pauses.push(play.by() - play.elapsed);
        play.pauses();
    }
    let ms = std::time::Duration::from_millis;
    // They run on whole seconds after a start: the first look is not on the very second.
    assert_eq!(pauses, [ms(1050), ms(500), ms(500)]);
    play.sees(passing());
    assert!(is_updated(&ends(play)));
}

#[test]
fn a_wait_may_take_its_slice_and_a_margin() {
    let play = Play::updated();
    let Call::WaitFor { slice, .. } = play.call() else { panic!("{:?}", play.call()) };
    assert!(play.by() - play.elapsed > slice, "an answer takes its time, too");
}

/// The time that a machine has to become ready is part of what the errand may take.
#[test]
fn an_errand_may_take_as_long_as_its_machine_and_some_more() {
    for (late, reason) in [
        (seconds(60) + OVERHEAD - seconds(1), "no answer to the request for its lease"),
        (seconds(60) + OVERHEAD, "not done in time"),
    ] {
        let mut play = Play::update();
        play.pass(late);
        play.errand.answered(play.now(), Answer::Nothing);
        let want = PutOutcome::Unavailable { reason: reason.to_owned() };
        assert_eq!(ends(play), want);
    }
}

/// An answer that comes is taken, however late it is.
#[test]
fn what_is_answered_late_is_an_answer() {
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    play.pass(seconds(60) + OVERHEAD);
    play.sees(good());
    assert!(is_updated(&ends(play)));
}

/// Giving a lease back is worth a moment, whatever has ended by then.
#[test]
fn a_lease_is_given_back_when_it_may_be_over_and_when_all_time_is() {
    for after in [seconds(40), seconds(60) + OVERHEAD] {
        let mut play = Play::update();
        play.takes_the_lease();
        play.pass(after);
        play.errand.answered(play.now(), Answer::Nothing);
        assert_eq!(play.call(), Call::GiveLeaseBack);
        assert_eq!(play.by() - play.elapsed, COURTESY_MAX);
        assert_eq!(play.errand.renewal(), None, "nobody needs it any more");
    }
}

#[test]
fn a_lease_is_prolonged_every_ten_seconds_and_two_after_a_failure() {
    let mut play = Play::update();
    play.takes_the_lease();
    let due = |play: &Play| play.errand.renewal().map(|renewal| renewal.due);
    assert_eq!(due(&play), Some(seconds(10)));
    play.renews(seconds(1), Ok(lease()));
    assert_eq!(due(&play), Some(seconds(20)), "ten after it was asked for");
    play.renews(seconds(1), Err(broken()));
    assert_eq!(due(&play), Some(seconds(23)));
    assert_eq!(play.errand.renewal().map(|renewal| renewal.by), Some(seconds(40)));
}

/// What is to be written waits for it.
#[test]
fn a_renewal_that_a_write_waits_for_is_sent_at_once_and_again_two_seconds_after_a_failure() {
    let mut play = Play::update();
    play.takes_the_lease();
    play.renews(Duration::ZERO, Ok(lease()));
    play.pass(seconds(9));
    play.sees(bad());
    // The host slept: it is older than the clock that only runs forward says.
    let slept = Now { elapsed: play.elapsed, clock: clock(seconds(300)) };
    play.errand.answered(slept, Answer::Ledger(Ok(Vec::new())));
    assert_eq!(play.call(), Call::Pause);
    let due = |play: &Play| play.errand.renewal().map(|renewal| renewal.due);
    assert_eq!(due(&play), Some(seconds(10)), "it may leave at once");
    play.renews(seconds(1), Err(broken()));
    assert_eq!(due(&play), Some(play.elapsed + seconds(2)));
}

#[test]
fn a_renewal_under_way_matters_until_the_lease_ends_or_is_given_back() {
    let mut play = Play::update();
    play.takes_the_lease();
    assert_eq!(play.errand.renewing_until(), None);
    play.pass(seconds(10));
    play.errand.renewal_sent(play.now());
    assert_eq!(play.errand.renewing_until(), Some(LEASE_TTL));
    play.errand.stop(play.now());
    assert_eq!(play.call(), Call::GiveLeaseBack);
    assert_eq!(play.errand.renewing_until(), None);
}

/// Nobody is asked who holds it when the daemon is stopping.
#[test]
fn a_lease_of_somebody_else_ends_an_errand_that_is_stopping_at_once() {
    let mut play = Play::update();
    play.errand.stop(play.now());
    let held = PlatformError::LeaseHeld { owner: "ci".to_owned(), expires_at: None };
    play.expect(|call| *call == Call::TakeLease, Answer::Lease(Err(held)));
    let want = PutOutcome::LeaseHeld { owner: "ci".to_owned(), description: String::new() };
    assert_eq!(ends(play), want);
}

#[test]
fn a_wait_that_is_refused_ends_it_and_one_that_fails_does_not() {
    let refused = |error| {
        let mut play = Play::updated();
        play.expect(|call| matches!(call, Call::WaitFor { .. }), Answer::Waited(Err(error)));
        play
    };
    let denied = refused(PlatformError::Denied("no".to_owned()));
    assert_eq!(ends(denied), PutOutcome::Denied { reason: "no".to_owned() });
    // It may be gone, or have failed in between: a look tells.
    for error in [broken(), PlatformError::NotFound("no".to_owned())] {
        assert_eq!(refused(error).call(), Call::LookAtMachine);
    }
}

#[test]
fn what_is_not_found_is_gone_only_if_the_list_can_be_read_and_lacks_it() {
    let listed = |answer| {
        let mut play = Play::update();
        play.takes_the_lease();
        let gone = PlatformError::NotFound("no".to_owned());
        play.expect(|call| *call == Call::LookAtMachine, Answer::Machine(Err(gone)));
        play.expect(|call| *call == Call::ListMachines, answer);
        ends(play)
    };
    assert_eq!(listed(Answer::Machines(Ok(Vec::new()))), PutOutcome::Gone);
    let reason = "listed, but not found by itself".to_owned();
    assert_eq!(listed(Answer::Machines(Ok(vec![bad()]))), PutOutcome::Unavailable { reason });
    let denied = PlatformError::Denied("no".to_owned());
    let want = PutOutcome::Denied { reason: "no".to_owned() };
    assert_eq!(listed(Answer::Machines(Err(denied))), want);
}

/// Found on the target: it is seen through to where it is to end.
fn found(machine: Machine, put: PutImage) -> Play {
    let mut play = Play::new(Errand::update(put));
    play.takes_the_lease();
    play.sees(machine);
    play
}

#[test]
fn one_that_runs_the_target_has_to_pass_its_checks() {
    for machine in [failing(), unmarked(failing())] {
        let mut play = found(machine, put());
        play.pauses();
        play.sees(passing());
        assert!(is_on_target(&ends(play)));
    }
}

#[test]
fn one_that_rests_on_the_target_is_started_only_if_we_took_it_down() {
    let resting = in_state(good(), "stopped");
    assert_eq!(found(resting.clone(), put()).call(), Call::Start);
    let somebody_s = found(unmarked(resting.clone()), put());
    assert!(is_on_target(&ends(somebody_s)));
    let rested = found(resting, PutImage { up: false, ..put() });
    assert!(is_on_target(&ends(rested)));
}

/// An attempt of ours, of which we did not hear the end.
#[test]
fn one_that_is_half_done_is_seen_through_and_no_other_is() {
    let half = |config: &str, state: &str| {
        let machine = Machine {
            metadata: good().metadata,
            config: Some(RawConfig(format!(r#"{{"image":"{config}"}}"#).into())),
            ..in_state(bad(), state)
        };
        found(machine, put()).call()
    };
    assert_eq!(half("registry.fly.io/api@good", "replacing"), Call::Pause);
    assert_eq!(half("registry.fly.io/api@good", "started"), Call::ReadLedger);
    assert_eq!(half("registry.fly.io/api@bad", "replacing"), Call::ReadLedger);
}

/// Nobody started it, and we did not take it down.
#[test]
fn one_that_rests_for_no_known_reason_is_left_at_rest() {
    let mut play = found(in_state(bad(), "stopped"), put());
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play.sees(in_state(good(), "replacing"));
    play.pauses();
    play.waits(WaitFor::Settled, true);
    play.sees(in_state(good(), "stopped"));
    assert!(is_updated(&ends(play)));
}
