//! Looking the known-good image up before it is used.

use super::{
    stage::{Stage, fail_checks, put, put_on},
    *,
};
use crate::model::{Act, MirrorRule, Wish};

/// v2 is about to be undone, and its target's image is being looked up.
fn looking_up(change: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    change(&mut stage);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    while !matches!(stage.state.phase, Phase::CheckingImage { .. }) {
        assert!(stage.second < 300, "{:?}", stage.events);
        stage.second += 2;
        let Input::Observed(round) = seen(stage.machines.clone(), at(stage.second)) else {
            panic!()
        };
        stage.tell(&Input::Observed(Observation { ledger: stage.ledger.clone(), ..round }));
    }
    stage
}

fn looks_up(command: &Command) -> bool {
    matches!(command, Command::CheckImage { before_use: true, .. })
}

/// Another look-up is under way, such as the daily one.
fn also_pending(stage: &mut Stage, digest: &str, before_use: bool) {
    let image = ImageRef { digest: Some(Digest::new(digest)), ..machine(1, digest).image };
    stage
        .state
        .memory
        .pending
        .insert(999, Command::CheckImage { image, before_use, in_mirror: false });
}

fn answer_other(stage: &mut Stage, outcome: Outcome) {
    stage.tell(&Input::Finished { command: 999, outcome });
}

#[test]
fn a_rollback_begins_on_what_was_seen_within_three_quarters_of_a_minute() {
    for (later, begins) in [(45, true), (46, false)] {
        let mut stage = looking_up(|_| {});
        stage.second += later;
        stage.answer(looks_up, Outcome::ImagePresent);
        assert_eq!(matches!(stage.state.phase, Phase::RollingBack(_)), begins, "{later} s");
        let cause = Box::new(Reason::NotSeenLately);
        let stopped = stage.told(EventKind::RollbackStopped);
        assert_eq!(stopped.is_empty(), begins);
        if !begins {
            assert_eq!(stopped[0].reason, Some(Reason::CountdownCancelled { cause }));
        }
    }
}

#[test]
fn only_the_answer_that_is_waited_for_begins_it() {
    for (digest, before_use) in [("sha256:1", false), ("sha256:7", true)] {
        for outcome in [Outcome::ImagePresent, Outcome::ImageUnknown { reason: String::new() }] {
            let mut stage = looking_up(|_| {});
            also_pending(&mut stage, digest, before_use);
            if before_use && outcome != Outcome::ImagePresent {
                continue;
            }
            answer_other(&mut stage, outcome);
            assert!(matches!(stage.state.phase, Phase::CheckingImage { .. }), "{digest}");
        }
    }
}

/// The daily look-up finds it gone: the one before its use will say so, too.
#[test]
fn an_image_that_is_missing_ends_only_the_look_up_before_its_use() {
    let mut stage = looking_up(|_| {});
    also_pending(&mut stage, "sha256:7", false);
    answer_other(&mut stage, Outcome::ImageMissing);
    assert!(matches!(stage.state.phase, Phase::CheckingImage { .. }));
    let under_way = stage.state.memory.pending.values().filter(|command| looks_up(command));
    assert_eq!(under_way.count(), 1, "it is not begun anew");
    stage.answer(looks_up, Outcome::ImageMissing);
    assert!(matches!(stage.state.phase, Phase::Held { reason: HoldReason::ImagesMissing, .. }));
}

#[test]
fn for_want_of_the_newest_the_next_older_one_is_looked_up() {
    let mut stage = looking_up(|stage| {
        let mut older = stage.state.memory.trusted[0].clone();
        older.revision.digest = Digest::new("sha256:0");
        older.revision.image.digest = Some(Digest::new("sha256:0"));
        older.ran.clear();
        stage.state.memory.trusted.push(older);
    });
    stage.answer(looks_up, Outcome::ImageMissing);
    let Phase::CheckingImage { target, .. } = &stage.state.phase else {
        panic!("{:?}", stage.state.phase)
    };
    assert_eq!(target.digest, Digest::new("sha256:0"));
}

/// What ran before had earned nothing: without its image there is nothing.
#[test]
fn what_ran_before_and_has_no_image_is_not_looked_up_again() {
    let mut stage = looking_up(|stage| {
        stage.policy.rollback.first_target_previous = true;
        stage.state.memory.trusted.clear();
    });
    stage.answer(looks_up, Outcome::ImageMissing);
    assert!(matches!(stage.state.phase, Phase::Held { reason: HoldReason::NothingTrusted, .. }));
    assert_eq!(stage.state.memory.suspects[0], Digest::new("sha256:1"));
}

