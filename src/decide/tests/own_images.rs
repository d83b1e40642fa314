//! Whose an image is: what is noted of it with a release that earned its trust, and what follows for groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    stage::{Stage, named},
    *,
};
use crate::{
    decide::{groups, state::Trusted},
    model::ProcessGroup,
};

/// A machine of a group.
fn of(id: &str, group: &str, digest: &str) -> Machine {
    Machine { group: group.into(), ..named(id, machine(1, digest)) }
}

fn images(ran: &[(&str, &str)]) -> BTreeMap<ProcessGroup, ImageRef> {
    let image = |digest: &str| machine(1, digest).image;
    ran.iter().map(|(group, digest)| ((*group).into(), image(digest))).collect()
}

/// Releases that were trusted, the newest first: the image of each, and what each group ran under it.
fn trusted(releases: &[(&str, &[(&str, &str)])]) -> Memory {
    let mut memory = Stage::trusted(&["m1"]).state.memory;
    let one = memory.trusted.remove(0);
    for (digest, ran) in releases {
        let revision = watch_of(1, digest).revision;
        memory.trusted.push(Trusted { revision, ran: images(ran), ..one.clone() });
    }
    memory
}

fn groups_of(names: &[&str]) -> BTreeSet<ProcessGroup> {
    names.iter().map(|name| (*name).into()).collect()
}

fn takes(memory: &Memory, digest: &str, group: &str) -> bool {
    groups::takes(memory, &digest.into(), &group.into())
}

/// The app runs one image, but for what is said of its groups.
const ONE: &[(&str, &str)] = &[("app", "sha256:1"), ("worker", "sha256:1")];
/// `worker` runs an image of its own.
const OWN: &[(&str, &str)] = &[("app", "sha256:2"), ("worker", "sha256:w")];

fn ran(machines: &[Machine], numbered: bool) -> BTreeMap<String, String> {
    let mut revision = watch_of(1, "sha256:1").revision;
    if !numbered {
        revision.version = None;
    }
    let memory = AppState::new("api".into()).memory;
    let machines: Vec<&Machine> = machines.iter().collect();
    let digest = |image: ImageRef| image.digest.unwrap().to_string();
    let ran = groups::ran(&memory, &revision, &machines).into_iter();
    ran.map(|(group, image)| (group.to_string(), digest(image))).collect()
}

fn noted(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(group, digest)| ((*group).to_owned(), (*digest).to_owned())).collect()
}

/// A group whose images are noted wrongly is left as it is by the next rollback.
#[test]
fn what_a_host_that_does_not_answer_runs_is_no_image_of_a_group() {
    let dead = Machine { host: HostStatus::Unreachable, ..of("w1", "worker", "sha256:0") };
    let machines = [of("a1", "app", "sha256:1"), dead];
    assert_eq!(ran(&machines, true), noted(&[("app", "sha256:1")]));
}

#[test]
fn neither_is_what_a_machine_outside_any_release_runs_unless_there_are_no_numbers() {
    let shell = Machine { release: None, ..of("x1", "shell", "sha256:9") };
    let machines = [of("a1", "app", "sha256:1"), shell];
    assert_eq!(ran(&machines, true), noted(&[("app", "sha256:1")]));
    assert_eq!(ran(&machines, false), noted(&[("app", "sha256:1"), ("shell", "sha256:9")]));
}

#[test]
fn of_several_images_in_a_group_it_is_the_releases_own_and_else_that_of_most_machines() {
    let machines = [
        of("a1", "app", "sha256:1"),
        of("a2", "app", "sha256:9"),
        of("a3", "app", "sha256:9"),
        of("w1", "worker", "sha256:a"),
        of("w2", "worker", "sha256:8"),
        of("w3", "worker", "sha256:8"),
    ];
    assert_eq!(ran(&machines, true), noted(&[("app", "sha256:1"), ("worker", "sha256:8")]));
}

