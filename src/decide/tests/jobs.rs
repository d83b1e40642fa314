//! Jobs: machines that end by themselves, at work or done while a release is undone.

use super::{
    stage::{Stage, fail_checks, puts},
    *,
};
use crate::model::{ExitEvent, MachineId, MachineReport, ProcessGroup, machine::Transition};
use state::RegionPhase;

fn report(stage: &Stage, id: &str) -> MachineReport {
    let reports = rollback::report(stage.rollback());
    reports.iter().find_map(|region| region.machines.get(&MachineId::new(id))).unwrap().clone()
}

/// What stands of the one region.
fn iad(stage: &Stage) -> &RegionPhase {
    &stage.rollback().regions[0].phase
}

/// The order says how the machine is to be afterwards.
fn ordered_up(change: impl FnOnce(&mut Stage)) -> (bool, bool) {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    // Another one that was trusted, of whose groups nothing is known.
    let mut older = stage.state.memory.trusted[0].clone();
    older.revision.digest = Digest::new("sha256:0");
    older.stayed_up.clear();
    stage.state.memory.trusted.push(older);
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    change(&mut stage);
    stage.begin();
    stage.look();
    let command = stage.pending(puts("m1")).expect("it goes first");
    let Command::PutImage(put) = &stage.state.memory.pending[&command] else { panic!() };
    (put.up, put.stays_up)
}

#[test]
fn what_is_on_its_way_up_is_to_be_up_afterwards() {
    let up = ordered_up(|stage| {
        stage.machine("m1").state = MachineState::Transient(Transition::Starting);
    });
    assert_eq!(up, (true, true));
}

fn ended(stage: &mut Stage) {
    let at = at(stage.second + 1);
    let machine = stage.machine("m1");
    machine.state = MachineState::Stopped;
    machine.exits = vec![ExitEvent {
        at,
        started_at: None,
        exit_code: 0,
        oom_killed: false,
        requested_stop: false,
    }];
}

#[test]
fn an_end_without_an_error_is_a_job_s_only_where_its_group_did_not_stay_up() {
    assert_eq!(ordered_up(ended), (true, true));
    let job = ordered_up(|stage| {
        stage.state.memory.trusted[0].stayed_up.clear();
        ended(stage);
    });
    assert_eq!(job, (false, false));
}

/// A job of an app that fails, at work for the second time, beside m2 that serves.
fn with_a_job_at_work() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.machine("m1").group = ProcessGroup::new("job");
    // It is seen to end under the known-good release; an update may forget what was before it.
    ended(&mut stage);
    stage.look();
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.machine("m1").exits.clear();
    stage.begin();
    let started = at(stage.second);
    let job = stage.machine("m1");
    (job.state, job.started_at) = (MachineState::Started, Some(started));
    stage.look();
    stage
}

/// Put back in the middle of its work, a job would be run a second time.
#[test]
fn a_job_at_work_is_let_finish_and_not_run_again() {
    // Given a rollback that meets a job at work: it goes on with the others
    let mut stage = with_a_job_at_work();
    assert_eq!(report(&stage, "m1"), MachineReport::JobAtWork);
    assert!(stage.pending(puts("m1")).is_none());
    assert!(stage.pending(puts("m2")).is_some());

    // When it is done, then it is put back where it lies
    ended(&mut stage);
    stage.look();
    let command = stage.pending(puts("m1")).expect("it is done");
    let Command::PutImage(put) = &stage.state.memory.pending[&command] else { panic!() };
    assert!(!put.up);
}

/// Between a list and our lease a job may have begun its work.
#[test]
fn a_job_that_came_up_before_it_was_written_to_at_rest_is_looked_at_first() {
    // Given a job that is done, and is to be written to where it lies
    let mut stage = with_a_job_at_work();
    ended(&mut stage);
    stage.look();

    // When it turns out that it is up by now, then nothing follows before the next list
    let up = Outcome::Put(PutOutcome::UpByNow);
    stage.answer(puts("m1"), up.clone());
    assert!(stage.pending(puts("m1")).is_none(), "it would be run again");

    // and one that shows it at work lets it finish,
    let started = at(stage.second);
    let job = stage.machine("m1");
    (job.state, job.started_at) = (MachineState::Started, Some(started));
    stage.look();
    assert!(stage.pending(puts("m1")).is_none());
    assert_eq!(report(&stage, "m1"), MachineReport::JobAtWork);

    // and one that shows it done has it written to at rest again.
    ended(&mut stage);
    stage.look();
    let command = stage.pending(puts("m1")).expect("it is done");
    let Command::PutImage(put) = &stage.state.memory.pending[&command] else { panic!() };
    assert!(!put.up);
}

#[test]
fn a_job_that_does_not_end_is_not_waited_for_for_ever() {
    let mut stage = with_a_job_at_work();
    let is_due =
        |stage: &Stage| stage.rollback().machine(&"m1".into()).unwrap().is_due(at(stage.second));
    assert!(!is_due(&stage));
    stage.second += 61;
    stage.look();
    assert!(is_due(&stage) || stage.pending(puts("m1")).is_some());
}

/// Nobody is served by a job: its region is confirmed without it, and the rollback ends with it.
#[test]
fn a_region_is_confirmed_beside_a_job_at_work_and_the_rollback_ends_with_the_job() {
    // Given a job at work beside m2, which is put back and well
    let mut stage = with_a_job_at_work();
    stage.put_back("m2");
    stage.look();
    assert!(matches!(iad(&stage), RegionPhase::Confirming(_)));
    assert_eq!(report(&stage, "m1"), MachineReport::JobAtWork);

    // When all the time of a confirmation goes by, then the region is confirmed, and the rollback is not over
    let until = stage.second + 50;
    while !matches!(iad(&stage), RegionPhase::Confirmed) {
        assert!(stage.second < until, "{:?}", iad(&stage));
        stage.look();
    }
    assert!(stage.pending(puts("m1")).is_none());
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)));

    // And when the job is done, it is put back, which ends it
    ended(&mut stage);
    stage.look();
    stage.put_back("m1");
    stage.look();
    assert!(matches!(stage.state.phase, Phase::RolledBack(_)));
}

/// A deploy may follow a job's end so closely that no look saw it lie there.
#[test]
fn a_job_is_known_by_an_end_before_the_deploy() {
    // Given what ran when the release was trusted, and ended before the bad one was put there
    let job_ran_from = |second: i64| {
        ordered_up(|stage| {
            let trusted_at = stage.state.memory.trusted[0].at;
            ended(stage);
            let placed = at(stage.second + 1);
            let machine = stage.machine("m1");
            machine.placed_at = Some(placed);
            let before = ExitEvent {
                at: placed - SignedDuration::from_secs(1),
                started_at: Some(trusted_at + SignedDuration::from_secs(second)),
                ..machine.exits[0].clone()
            };
            machine.exits.push(before);
        })
    };
    // Then it is a job, and one that was started later is not known to be one
    assert_eq!(job_ran_from(-1), (false, false));
    assert_eq!(job_ran_from(1), (true, true));
}
