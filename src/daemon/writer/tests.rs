//! One machine's update, polled await by await. At each of them somebody else's hand is put in:
//! a rival, a lost lease, a newer release, the end of the process. Whatever it is and wherever: no
//! write without a live lease, none over a newer release, the lease given back or left to end,
//! and the machine left as the next attempt can put right.

mod histories;
mod stepped;

use std::{cell::Cell, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_test::task;

use super::{make_calls::see_through, rules::Errand};
use crate::{
    decide::{Outcome, PutImage, PutOutcome},
    model::{AppName, Digest, ImageRef, MachineId, ReleaseVersion},
    ports::{Clock, Platform as _},
    sim::{CallKind, ShipOptions, Sim, State, fleet, ports::SimPlatform},
};
use stepped::Stepped;

const APP: &str = "api";
const US: &str = "waveoff@tokens.fly.io";
const NEWER: &str = "registry.fly.io/api:good";
/// Nothing takes more steps than this.
const STEPS_MAX: u32 = 5000;

/// What comes between.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hand {
    Nobody,
    /// Somebody takes the lease as soon as it is free, and keeps it for a while.
    Rival,
    /// The lease is cleared by force, and somebody else takes it at once.
    LostLease,
    /// A human's deploy begins.
    NewerRelease,
    /// An image is put on the machine by hand, which waits for no lease and minds it.
    SomebodysImage,
    /// The process is killed.
    Death,
    /// The daemon is told to stop.
    Stop,
    /// The answer of the call under way is lost, and of all others for a while.
    Silence,
}

struct Stage {
    sim: Sim,
    clock: Clock,
    platform: Arc<Stepped>,
    put: PutImage,
    /// Whether an image was put on it by hand.
    by_hand: Cell<bool>,
}

impl Stage {
    /// One machine on the bad release.
    fn new(resting: bool) -> Self {
        let mut fleet = fleet::demo();
        fleet.apps.clear();
        fleet.apps.push(fleet::FleetApp::new(APP, "registry.fly.io/api:v41", &[("iad", 1)], 0.0));
        let clock = Clock::starting_at("2026-03-01T03:00:00Z".parse().unwrap());
        let sim = Sim::new(&fleet, clock.clone());
        let machine = MachineId::new(sim.machine_ids(APP, None).pop().unwrap());
        if resting {
            sim.stop(machine.as_str()).unwrap();
        }
        let digest = |image: &str| Digest::new(sim.digest(image).unwrap());
        let put = PutImage {
            machine,
            region: "iad".into(),
            target: ImageRef {
                registry: "registry.fly.io".to_owned(),
                repository: APP.to_owned(),
                tag: Some("v41".to_owned()),
                digest: Some(digest("registry.fly.io/api:v41")),
            },
            bad: digest("registry.fly.io/api:errors"),
            put_back: crate::model::PutBack::new(),
            leaves: std::collections::BTreeSet::new(),
            bad_release: Some(ReleaseVersion(42)),
            release: Some(ReleaseVersion(41)),
            release_id: None,
            after: ReleaseVersion(42),
            own: Vec::new(),
            since: clock.now(),
            verified: None,
            rollback: "api-v42-1".to_owned(),
            up: !resting,
            stays_up: false,
            taken_down: false,
            tolerates: std::collections::BTreeSet::new(),
            ready_timeout: Duration::from_secs(60),
        };
        let inner = SimPlatform::new(sim.clone(), US);
        Self { platform: Arc::new(Stepped::new(inner)), sim, clock, put, by_hand: Cell::new(false) }
    }

