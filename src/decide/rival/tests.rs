//! Whose a machine is, case by case.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{LeaseHolder, MachineState, RawConfig, Texts};

const BY: &str = "zoe@example.com";
const US: &str = "waveoff@tokens.fly.io";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn image(name: &str) -> ImageRef {
    ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: "api".to_owned(),
        tag: None,
        digest: Some(Digest::new(name)),
    }
}

/// A machine of a release, running an image.
fn machine(version: u64, digest: &str) -> Machine {
    Machine {
        instance: "now".into(),
        image: image(digest),
        release: Some(ReleaseVersion(version)),
        updated_at: at(0),
        ..crate::model::machine::tests::machine(MachineState::Started)
    }
}

fn marked(version: u64, key: &str, value: &str) -> Machine {
    let metadata = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Machine { metadata, ..machine(version, "bad") }
}

fn entry(version: u64, status: ReleaseStatus, image: &str, author: &str, age: i64) -> Release {
    Release {
        id: format!("rel_{version}"),
        version: ReleaseVersion(version),
        status,
        image: image.to_owned(),
        author: Some(author.to_owned()),
        created_at: at(-age),
        has_release_command: None,
        is_brief: false,
    }
}

/// v42 is bad, v41 the target; what is asked of the claim at second 0, a minute into the rollback.
fn with_claim<T>(own: &[u64], ask: impl FnOnce(&Claim<'_>) -> T) -> T {
    let own: Vec<ReleaseVersion> = own.iter().copied().map(ReleaseVersion).collect();
    let (bad, old, target) = (Digest::new("bad"), Digest::new("old-bad"), image("good"));
    ask(&Claim {
        bad: vec![&bad, &old],
        target: &target,
        put_back: &PutBack::new(),
        leaves: &BTreeSet::new(),
        bad_release: Some(ReleaseVersion(42)),
        after: ReleaseVersion(42),
        own: &own,
        since: at(-60),
    })
}

fn stands(machine: &Machine) -> Standing {
    with_claim(&[43], |claim| of_machine(claim, machine, None, None, at(0)))
}

/// The known-good image stays, and v42's environment is put back to that of v41.
#[test]
fn a_machine_with_the_target_s_image_is_ours_while_it_is_configured_by_the_bad_release() {
    let config = |env: &str| RawConfig(format!(r#"{{"env":{{"A":"{env}"}}}}"#).into());
    let good = Texts::of(&config("1")).unwrap();
    let put_back: PutBack = [("app".into(), good)].into();
    let stands = |version: u64, env: Option<&str>, group: &str| {
        let machine =
            Machine { config: env.map(config), group: group.into(), ..machine(version, "good") };
        let verified = Verified { instance: "before".into(), replaced: None };
        let ask = |verified| {
            with_claim(&[43], |claim| {
                let claim = Claim { put_back: &put_back, ..claim.clone() };
                of_machine(&claim, &machine, verified, None, at(0))
            })
        };
        (ask(None), ask(Some(&verified)))
    };
    let by_hand = Standing::SetByHand { digest: Digest::new("good") };
    assert_eq!(stands(42, Some("2"), "app"), (Standing::Ours, by_hand.clone()));
    assert_eq!(stands(42, None, "app"), (Standing::Ours, by_hand), "its host does not answer");
    for (version, env, group) in [
        (42, "1", "app"),
        // Configured by somebody else, or by us.
        (41, "2", "app"),
        (43, "2", "app"),
        // Nothing is put back there.
        (42, "2", "worker"),
    ] {
        let (standing, _) = stands(version, Some(env), group);
        assert_eq!(standing, Standing::OnTarget, "v{version} {env} {group}");
    }
}

/// The target was never seen in its group.
#[test]
fn a_machine_of_a_group_that_the_target_is_not_for_is_left_however_bad_its_image_is() {
    let leaves: BTreeSet<ProcessGroup> = [ProcessGroup::new("worker")].into();
    let stands = |group: &str, digest: &str| {
        let machine = Machine { group: group.into(), ..machine(42, digest) };
        with_claim(&[43], |claim| {
            before_writing(&Claim { leaves: &leaves, ..claim.clone() }, &machine, None, None, at(0))
        })
    };
    let other = Standing::OtherImage { digest: Some(Digest::new("bad")) };
    assert_eq!(stands("worker", "bad"), other);
    assert_eq!(stands("worker", "good"), Standing::OnTarget);
    assert_eq!(stands("app", "bad"), Standing::Ours);
}

fn ledger_says(own: &[u64], ledger: &[Release]) -> Standing {
    with_claim(own, |claim| of_app(claim, &[], Some(ledger), at(0)))
}

fn announced_is(version: u64) -> Standing {
    Standing::Announced { version: ReleaseVersion(version), by: Some(BY.to_owned()) }
}

#[test]
fn a_machine_on_a_bad_image_is_ours() {
    for (version, digest) in [(42, "bad"), (40, "old-bad"), (43, "bad")] {
        assert_eq!(stands(&machine(version, digest)), Standing::Ours, "{version} {digest}");
    }
    let unnumbered = Machine { release: None, ..machine(0, "bad") };
    assert_eq!(stands(&unnumbered), Standing::Ours);
}

#[test]
fn a_number_above_the_bad_one_that_is_not_ours_wins_whatever_runs_there() {
    for digest in ["bad", "good", "other"] {
        let ledger = [entry(44, ReleaseStatus::Running, "x", BY, 5)];
        let standing = with_claim(&[43], |claim| {
            of_machine(claim, &machine(44, digest), None, Some(&ledger), at(0))
        });
        let want = Standing::NewerRelease { version: ReleaseVersion(44), by: Some(BY.to_owned()) };
        assert_eq!(standing, want, "{digest}");
    }
    let all = [machine(42, "bad"), machine(45, "x"), machine(44, "x")];
    let all: Vec<&Machine> = all.iter().collect();
    let newest = with_claim(&[43], |claim| of_app(claim, &all, None, at(0)));
    assert_eq!(newest, Standing::NewerRelease { version: ReleaseVersion(45), by: None });
}

/// A rollback that paused opens another entry when it goes on: both numbers are its own.
#[test]
fn no_number_of_ours_is_a_newer_release() {
    let standing =
        with_claim(&[46, 43], |claim| of_machine(claim, &machine(43, "good"), None, None, at(0)));
    assert_eq!(standing, Standing::OnTarget);
}

#[test]
fn an_image_that_is_neither_bad_nor_the_target_is_left() {
    let other = Standing::OtherImage { digest: Some(Digest::new("other")) };
    assert_eq!(stands(&machine(42, "other")), other);
    let mut unnamed = machine(42, "bad");
    unnamed.image.digest = None;
    assert_eq!(stands(&unnamed), Standing::OtherImage { digest: None });
}

#[test]
fn what_was_put_back_by_hand_is_told_from_what_the_platform_reverted() {
    let stands = |instance: &str, replaced: Option<&str>| {
        let replaced = replaced.map(InstanceId::new);
        let verified = Verified { instance: instance.into(), replaced };
        with_claim(&[43], |claim| {
            of_machine(claim, &machine(42, "bad"), Some(&verified), None, at(0))
        })
    };
    let by_hand = Standing::SetByHand { digest: Digest::new("bad") };
    assert_eq!(stands("ours", Some("before")), by_hand);
    assert_eq!(stands("ours", None), by_hand);
    assert_eq!(stands("ours", Some("now")), Standing::Ours, "back on what we replaced");
    // A list that lags shows the digest of before beside the version that we verified.
    assert_eq!(stands("now", Some("before")), Standing::Ours);
}

#[test]
fn a_release_in_the_ledger_is_waited_for_as_long_as_it_may_still_come() {
    use ReleaseStatus::{Complete, Failed, Interrupted, Pending, Running};
    let cases = [
        (Running, 5, true),
        (Pending, 599, true),
        // Killed, or a filter that matched nothing.
        (Running, 600, false),
        (Complete, 59, true),
        (Complete, 60, false),
        (Failed, 5, false),
        (Interrupted, 5, false),
        (ReleaseStatus::Other("new".to_owned()), 5, true),
    ];
    for (status, age, waits) in cases {
        let what = format!("{status:?} for {age} s");
        let want = if waits { announced_is(44) } else { Standing::Ours };
        assert_eq!(ledger_says(&[43], &[entry(44, status, "x", BY, age)]), want, "{what}");
    }
    assert_eq!(
        ledger_says(&[43], &[entry(42, Running, "x", BY, 5)]),
        Standing::Ours,
        "the bad one"
    );
}

#[test]
fn an_entry_of_ours_that_we_never_heard_of_is_no_rival() {
    let good = image("good").reference();
    let own = |version| entry(version, ReleaseStatus::Pending, &good, US, 50);
    assert_eq!(ledger_says(&[], &[own(43)]), Standing::Ours, "its answer was lost");
    assert_eq!(ledger_says(&[44], &[own(44), own(43)]), Standing::Ours, "made twice");
    let earlier = entry(43, ReleaseStatus::Running, &good, BY, 200);
    assert_eq!(ledger_says(&[], &[earlier]), announced_is(43), "from before the rollback");
}

/// The ledger names the current release's image for a change of secrets: that is ours by then.
#[test]
fn somebody_s_change_of_secrets_is_no_entry_of_ours() {
    let good = image("good").reference();
    let ledger = [
        entry(44, ReleaseStatus::Running, &good, BY, 5),
        entry(43, ReleaseStatus::Running, &good, US, 50),
    ];
    assert_eq!(ledger_says(&[43], &ledger), announced_is(44));
}

#[test]
fn canaries_and_greens_of_a_running_deploy_are_not_touched() {
    use ReleaseStatus::{Complete, Failed, Running};
    let canary = marked(42, "fly_canary", "true");
    let green = marked(42, "fly_bluegreen_deployment_tag", "1790000000");
    let (is_canary, is_green) = (DeployKind::Canary, DeployKind::Bluegreen);
    let deploying = |kind, by: Option<&str>| Standing::Deploying {
        version: Some(ReleaseVersion(42)),
        by: by.map(str::to_owned),
        kind,
    };
    for (machine, kind) in [(&canary, is_canary), (&green, is_green)] {
        let stands = |status, age, now| {
            let ledger = [entry(42, status, "x", BY, age)];
            with_claim(&[43], |claim| of_machine(claim, machine, None, Some(&ledger), at(now)))
        };
        assert_eq!(stands(Running, 120, 0), deploying(kind, Some(BY)));
        assert_eq!(stands(Running, 900, 0), Standing::Ours, "its client was killed");
        assert_eq!(stands(Complete, 120, 0), Standing::Ours, "production, or left behind");
        assert_eq!(stands(Failed, 120, 0), Standing::Ours);
        // Nothing is known of the deploy but the age of its machine.
        let unread =
            |now| with_claim(&[43], |claim| of_machine(claim, machine, None, None, at(now)));
        assert_eq!(unread(120), deploying(kind, None));
        assert_eq!(unread(900), Standing::Ours);
    }
}

#[test]
fn blues_and_production_machines_belong_to_no_deploy() {
    for (key, value) in [
        ("fly_bluegreen_deployment_tag", "-1"),
        ("fly_bluegreen_deployment_tag", "safe_to_destroy"),
        ("fly_bluegreen_deployment_tag", ""),
        ("fly_canary", "false"),
        ("fly_process_group", "app"),
    ] {
        let ledger = [entry(42, ReleaseStatus::Running, "x", BY, 120)];
        let standing = with_claim(&[43], |claim| {
            of_machine(claim, &marked(42, key, value), None, Some(&ledger), at(0))
        });
        assert_eq!(standing, Standing::Ours, "{key} = {value}");
    }
}

#[test]
fn the_question_before_a_write_adds_what_is_only_announced() {
    let ledger = [entry(44, ReleaseStatus::Running, "x", BY, 5)];
    let ask = |machine: &Machine| {
        with_claim(&[43], |claim| before_writing(claim, machine, None, Some(&ledger), at(0)))
    };
    assert_eq!(ask(&machine(42, "bad")), announced_is(44));
    assert_eq!(ask(&machine(42, "good")), Standing::OnTarget, "nothing to write");
}

#[test]
fn a_lease_is_somebody_s_until_it_ends() {
    let mut machine = machine(42, "bad");
    assert_eq!(leased(&machine, at(0)), None);
    machine.lease = Some(LeaseHolder {
        owner: BY.to_owned(),
        description: "deploying".to_owned(),
        expires_at: at(10),
    });
    let held = Standing::LeasedBy {
        owner: BY.to_owned(),
        description: "deploying".to_owned(),
        until: at(10),
    };
    assert_eq!(leased(&machine, at(9)), Some(held));
    assert_eq!(leased(&machine, at(10)), None);
}

#[test]
fn what_passes_is_waited_for_and_the_rest_is_not() {
    let hand = Standing::SetByHand { digest: Digest::new("bad") };
    let newer = Standing::NewerRelease { version: ReleaseVersion(44), by: None };
    for (standing, ours, passing) in [
        (Standing::Ours, true, false),
        (Standing::OnTarget, false, false),
        (hand, false, false),
        (newer, false, false),
        (announced_is(44), false, true),
    ] {
        assert_eq!((standing.is_ours(), standing.is_passing()), (ours, passing), "{standing:?}");
    }
}
