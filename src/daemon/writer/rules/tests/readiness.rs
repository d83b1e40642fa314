//! What is waited for after an update, and what it may come to.

use super::*;

fn exit(exit_code: i64) -> ExitEvent {
    ExitEvent {
        at: clock(seconds(1)),
        exit_code,
        oom_killed: false,
        requested_stop: false,
        started_at: None,
    }
}

fn checked(status: CheckStatus, changed_at: Option<Timestamp>) -> Machine {
    let check = Check {
        name: "http".to_owned(),
        status,
        output: String::new(),
        changed_at,
        interval: Some(seconds(10)),
        grace: None,
    };
    Machine {
        checks: vec![check],
        checks_configured: 1,
        started_at: Some(clock(Duration::ZERO)),
        ..good()
    }
}

/// Looks again and again until the attempt ends.
fn keeps_seeing(play: &mut Play, machine: &Machine) {
    for _ in 0..1000 {
        if let Some(renewal) = play.errand.renewal().filter(|due| due.due <= play.elapsed) {
            assert!(renewal.by > play.elapsed);
            play.renews(Duration::ZERO, Ok(lease()));
        }
        match play.call() {
            Call::LookAtMachine => play.sees(machine.clone()),
            Call::Pause => play.pauses(),
            Call::WaitFor { state, slice, .. } => {
                play.pass(slice);
                play.waits(state, false);
            }
            Call::GiveLeaseBack => return,
            other => panic!("{other:?}"),
        }
    }
    panic!("it never ends");
}

#[test]
fn a_slow_host_is_a_passing_cause() {
    let mut play = Play::updated();
    keeps_seeing(&mut play, &in_state(good(), "starting"));
    assert!((60..80).contains(&play.elapsed.as_secs()), "{:?}", play.elapsed);
    let outcome = put_outcome(play.gives_back());
    let want =
        PutOutcome::NotReadyYet { state: "starting".to_owned(), since: clock(Duration::ZERO) };
    assert_eq!(outcome, want);
}

#[test]
fn checks_that_fail_are_not_a_passing_cause_and_checks_without_a_result_are() {
    let failing = checked(CheckStatus::Critical, Some(clock(seconds(5))));
    let mut play = Play::updated();
    keeps_seeing(&mut play, &failing);
    let want = PutOutcome::Unhealthy { failing: vec!["http".to_owned()], crashed: false };
    assert_eq!(put_outcome(play.gives_back()), want);

    let silent = Machine { checks: Vec::new(), ..failing };
    let mut play = Play::updated();
    keeps_seeing(&mut play, &silent);
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::NotReadyYet { .. }));
}

#[test]
fn a_check_that_did_not_pass_when_trust_was_earned_is_not_waited_for() {
    let tolerates = ["http".to_owned()].into();
    let mut play = Play::new(Errand::update(PutImage { tolerates, ..put() }));
    play.takes_the_lease();
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play.sees(checked(CheckStatus::Warning, Some(clock(seconds(5)))));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn a_passing_check_without_a_time_counts_once_it_was_asked() {
    let mut play = Play::updated();
    keeps_seeing(&mut play, &checked(CheckStatus::Passing, None));
    assert_eq!(play.elapsed, seconds(10), "an interval of the check");
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn an_update_that_the_platform_gave_up_is_told() {
    let mut play = Play::updated();
    play.pass(seconds(5));
    play.waits(WaitFor::Settled, true);
    play.sees(bad());
    let want = PutOutcome::Reverted { runs: "bad".to_owned() };
    assert_eq!(put_outcome(play.gives_back()), want);
}

/// Right after an update a reading may be of the machine as it was.
#[test]
fn a_reading_that_lags_is_no_revert() {
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    play.sees(bad());
    play.pauses();
    play.sees(good());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn a_machine_that_rests_is_written_to_and_left_at_rest() {
    let requested = ExitEvent { requested_stop: true, ..exit(0) };
    let resting = Machine { exits: vec![requested], ..in_state(bad(), "stopped") };
    let mut play = Play::new(Errand::update(PutImage { up: false, ..put() }));
    play.takes_the_lease();
    play.sees(resting);
    play.reads_the_ledger(Vec::new());
    play.updates();
    let Call::Update(update) = &play.writes[0] else { panic!("no update") };
    assert!(update.skip_launch);
    play.waits(WaitFor::Settled, true);
    play.sees(in_state(good(), "stopped"));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn what_crashed_to_a_stop_is_started() {
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { exits: vec![exit(1)], ..in_state(bad(), "stopped") });
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    // Events may survive an update.
    play.sees(Machine { exits: vec![exit(1)], ..in_state(good(), "stopped") });
    play.expect(|call| *call == Call::Start, Answer::Started(Ok(())));
    play.waits(WaitFor::Started, true);
    play.sees(good());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn what_we_took_down_is_started_although_nothing_tells_how_its_process_ended() {
    let mut play = Play::new(Errand::update(PutImage { taken_down: true, ..put() }));
    play.takes_the_lease();
    // The update before was given up, and its events are gone.
    play.sees(in_state(bad(), "stopped"));
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play.sees(in_state(good(), "stopped"));
    play.expect(|call| *call == Call::Start, Answer::Started(Ok(())));
    play.waits(WaitFor::Started, true);
    play.sees(good());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
}

#[test]
fn a_target_that_crashes_is_unhealthy() {
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    play.sees(Machine { exits: vec![exit(1)], ..in_state(good(), "stopped") });
    let want = PutOutcome::Unhealthy { failing: Vec::new(), crashed: true };
    assert_eq!(put_outcome(play.gives_back()), want);
}

#[test]
fn a_job_that_ended_is_never_started() {
    let done = |machine: Machine| Machine { exits: vec![exit(0)], ..in_state(machine, "stopped") };
    // It rests when the rollback comes to it: the plan says nothing else.
    let mut play = Play::new(Errand::update(PutImage { up: false, ..put() }));
    play.takes_the_lease();
    play.sees(done(bad()));
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play.sees(done(good()));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
    // It ran when it was updated, ran anew, and ended.
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    play.sees(done(good()));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));
    // The next attempt finds it so.
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(done(good()));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::AlreadyOnTarget { .. }));
    // With services it is no job: it is down, and started.
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { has_services: true, ..done(good()) });
    assert_eq!(play.call(), Call::Start);
}

/// Its place was that of a machine at rest: taken down now, it would be one too many.
#[test]
fn a_machine_that_was_started_since_it_was_planned_at_rest_is_not_taken_down() {
    for state in ["started", "starting"] {
        let mut play = Play::new(Errand::update(PutImage { up: false, ..put() }));
        play.takes_the_lease();
        play.sees(in_state(bad(), state));
        play.reads_the_ledger(Vec::new());
        let outcome = put_outcome(play.gives_back());
        assert_eq!(outcome, PutOutcome::UpByNow, "{state}");
    }
    // One that we took down has its place already.
    let mut play = Play::new(Errand::update(PutImage { up: false, taken_down: true, ..put() }));
    play.takes_the_lease();
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    play.updates();
}
