//! What we took down is started again; what rests for another reason is not.

use super::*;

fn start() -> StartMachine {
    StartMachine {
        machine: "m1".into(),
        region: "iad".into(),
        instance: "i-good".into(),
        down_since: clock(seconds(1)),
        rollback: ROLLBACK.to_owned(),
        stays_up: false,
        tolerates: std::collections::BTreeSet::new(),
        ready_timeout: seconds(60),
    }
}

/// A deploy that found it being replaced left it so.
fn left_stopped() -> Machine {
    in_state(good(), "stopped")
}

fn sees(machine: Machine) -> Play {
    let mut play = Play::new(Errand::start(start()));
    play.takes_the_lease();
    play.sees(machine);
    play
}

#[test]
fn what_was_left_stopped_runs_again() {
    let mut play = sees(left_stopped());
    play.expect(|call| *call == Call::Start, Answer::Started(Ok(())));
    play.waits(WaitFor::Started, true);
    play.sees(good());
    assert_eq!(play.gives_back(), Outcome::Start(StartOutcome::Started));
}

#[test]
fn what_is_no_more_as_it_was_is_left() {
    let exit = |requested_stop| ExitEvent {
        at: clock(seconds(30)),
        exit_code: 0,
        oom_killed: false,
        requested_stop,
        started_at: None,
    };
    let cases = [
        (Machine { instance: "another".into(), ..left_stopped() }, StartOutcome::NotOurs),
        // Somebody, or autostop, stopped it after it had been up again.
        (Machine { started_at: Some(clock(seconds(20))), ..left_stopped() }, StartOutcome::NotOurs),
        (Machine { exits: vec![exit(false)], ..left_stopped() }, StartOutcome::NotOurs),
        (in_state(good(), "suspended"), StartOutcome::NotOurs),
        (in_state(good(), "created"), StartOutcome::NotOurs),
        (good(), StartOutcome::AlreadyUp),
        (in_state(good(), "starting"), StartOutcome::AlreadyUp),
        (in_state(good(), "destroyed"), StartOutcome::Not(PutOutcome::Gone)),
    ];
    for (machine, want) in cases {
        let what = format!("{machine:?}");
        assert_eq!(sees(machine).gives_back(), Outcome::Start(want), "{what}");
    }
    // What stopped before we took it down is another matter.
    let earlier = Machine { started_at: Some(clock(Duration::ZERO)), ..left_stopped() };
    assert_eq!(sees(earlier).call(), Call::Start);
}

/// A start may be refused for some seconds after a machine settled, and its answer may be lost.
#[test]
fn a_refused_start_is_made_again_after_a_look() {
    let mut play = sees(left_stopped());
    let settling = PlatformError::Conflict("refusing to start".to_owned());
    for _ in 0..3 {
        play.expect(|call| *call == Call::Start, Answer::Started(Err(settling.clone())));
        play.pauses();
        play.sees(left_stopped());
    }
    play.hears_nothing();
    play.pauses();
    play.sees(good());
    assert_eq!(play.gives_back(), Outcome::Start(StartOutcome::Started));

    let mut play = sees(left_stopped());
    play.expect(|call| *call == Call::Start, Answer::Started(Err(settling.clone())));
    play.pauses();
    play.sees(left_stopped());
    play.pass(seconds(1));
    play.renews(Duration::ZERO, Ok(lease()));
    play.pass(seconds(12));
    play.expect(|call| *call == Call::Start, Answer::Started(Err(settling)));
    let outcome = play.gives_back();
    assert!(
        matches!(outcome, Outcome::Start(StartOutcome::Not(PutOutcome::Unavailable { .. }))),
        "{outcome:?}"
    );
}

#[test]
fn its_lease_is_asked_for_like_any_other() {
    let mut play = Play::new(Errand::start(start()));
    let held = PlatformError::LeaseHeld { owner: "zoe".to_owned(), expires_at: None };
    play.expect(|call| *call == Call::TakeLease, Answer::Lease(Err(held)));
    play.hears_nothing();
    let not = PutOutcome::LeaseHeld { owner: "zoe".to_owned(), description: String::new() };
    assert_eq!(play.ended(), Outcome::Start(StartOutcome::Not(not)));
}
