//! What of the machines and the ledger is news, and what an app is known to run.

use super::{
    stage::{self, Stage, entry},
    *,
};
use crate::decide::fleet;
use crate::model::{Release, ReleaseStatus, reason::ImageCount};

/// v5 is what the app runs, v4 what it ran before; v3 is trusted, v2 was rolled back, v9 was seen.
fn memory() -> Memory {
    let mut memory = AppState::new("api".into()).memory;
    memory.current = Some(watch_of(5, "sha256:5").revision);
    memory.current_since = Some(at(100));
    memory.previous = Some(watch_of(4, "sha256:4").revision);
    memory.seen_version = ReleaseVersion(9);
    memory.trusted = vec![state::Trusted {
        revision: watch_of(3, "sha256:3").revision,
        at: at(0),
        image_checked_at: None,
        image_missing: false,
        crashes_per_machine: 0.0,
        failing: state::FailingChecks::new(),
        stayed_up: std::collections::BTreeSet::new(),
        vouched: None,
        mirror: None,
        setup: None,
        dispersions: std::collections::BTreeMap::new(),
        revoked: None,
        ran: std::collections::BTreeMap::new(),
    }];
    memory.quarantined = vec![Quarantined {
        digest: Digest::new("sha256:2"),
        version: Some(ReleaseVersion(2)),
        at: at(0),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    }];
    memory
}

/// A machine that was changed at that second.
fn placed(id: &str, version: u64, digest: &str, second: i64) -> Machine {
    Machine { id: id.into(), updated_at: at(second), ..machine(version, digest) }
}

/// The newest thing on these machines that is not known yet.
fn news(memory: &Memory, machines: &[Machine]) -> Option<(u64, String)> {
    let machines: Vec<&Machine> = machines.iter().collect();
    let watched = memory.current.clone();
    let phase = watched.map_or(Phase::Steady, |release| {
        Phase::Watching(Box::new(watch::begin(release, at(0), false)))
    });
    let newest = fleet::newest_change(memory, &phase, &machines)?;
    Some((newest.version.unwrap_or_default().0, newest.digest.as_str().to_owned()))
}

fn is(version: u64, digest: &str) -> Option<(u64, String)> {
    Some((version, digest.to_owned()))
}

#[test]
fn a_number_above_all_that_were_seen_is_news_unless_it_is_ours() {
    let mut memory = memory();
    assert_eq!(news(&memory, &[placed("m1", 10, "sha256:5", 0)]), is(10, "sha256:5"));
    assert_eq!(news(&memory, &[placed("m1", 9, "sha256:5", 200)]), None);
    memory.own_releases.push(ReleaseVersion(10));
    assert_eq!(news(&memory, &[placed("m1", 10, "sha256:5", 0)]), None);
}

/// Put there by hand: an image that nobody accounted for, since the app runs what it runs.
#[test]
fn an_image_without_a_new_number_is_news_if_it_is_unknown_and_newer() {
    let memory = memory();
    let unknown = |version, second| {
        // Beside it what the app is known to run.
        news(&memory, &[placed("m1", 5, "sha256:5", 0), placed("m2", version, "sha256:7", second)])
    };
    assert_eq!(unknown(9, 101), is(9, "sha256:7"));
    assert_eq!(unknown(9, 100), None, "it was there before");
    assert_eq!(unknown(8, 101), None, "of an older release");
    for known in ["sha256:5", "sha256:4", "sha256:3"] {
        assert_eq!(news(&memory, &[placed("m1", 9, known, 200)]), None, "{known}");
    }
}

#[test]
fn before_anything_is_known_everything_is_news() {
    let mut memory = memory();
    memory.current = None;
    assert_eq!(news(&memory, &[placed("m1", 1, "sha256:5", 0)]), is(1, "sha256:5"));
}

#[test]
fn an_image_that_was_rolled_back_is_news_under_a_number_it_got_since() {
    let mut memory = memory();
    assert_eq!(news(&memory, &[placed("m1", 9, "sha256:2", 0)]), is(9, "sha256:2"));
    assert_eq!(
        news(&memory, &[placed("m1", 8, "sha256:2", 0)]),
        None,
        "an older one than was seen"
    );
    memory.seen_version = ReleaseVersion(2);
    assert_eq!(news(&memory, &[placed("m1", 2, "sha256:2", 0)]), None, "the number it had");
    assert_eq!(news(&memory, &[placed("m1", 3, "sha256:2", 0)]), is(3, "sha256:2"));
    memory.own_releases.push(ReleaseVersion(3));
    assert_eq!(news(&memory, &[placed("m1", 3, "sha256:2", 0)]), None, "ours");
}

