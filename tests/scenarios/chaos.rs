//! Hours in which everything happens at once, to two apps: releases good and bad, failing and
//! refused calls, late and partial lists, clocks that are wrong, dead hosts, people at work by hand,
//! and the daemon killed again and again.
//!
//! Whatever happens, the promises hold ([`truth`]); when calm returns, what passed ends nothing half
//! way, and the next release is watched and trusted as if nothing had been. A seed that fails prints
//! its timeline and how it is played again: `WAVEOFF_CHAOS=first..last`, both included.

mod mishaps;
mod told;
mod truth;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use waveoff::{
    model::AppName,
    sim::{Rng, ShipOptions},
    web::view::{Phase, ProtectionLevel},
};

use self::{
    mishaps::{APPS, FAILS_REQUESTS, Lasting, WELL, image},
    truth::Truth,
};
use crate::world::World;

/// Seeds that an ordinary run plays.
const ORDINARY: (u64, u64) = (1, 50);
/// Things that happen, one every 1 to 20 seconds.
const MISHAPS: u32 = 30;
const EVERY_S: u64 = 20;
/// The platform is looked at so often.
const INSTANT: Duration = Duration::from_millis(250);
const INSTANTS_A_SECOND: u64 = 4;
/// The bake of the policy.
const BAKE_MS: u64 = 30_000;
/// The longest that a first release may take to earn trust, and a last one.
const TRUSTED_BY_S: u64 = 1_200;
/// How long after calm returned a rollback may still be under way: a long pause asks for a fresh
/// breach, and what did not work out is tried ever more seldom.
const RESUMES_S: u64 = 1_800;

struct Hour {
    world: World,
    truth: Arc<Truth>,
    dice: Rng,
    lasting: Lasting,
}

impl Hour {
    async fn new(seed: u64, place: &Mutex<Option<Arc<Truth>>>) -> Self {
        let mut dice = Rng::new(seed ^ 0xC4A0);
        let fleet = mishaps::fleet(seed, &mut dice);
        let mut world = World::idle(&fleet, &mishaps::policy("rollback"));
        let images = |tags: &[&str]| -> Vec<String> {
            APPS.iter().flat_map(|app| tags.iter().map(|tag| image(app, tag))).collect()
        };
        let (well, up) = (images(&WELL), images(&FAILS_REQUESTS));
        let truth = Arc::new(Truth::new(&world.sim, &well, &up, BAKE_MS));
        *place.lock().unwrap() = Some(truth.clone());
        world.fate.watched_by(truth.clone());
        world.start().await;
        Self { world, truth, dice, lasting: Lasting::default() }
    }

    fn phase(&self, app: &str) -> Option<Phase> {
        self.world.board.app(&AppName::new(app)).map(|view| view.phase)
    }

