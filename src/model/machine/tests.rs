//! Whose a result is, and which exits are crashes.

use super::*;

#[test]
fn an_image_is_read_as_it_is_written() {
    for text in [
        "registry.fly.io/api:v41@sha256:41",
        "registry.fly.io/api:v41",
        "registry.fly.io/api@sha256:41",
        "localhost:5000/acme/api:v41",
        "ghcr.io/acme/api",
    ] {
        assert_eq!(ImageRef::parse(text).reference(), text);
    }
    assert_eq!(ImageRef::parse("flyio/hellofly:latest").registry, "docker.io");
    assert_eq!(ImageRef::parse("nginx").reference(), "docker.io/nginx");
    assert_eq!(ImageRef::parse("localhost:5000/api").tag, None);
}

/// A machine in `state`, with nothing else to tell of it.
pub(crate) fn machine(state: MachineState) -> Machine {
    Machine {
        app: "api".into(),
        id: "m1".into(),
        instance: "i1".into(),
        region: "iad".into(),
        group: "app".into(),
        state,
        host: HostStatus::Ok,
        image: ImageRef {
            registry: "registry.fly.io".to_owned(),
            repository: "api".to_owned(),
            tag: None,
            digest: Some(Digest::new("sha256:1")),
        },
        release: Some(ReleaseVersion(1)),
        metadata: BTreeMap::new(),
        config: None,
        checks: Vec::new(),
        checks_configured: 0,
        exits: Vec::new(),
        started_at: None,
        placed_at: None,
        updated_at: Timestamp::UNIX_EPOCH,
        private_ip: None,
        metrics: None,
        lease: None,
        cordoned: false,
        standby: false,
        has_services: false,
        service_port: None,
        own_schedule: false,
        restart: None,
    }
}

#[test]
fn the_names_of_states_come_back_as_they_were() {
    let names = "created started stopped suspended failed destroyed launch_failed creating \
                 starting restarting updating replacing stopping suspending destroying \
                 hibernating";
    for name in names.split_whitespace() {
        assert_eq!(MachineState::parse(name).as_str(), name);
    }
    assert_eq!(MachineState::parse("replaced"), MachineState::Destroyed);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn checked(status: CheckStatus, changed_at: Option<i64>) -> Machine {
    let check = Check {
        name: "http".to_owned(),
        status,
        output: String::new(),
        changed_at: changed_at.map(at),
        interval: Some(Duration::from_secs(10)),
        grace: None,
    };
    Machine {
        checks: vec![check],
        checks_configured: 1,
        placed_at: Some(at(100)),
        started_at: Some(at(102)),
        ..machine(MachineState::Started)
    }
}

#[test]
fn a_passing_check_without_a_time_counts_once_the_instance_was_asked() {
    let none = BTreeSet::new();
    let mut machine = checked(CheckStatus::Passing, None);
    assert!(!machine.checks_pass(&none, at(111)), "it may be the result of the one before");
    assert!(machine.checks_pass(&none, at(112)));
    machine.placed_at = Some(at(105));
    assert!(!machine.checks_pass(&none, at(112)), "what started is not what was placed");
    assert!(machine.checks_pass(&none, at(405)), "the clock was set back between the two");
    assert!(!checked(CheckStatus::Warning, None).checks_pass(&none, at(500)));
}

#[test]
fn a_check_that_did_not_pass_before_either_is_not_waited_for() {
    let known = BTreeSet::from(["http".to_owned()]);
    for status in [CheckStatus::Warning, CheckStatus::Critical, CheckStatus::Passing] {
        assert!(checked(status, Some(50)).checks_pass(&known, at(103)), "{status:?}");
    }
    let machine = checked(CheckStatus::Warning, Some(104));
    assert!(!machine.checks_pass(&BTreeSet::new(), at(105)));
    assert!(checked(CheckStatus::Passing, Some(104)).checks_pass(&BTreeSet::new(), at(105)));
}

#[test]
fn three_ways_lead_to_rest() {
    let draining = Transition::ALL.into_iter().filter(|moving| moving.is_draining());
    assert_eq!(draining.count(), 3);
}
