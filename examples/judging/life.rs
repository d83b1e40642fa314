//! One life of a release: `step()` is driven as the daemon drives it, in simulated time, from before
//! the deploy until the release was undone or the time is over.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use waveoff::{
    decide::{AppState, Command, CommandId, Input, Outcome, distress, state::Phase, step},
    model::{
        Act, AppName, Belated, Count, EventKind, Machine, MachineSample, Observation, Order,
        OrgContext, Policy, Readings, Release, ReleaseStatus, ReleaseVersion, Signed, Since,
        SourceName, Tally, Wanted,
    },
    notify::text,
    sources::pages::counters::Counters,
};

use super::{
    dice::Dice,
    host::{Host, NEW, OLD, Told, ToldOfBefore, at, image},
    policy::{ERRORS, HANG, LATENCY, SHARE, policy, source},
    scene::{From, Scene},
    world::{Second, World},
};

/// When what is looked at before the deploy begins, and when the whole is over.
pub const BEGINS: f64 = -600.0;
pub const ENDS: f64 = 2400.0;
/// For how long the release before is known then.
pub const KNOWN_S: f64 = 3000.0;
/// Nothing is before that.
const ORIGIN: f64 = -200_000.0;
/// How often the organization's change feed is read, which shows that a machine was replaced.
const FEED_S: f64 = 2.0;
/// How old the ledger may be that a round goes by.
const LEDGER_S: f64 = 10.0;
/// What fails so soon after a start is no answer.
const PROBE_GRACE_S: f64 = 10.0;

/// What came of one life.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// When it was undone, and when people were told that it degrades.
    pub undone: Option<f64>,
    pub told: Vec<f64>,
    /// A hold was placed; it lasts in the end.
    pub held: bool,
    pub held_in_the_end: bool,
    pub trusted: Option<f64>,
    /// ln E of the threshold that counts requests, as often as it changed, and when.
    pub odds: Vec<(f64, f64)>,
    /// What was said and done, in words, and when.
    pub story: Vec<(f64, String)>,
    /// Every second from `BEGINS` on.
    pub seconds: Vec<Second>,
}

/// An app, what is remembered of it, and when it is looked at next.
struct Course {
    app: AppName,
    state: AppState,
    world: World,
    counters: Counters,
    next: f64,
    ledger_at: Option<f64>,
    dice: Dice,
}

/// All apps of a life; the first is the one that is deployed.
pub struct Stage {
    policy: Policy,
    wanted: Vec<Wanted>,
    scene: Scene,
    courses: Vec<Course>,
    origin: Instant,
    lived: Lived,
}

const APPS: [&str; 3] = ["api", "web", "shop"];

/// What was learned of v41 before the deploy: the state of each app.
pub fn learn(scene: &Scene, seed: u64) -> Vec<AppState> {
    let unknown = APPS.map(|app| AppState::new(app.into()));
    let mut stage = Stage::new(&scene.before(), seed, &unknown, false);
    stage.pass(BEGINS - scene.known_s, BEGINS);
    for one in 0..stage.courses.len() {
        stage.vouch(one);
    }
    stage.courses.into_iter().map(|course| course.state).collect()
}

/// The life of v42.
pub fn live(scene: &Scene, seed: u64, learned: &[AppState]) -> Lived {
    let mut stage = Stage::new(scene, seed, learned, true);
    stage.pass(BEGINS, scene.ends);
    let state = &stage.courses[0].state;
    stage.lived.held_in_the_end = state.phase.word() == "held";
    stage.lived
}

impl Stage {
    fn new(scene: &Scene, seed: u64, states: &[AppState], deploys: bool) -> Self {
        let apps = if scene.neighbours { APPS.len() } else { 1 };
        let courses = states.iter().take(apps).enumerate().map(|(number, state)| {
            let scene = if number == 0 { scene.clone() } else { scene.beside() };
            let seed =
                seed.wrapping_mul(0x9E37_79B9).wrapping_add(u64::try_from(number).unwrap_or(0));
            Course {
                app: APPS[number].into(),
                state: state.clone(),
                world: World::new(&scene, seed, deploys && number == 0),
                counters: Counters::default(),
                next: f64::NEG_INFINITY,
                ledger_at: None,
                dice: Dice::new(!seed),
            }
        });
        let by_path = scene.fault.is_some_and(|fault| fault.endpoint < 1.0);
        let policy = policy(scene.from, by_path);
        let wanted = policy.wants(&SourceName::Pages);
        let courses = courses.collect();
        let lived = Lived::default();
        Self { policy, wanted, scene: scene.clone(), courses, origin: Instant::now(), lived }
    }