/// And what is baked had.
#[test]
fn what_is_baked_and_has_no_image_is_a_missing_image() {
    let mut stage = looking_up(|stage| {
        stage.state.memory.baked = stage.state.memory.trusted.pop();
    });
    stage.answer(looks_up, Outcome::ImageMissing);
    let Phase::Held { reason, .. } = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_ne!(*reason, HoldReason::OnlyBaked);
    assert!(!stage.state.memory.suspects.contains(&Digest::new("sha256:1")));
}

/// In observe mode people are told what would have been done.
#[test]
fn observe_mode_tells_what_would_be_done_and_no_other_hold_does() {
    for (mode, planned) in [(Mode::Observe, 1), (Mode::Rollback, 0)] {
        let mut stage = Stage::trusted(&["m1"]);
        stage.policy.mode = mode;
        if mode == Mode::Rollback {
            stage.policy.rollback.per_day_max = 0;
        }
        stage.ship(2, "sha256:2");
        fail_checks(stage.machine("m1"));
        stage.pass(60);
        assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
        assert_eq!(stage.told(EventKind::RollbackPlanned).len(), planned);
    }
}

/// The mode stopped it: when it is put back, what still runs the release is judged anew.
#[test]
fn a_rollback_that_the_mode_stopped_is_judged_anew_when_it_is_put_back() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    let other = Quarantined {
        digest: Digest::new("sha256:0"),
        version: None,
        at: at(0),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    };
    stage.state.memory.quarantined.push(other);
    stage.policy.mode = Mode::Observe;
    stage.pass(60);
    assert!(matches!(stage.state.phase, Phase::Stopped { .. }), "{:?}", stage.state.phase);
    stage.policy.mode = Mode::Rollback;
    stage.look();
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
    let unfinished: Vec<bool> =
        stage.state.memory.quarantined.iter().map(|old| old.unfinished).collect();
    assert_eq!(unfinished, [true, false]);
    assert_eq!(put_on(&stage.pass(60)), ["m1"]);
}

/// Somebody put an image on it without a release: while nothing is dealt with, that is news.
#[test]
fn an_image_put_there_by_hand_is_watched_when_nothing_else_is_dealt_with() {
    let mut stage = Stage::trusted(&["m1"]);
    let now = at(stage.second + 1);
    put(stage.machine("m1"), 1, "sha256:7", now);
    stage.look();
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!((watch.revision.digest.as_str(), watch.numbered), ("sha256:7", false));
}

/// Nobody runs the watched release any more, and what they run instead was never trusted.
#[test]
fn what_runs_instead_of_a_release_is_watched_unless_it_is_trusted() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(10);
    let now = at(stage.second + 1);
    put(stage.machine("m1"), 2, "sha256:7", now);
    stage.pass(66);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(watch.revision.digest.as_str(), "sha256:7");
}

/// A copy of v1 that is in the mirror, as far as is known.
fn with_a_copy(stage: &mut Stage) {
    let (registry, repository) = ("ghcr.io".to_owned(), "acme/{app}".to_owned());
    let rule = MirrorRule { registry, repository };
    let app = stage.state.memory.app.clone();
    let trusted = &mut stage.state.memory.trusted[0];
    let image = rule.place(&app, &trusted.revision.digest);
    stage.policy.rollback.mirror = Some(rule);
    trusted.mirror = Some(crate::decide::mirror::Mirror {
        image,
        there_since: Some(at(0)),
        checked_at: None,
        missing: false,
        tries: 0,
        next: at(0),
        trouble: None,
        detail: String::new(),
        told: false,
    });
}

/// The registries whose answers are waited for before something is deployed.
fn asked(stage: &Stage) -> Vec<String> {
    let pending = stage.state.memory.pending.values().filter(|command| looks_up(command));
    let registry = |command: &Command| match command {
        Command::CheckImage { image, .. } => Some(image.registry.clone()),
        _ => None,
    };
    pending.filter_map(registry).collect()
}

/// A person goes back to v1, whose image is looked up.
fn ordered(copied: bool) -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    if copied {
        with_a_copy(&mut stage);
    }
    stage.ship(2, "sha256:2");
    stage.pass(4);
    let to = Some("v1".to_owned());
    stage.order(Act::Rollback(Wish { to, ..Wish::default() }));
    assert_eq!(asked(&stage), ["registry.fly.io"]);
    stage
}