/// What a steady app's machines run is noted with the release that it runs.
fn keep(memory: Memory, phase: &Phase, machines: &[Machine]) -> Vec<BTreeMap<String, String>> {
    let policy = policy(Mode::Rollback);
    let (commands, events) = (Vec::new(), Vec::new());
    let mut cx = Context { policy: &policy, now: at(100), memory, commands, events };
    let machines: Vec<&Machine> = machines.iter().collect();
    groups::keep(&mut cx, phase, &machines);
    let digest = |image: &ImageRef| image.digest.clone().unwrap().to_string();
    let ran = |good: &Trusted| {
        good.ran.iter().map(|(group, image)| (group.to_string(), digest(image))).collect()
    };
    cx.memory.trusted.iter().map(ran).collect()
}

#[test]
fn a_group_that_was_made_since_is_noted_with_the_release_that_runs_and_nothing_noted_is_changed() {
    // Given a release of which one group was noted, and an older one
    let one: &[(&str, &str)] = &[("app", "sha256:1")];
    let older: &[(&str, &str)] = &[("app", "sha256:0")];
    let memory = || trusted(&[("sha256:1", one), ("sha256:0", older)]);
    // When another group is there, and a machine of the first was set to something else
    let machines =
        [of("a1", "app", "sha256:7"), of("a2", "app", "sha256:7"), of("w1", "worker", "sha256:1")];
    let kept = keep(memory(), &Phase::Steady, &machines);
    // Then the new one is noted, there alone
    let both = noted(&[("app", "sha256:1"), ("worker", "sha256:1")]);
    assert_eq!(kept, [both, noted(older)]);
    // And nothing is while a release is dealt with, or runs nowhere
    let watching = Phase::Watching(Box::new(watch_of(1, "sha256:1")));
    assert_eq!(keep(memory(), &watching, &machines), [noted(one), noted(older)]);
    let elsewhere = [of("w1", "worker", "sha256:7")];
    assert_eq!(keep(memory(), &Phase::Steady, &elsewhere), [noted(one), noted(older)]);
}

#[test]
fn so_many_groups_are_noted_and_no_more() {
    let groups: Vec<Machine> =
        (0..40).map(|n| of(&format!("m{n}"), &format!("g{n}"), "sha256:1")).collect();
    assert_eq!(ran(&groups, true).len(), 16);
    let kept = keep(trusted(&[("sha256:1", &[("z", "sha256:1")])]), &Phase::Steady, &groups);
    assert_eq!(kept[0].len(), 16);
}

#[test]
fn as_long_as_all_groups_run_the_one_image_any_release_is_for_all_of_them() {
    let memory = trusted(&[("sha256:2", &[("app", "sha256:2")]), ("sha256:1", ONE)]);
    assert!(takes(&memory, "sha256:2", "worker"));
    assert_eq!(groups::left_by(&memory, &"sha256:2".into()), BTreeSet::new());
}

#[test]
fn where_a_group_has_an_image_of_its_own_a_release_is_for_the_groups_that_ran_it() {
    let mut memory = trusted(&[("sha256:2", OWN), ("sha256:1", ONE)]);
    assert!(takes(&memory, "sha256:2", "app") && takes(&memory, "sha256:1", "worker"));
    assert!(!takes(&memory, "sha256:2", "worker"));
    // Nobody has seen anything else in this one, until somebody has.
    assert!(takes(&memory, "sha256:2", "cron"));
    memory.trusted[1].ran.extend(images(&[("cron", "sha256:1")]));
    assert!(!takes(&memory, "sha256:2", "cron"));
}

