//! Copies of trusted images in the mirror: which one is made next, and what comes of it.

use super::{
    stage::{Stage, put},
    *,
};
use crate::model::{MirrorRule, MirrorTrouble};

fn rule(registry: &str) -> MirrorRule {
    MirrorRule { registry: registry.to_owned(), repository: "acme/{app}".to_owned() }
}

/// v1 is trusted, and a mirror was just configured.
fn mirroring() -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.rollback.mirror = Some(rule("ghcr.io"));
    stage
}

fn is_copy(command: &Command) -> bool {
    matches!(command, Command::MirrorImage { .. })
}

/// What is being copied, and whereto.
fn under_way(stage: &Stage) -> Vec<String> {
    let pending = stage.state.memory.pending.values();
    let copies = pending.filter_map(|command| match command {
        Command::MirrorImage { from, to } => {
            Some(format!("{} to {}", from.reference(), to.reference()))
        }
        _ => None,
    });
    copies.collect()
}

fn copy(stage: &Stage, place: usize) -> &crate::decide::mirror::Mirror {
    stage.state.memory.trusted[place].mirror.as_ref().unwrap()
}

fn fails(stage: &mut Stage, trouble: MirrorTrouble) {
    let reason = "as it said".to_owned();
    stage.answer(is_copy, Outcome::MirrorFailed { trouble, reason });
}

#[test]
fn what_is_trusted_is_copied_once_under_a_name_of_its_own() {
    let mut stage = mirroring();
    stage.look();
    let once = ["registry.fly.io/api@sha256:1 to ghcr.io/acme/api:v1-1@sha256:1"];
    assert_eq!(under_way(&stage), once);
    stage.pass(600);
    assert_eq!(under_way(&stage), once, "it is not begun a second time");
    stage.answer(is_copy, Outcome::Mirrored);
    assert_eq!(copy(&stage, 0).there_since, Some(at(stage.second)));
    stage.pass(7200);
    assert_eq!(under_way(&stage), [""; 0], "it is there");
}

/// Two that are trusted: one after the other, the newest first; what its registry has lost is not
/// copied from there.
#[test]
fn images_are_copied_one_at_a_time_the_newest_first() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    assert_eq!(stage.state.memory.trusted.len(), 2);
    stage.policy.rollback.mirror = Some(rule("ghcr.io"));
    stage.state.memory.trusted[1].image_missing = true;
    stage.look();
    assert!(under_way(&stage)[0].ends_with("v2-2@sha256:2"), "{:?}", under_way(&stage));
    stage.answer(is_copy, Outcome::Mirrored);
    assert!(copy(&stage, 0).there_since.is_some() && copy(&stage, 1).there_since.is_none());
    stage.look();
    assert_eq!(under_way(&stage), [""; 0], "v1 cannot be had");
    stage.state.memory.trusted[1].image_missing = false;
    stage.look();
    assert!(under_way(&stage)[0].ends_with("v1-1@sha256:1"), "{:?}", under_way(&stage));
}

/// The pauses double, from a minute to an hour.
#[test]
fn a_copy_that_fails_is_tried_ever_more_seldom() {
    let mut stage = mirroring();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        stage.look();
        assert_eq!(under_way(&stage).len(), 1);
        fails(&mut stage, MirrorTrouble::NoAnswer);
        let failed = stage.second;
        while under_way(&stage).is_empty() {
            stage.look();
        }
        pauses.push(stage.second - failed);
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
}

/// What may pass is told when it does not; a refusal at once. Each of them once, until it works.
#[test]
fn a_mirror_that_does_not_work_is_told_once() {
    for (trouble, told_with) in [(MirrorTrouble::NoAnswer, 3), (MirrorTrouble::NotAllowed, 1)] {
        let mut stage = mirroring();
        for attempt in 1..=5 {
            while under_way(&stage).is_empty() {
                stage.look();
            }
            fails(&mut stage, trouble);
            let told = stage.told(EventKind::ImageNotMirrored);
            assert_eq!(told.len(), usize::from(attempt >= told_with), "{trouble:?} {attempt}");
        }
        let told = stage.told(EventKind::ImageNotMirrored)[0];
        let about = told.known_good.as_ref().unwrap();
        assert_eq!(about.digest, Digest::new("sha256:1"));
        while under_way(&stage).is_empty() {
            stage.look();
        }
        stage.answer(is_copy, Outcome::Mirrored);
        let mirror = copy(&stage, 0);
        assert_eq!((mirror.tries, mirror.trouble, mirror.told), (0, None, false));
    }
}

#[test]
fn a_copy_that_nobody_wants_any_more_is_called_off() {
    let mut stage = mirroring();
    stage.look();
    stage.policy.rollback.mirror = Some(rule("quay.io"));
    stage.look();
    assert!(under_way(&stage)[0].contains("to quay.io/"), "{:?}", under_way(&stage));
    assert_eq!(under_way(&stage).len(), 1);
    stage.policy.rollback.mirror = None;
    stage.look();
    assert_eq!(under_way(&stage), [""; 0]);
    assert_eq!(stage.state.memory.trusted[0].mirror, None);
}

/// Both registries are looked into once a day, each as itself.
#[test]
fn what_the_mirror_lost_is_found_out_within_a_day_and_copied_again() {
    let mut stage = mirroring();
    stage.look();
    stage.answer(is_copy, Outcome::Mirrored);
    let copied = stage.second;
    let now = at(stage.second + 86_400);
    put(stage.machine("m1"), 1, "sha256:1", now);
    let mut looked_up = Vec::new();
    stage.registry = Outcome::ImagePresent;
    stage.second += 86_390;
    for _ in 0..20 {
        stage.second += 2;
        let seen = seen(stage.machines.clone(), at(stage.second));
        stage.tell(&seen);
        let asks = |one: &Command| matches!(one, Command::CheckImage { .. });
        if let Some(id) = stage.pending(asks)
            && let Command::CheckImage { image, in_mirror, .. } =
                stage.state.memory.pending[&id].clone()
        {
            looked_up.push((image.registry, in_mirror));
            let outcome = if in_mirror { Outcome::ImageMissing } else { Outcome::ImagePresent };
            stage.answer(asks, outcome);
        }
    }
    looked_up.sort();
    let each = [("ghcr.io".to_owned(), true), ("registry.fly.io".to_owned(), false)];
    assert_eq!(looked_up, each, "copied at {copied}");
    assert!(copy(&stage, 0).missing && copy(&stage, 0).there_since.is_none());
    assert_eq!(under_way(&stage).len(), 1, "it is copied again");
    assert_eq!(stage.told(EventKind::ImageMissing), Vec::<&Event>::new(), "nothing is lost");
}
