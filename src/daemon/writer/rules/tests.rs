//! The errand, call by call: what comes next after every kind of answer.

use std::time::Duration;

use super::*;
use crate::{
    decide::{
        PutImage, PutOutcome, StartMachine, StartOutcome,
        rival::{ROLLBACK_MARK, Verified},
    },
    model::{
        Check, CheckStatus, Digest, ExitEvent, HostStatus, ImageRef, LeaseHolder, MachineState,
        RawConfig, ReleaseStatus, ReleaseVersion,
    },
};

mod anything;
mod containers;
mod lease_time;
mod limits;
mod outcomes;
mod readiness;
mod scheduled;
mod starting;

const ROLLBACK: &str = "api-v42-1";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn clock(elapsed: Duration) -> Timestamp {
    let span = jiff::SignedDuration::try_from(elapsed).unwrap();
    Timestamp::from_second(1_800_000_000).unwrap() + span
}

fn image(digest: &str) -> ImageRef {
    ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: "api".to_owned(),
        tag: None,
        digest: Some(Digest::new(digest)),
    }
}

fn put() -> PutImage {
    PutImage {
        machine: "m1".into(),
        region: "iad".into(),
        target: image("good"),
        bad: Digest::new("bad"),
        put_back: crate::model::PutBack::new(),
        leaves: std::collections::BTreeSet::new(),
        bad_release: Some(ReleaseVersion(42)),
        release: Some(ReleaseVersion(43)),
        release_id: None,
        after: ReleaseVersion(42),
        own: vec![ReleaseVersion(43)],
        since: clock(Duration::ZERO),
        verified: None,
        rollback: ROLLBACK.to_owned(),
        up: true,
        stays_up: false,
        taken_down: false,
        tolerates: std::collections::BTreeSet::new(),
        ready_timeout: seconds(60),
    }
}

