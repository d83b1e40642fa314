//! Promise 3: no write is under way when the lease may have ended, however slow anything is.

use super::*;

#[test]
fn a_look_that_took_long_is_followed_by_a_renewal_before_the_write() {
    let mut play = Play::update();
    play.takes_the_lease();
    // Twelve seconds of the look, and six of the ledger; no renewal was answered meanwhile.
    play.renews(seconds(2), Err(broken()));
    play.sees(bad());
    play.pass(seconds(6));
    play.reads_the_ledger(Vec::new());
    assert_eq!(play.call(), Call::Pause, "{} s in", play.elapsed.as_secs());
    play.renews(seconds(1), Ok(lease()));
    play.updates();
    assert_eq!(play.writes.len(), 1);
}

#[test]
fn a_lease_that_cannot_be_prolonged_is_not_written_under() {
    let mut play = Play::update();
    play.takes_the_lease();
    play.pass(seconds(18));
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    assert_eq!(play.call(), Call::Pause);
    play.renews(seconds(1), Err(broken()));
    play.renews(seconds(1), Err(broken()));
    play.hears_nothing();
    assert_eq!(play.writes, []);
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Unavailable { .. }));
}

/// It counts from when it was asked for: an answer that took 20 s leaves 10.
#[test]
fn a_lease_is_as_old_as_the_request_for_it() {
    let mut play = Play::update();
    play.pass(seconds(20));
    play.errand.answered(play.now(), Answer::Lease(Ok(lease())));
    play.leased_from = Some(Duration::ZERO);
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    assert_eq!(play.call(), Call::Pause, "ten seconds are too few");
    // The same of a renewal: its answer counts from when it was sent.
    play.renews(seconds(4), Ok(lease()));
    assert!(matches!(play.call(), Call::Update(_)));
    assert_eq!(play.by(), seconds(20) + LEASE_TTL - LEASE_MARGIN);
}

/// The host slept: the clock that only runs forward stood still, the time of day did not.
#[test]
fn time_that_the_host_slept_away_counts() {
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(bad());
    let now = Now { elapsed: play.elapsed, clock: clock(seconds(300)) };
    play.errand.answered(now, Answer::Ledger(Ok(Vec::new())));
    assert_eq!(play.call(), Call::Pause);
}

#[test]
fn a_write_is_dropped_before_the_lease_ends_and_gets_more_time_with_a_renewal() {
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(bad());
    play.reads_the_ledger(Vec::new());
    assert_eq!(play.by(), LEASE_TTL - LEASE_MARGIN);
    play.renews(seconds(1), Ok(lease()));
    assert_eq!(play.by(), seconds(10) + LEASE_TTL - LEASE_MARGIN, "renewed at ten seconds");
    play.hears_nothing();
    let outcome = put_outcome(play.gives_back());
    let PutOutcome::Unavailable { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("not known"), "{reason}");
}

#[test]
fn a_lease_that_is_somebody_elses_ends_the_attempt_at_once() {
    for error in [
        PlatformError::NotFound("lease not found".to_owned()),
        PlatformError::LeaseHeld { owner: "zoe".to_owned(), expires_at: None },
    ] {
        let mut play = Play::updated();
        play.renews(seconds(0), Err(error));
        assert!(matches!(put_outcome(play.ended()), PutOutcome::Unavailable { .. }));
    }
}

/// What only was not confirmed may still be ours until it ends.
#[test]
fn a_renewal_that_failed_is_tried_again_until_the_lease_ends() {
    let mut play = Play::updated();
    let denied = || PlatformError::Denied("401".to_owned());
    play.renews(seconds(0), Err(denied()));
    play.renews(seconds(0), Err(broken()));
    assert_eq!(play.elapsed, seconds(12));
    play.renews(seconds(0), Ok(lease()));
    play.waits(WaitFor::Settled, false);
    assert_eq!(play.call(), Call::LookAtMachine);
    let mut play = Play::updated();
    while play.elapsed < seconds(29) {
        play.renews(seconds(0), Err(broken()));
        play.pass(seconds(1));
    }
    play.waits(WaitFor::Settled, false);
    play.elapsed = LEASE_TTL;
    assert_eq!(play.by(), LEASE_TTL, "nothing goes on after it");
    play.hears_nothing();
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Unavailable { .. }));
}

#[test]
fn stopping_gives_the_lease_back_even_when_it_is_just_being_granted() {
    let mut play = Play::update();
    play.errand.stop(play.now());
    play.takes_the_lease();
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Unavailable { .. }));

    let mut play = Play::updated();
    play.errand.stop(play.now());
    assert!(matches!(put_outcome(play.gives_back()), PutOutcome::Unavailable { .. }));
}
