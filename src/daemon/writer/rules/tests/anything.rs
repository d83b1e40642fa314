//! Whatever is answered, and however late: no write is under way outside the lease, the lease is
//! given back unless it was lost, and every errand ends.

use proptest::prelude::*;

use super::*;

/// One thing that happens: after so long, an answer of this kind, or none.
fn happenings() -> impl Strategy<Value = Vec<(u64, u8, u8)>> {
    proptest::collection::vec((0_u64..14_000, 0_u8..8, 0_u8..12), 1..80)
}

fn machine_of(kind: u8) -> Machine {
    let exit = |requested_stop| ExitEvent {
        at: clock(seconds(1)),
        exit_code: 1,
        oom_killed: false,
        requested_stop,
        started_at: None,
    };
    match kind {
        0 => bad(),
        1 => good(),
        2 => in_state(good(), "replacing"),
        3 => in_state(good(), "stopped"),
        4 => in_state(bad(), "stopped"),
        5 => Machine { exits: vec![exit(false)], ..in_state(good(), "stopped") },
        6 => Machine { exits: vec![exit(false)], ..in_state(bad(), "stopped") },
        7 => Machine { release: Some(ReleaseVersion(44)), ..bad() },
        8 => Machine { image: image("other"), ..bad() },
        9 => Machine { host: HostStatus::Unreachable, ..bad() },
        10 => Machine { checks_configured: 1, ..good() },
        _ => Machine { instance: "another".into(), ..good() },
    }
}

fn error_of(kind: u8) -> PlatformError {
    match kind % 5 {
        0 => broken(),
        1 => PlatformError::NotFound(String::new()),
        2 => PlatformError::Denied(String::new()),
        3 => PlatformError::Conflict(String::new()),
        _ => PlatformError::LeaseHeld { owner: "zoe".to_owned(), expires_at: None },
    }
}

fn answer_of(call: &Call, fails: bool, kind: u8) -> Answer {
    let error = || error_of(kind);
    match call {
        Call::TakeLease => Answer::Lease(if fails { Err(error()) } else { Ok(lease()) }),
        Call::LookAtMachine => {
            Answer::Machine(if fails { Err(error()) } else { Ok(Box::new(machine_of(kind))) })
        }
        Call::ListMachines => Answer::Machines(if fails { Err(error()) } else { Ok(vec![bad()]) }),
        Call::ReadLedger => Answer::Ledger(if fails { Err(error()) } else { Ok(Vec::new()) }),
        Call::Update(_) => Answer::Updated(if fails { Err(error()) } else { Ok("i-good".into()) }),
        Call::Start => Answer::Started(if fails { Err(error()) } else { Ok(()) }),
        Call::WaitFor { .. } => Answer::Waited(if fails { Err(error()) } else { Ok(kind < 6) }),
        Call::GiveLeaseBack => Answer::GivenBack(if fails { Err(error()) } else { Ok(()) }),
        Call::Pause => Answer::Nothing,
    }
}

fn play(start: bool, happenings: &[(u64, u8, u8)]) -> Result<(), TestCaseError> {
    let mut play = Play::new(if start {
        Errand::start(StartMachine {
            machine: "m1".into(),
            region: "iad".into(),
            instance: "i-good".into(),
            down_since: clock(seconds(1)),
            rollback: ROLLBACK.to_owned(),
            stays_up: false,
            tolerates: std::collections::BTreeSet::new(),
            ready_timeout: seconds(60),
        })
    } else {
        Errand::update(put())
    });
    let mut asked_at = Duration::ZERO;
    let mut given_back = false;
    let mut lost = false;
    let mut last = 0;
    for (after, how, kind) in happenings.iter().cycle().take(4000) {
        let (number, call, by) = match play.errand.next() {
            Next::Make { number, call, by } => (number, call, by),
            Next::Done(_) => {
                prop_assert!(play.leased_from.is_none() || given_back || lost, "kept its lease");
                return Ok(());
            }
        };
        if number != last {
            last = number;
            asked_at = play.elapsed;
        }
        // The clock stops at the first thing that is due.
        let renewal = play.errand.renewal();
        let until = play.errand.renewing_until();
        let due = play.elapsed + Duration::from_millis(*after);
        let first = [Some(by), renewal.map(|renewal| renewal.due), until];
        let at = first.into_iter().flatten().fold(due, Duration::min).max(play.elapsed);
        play.elapsed = at;
        if call.is_write() {
            let from = play.leased_from.unwrap_or_default();
            prop_assert!(play.leased_from.is_some(), "a write without a lease");
            prop_assert!(by <= from + LEASE_TTL - LEASE_MARGIN, "a write too near the end");
        }
        if at >= by {
            play.errand.answered(play.now(), Answer::Nothing);
            given_back |= call == Call::GiveLeaseBack;
        } else if renewal.is_some_and(|renewal| renewal.due <= at) {
            play.renewing_from = Some(at);
            play.errand.renewal_sent(play.now());
        } else if until.is_some_and(|until| until <= at) {
            play.errand.renewed(play.now(), Err(broken()));
        } else if until.is_some() && how % 2 == 0 {
            let result = if *kind < 6 { Ok(lease()) } else { Err(error_of(*kind)) };
            if result.is_ok() {
                play.leased_from = play.renewing_from;
            }
            let (gone, other) = (PlatformError::NotFound(String::new()), error_of(4));
            lost |= result.as_ref().is_err_and(|error| *error == gone || *error == other);
            play.errand.renewed(play.now(), result);
        } else if *how == 7 && *kind == 11 {
            play.errand.stop(play.now());
        } else if call != Call::Pause {
            let answer = answer_of(&call, how % 4 == 1, *kind);
            if matches!(&answer, Answer::Lease(Ok(_))) {
                play.leased_from = Some(asked_at);
            }
            given_back |= call == Call::GiveLeaseBack;
            play.errand.answered(play.now(), answer);
        }
    }
    prop_assert!(play.elapsed < seconds(600), "it never ends");
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_answered(happenings in happenings()) {
        play(false, &happenings)?;
        play(true, &happenings)?;
    }
}