/// A machine of the bad release, up.
fn bad() -> Machine {
    Machine {
        instance: "i-bad".into(),
        image: image("bad"),
        release: Some(ReleaseVersion(42)),
        config: Some(RawConfig(r#"{"image":"registry.fly.io/api@bad"}"#.into())),
        ..crate::model::machine::tests::machine(MachineState::Started)
    }
}

/// The same after our update.
fn good() -> Machine {
    Machine {
        instance: "i-good".into(),
        image: image("good"),
        release: Some(ReleaseVersion(43)),
        metadata: [(ROLLBACK_MARK.to_owned(), ROLLBACK.to_owned())].into(),
        config: Some(RawConfig(r#"{"image":"registry.fly.io/api@good"}"#.into())),
        ..bad()
    }
}

fn in_state(machine: Machine, state: &str) -> Machine {
    Machine { state: MachineState::parse(state), ..machine }
}

fn lease() -> Lease {
    let far = Timestamp::MAX;
    Lease { app: "api".into(), machine: "m1".into(), nonce: "n".to_owned(), expires_at: far }
}

fn broken() -> PlatformError {
    PlatformError::Unavailable("broken".to_owned())
}

/// Plays the platform for one errand, and says when a rule is broken.
struct Play {
    errand: Errand,
    elapsed: Duration,
    /// When the lease was last confirmed, by when the request was sent.
    leased_from: Option<Duration>,
    renewing_from: Option<Duration>,
    writes: Vec<Call>,
}

impl Play {
    fn new(errand: Errand) -> Self {
        let elapsed = Duration::ZERO;
        Self { errand, elapsed, leased_from: None, renewing_from: None, writes: Vec::new() }
    }

    fn update() -> Self {
        Self::new(Errand::update(put()))
    }

    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, clock: clock(self.elapsed) }
    }

    fn pass(&mut self, time: Duration) {
        self.elapsed += time;
    }

    fn call(&self) -> Call {
        match self.errand.next() {
            Next::Make { call, .. } => call,
            Next::Done(outcome) => panic!("done: {outcome:?}"),
        }
    }

    fn by(&self) -> Duration {
        match self.errand.next() {
            Next::Make { by, .. } => by,
            Next::Done(outcome) => panic!("done: {outcome:?}"),
        }
    }

    /// The call under way is this one, and is answered; every write is checked against the lease.
    #[track_caller]
    fn expect(&mut self, want: impl Fn(&Call) -> bool, answer: Answer) {
        let call = self.call();
        assert!(want(&call), "{call:?}");
        if call.is_write() {
            let from = self.leased_from.expect("a write without a lease");
            assert!(self.by() + LEASE_MARGIN <= from + LEASE_TTL, "a write too near the end");
            assert!(self.elapsed < self.by(), "a write that left late");
            self.writes.push(call.clone());
        }
        if matches!((&call, &answer), (Call::TakeLease, Answer::Lease(Ok(_)))) {
            self.leased_from = Some(self.elapsed);
        }
        self.errand.answered(self.now(), answer);
    }

    #[track_caller]
    fn takes_the_lease(&mut self) {
        self.expect(|call| *call == Call::TakeLease, Answer::Lease(Ok(lease())));
    }

    #[track_caller]
    fn sees(&mut self, machine: Machine) {
        self.expect(|call| *call == Call::LookAtMachine, Answer::Machine(Ok(Box::new(machine))));
    }

    #[track_caller]
    fn reads_the_ledger(&mut self, ledger: Vec<Release>) {
        self.expect(|call| *call == Call::ReadLedger, Answer::Ledger(Ok(ledger)));
    }

    #[track_caller]
    fn updates(&mut self) {
        let updated = Answer::Updated(Ok("i-good".into()));
        self.expect(|call| matches!(call, Call::Update(_)), updated);
    }

    #[track_caller]
    fn waits(&mut self, state: WaitFor, there: bool) {
        let wanted = |call: &Call| matches!(call, Call::WaitFor { state: s, .. } if *s == state);
        self.expect(wanted, Answer::Waited(Ok(there)));
    }

    /// Nothing is done until its time is over.
    #[track_caller]
    fn pauses(&mut self) {
        assert_eq!(self.call(), Call::Pause);
        self.elapsed = self.by();
        self.errand.answered(self.now(), Answer::Nothing);
    }

    /// The call under way is not answered.
    fn hears_nothing(&mut self) {
        self.elapsed = self.by();
        self.errand.answered(self.now(), Answer::Nothing);
    }

    /// A renewal that is due is sent and, after `delay`, answered.
    fn renews(&mut self, delay: Duration, result: Result<Lease, PlatformError>) {
        let renewal = self.errand.renewal().expect("a lease to be renewed");
        self.elapsed = self.elapsed.max(renewal.due);
        let sent = self.elapsed;
        self.errand.renewal_sent(self.now());
        assert_eq!(self.errand.renewal(), None, "one at a time");
        self.elapsed += delay;
        if result.is_ok() {
            self.leased_from = Some(sent);
        }
        self.errand.renewed(self.now(), result);
    }

    /// The lease is given back, and it ends so.
    #[track_caller]
    fn gives_back(self) -> Outcome {
        let mut play = self;
        play.expect(|call| *call == Call::GiveLeaseBack, Answer::GivenBack(Ok(())));
        play.ended()
    }

    #[track_caller]
    fn ended(self) -> Outcome {
        match self.errand.next() {
            Next::Done(outcome) => outcome,
            Next::Make { call, .. } => panic!("not over: {call:?}"),
        }
    }

    /// Up to the point where the update was accepted.
    fn updated() -> Self {
        let mut play = Self::update();
        play.takes_the_lease();
        play.sees(bad());
        play.reads_the_ledger(Vec::new());
        play.updates();
        play
    }
}

#[track_caller]
fn put_outcome(outcome: Outcome) -> PutOutcome {
    match outcome {
        Outcome::Put(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_whole_way() {
    let mut play = Play::updated();
    play.waits(WaitFor::Settled, true);
    play.sees(good());
    let Call::Update(update) = play.writes[0].clone() else { panic!("no update") };
    assert_eq!(update.current.as_str(), "i-bad");
    assert!(!update.skip_launch);
    assert!(update.config.0.contains(r#""image":"registry.fly.io/api@good""#));
    let PutOutcome::Updated { verified } = put_outcome(play.gives_back()) else { panic!() };
    assert_eq!(verified.instance.as_str(), "i-good");
    assert_eq!(verified.replaced.unwrap().as_str(), "i-bad", "where a revert would go back to");
}

/// A call keeps its number while it is the same, and another never has it again.
#[test]
fn a_number_stands_for_one_call() {
    let mut play = Play::update();
    let number = |play: &Play| match play.errand.next() {
        Next::Make { number, .. } => number,
        Next::Done(_) => panic!("done"),
    };
    let first = number(&play);
    assert_eq!(number(&play), first);
    play.takes_the_lease();
    assert!(number(&play) > first);
    let looking = number(&play);
    play.renews(seconds(1), Ok(lease()));
    assert_eq!(number(&play), looking, "a renewal goes on beside it");
}
