//! Passing causes are told from what did not work out, and both from what is somebody else's.

use super::*;
use crate::model::Texts;

fn errors() -> [(PlatformError, PutOutcome); 5] {
    let reason = || "why".to_owned();
    [
        (PlatformError::Denied(reason()), PutOutcome::Denied { reason: reason() }),
        (PlatformError::Unreadable(reason()), PutOutcome::Unreadable { reason: reason() }),
        (PlatformError::Unavailable(reason()), PutOutcome::Unavailable { reason: reason() }),
        (PlatformError::Conflict(reason()), PutOutcome::Unavailable { reason: reason() }),
        (PlatformError::Refused(reason()), PutOutcome::Refused { reason: reason() }),
    ]
}

#[test]
fn an_error_means_the_same_wherever_it_comes() {
    for (error, want) in errors() {
        let mut play = Play::update();
        play.expect(|call| *call == Call::TakeLease, Answer::Lease(Err(error.clone())));
        assert_eq!(put_outcome(play.ended()), want, "the lease");

        let mut play = Play::update();
        play.takes_the_lease();
        play.expect(|call| *call == Call::LookAtMachine, Answer::Machine(Err(error.clone())));
        assert_eq!(put_outcome(play.gives_back()), want, "the look");

        let mut play = Play::update();
        play.takes_the_lease();
        play.sees(bad());
        play.reads_the_ledger(Vec::new());
        let answer = Answer::Updated(Err(error.clone()));
        play.expect(|call| matches!(call, Call::Update(_)), answer);
        assert_eq!(put_outcome(play.gives_back()), want, "the update");

        let mut play = Play::updated();
        play.waits(WaitFor::Settled, true);
        play.expect(|call| *call == Call::LookAtMachine, Answer::Machine(Err(error)));
        assert_eq!(put_outcome(play.gives_back()), want, "a look while it gets ready");
    }
}

#[test]
fn whoever_holds_the_lease_is_named_with_what_he_says() {
    let held = || PlatformError::LeaseHeld { owner: "zoe".to_owned(), expires_at: None };
    let taken = |answer: Answer| {
        let mut play = Play::update();
        play.expect(|call| *call == Call::TakeLease, Answer::Lease(Err(held())));
        play.expect(|call| *call == Call::LookAtMachine, answer);
        put_outcome(play.ended())
    };
    let lease = LeaseHolder {
        owner: "zoe@example.com".to_owned(),
        description: "fly deploy".to_owned(),
        expires_at: clock(seconds(13)),
    };
    let shown = Machine { lease: Some(lease), ..bad() };
    let (owner, description) = ("zoe@example.com".to_owned(), "fly deploy".to_owned());
    assert_eq!(
        taken(Answer::Machine(Ok(Box::new(shown)))),
        PutOutcome::LeaseHeld { owner, description }
    );
    let (owner, description) = ("zoe".to_owned(), String::new());
    assert_eq!(taken(Answer::Nothing), PutOutcome::LeaseHeld { owner, description });
}

#[test]
fn a_machine_that_is_not_found_is_gone_only_when_the_list_agrees() {
    let missing = || Answer::Machine(Err(PlatformError::NotFound("m1".to_owned())));
    for (list, gone) in [
        (Answer::Machines(Ok(Vec::new())), true),
        (Answer::Machines(Ok(vec![bad()])), false),
        (Answer::Machines(Err(broken())), false),
        (Answer::Nothing, false),
    ] {
        let mut play = Play::update();
        play.takes_the_lease();
        play.expect(|call| *call == Call::LookAtMachine, missing());
        play.expect(|call| *call == Call::ListMachines, Answer::Machines(Ok(Vec::new())));
        assert_eq!(put_outcome(play.gives_back()), PutOutcome::Gone);
        let mut play = Play::update();
        play.takes_the_lease();
        play.expect(|call| *call == Call::LookAtMachine, missing());
        play.expect(|call| *call == Call::ListMachines, list);
        assert_eq!(put_outcome(play.gives_back()) == PutOutcome::Gone, gone);
    }
}

#[test]
fn what_cannot_be_reached_is_not_written_to() {
    let cases = [
        (Machine { host: HostStatus::Unreachable, ..bad() }, "unreachable"),
        (Machine { host: HostStatus::Unknown, ..bad() }, "unknown"),
    ];
    for (machine, status) in cases {
        let mut play = Play::update();
        play.takes_the_lease();
        play.sees(machine);
        let status = status.to_owned();
        assert_eq!(put_outcome(play.gives_back()), PutOutcome::HostDown { status });
    }
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { config: None, ..bad() });
    play.reads_the_ledger(Vec::new());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::HostDown { .. }));
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(in_state(bad(), "destroyed"));
    assert_eq!(put_outcome(play.gives_back()), PutOutcome::Gone);
}