    /// Lets seconds pass, in which nothing escapes the truth.
    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * INSTANTS_A_SECOND {
            tokio::time::sleep(INSTANT).await;
            for app in APPS {
                self.truth.look(app, || self.phase(app));
            }
            if self.world.fate.has_struck() {
                self.truth.note("!! it died, and is started again".to_owned());
                self.world.fate.decree(None);
                self.world.restart().await;
            }
            self.world.still_runs();
        }
        if let Some(problem) = self.truth.problem() {
            self.note_standings();
            panic!("{problem}");
        }
    }

    /// Where everything stands belongs under a timeline that ends badly.
    fn note_standings(&self) {
        for app in APPS {
            let view = self.world.board.app(&AppName::new(app));
            let view = view.map(|view| (view.phase, view.release, view.hold));
            let standings = self.truth.standings(app);
            self.truth.note(format!("{app} is {view:?} and stands like this:\n{standings}"));
        }
    }

    async fn until_trusted(&mut self, app: &str, version: u64) {
        for _ in 0..TRUSTED_BY_S {
            let view = self.world.board.app(&AppName::new(app));
            let trusted = view.is_some_and(|view| {
                view.protection.level == ProtectionLevel::Trusted
                    && view.known_good.and_then(|good| good.version).is_some_and(|v| v.0 == version)
            });
            if trusted {
                return;
            }
            self.pass(1).await;
        }
        let view = self.world.board.app(&AppName::new(app));
        let view = view.map(|view| (view.phase, view.hold, view.protection.why_not));
        panic!("v{version} of {app} was not trusted: {view:?}");
    }

    async fn play(&mut self) {
        for app in APPS {
            let version = self.world.sim.releases(app).remove(0).version;
            self.until_trusted(app, version).await;
        }
        for _ in 0..MISHAPS {
            self.mishap().await;
            let seconds = 1 + self.dice.roll(EVERY_S);
            self.pass(seconds).await;
        }
        // When calm returns
        self.calm().await;
        // Then whatever waited for it goes on, and nobody forgot anything
        self.settles().await;
        // And the next release is watched and trusted, and runs everywhere.
        for app in APPS {
            let version = self.ship_the_last(app).await;
            self.until_trusted(app, version).await;
            let last = self.world.sim.digest(&image(app, "final")).unwrap();
            let running = self.world.sim.running(app);
            assert!(running.values().all(|image| image.contains(&last)), "{running:?}");
        }
    }

    async fn settles(&mut self) {
        // Leases of others run out, and lists are read.
        self.pass(70).await;
        let mut left = None;
        for _ in 0..RESUMES_S {
            left = APPS.iter().find_map(|app| self.truth.left(app, self.phase(app)));
            if left.is_none() && !self.world.sim.is_shipping() {
                return;
            }
            self.pass(1).await;
        }
        self.note_standings();
        panic!("half an hour after calm returned: {left:?}");
    }

    /// The platform may still go back on an update that it was told to go back on; people ship
    /// again then.
    async fn ship_the_last(&mut self, app: &str) -> u64 {
        let last = image(app, "final");
        let digest = self.world.sim.digest(&last).unwrap();
        let mut version = 0;
        for _ in 0..3 {
            version = self.world.sim.ship(app, &last, ShipOptions::default()).unwrap().version;
            self.truth.released(app, version);
            while self.world.sim.is_shipping() {
                self.pass(1).await;
            }
            self.pass(10).await;
            if self.world.sim.running(app).values().all(|image| image.contains(&digest)) {
                break;
            }
        }
        for id in self.world.sim.machine_ids(app, None) {
            // One that the proxy is just suspending is started when that is over.
            while let Err(refusal) = self.world.sim.start(&id) {
                assert_eq!(refusal.status(), 412, "{id}: {refusal:?}");
                self.pass(1).await;
            }
        }
        version
    }
}

/// Plays one hour; its timeline and what is wrong with it, if anything.
fn an_hour(seed: u64, tells: bool) -> Result<(), String> {
    let place = Mutex::new(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut hour = Hour::new(seed, &place).await;
            hour.play().await;
            hour.world.finish().await;
        });
    }));
    let timeline = place.lock().unwrap().as_ref().map(|truth| truth.timeline()).unwrap_or_default();
    match played {
        Ok(()) => {
            if tells {
                println!("{timeline}");
            }
            Ok(())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(format!(
                "{timeline}\nhour {seed}: {}\nplay it again: WAVEOFF_CHAOS={seed}..{seed} \
                 cargo test --test scenarios whatever_happens -- --nocapture",
                text.unwrap_or_default()
            ))
        }
    }
}

fn seeds() -> (u64, u64) {
    let Ok(text) = std::env::var("WAVEOFF_CHAOS") else { return ORDINARY };
    let (first, last) = text.split_once("..").expect("WAVEOFF_CHAOS=first..last");
    let number = |text: &str| text.parse().expect("WAVEOFF_CHAOS=first..last");
    (number(first), number(last))
}

/// Each hour has a clock of its own, so that as many are played at once as there are cores.
#[test]
fn whatever_happens_the_promises_hold_and_the_next_release_is_watched() {
    let (first, last) = seeds();
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let broken = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        break;
                    }
                    if let Err(text) = an_hour(seed, first == last) {
                        broken.lock().unwrap().push((seed, text));
                    }
                }
            });
        }
    });
    println!("{} hours in {:.0} s", last + 1 - first, began.elapsed().as_secs_f64());
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    if let Some((_, text)) = broken.first() {
        let short = |text: &str| text.lines().rev().nth(1).map(str::to_owned).unwrap_or_default();
        let all: Vec<String> = broken.iter().map(|(_, text)| short(text)).take(40).collect();
        panic!("{text}\n{} broken:\n{}", broken.len(), all.join("\n"));
    }
}
