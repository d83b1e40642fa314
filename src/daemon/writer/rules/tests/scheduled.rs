//! What runs by its own schedule, or ended before it was given what it has, is put right where it lies.

use super::*;

fn failed(at: Duration) -> ExitEvent {
    ExitEvent {
        at: clock(at),
        exit_code: 1,
        oom_killed: false,
        requested_stop: false,
        started_at: None,
    }
}

/// The errand to its end, for a machine that was seen so before and after the update.
fn ends(put: PutImage, before: Machine, after: Machine) -> (Vec<Call>, PutOutcome) {
    let mut play = Play::new(Errand::update(put));
    play.takes_the_lease();
    play.sees(before);
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play.sees(after);
    let writes = play.writes.clone();
    (writes, put_outcome(play.gives_back()))
}

fn is_one_update_at_rest(writes: &[Call]) -> bool {
    matches!(writes, [Call::Update(update)] if update.skip_launch)
}

#[test]
fn a_scheduled_job_is_updated_and_never_started() {
    for state in ["stopped", "failed", "created"] {
        // Given a job that failed when it ran last, whether the plan counts it as up or not
        for up in [false, true] {
            let job = |machine: Machine| Machine {
                own_schedule: true,
                exits: vec![failed(seconds(0))],
                ..in_state(machine, state)
            };
            // When it is put right
            let (writes, outcome) = ends(PutImage { up, ..put() }, job(bad()), job(good()));
            // Then it is not run
            assert!(is_one_update_at_rest(&writes), "{state} {up}: {writes:?}");
            assert!(matches!(outcome, PutOutcome::Updated { .. }), "{state} {up}: {outcome:?}");
        }
    }
}

#[test]
fn what_failed_before_the_bad_release_came_is_not_started() {
    // Given a machine that failed, and that the bad release found at rest and left so
    let lies = |machine: Machine| Machine {
        exits: vec![failed(seconds(0))],
        placed_at: Some(clock(seconds(10))),
        ..in_state(machine, "stopped")
    };
    // When it is put right
    let (writes, outcome) = ends(PutImage { up: false, ..put() }, lies(bad()), lies(good()));
    // Then it is left at rest
    assert!(is_one_update_at_rest(&writes), "{writes:?}");
    assert!(matches!(outcome, PutOutcome::Updated { .. }), "{outcome:?}");
}

#[test]
fn what_crashed_is_started_after_an_update_that_was_given_up() {
    // The platform may forget with such an update how the process before it ended, or not.
    for exits in [vec![failed(seconds(0))], Vec::new()] {
        // Given a machine that crashed under the bad release and is to be up again, and that an update of ours
        // left at rest
        let lies = |machine: Machine| Machine {
            exits: exits.clone(),
            placed_at: Some(clock(seconds(10))),
            ..in_state(machine, "stopped")
        };
        let put = PutImage { up: true, taken_down: true, ..put() };
        let mut play = Play::new(Errand::update(put));
        play.takes_the_lease();
        play.sees(lies(bad()));
        play.reads_the_ledger(Vec::new());
        play.updates();
        play.waits(WaitFor::Settled, true);
        // When it lies there with the image of before
        play.sees(lies(good()));
        // Then it is started
        let next = play.call();
        assert!(matches!(next, Call::Start), "{exits:?}: {next:?}");
    }
}