#[test]
fn an_image_that_is_dealt_with_is_no_news_under_its_number() {
    let mut memory = memory();
    memory.current = Some(watch_of(9, "sha256:2").revision);
    assert_eq!(news(&memory, &[placed("m1", 9, "sha256:2", 0)]), None);
    memory.current = Some(watch_of(8, "sha256:2").revision);
    assert_eq!(news(&memory, &[placed("m1", 9, "sha256:2", 0)]), is(9, "sha256:2"));
}

/// Secrets set in the middle of a rollback: the one that was rolled back is the one to look at.
#[test]
fn of_two_images_under_one_number_the_one_that_was_rolled_back_is_the_news() {
    let machines = [
        placed("m1", 10, "sha256:2", 200),
        placed("m2", 10, "sha256:5", 300),
        placed("m3", 8, "sha256:5", 400),
    ];
    assert_eq!(news(&memory(), &machines), is(10, "sha256:2"));
}

/// An app that was deleted and made again under its old name counts its releases from 1.
#[test]
fn an_app_that_was_made_again_is_news() {
    let memory = memory();
    assert_eq!(news(&memory, &[placed("m1", 1, "sha256:a", 0)]), is(1, "sha256:a"));
    // Something that was seen still runs, or a number that was.
    for known in ["sha256:5", "sha256:4", "sha256:3", "sha256:2"] {
        let machines = [placed("m1", 1, "sha256:a", 0), placed("m2", 1, known, 0)];
        assert_eq!(news(&memory, &machines), None, "{known}");
    }
    let machines = [placed("m1", 1, "sha256:a", 0), placed("m2", 9, "sha256:b", 0)];
    assert_eq!(news(&memory, &machines), None);
    let unnamed = Machine {
        image: ImageRef { digest: None, ..machine(1, "").image },
        ..placed("m1", 1, "", 0)
    };
    assert_eq!(news(&memory, &[unnamed]), None);
}

#[test]
fn the_numbers_of_an_app_that_was_made_again_are_those_of_other_releases() {
    // Given an app of which v2 was undone by a release of ours, v3, and of which v4 ran migrations
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    stage.ship(4, "sha256:4");
    stage
        .ledger
        .as_mut()
        .unwrap()
        .push(Release { has_release_command: Some(true), ..entry(4, "sha256:4") });
    stage.pass(30);
    assert_eq!(stage.state.memory.own_releases, [ReleaseVersion(3)]);
    assert!(stage.state.memory.migrated.contains(&ReleaseVersion(4)));
    // When it is deleted and made again, and somebody releases v3 of that
    stage.machines = vec![stage::named("n1", machine(1, "sha256:a"))];
    stage.ledger = Some(vec![entry(1, "sha256:a")]);
    stage.pass(120);
    stage.events.clear();
    stage.ship(3, "sha256:c");
    stage.pass(10);
    // Then it is somebody's, and watched; and none of its releases ran migrations
    let news = stage.told(EventKind::ReleaseDetected);
    assert_eq!(news.len(), 1, "{:?}", stage.events);
    assert_eq!(stage.state.memory.migrated.len(), 0);
    assert_eq!(stage.state.memory.seen_version, ReleaseVersion(3));
}

#[test]
fn what_is_destroyed_or_runs_once_does_not_count() {
    let destroyed = Machine { state: MachineState::Destroyed, ..placed("m1", 1, "a", 0) };
    let once = Machine { group: "fly_app_release_command".into(), ..placed("m2", 1, "a", 0) };
    let machines = [destroyed, once, placed("m3", 1, "a", 0)];
    let judged: Vec<&str> = fleet::judged(&machines).iter().map(|m| m.id.as_str()).collect();
    assert_eq!(judged, ["m3"]);
}

fn ledger() -> Vec<Release> {
    let by = |version, author: &str, migrates| Release {
        author: Some(author.to_owned()),
        has_release_command: Some(migrates),
        is_brief: false,
        created_at: at(i64::try_from(version).unwrap()),
        ..entry(version, "x")
    };
    vec![by(11, "ann", false), by(10, "ben", true), by(9, "cem", false)]
}

#[test]
fn the_ledger_adds_who_made_a_release_when_and_whether_it_migrates() {
    let machines = [placed("m1", 10, "sha256:5", 0)];
    let machines: Vec<&Machine> = machines.iter().collect();
    let mut newest = fleet::newest_change(&memory(), &Phase::Steady, &machines).unwrap();
    fleet::complete(&mut newest, Some(&ledger()), fleet::Came::Deployed);
    assert_eq!(newest.author.as_deref(), Some("ben"));
    assert_eq!(newest.created_at, Some(at(10)));
    assert_eq!(newest.has_release_command, Some(true));
}

