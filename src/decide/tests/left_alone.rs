//! Regions that a rollback left alone, since the bad release showed nothing bad there: it is judged on in them.

use super::{
    stage::{Stage, opened, put, ratio},
    *,
};

fn serves(stage: &mut Stage, f1: f64, m1: f64) {
    stage.serves = vec![("f1", 100.0, f1), ("m1", 100.0, m1)];
}

fn image(stage: &mut Stage, id: &str) -> String {
    stage.machine(id).digest().unwrap().as_str().to_owned()
}

/// v2 failed in fra, f1, and was undone there alone; in iad, m1, it runs on.
fn left() -> Stage {
    let mut stage = Stage::trusted(&["f1", "m1"]);
    stage.policy.rollback.only_breaching_regions = true;
    stage.machine("f1").region = "fra".into();
    stage.policy.thresholds.push(ratio());
    serves(&mut stage, 0.0, 0.0);
    stage.pass(120);
    stage.ship(2, "sha256:2");
    serves(&mut stage, 60.0, 0.0);
    stage.begin();
    serves(&mut stage, 0.0, 0.0);
    stage.undo();
    assert_eq!(image(&mut stage, "m1"), "sha256:2");
    stage.pass(300);
    stage.opens = Some(opened(4));
    stage.events.clear();
    stage
}

#[test]
fn what_fails_there_later_is_undone_there() {
    // Given a release that was undone in one region, and was well in the other
    let mut stage = left();
    // When it fails there as well
    serves(&mut stage, 0.0, 60.0);
    for _ in 0..100 {
        stage.look();
        stage.put_right_now();
    }
    // Then it is told, and undone
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1, "{:?}", stage.events);
    assert_eq!(image(&mut stage, "m1"), "sha256:1", "{:?}", stage.events);
}

#[test]
fn however_well_it_is_there_it_earns_no_trust() {
    let mut stage = left();
    stage.pass(3600);
    assert_eq!(stage.told(EventKind::ReleaseTrusted), [] as [&Event; 0]);
    let good = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(good.revision.digest.as_str(), "sha256:1");
    assert_eq!(stage.state.phase.word(), "rolled_back");
}

/// Also while it is looked at there, what comes back where it was undone is put right.
#[test]
fn a_clone_where_it_was_undone_is_put_right() {
    let mut stage = left();
    let mut clone = stage.machine("f1").clone();
    clone.id = "f2".into();
    put(&mut clone, 2, "sha256:2", at(stage.second));
    stage.machines.push(clone);
    stage.look();
    stage.put_right_now();
    assert_eq!(image(&mut stage, "f2"), "sha256:1", "{:?}", stage.events);
}

/// What cannot be seen is no breach, and neither is what is said before the others were heard.
#[test]
fn nothing_is_begun_there_while_it_cannot_be_seen_or_others_are_still_to_be_heard() {
    for unheard in [true, false] {
        let mut stage = left();
        serves(&mut stage, 0.0, 60.0);
        stage.org.listening = unheard;
        if !unheard {
            stage.unreadable = Some("503".to_owned());
        }
        stage.pass(120);
        assert_eq!(stage.told(EventKind::ReleaseDegraded), [] as [&Event; 0], "{unheard}");
    }
}