/// The same, and the platform has lost it.
fn by_hand(copied: bool) -> Stage {
    let mut stage = ordered(copied);
    stage.answer(looks_up, Outcome::ImageMissing);
    stage
}

fn gone(stage: &Stage) -> Vec<Option<String>> {
    let told = stage.told(EventKind::ImageMissing).into_iter();
    told.filter_map(|event| match &event.reason {
        Some(Reason::ImageGone { mirror, .. }) => Some(mirror.clone()),
        _ => None,
    })
    .collect()
}

#[test]
fn what_a_person_named_is_taken_from_the_mirror_when_the_platform_lost_it() {
    let mut stage = by_hand(true);
    assert_eq!(asked(&stage), ["ghcr.io"]);
    let copy = stage.state.memory.trusted[0].mirror.as_ref().unwrap().image.reference();
    assert_eq!(gone(&stage), [Some(copy)], "told once, with where it still is");
    stage.answer(looks_up, Outcome::ImagePresent);
    let image = &stage.rollback().target.image;
    assert_eq!(image.registry, "ghcr.io");
}

#[test]
fn what_a_person_named_and_nobody_has_is_not_exchanged_for_another() {
    let mut stage = by_hand(true);
    stage.answer(looks_up, Outcome::ImageMissing);
    assert_eq!(asked(&stage), [""; 0]);
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);

    let stage = by_hand(false);
    assert_eq!(asked(&stage), [""; 0]);
    assert_eq!(gone(&stage), [None]);
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
}

#[test]
fn another_image_that_is_lost_does_not_end_what_a_person_ordered() {
    let mut stage = ordered(false);
    also_pending(&mut stage, "sha256:7", false);
    answer_other(&mut stage, Outcome::ImageMissing);
    assert!(matches!(stage.state.phase, Phase::CheckingImage { .. }), "{:?}", stage.state.phase);
    assert_eq!(asked(&stage), ["registry.fly.io"], "it is not begun anew");
}

/// The daily look-up is one at a time, and tells what is gone once.
#[test]
fn an_image_that_is_lost_is_told_once_and_looked_for_each_day() {
    let mut stage = Stage::trusted(&["m1"]);
    for day in 1..=3 {
        stage.second = day * 86_400 + 7200;
        stage.registry = Outcome::ImageMissing;
        stage.look();
        stage.look();
        assert_eq!(gone(&stage), [None], "day {day}");
        let checked = stage.state.memory.trusted[0].image_checked_at.unwrap();
        assert!(at(stage.second).duration_since(checked).as_secs() < 60, "day {day}");
    }
}

/// v1 and v2 were trusted, v3 fails, and the image of v2 is being looked up.
fn looking_up_the_newest() -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(120);
    stage.ship(3, "sha256:3");
    stage.opens = Some(super::stage::opened(4));
    fail_checks(stage.machine("m1"));
    while !matches!(stage.state.phase, Phase::CheckingImage { .. }) {
        assert!(stage.second < 600, "{:?}", stage.events);
        stage.second += 2;
        let Input::Observed(round) = seen(stage.machines.clone(), at(stage.second)) else {
            panic!()
        };
        stage.tell(&Input::Observed(Observation { ledger: stage.ledger.clone(), ..round }));
    }
    stage
}

#[test]
fn what_is_pinned_while_another_image_is_looked_up_is_gone_back_to() {
    // Given a rollback to v2 that is about to begin
    let mut stage = looking_up_the_newest();
    // When somebody pins v1
    stage.order(Act::Pin { release: "v1".to_owned() });
    stage.look();
    // Then it goes to v1, whose image was looked up as well
    assert_eq!(stage.rollback().target.digest.as_str(), "sha256:1");
}

#[test]
fn nor_does_a_registry_that_is_silent_about_another_image() {
    // Given a rollback to v2 that is about to begin
    let mut stage = looking_up_the_newest();
    let first = stage.pending(looks_up).unwrap();
    // When somebody orders one to v1, and what was asked before is not answered
    stage.order(Act::Rollback(Wish { to: Some("v1".to_owned()), ..Wish::default() }));
    let outcome = Outcome::ImageUnknown { reason: "503".to_owned() };
    stage.tell(&Input::Finished { command: first, outcome });
    // Then what they ordered goes on
    assert!(matches!(stage.state.phase, Phase::CheckingImage { .. }), "{:?}", stage.events.last());
    stage.look();
    assert_eq!(stage.rollback().target.digest.as_str(), "sha256:1");
}