#[test]
fn the_releases_that_migrated_are_remembered_and_the_oldest_forgotten() {
    let mut memory = memory();
    let mut phase = Phase::Steady;
    fleet::learn_from_ledger(&mut phase, &mut memory, &ledger());
    assert_eq!(memory.migrated, [ReleaseVersion(10)].into());
    let many: Vec<Release> = (20..70)
        .map(|version| Release { has_release_command: Some(true), ..entry(version, "x") })
        .collect();
    fleet::learn_from_ledger(&mut phase, &mut memory, &many);
    assert_eq!(memory.migrated.len(), state::MIGRATED_MAX);
    assert_eq!(memory.migrated.first(), Some(&ReleaseVersion(20)));
    let last = [Release { has_release_command: Some(true), ..entry(70, "x") }];
    fleet::learn_from_ledger(&mut phase, &mut memory, &last);
    assert_eq!(memory.migrated.first(), Some(&ReleaseVersion(21)));
}

#[test]
fn a_watch_learns_whether_the_ledger_has_its_release_and_how_it_stands() {
    let mut memory = memory();
    let mut watch = watch_of(10, "sha256:5");
    watch.in_ledger = false;
    let mut phase = Phase::Watching(Box::new(watch));
    let mut other = ledger();
    other.retain(|release| release.version.0 != 10);
    let mut learn = |ledger: &[Release]| {
        fleet::learn_from_ledger(&mut phase, &mut memory, ledger);
        let Phase::Watching(watch) = &phase else { panic!() };
        (watch.in_ledger, watch.last_ledger_status.clone())
    };
    assert_eq!(learn(&other), (false, None));
    assert_eq!(learn(&ledger()), (true, Some(ReleaseStatus::Complete)));
    assert_eq!(learn(&other), (true, None), "it was there");
}

#[test]
fn what_most_machines_run_is_what_the_app_runs() {
    let machines = [placed("m1", 1, "a", 0), placed("m2", 2, "b", 0), placed("m3", 2, "b", 0)];
    let machines: Vec<&Machine> = machines.iter().collect();
    let most = fleet::most_common(&machines).unwrap();
    assert_eq!((most.version, most.digest.as_str()), (Some(ReleaseVersion(2)), "b"));
    let machines = [machines[1], machines[0], machines[0], machines[0]];
    assert_eq!(fleet::most_common(&machines).unwrap().digest.as_str(), "a");
}

#[test]
fn what_the_app_runs_now_makes_what_it_ran_the_previous_one() {
    let mut memory = memory();
    fleet::make_current(&mut memory, watch_of(11, "sha256:11").revision, at(500));
    assert_eq!(memory.seen_version, ReleaseVersion(11));
    assert_eq!(memory.previous.as_ref().unwrap().digest.as_str(), "sha256:5");
    assert_eq!(memory.current_since, Some(at(500)));
    // The same image under another number is no other image.
    fleet::make_current(&mut memory, watch_of(12, "sha256:11").revision, at(600));
    assert_eq!(memory.previous.as_ref().unwrap().digest.as_str(), "sha256:5");
    // A lower number is only that of an app that was made again, or of what was known.
    fleet::make_current(&mut memory, watch_of(3, "sha256:3").revision, at(700));
    assert_eq!(memory.seen_version, ReleaseVersion(12));
    // An image set by hand under an older number, or none, does not make the newer ones news.
    fleet::make_current(&mut memory, watch_of(1, "sha256:new").revision, at(800));
    assert_eq!(memory.seen_version, ReleaseVersion(12));
    fleet::count_anew(&mut memory);
    fleet::make_current(&mut memory, watch_of(1, "sha256:new").revision, at(800));
    assert_eq!(memory.seen_version, ReleaseVersion(1));
    // Numbers of ours are none of theirs.
    memory.own_releases.push(ReleaseVersion(50));
    fleet::make_current(&mut memory, watch_of(50, "sha256:3").revision, at(900));
    assert_eq!(memory.seen_version, ReleaseVersion(1));
}

#[test]
fn the_machines_of_each_image_are_counted_by_group() {
    let worker = Machine { group: "worker".into(), ..placed("w1", 1, "a", 0) };
    let machines =
        [placed("m1", 1, "a", 0), placed("m2", 2, "b", 0), placed("m3", 2, "b", 0), worker];
    let machines: Vec<&Machine> = machines.iter().collect();
    let count = |group: &str, digest: &str, machines| ImageCount {
        group: group.into(),
        digest: Digest::new(digest),
        machines,
    };
    let want = [count("app", "a", 1), count("app", "b", 2), count("worker", "a", 1)];
    assert_eq!(fleet::images(&machines), want);
}