#[test]
fn what_is_somebody_elses_is_not_written_to() {
    let announced = Release {
        id: "r".to_owned(),
        version: ReleaseVersion(44),
        status: ReleaseStatus::Running,
        image: "x".to_owned(),
        author: Some("zoe".to_owned()),
        created_at: clock(Duration::ZERO),
        has_release_command: None,
        is_brief: false,
    };
    let newer = Machine { release: Some(ReleaseVersion(44)), ..good() };
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(newer);
    let version = ReleaseVersion(44);
    let want = PutOutcome::NewerRelease { version, by: None };
    assert_eq!(put_outcome(play.gives_back()), want, "also when it runs the target");

    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(bad());
    play.reads_the_ledger(vec![announced]);
    let want = PutOutcome::Announced { version, by: Some("zoe".to_owned()) };
    assert_eq!(put_outcome(play.gives_back()), want);

    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { image: image("other"), ..bad() });
    play.reads_the_ledger(Vec::new());
    let digest = Some(Digest::new("other"));
    assert_eq!(put_outcome(play.gives_back()), PutOutcome::OtherImage { digest });

    let metadata = [("fly_canary".to_owned(), "true".to_owned())].into();
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { metadata, updated_at: clock(Duration::ZERO), ..bad() });
    play.reads_the_ledger(Vec::new());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Deploying { .. }));

    let verified = Verified { instance: "i-good".into(), replaced: None };
    let mut play = Play::new(Errand::update(PutImage { verified: Some(verified), ..put() }));
    play.takes_the_lease();
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    let digest = Digest::new("bad");
    assert_eq!(put_outcome(play.gives_back()), PutOutcome::SetByHand { digest });
}

/// The ledger is a hint: without it the machine, read under the lease, is enough.
#[test]
fn a_ledger_that_cannot_be_read_stops_nothing() {
    for answer in [Answer::Ledger(Err(broken())), Answer::Nothing] {
        let mut play = Play::update();
        play.takes_the_lease();
        play.sees(bad());
        play.expect(|call| *call == Call::ReadLedger, answer);
        assert!(matches!(play.call(), Call::Update(_)));
    }
}

/// An attempt of which the answer was lost is under way: it is seen through, not made again.
#[test]
fn half_done_work_of_ours_is_adopted() {
    let replacing = Machine { image: image("bad"), ..in_state(good(), "replacing") };
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(replacing.clone());
    play.pauses();
    play.sees(in_state(good(), "starting"));
    play.pauses();
    play.waits(WaitFor::Started, true);
    play.sees(good());
    assert_eq!(play.writes, []);
    let outcome = put_outcome(play.gives_back());
    assert!(matches!(outcome, PutOutcome::AlreadyOnTarget { .. }), "{outcome:?}");

    // Somebody else's work on it is not ours to see through.
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(Machine { metadata: bad().metadata, ..replacing });
    assert_eq!(play.call(), Call::ReadLedger);
}

/// The image stays; what the bad release changed in the environment is put back.
fn put_configuration() -> PutImage {
    let texts = Texts::of(&RawConfig(r#"{"env":{"A":"1"}}"#.into())).unwrap();
    let put_back = [("app".into(), texts)].into();
    PutImage { bad: Digest::new("good"), put_back, ..put() }
}

fn configured(env: &str, machine: Machine) -> Machine {
    let config = format!(r#"{{"image":"registry.fly.io/api@good","env":{{"A":"{env}"}}}}"#);
    Machine { image: image("good"), config: Some(RawConfig(config.into())), ..machine }
}

#[test]
fn with_the_image_it_has_a_machine_is_configured_as_before() {
    let mut play = Play::new(Errand::update(put_configuration()));
    play.takes_the_lease();
    play.sees(configured("2", bad()));
    play.reads_the_ledger(Vec::new());
    play.updates();
    let Call::Update(update) = &play.writes[0] else { panic!("{:?}", play.writes) };
    assert!(update.config.0.contains(r#""env":{"A":"1"}"#), "{}", update.config.0);
    play.waits(WaitFor::Settled, true);
    play.sees(configured("1", good()));
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Updated { .. }));

    // It was done before: nothing is written.
    let mut play = Play::new(Errand::update(put_configuration()));
    play.takes_the_lease();
    play.sees(configured("1", good()));
    assert_eq!(play.writes, []);
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::AlreadyOnTarget { .. }));
}

/// The image says nothing then; the version of before does.
#[test]
fn a_configuration_that_the_platform_went_back_on_is_a_revert() {
    let mut play = Play::new(Errand::update(put_configuration()));
    play.takes_the_lease();
    play.sees(configured("2", bad()));
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.pass(seconds(5));
    play.waits(WaitFor::Settled, true);
    play.sees(configured("2", bad()));
    let outcome = put_outcome(play.gives_back());
    assert_eq!(outcome, PutOutcome::Reverted { runs: "good".to_owned() });
}

/// An attempt that was lost with the daemon wrote it a moment ago: it rests as soon as it settles.
#[test]
fn half_done_work_on_a_machine_at_rest_does_not_start_it() {
    let mut play = Play::new(Errand::update(PutImage { up: false, ..put() }));
    play.takes_the_lease();
    play.sees(in_state(good(), "replacing"));
    play.waits(WaitFor::Settled, true);
    play.sees(in_state(good(), "stopped"));
    assert_eq!(play.writes, []);
    let outcome = put_outcome(play.gives_back());
    assert!(matches!(outcome, PutOutcome::AlreadyOnTarget { .. }), "{outcome:?}");
}
