//! What a metrics server tells of the known-good release when its machines run another one already.

use super::{
    servers::from_fly,
    stage::{Stage, put},
    *,
};
use crate::model::{InstanceId, ReleaseStatus, SourceName};

/// v1 serves well on m1 and m2, as Fly's server tells, and v2 comes to m2.
fn beside() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![from_fly()];
    stage.source = SourceName::Server("fly".to_owned());
    for machine in &mut stage.machines {
        machine.has_services = true;
        machine.metrics = None;
    }
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(80);
    replace(&mut stage, "m2");
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    stage.serves[1] = ("m2", 0.0, 0.0);
    stage
}

/// A machine is given v2; what it ran until then.
fn replace(stage: &mut Stage, id: &str) -> InstanceId {
    let now = at(stage.second);
    let machine = stage.machine(id);
    let before = machine.instance.clone();
    put(machine, 2, "sha256:2", now);
    before
}

/// Requests fail from the first reading of v2 on, three of ten. m1 is given v2 as well, and what it counted
/// under v1 in those seconds is told after that: so many of a hundred failed.
fn strikes_at_the_end(of_before: Option<f64>) -> Stage {
    let mut stage = beside();
    stage.pass(40);
    stage.serves[1] = ("m2", 100.0, 30.0);
    stage.pass(8);
    let before = replace(&mut stage, "m1");
    stage.serves.remove(0);
    stage.belated = of_before.into_iter().map(|k| ("m1", before.clone(), 100.0, k)).collect();
    stage.pass(16);
    stage.belated.clear();
    stage.pass(20);
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(120);
    stage
}

#[test]
fn what_befell_the_known_good_release_in_its_last_seconds_excuses_the_new_one() {
    for (of_before, undone) in [(None, true), (Some(0.0), true), (Some(30.0), false)] {
        let stage = strikes_at_the_end(of_before);
        let told = stage.told(EventKind::RollbackStarted);
        assert_eq!(!told.is_empty(), undone, "{of_before:?}: {:?}", stage.events);
    }
}

/// Nobody knows under whom a machine counted that was never seen to run what was known to be good.
#[test]
fn what_another_instance_counted_late_is_nobodys() {
    let mut stage = beside();
    stage.pass(40);
    stage.belated = vec![("m1", "m1-0".into(), 100.0, 30.0)];
    stage.pass(10);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    let evidence = &watch.evidence[0];
    assert_eq!(evidence.control.map(|(bad, _)| bad), evidence.control.map(|_| 0.0));
    assert!(watch.beside.contains_key(&"m1-1".into()), "{:?}", watch.beside);
}

/// Both machines were replaced between two looks: what they ran is known all the same.
#[test]
fn what_ran_until_the_first_look_at_a_release_is_known() {
    let mut stage = beside();
    let before = replace(&mut stage, "m1");
    stage.serves[0] = ("m1", 0.0, 0.0);
    stage.pass(2);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert!(watch.beside.contains_key(&before), "{:?}", watch.beside);
    // For two minutes
    stage.pass(120);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert!(watch.beside.is_empty(), "{:?}", watch.beside);
}