    fn pass(&mut self, from: f64, until: f64) {
        let mut t = from;
        while t < until {
            for one in 0..self.courses.len() {
                if self.courses[one].next <= t && self.lived.undone.is_none() {
                    self.round(one, t);
                }
            }
            for (number, course) in self.courses.iter_mut().enumerate() {
                let second = course.world.pass(t);
                if course.world.was_replaced(t) {
                    let read = t + 1.0 + course.dice.between(0.0, FEED_S).floor();
                    course.next = course.next.min(read);
                }
                if number == 0 {
                    self.lived.seconds.push(second);
                }
            }
            t += 1.0;
        }
    }

    fn round(&mut self, one: usize, t: f64) {
        let troubled = distress::of(&self.courses[one].state).is_some();
        let observation = self.observe(one, t);
        self.take(one, &Input::Observed(observation), t);
        let alarm = !troubled && distress::of(&self.courses[one].state).is_some();
        for (number, course) in self.courses.iter_mut().enumerate() {
            if alarm && number != one {
                // The others look as well.
                course.next = course.next.min(t + 1.0);
            }
        }
    }

    /// Decides; what it orders is answered as long as no machine is touched.
    fn take(&mut self, one: usize, input: &Input, t: f64) {
        let course = &mut self.courses[one];
        let state = std::mem::replace(&mut course.state, AppState::new(course.app.clone()));
        let done = step(&self.policy, state, input, at(t));
        course.state = done.state;
        let pause = done.wake_at.duration_since(at(t)).as_secs_f64();
        course.next = (t + pause).max(t + 1.0).ceil();
        if one == 0 {
            self.lived.see(&course.state.phase, t);
            for event in &done.events {
                self.lived.note(event.kind, t);
                let said = format!("{}: {}", event.kind.as_str(), text::sentence(event));
                self.lived.story.push((t, said));
            }
        }
        for id in done.commands {
            if let Some(outcome) = self.answer(one, id, t) {
                self.take(one, &Input::Finished { command: id, outcome }, t);
            }
        }
    }

    fn answer(&self, one: usize, id: CommandId, t: f64) -> Option<Outcome> {
        match self.courses[one].state.memory.pending.get(&id)? {
            Command::CheckImage { .. } => Some(Outcome::ImagePresent),
            Command::OpenRelease { .. } => {
                let version = ReleaseVersion(NEW + 1);
                Some(Outcome::ReleaseOpened { id: format!("rel{t}"), version })
            }
            _ => None,
        }
    }

    fn observe(&mut self, one: usize, t: f64) -> Observation {
        let org = self.org(one);
        let course = &mut self.courses[one];
        let machines: Vec<_> = course.world.hosts.iter().map(|host| host.listed(t)).collect();
        let seen = course.state.memory.seen_version;
        let news = machines.iter().any(|machine| machine.release.is_some_and(|v| v > seen));
        let due = news || course.ledger_at.is_none_or(|last| t >= last + LEDGER_S);
        if due {
            course.ledger_at = Some(t);
        }
        let samples = course.samples(t, &machines, (&self.wanted, &self.scene), self.origin);
        Observation {
            began: at(t),
            machines: Ok(machines),
            ledger: due.then(|| ledger(t, self.scene.settles_at(), one == 0)),
            secrets: None,
            samples,
            blind: BTreeMap::new(),
            org,
        }
    }

    /// What the others are doing, from one app's point of view.
    fn org(&self, one: usize) -> OrgContext {
        let mut org = OrgContext::default();
        for (number, other) in self.courses.iter().enumerate() {
            if number != one
                && let Some(distress) = distress::of(&other.state)
            {
                org.neighbours.insert(other.app.clone(), distress);
            }
            if let Some(well) = distress::wellness(&other.state).filter(|_| number != one) {
                org.well.insert(other.app.clone(), well);
            }
        }
        org
    }

    /// Who watches from now on only, and knows that v41 is well, says so.
    fn vouch(&mut self, one: usize) {
        let course = &mut self.courses[one];
        if course.state.memory.newest_trusted().is_some() {
            return;
        }
        let signed =
            Signed { by: "dana".to_owned(), reason: "it is well".to_owned(), at: at(BEGINS) };
        let act = Act::Trust { release: format!("v{OLD}") };
        let machines = course.world.hosts.iter().map(|host| host.listed(BEGINS)).collect();
        let order = Order::Act { act, signed };
        self.take(one, &Input::Operator { order, machines }, BEGINS);
    }
}