    async fn on_the_bad_release(resting: bool) -> Self {
        let stage = Self::new(resting);
        stage.sim.ship(APP, "registry.fly.io/api:errors", ShipOptions::default()).unwrap();
        stage.pass(60).await;
        assert!(stage.runs("errors"));
        stage
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn runs(&self, tag: &str) -> bool {
        self.sim.running(APP).values().all(|image| image.contains(&format!(":{tag}")))
    }

    async fn lease_owner(&self) -> Option<String> {
        let machine = self.platform.inner.machine(&AppName::new(APP), &self.put.machine).await;
        machine.unwrap().lease.map(|lease| lease.owner)
    }

    fn interfere(&self, hand: Hand) {
        let machine = self.put.machine.as_str();
        let for_a_minute = Duration::from_secs(60);
        match hand {
            // Refused while the lease is ours, as it should be.
            Hand::Rival => drop(self.sim.lease_as(machine, "zoe@example.com", for_a_minute)),
            Hand::LostLease => {
                self.platform.lose_lease();
                drop(self.sim.lease_as(machine, "zoe@example.com", for_a_minute));
            }
            Hand::NewerRelease => {
                self.sim.ship(APP, NEWER, ShipOptions::default()).unwrap();
            }
            Hand::SomebodysImage => {
                let done = self.sim.with(|org| org.put_image(machine, NEWER)).is_ok();
                self.by_hand.set(done);
            }
            Hand::Silence => self.platform.fall_silent(Duration::from_secs(45)),
            Hand::Nobody | Hand::Death | Hand::Stop => {}
        }
    }

    /// One attempt, with a hand put in before the `at`-th poll. Answers with what it came to and
    /// the number of polls.
    async fn attempt(&self, hand: Hand, at: u32) -> (Option<Outcome>, u32) {
        let (stop, stopped) = watch::channel(false);
        let app = AppName::new(APP);
        let errand = Errand::update(self.put.clone());
        let mut work =
            task::spawn(see_through(&*self.platform, &self.clock, &app, errand, stopped));
        let mut polls = 0;
        for _ in 0..STEPS_MAX {
            polls += 1;
            if polls == at {
                self.interfere(hand);
                if hand == Hand::Death {
                    return (None, polls);
                }
                if hand == Hand::Stop {
                    stop.send_replace(true);
                }
            }
            if let std::task::Poll::Ready(outcome) = work.poll() {
                return (Some(outcome), polls);
            }
            if hand == Hand::Stop && at > 0 && polls >= at {
                // What is left is to take the lease's answer, and to give it back.
                assert!(polls < at + 6, "{at}: it does not stop");
            }
            while !work.is_woken() {
                tokio::time::advance(Duration::from_millis(250)).await;
            }
        }
        panic!("{hand:?} at {at}: the attempt never ends");
    }

    /// Attempts go on, as a rollback makes them, until the machine is as it should be.
    async fn put_right(&self) -> PutOutcome {
        let mut last = None;
        for _ in 0..30 {
            let (outcome, _) = self.attempt(Hand::Nobody, 0).await;
            let Some(Outcome::Put(outcome)) = outcome else { panic!("{outcome:?}") };
            match outcome {
                PutOutcome::Updated { .. }
                | PutOutcome::AlreadyOnTarget { .. }
                | PutOutcome::NewerRelease { .. }
                | PutOutcome::OtherImage { .. } => return outcome,
                passing => last = Some(passing),
            }
            self.pass(5).await;
        }
        panic!("never put right: {last:?}");
    }
}

/// A whole story; answers with the polls of its first attempt.
async fn story(hand: Hand, at: u32, resting: bool) -> u32 {
    let place = format!("{hand:?} at {at}, resting: {resting}");
    let stage = Stage::on_the_bad_release(resting).await;
    let (outcome, polls) = stage.attempt(hand, at).await;
    if let Some(outcome) = &outcome {
        // Given back, or lost; in silence nobody can give anything back.
        let owner = stage.lease_owner().await;
        let silent = hand == Hand::Silence;
        assert!(silent || owner.as_deref() != Some(US), "{place}: kept after {outcome:?}");
    }
    stage.pass(31).await;
    assert_ne!(stage.lease_owner().await.as_deref(), Some(US), "{place}: it ends by itself");
    stage.pass(60).await;
    let end = stage.put_right().await;
    let newer = hand == Hand::NewerRelease || stage.by_hand.get();
    let tag = if newer { "good" } else { "v41" };
    assert!(stage.runs(tag), "{place}: {end:?}, {:?}", stage.sim.running(APP));
    if !newer {
        let state = if resting { State::Stopped } else { State::Started };
        assert_eq!(stage.sim.state(stage.put.machine.as_str()), Some(state), "{place}");
    }
    for call in stage.sim.calls() {
        let writes = matches!(call.action, CallKind::Update | CallKind::Start);
        // Of a lease that was cleared by force nobody could know; the platform refuses.
        let known = hand != Hand::LostLease;
        assert!(!writes || call.leased || !known, "{place}: a write without a lease: {call:?}");
    }
    assert_eq!(stage.platform.wrongs(), Vec::<String>::new(), "{place}");
    polls
}

async fn at_every_await(hand: Hand, resting: bool) {
    let calm = story(Hand::Nobody, 0, resting).await;
    assert!((10..500).contains(&calm), "{calm} polls");
    for at in 1..=calm {
        story(hand, at, resting).await;
    }
}

macro_rules! at_every_await {
    ($($name:ident: $hand:expr;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            at_every_await($hand, false).await;
            at_every_await($hand, true).await;
        }
    )*};
}

at_every_await! {
    a_rival_at_every_await: Hand::Rival;
    a_lost_lease_at_every_await: Hand::LostLease;
    a_newer_release_at_every_await: Hand::NewerRelease;
    an_image_by_hand_at_every_await: Hand::SomebodysImage;
    the_end_of_the_process_at_every_await: Hand::Death;
    a_stop_at_every_await: Hand::Stop;
    silence_at_every_await: Hand::Silence;
}

/// An attempt of which only the answer is lost is not made twice.
#[tokio::test(start_paused = true)]
async fn an_update_that_was_not_answered_is_not_made_again() {
    let stage = Stage::on_the_bad_release(false).await;
    stage.platform.lose_answer_of_next_update();
    let (outcome, _) = stage.attempt(Hand::Nobody, 0).await;
    assert!(matches!(outcome, Some(Outcome::Put(PutOutcome::Unavailable { .. }))), "{outcome:?}");
    assert!(matches!(stage.put_right().await, PutOutcome::AlreadyOnTarget { .. }));
    let updates = stage.sim.calls().into_iter().filter(|call| call.action == CallKind::Update);
    assert_eq!(updates.count(), 1);
}

/// The platform hardly answers: the update waits in the client for longer than the lease lives.
#[tokio::test(start_paused = true)]
async fn an_update_that_is_held_up_never_leaves_when_the_lease_has_ended() {
    let stage = Stage::on_the_bad_release(false).await;
    stage.platform.hold_up_updates(Duration::from_secs(40));
    stage.platform.refuse_renewals();
    let (outcome, _) = stage.attempt(Hand::Nobody, 0).await;
    assert!(matches!(outcome, Some(Outcome::Put(PutOutcome::Unavailable { .. }))), "{outcome:?}");
    let updates = stage.sim.calls().into_iter().filter(|call| call.action == CallKind::Update);
    assert_eq!(updates.count(), 0);
}