/// An older version did not note where an image ran.
#[test]
fn an_image_that_was_undone_is_for_the_groups_in_which_it_ran_where_that_is_known() {
    let mut memory = trusted(&[("sha256:2", OWN)]);
    let undone = |digest: &str, groups: &[&str]| Quarantined {
        digest: digest.into(),
        version: None,
        at: at(0),
        unfinished: false,
        image: None,
        groups: groups_of(groups),
    };
    memory.quarantined = vec![undone("sha256:8", &[]), undone("sha256:9", &["app", "cron"])];
    assert!(takes(&memory, "sha256:8", "app") && takes(&memory, "sha256:9", "app"));
    assert!(!takes(&memory, "sha256:9", "worker"));
    memory.quarantined[0].groups = groups_of(&["app"]);
    assert_eq!(groups::left_by(&memory, &"sha256:8".into()), groups_of(&["cron", "worker"]));
}

#[test]
fn a_machine_of_which_no_image_is_known_does_not_run_its_own() {
    let memory = trusted(&[("sha256:2", OWN)]);
    let mut unknown = of("w1", "worker", "sha256:2");
    unknown.image.digest = None;
    assert!(!groups::runs_its_own(&memory, &unknown));
    assert!(groups::runs_its_own(&memory, &of("a1", "app", "sha256:2")));
}

#[test]
fn an_image_is_good_elsewhere_where_another_group_has_it_for_its_own() {
    let good = |memory: &Memory, digest: &str, groups: &[&str]| {
        groups::is_good_elsewhere(memory, &digest.into(), &groups_of(groups))
    };
    let own = trusted(&[("sha256:2", OWN)]);
    assert!(good(&own, "sha256:w", &["app"]));
    assert!(!good(&own, "sha256:w", &["worker"]), "it is the group that is undone");
    assert!(!good(&trusted(&[("sha256:1", ONE)]), "sha256:1", &["app"]), "one image for all");
}

/// Ten releases are remembered: what a group has nothing else to go back to is not forgotten for others.
#[test]
fn the_newest_that_a_group_has_to_go_back_to_is_known() {
    let last = |releases: &[(&str, &[(&str, &str)])], place| {
        groups::is_last_of_a_group(&trusted(releases), place)
    };
    assert!(!last(&[("sha256:1", ONE)], 0), "one image for all");
    // `worker` ran something else under the newer one, which is not that one's own.
    assert!(last(&[("sha256:2", OWN), ("sha256:1", ONE)], 1));
    // And here it ran something else under the older one.
    let older: &[(&str, &str)] = &[("app", "sha256:1"), ("worker", "sha256:w")];
    assert!(!last(&[("sha256:2", &[("app", "sha256:2")]), ("sha256:1", older)], 1));
}

fn is_told(phase: &Phase, machines: &[Machine], quarantined: Option<&str>) -> bool {
    let policy = policy(Mode::Rollback);
    let mut memory = trusted(&[("sha256:1", ONE)]);
    memory.quarantined.extend(quarantined.map(|digest| Quarantined {
        digest: digest.into(),
        version: None,
        at: at(0),
        unfinished: false,
        image: None,
        groups: BTreeSet::new(),
    }));
    let (commands, events) = (Vec::new(), Vec::new());
    let mut cx = Context { policy: &policy, now: at(100), memory, commands, events };
    let machines: Vec<&Machine> = machines.iter().collect();
    groups::tell_of_unwatched(&mut cx, phase, &machines);
    !cx.events.is_empty()
}

#[test]
fn images_that_nobody_watches_are_told_once_a_deploy_is_over() {
    let machines = [of("a1", "app", "sha256:1"), of("w1", "worker", "sha256:9")];
    let mut watch = Box::new(watch_of(1, "sha256:1"));
    assert!(!is_told(&Phase::Watching(watch.clone()), &machines, None), "it is under way");
    watch.settled_at = Some(at(50));
    assert!(is_told(&Phase::Watching(watch), &machines, None));
    assert!(is_told(&Phase::Steady, &machines, None));
    assert!(!is_told(&Phase::Steady, &machines, Some("sha256:9")), "that is told by itself");
    assert!(!is_told(&Phase::Steady, &machines[1..], None), "nothing is watched");
}
