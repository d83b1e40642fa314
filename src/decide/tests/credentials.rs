//! What is remembered of a release that was trusted.

use super::{stage::Stage, *};
use crate::model::{Check, CheckStatus, ExitEvent};

/// v2 was just shipped, and nothing is wrong with it.
fn shipped(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.ship(2, "sha256:2");
    stage
}

fn trusted(stage: &Stage) -> usize {
    stage.told(EventKind::ReleaseTrusted).len()
}

/// Trust is for what was seen to be well; it lifts the quarantine and the suspicion.
#[test]
fn what_is_trusted_is_no_longer_quarantined() {
    let mut stage = shipped(&["m1"]);
    for digest in ["sha256:2", "sha256:7"] {
        let quarantined = Quarantined {
            digest: Digest::new(digest),
            version: None,
            at: at(0),
            unfinished: false,
            image: None,
            groups: std::collections::BTreeSet::new(),
        };
        stage.state.memory.quarantined.push(quarantined);
        stage.state.memory.suspects.push(Digest::new(digest));
    }
    stage.pass(64);
    let memory = &stage.state.memory;
    let trusted: Vec<&str> = memory.trusted.iter().map(|t| t.revision.digest.as_str()).collect();
    assert_eq!(trusted, ["sha256:2", "sha256:1"]);
    let quarantined: Vec<&str> = memory.quarantined.iter().map(|q| q.digest.as_str()).collect();
    assert_eq!(quarantined, ["sha256:7"]);
    assert_eq!(memory.suspects, [Digest::new("sha256:7")]);
}

fn check(name: &str, status: CheckStatus) -> Check {
    Check {
        name: name.to_owned(),
        status,
        output: String::new(),
        changed_at: Some(at(100)),
        interval: Some(Duration::from_secs(5)),
        grace: None,
    }
}

#[test]
fn what_failed_while_it_was_trusted_is_remembered_by_machine() {
    let mut stage = shipped(&["m1", "m2"]);
    for machine in &mut stage.machines {
        machine.checks_configured = 2;
        machine.checks =
            vec![check("http", CheckStatus::Passing), check("slow", CheckStatus::Passing)];
    }
    stage.machine("m2").checks[1].status = CheckStatus::Warning;
    stage.pass(64);
    assert_eq!(trusted(&stage), 2);
    let failing = &stage.state.memory.trusted[0].failing;
    assert_eq!(*failing, state::FailingChecks::from([("m2".into(), ["slow".to_owned()].into())]));
}

fn ended(second: i64, code: i64) -> ExitEvent {
    ExitEvent {
        at: at(second),
        started_at: None,
        exit_code: code,
        oom_killed: false,
        requested_stop: false,
    }
}

/// A group of which a machine ended by itself is one of jobs.
#[test]
fn the_groups_that_stayed_up_are_remembered() {
    let mut stage = shipped(&["m1", "j1", "j2"]);
    for id in ["j1", "j2"] {
        stage.machine(id).group = "cron".into();
    }
    let second = stage.second + 1;
    let job = stage.machine("j2");
    job.state = MachineState::Stopped;
    job.exits = vec![ended(second, 0)];
    stage.pass(64);
    assert_eq!(trusted(&stage), 2, "{:?}", stage.state.phase);
    let stayed_up = &stage.state.memory.trusted[0].stayed_up;
    assert_eq!(
        stayed_up.iter().map(crate::model::ProcessGroup::as_str).collect::<Vec<_>>(),
        ["app"]
    );
}

#[test]
fn a_group_of_which_one_ends_by_itself_later_is_one_of_jobs_from_then_on() {
    let stays_up = |change: fn(&mut Machine, i64)| {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        let mut older = stage.state.memory.trusted[0].clone();
        older.revision.digest = Digest::new("sha256:0");
        stage.state.memory.trusted.insert(0, older);
        let second = stage.second;
        let machine = stage.machine("m2");
        machine.state = MachineState::Stopped;
        machine.placed_at = Some(at(second));
        machine.exits = vec![ended(second, 0)];
        change(machine, second);
        stage.look();
        let trusted = &stage.state.memory.trusted;
        assert_eq!(trusted[0].stayed_up.len(), 1, "that one does not run");
        !trusted[1].stayed_up.is_empty()
    };
    assert!(!stays_up(|_, _| {}));
    assert!(stays_up(|machine, _| machine.has_services = true));
    assert!(stays_up(|machine, second| machine.placed_at = Some(at(second + 1))), "of before");
    assert!(stays_up(|machine, second| machine.exits = vec![ended(second, 1)]), "a crash");
    assert!(stays_up(|machine, _| machine.state = MachineState::Started));
}