impl Course {
    /// What is read of each machine that is up.
    fn samples(
        &mut self,
        t: f64,
        machines: &[Machine],
        (wanted, scene): (&[Wanted], &Scene),
        origin: Instant,
    ) -> Vec<MachineSample> {
        let mut samples = Vec::new();
        for (host, machine) in self.world.hosts.iter_mut().zip(machines) {
            if !host.is_up(t) {
                continue;
            }
            let readings = if self.dice.unit() < scene.unread {
                Err("no answer".to_owned())
            } else if scene.from == From::Pages {
                let now = origin + Duration::from_secs_f64(t - ORIGIN);
                let which = (&machine.instance, machine.started_at);
                let read = self.counters.read(&machine.id, which, &host.page(), wanted, now);
                Ok(read.readings)
            } else {
                Ok(readings(scene.from, host, &mut self.dice, t))
            };
            samples.push(MachineSample {
                machine: machine.id.clone(),
                instance: machine.instance.clone(),
                source: source(scene.from),
                readings,
            });
        }
        samples
    }
}

/// What is read of a machine where it has no page.
fn readings(from: From, host: &mut Host, dice: &mut Dice, t: f64) -> Readings {
    let count = |n, k| Count { n, k, since: Since::LastScrape };
    let mut readings = Readings::default();
    if from == From::Probes {
        let fails = dice.unit() < host.probe_fails;
        if !(fails && t - host.started < PROBE_GRACE_S) {
            readings.counts.insert(SHARE.to_owned(), count(1.0, f64::from(u8::from(fails))));
        }
        return readings;
    }
    let told = host.told_late(t);
    if let Some(before) = host.told_of_before(t) {
        let ToldOfBefore { instance, told: Told { n, k, slow }, from: since, to } = before;
        let belated = |k| {
            let (instance, tally) = (instance.clone(), Tally { n, k });
            Belated { instance, tally, series: BTreeMap::new(), from: since, to }
        };
        let all = match from {
            From::Server => vec![(SHARE, k)],
            _ => vec![(ERRORS, k), (LATENCY, slow)],
        };
        readings.belated = all.into_iter().map(|(name, k)| (name.to_owned(), belated(k))).collect();
    }
    if from == From::Server {
        readings.counts.insert(SHARE.to_owned(), count(told.n, told.k));
        return readings;
    }
    readings.counts.insert(ERRORS.to_owned(), count(told.n, told.k));
    readings.counts.insert(LATENCY.to_owned(), count(told.n, told.slow));
    if let Some(waits) = host.waits_s(t) {
        readings.gauges.insert(HANG.to_owned(), waits);
    }
    readings
}

impl Lived {
    /// Notes how the odds are while the release is watched.
    fn see(&mut self, phase: &Phase, t: f64) {
        let (Phase::Watching(watch)
        | Phase::Held { watch, .. }
        | Phase::CheckingImage { watch, .. }) = phase
        else {
            return;
        };
        let share = watch.evidence.iter().find(|one| one.threshold == SHARE);
        let odds = share.and_then(|one| one.ln_odds);
        if let Some(odds) = odds
            .filter(|odds| self.odds.last().is_none_or(|last| last.1.to_bits() != odds.to_bits()))
        {
            self.odds.push((t, odds));
        }
    }

    fn note(&mut self, kind: EventKind, t: f64) {
        match kind {
            EventKind::RollbackStarted => {
                self.undone.get_or_insert(t);
            }
            EventKind::ReleaseDegraded | EventKind::MachineSuspect => {
                self.told.push(t);
            }
            EventKind::HoldPlaced => self.held = true,
            EventKind::ReleaseTrusted => {
                self.trusted.get_or_insert(t);
            }
            _ => {}
        }
    }
}

/// The release ledger: v42 is in it as soon as its deploy begins.
fn ledger(t: f64, settles: f64, deploys: bool) -> Vec<Release> {
    let entry = |version: u64, made: f64, status: ReleaseStatus| Release {
        id: format!("rel_{version}"),
        version: ReleaseVersion(version),
        status,
        image: image(version).reference(),
        author: Some("zoe@example.com".to_owned()),
        created_at: at(made),
        has_release_command: Some(false),
        is_brief: false,
    };
    let mut ledger = vec![entry(OLD, -86_400.0, ReleaseStatus::Complete)];
    if deploys && t >= 0.0 {
        let done = t >= settles;
        let status = if done { ReleaseStatus::Complete } else { ReleaseStatus::Running };
        ledger.insert(0, entry(NEW, 0.0, status));
    }
    ledger
}
