//! What disturbs a history, and when: chosen by its seed.

use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::SignedDuration;

use super::{
    errands::Fate,
    stage::{BAD, GOOD, NEWER, REGIONS, WELL, image},
    world::{What, World},
};
use crate::{
    decide::{Input, name},
    model::{Act, Mode, Named, OperatorHold, Order, Region, Signed, Wish},
    ports::Platform as _,
    sim::{Ask, Behaviour, Quirks, Right, Rng, ShipOptions, ShipStrategy},
};

/// The last disturbance begins so long after the first release was trusted.
const WITHIN_MS: u64 = 150_000;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Mishap {
    Ship {
        tag: &'static str,
        at_once: bool,
        region: Option<&'static str>,
    },
    Secrets,
    Scale {
        region: &'static str,
    },
    ByHand,
    Clone,
    Host {
        up: bool,
        machine: u64,
    },
    Calls {
        fate: Fate,
        of_ten: u64,
        for_ms: u64,
    },
    Denied {
        right: Right,
        status: u16,
        for_ms: u64,
    },
    Lag {
        region: &'static str,
        seconds: u64,
    },
    Hidden {
        region: &'static str,
        for_ms: u64,
    },
    Leased {
        for_ms: u64,
    },
    Kill,
    KillAtCall {
        calls: u32,
    },
    Registry {
        silent: bool,
    },
    Slow {
        for_ms: u64,
    },
    /// Calls of a kind are counted.
    Limits {
        for_ms: u64,
    },
    Operator {
        holds: bool,
    },
    /// A person orders something, to be chosen by this number when it happens.
    Hand {
        number: u64,
    },
    Mode {
        mode: Mode,
    },
    /// The platform's clock is set.
    Skew {
        seconds: i64,
    },
    Reverted,
    Quirk,
    /// An image that was well fails so much from now on; that of all other apps as well.
    Degrades {
        tag: &'static str,
        percent: u32,
        all: bool,
    },
    /// What every app depends on is out of order: half of all requests fail, whatever runs.
    Outage {
        begins: bool,
    },
}

fn of<T: Copy>(dice: &mut Rng, all: &[T]) -> T {
    let index = usize::try_from(dice.roll(all.len() as u64)).unwrap();
    *all.get(index).unwrap()
}

/// One of the releases is what is to be gone back to.
fn to_pin(known: &[Named], index: usize) -> Act {
    known.get(index).map_or(Act::Unpin, |one| Act::Pin { release: one.release.label() })
}

impl Mishap {
    /// One that the dice choose; what ends it, and how much later.
    pub fn any(dice: &mut Rng) -> (Self, Option<(u64, Self)>) {
        let region = of(dice, &REGIONS);
        let for_ms = 5_000 + dice.roll(100_000);
        let machine = dice.roll(12);
        match dice.roll(32) {
            0 => (Self::Secrets, None),
            1 => (Self::Scale { region }, None),
            2 => (Self::ByHand, None),
            3 => (Self::Clone, None),
            4 => {
                let back = Self::Host { up: true, machine };
                (Self::Host { up: false, machine }, Some((for_ms, back)))
            }
            5..=8 => {
                let fates =
                    [Fate::Fails, Fate::RequestLost, Fate::AnswerLost, Fate::Denied, Fate::Garbled];
                let fate = of(dice, &fates);
                let of_ten = of(dice, &[3, 6, 10]);
                (Self::Calls { fate, of_ten, for_ms }, None)
            }
            9 | 10 => {
                let status = of(dice, &[401, 403]);
                (Self::Denied { right: of(dice, &Right::ALL), status, for_ms }, None)
            }
            11 | 12 => {
                let seconds = 1 + dice.roll(30);
                (Self::Lag { region, seconds }, Some((for_ms, Self::Lag { region, seconds: 0 })))
            }
            13 => (Self::Hidden { region, for_ms: for_ms.min(60_000) }, None),
            14 => (Self::Leased { for_ms }, None),
            15 => (Self::Kill, None),
            16..=18 => (Self::KillAtCall { calls: u32::try_from(dice.roll(60)).unwrap() }, None),
            19 => {
                let answers = Self::Registry { silent: false };
                (Self::Registry { silent: true }, Some((for_ms, answers)))
            }
            20 => (Self::Slow { for_ms }, None),
            21 => (Self::Operator { holds: true }, Some((for_ms, Self::Operator { holds: false }))),
            22 => {
                let armed = Self::Mode { mode: Mode::Rollback };
                (Self::Mode { mode: Mode::Observe }, Some((for_ms, armed)))
            }
            23 => {
                let region = (dice.roll(4) == 0).then_some(region);
                (Self::Ship { tag: NEWER, at_once: dice.roll(2) == 0, region }, None)
            }
            24 => (Self::Reverted, None),
            25 => {
                let seconds = of(dice, &[-120, -40, 40, 120]);
                (Self::Skew { seconds }, None)
            }
            26 => (Self::Limits { for_ms }, None),
            27..=29 => (Self::Hand { number: dice.roll(1_000) }, None),
            30 => {
                let over = Self::Outage { begins: false };
                (Self::Outage { begins: true }, Some((for_ms, over)))
            }
            _ => (Self::Quirk, None),
        }
    }

    /// Whether it only puts a rollback off: what people did to machines stays, and a policy that
    /// only observes ends it.
    pub fn is_passing(&self) -> bool {
        !matches!(
            self,
            Self::Secrets
                | Self::Scale { .. }
                | Self::ByHand
                | Self::Clone
                | Self::Ship { .. }
                | Self::Hand { .. }
                | Self::Mode { .. }
                | Self::Outage { .. }
        )
    }

    /// How long it lasts by itself.
    pub fn lasts_ms(&self) -> u64 {
        match self {
            Self::Calls { for_ms, .. }
            | Self::Denied { for_ms, .. }
            | Self::Hidden { for_ms, .. }
            | Self::Leased { for_ms }
            | Self::Slow { for_ms }
            | Self::Limits { for_ms } => *for_ms,
            Self::Kill | Self::KillAtCall { .. } => 60_000,
            _ => 1_000,
        }
    }
}

impl World {
    /// Chooses what happens from now on; when it is over.
    pub fn plan_mishaps(&mut self) -> u64 {
        let mut calm_at = self.t + 30_000;
        for of in 0..self.courses.len() {
            // The others are steady, or are deployed too.
            if of > 0 && self.dice.roll(3) > 0 {
                continue;
            }
            let tag = if self.dice.roll(8) == 0 { GOOD } else { BAD };
            let at_once = self.dice.roll(2) == 0;
            let region = (self.dice.roll(8) == 0).then_some("iad");
            let later = if of == 0 { 0 } else { self.dice.roll(60_000) };
            self.befalls(self.t + 5_000 + later, of, Mishap::Ship { tag, at_once, region });
            calm_at = calm_at.max(self.t + 30_000 + later);
        }
        for _ in 0..1 + self.dice.roll(4) {
            // Most of them where a rollback is.
            let within_ms = of(&mut self.dice, &[WITHIN_MS, WITHIN_MS / 2, WITHIN_MS / 3]);
            let at = self.t + self.dice.roll(within_ms);
            let apps = self.courses.len() as u64;
            let app = usize::try_from(self.dice.roll(apps)).unwrap();
            let (mishap, end) = Mishap::any(&mut self.dice);
            if !mishap.is_passing() {
                // These are everybody's.
                let alone = !matches!(mishap, Mishap::Mode { .. } | Mishap::Outage { .. });
                for (number, course) in self.courses.iter_mut().enumerate() {
                    course.truth.meddled |= !alone || number == app;
                }
            }
            calm_at = calm_at.max(at + mishap.lasts_ms());
            self.befalls(at, app, mishap);
            if let Some((later, end)) = end {
                calm_at = calm_at.max(at + later);
                self.befalls(at + later, app, end);
            }
        }
        calm_at + 5_000
    }

    fn befalls(&mut self, at: u64, of: usize, mishap: Mishap) {
        self.plan(at, What::Mishap(of, Box::new(mishap)));
    }

    fn machines(&self, of: usize) -> Vec<String> {
        self.sim.machine_ids(self.courses[of].app.as_str(), None)
    }

    fn victim(&self, of: usize, number: u64) -> String {
        let machines = self.machines(of);
        let index = usize::try_from(number).unwrap() % machines.len();
        machines[index].clone()
    }

    /// It happens. What the platform refuses just then does not.
    pub fn befall(&mut self, of: usize, mishap: &Mishap) {
        self.dirty = true;
        self.note_of(of, || format!("!! {mishap:?}"));
        let app = self.courses[of].app.to_string();
        let roll = self.dice.roll(12);
        match mishap {
            Mishap::Ship { tag, at_once, region } => {
                let strategy =
                    if *at_once { ShipStrategy::Immediate } else { ShipStrategy::Rolling };
                let regions = region.iter().map(|&region| region.to_owned()).collect();
                let options = ShipOptions { strategy, regions, ..ShipOptions::default() };
                if let Ok(release) = self.sim.ship(&app, &image(&app, tag), options) {
                    self.released(of, release.version);
                }
            }
            Mishap::Secrets => {
                if let Ok(release) = self.sim.ship_secrets(&app, ShipOptions::default()) {
                    self.released(of, release.version);
                }
            }
            Mishap::Scale { region } => {
                let _refused = self.sim.scale(&app, region, 1).is_err();
            }
            Mishap::ByHand => {
                let machine = self.victim(of, roll);
                let _refused = self.sim.put_image(&machine, &image(&app, BAD)).is_err();
            }
            Mishap::Clone => {
                let machine = self.victim(of, roll);
                let _refused = self.sim.clone_machine(&machine).is_err();
            }
            _ => self.befalls_platform(of, roll, mishap),
        }
    }

    /// What is nobody's release.
    fn befalls_platform(&mut self, of: usize, roll: u64, mishap: &Mishap) {
        let app = self.courses[of].app.to_string();
        match mishap {
            Mishap::Host { up, machine } => {
                let machine = self.victim(of, *machine);
                if *up {
                    self.courses[of].truth.hosts_back_at = self.t + 60_000;
                    for id in self.machines(of) {
                        self.sim.set_host(&id, "ok").unwrap();
                    }
                } else {
                    self.sim.set_host(&machine, "unreachable").unwrap();
                }
            }
            Mishap::Calls { fate, of_ten, for_ms } => {
                self.trouble = (self.t + for_ms, *fate, *of_ten);
            }
            Mishap::Denied { right, status, for_ms } => {
                let time = Duration::from_millis(*for_ms);
                self.sim.deny(Some(super::world::US), *right, *status, Some(time));
            }
            Mishap::Lag { region, seconds } => {
                self.sim.set_list_lag(region, Duration::from_secs(*seconds));
            }
            Mishap::Hidden { region, for_ms } => {
                self.sim.hide_region(region, Duration::from_millis(*for_ms));
            }
            Mishap::Leased { for_ms } => {
                let machine = self.victim(of, roll);
                let ttl = Duration::from_millis(*for_ms);
                let owner = "zoe@example.com";
                let ask = Ask { nonce: None, ttl, owner, description: "" };
                let _refused = self.sim.with(|org| org.take_lease(&app, &machine, ask)).is_err();
            }
            Mishap::Kill => self.kill(),
            Mishap::KillAtCall { calls } => self.dies_at_call = Some(*calls),
            Mishap::Registry { silent } => self.registry_silent = *silent,
            Mishap::Slow { for_ms } => self.slow_until = self.t + for_ms,
            Mishap::Limits { for_ms } => self.limits.0 = self.t + for_ms,
            Mishap::Operator { holds } => self.order(of, *holds),
            Mishap::Hand { number } => self.hand(of, *number),
            Mishap::Mode { mode } => self.policy.mode = *mode,
            Mishap::Skew { seconds } => {
                self.sim.set_skew(SignedDuration::from_secs(*seconds));
                for course in &mut self.courses {
                    course.truth.clock_set_at = self.t;
                }
            }
            Mishap::Reverted => {
                let machine = self.victim(of, roll);
                let _refused = self.sim.revert_next_update(&machine).is_err();
            }
            Mishap::Quirk => {
                let quirks = Quirks {
                    events_survive: roll & 1 == 1,
                    updated_at_of_config: roll & 2 == 2,
                    checks_without_time: roll & 4 == 4,
                    checks_wait: roll & 8 == 8,
                    made_up_checks: false,
                };
                self.sim.set_quirks(quirks);
            }
            Mishap::Outage { begins } => self.outage(*begins),
            Mishap::Degrades { tag, percent, all } => self.degrades(tag, *percent, *all),
            Mishap::Ship { .. }
            | Mishap::Secrets
            | Mishap::Scale { .. }
            | Mishap::ByHand
            | Mishap::Clone => {}
        }
    }

    /// Notes a release of somebody. Whoever is deployed in an outage is no witness of it any more.
    fn released(&mut self, of: usize, version: u64) {
        let was_steady = self.courses[of].truth.released.insert(version, self.t).is_none()
            && self.courses[of].truth.released.len() == 1;
        for (other, course) in self.courses.iter_mut().enumerate() {
            if let Some((_, witnesses)) = &mut course.truth.outage
                && was_steady
                && other != of
            {
                *witnesses = witnesses.saturating_sub(1);
            }
        }
    }

    /// Nobody's release is to blame, and no image is well meanwhile.
    fn outage(&mut self, begins: bool) {
        let steady: Vec<bool> =
            self.courses.iter().map(|course| course.truth.released.is_empty()).collect();
        for (of, course) in self.courses.iter_mut().enumerate() {
            for tag in WELL {
                let share = if begins { 0.5 } else { 0.0 };
                let image = image(course.app.as_str(), tag);
                self.sim.set_behaviour(&image, Behaviour::errors(share)).unwrap();
            }
            let others =
                steady.iter().enumerate().filter(|(other, steady)| *other != of && **steady);
            let until = if begins { u64::MAX } else { self.t };
            course.truth.outage = Some((until, others.count()));
        }
    }

    /// A person orders something of a release that the daemon knows, or of a region.
    fn hand(&mut self, of: usize, number: u64) {
        if !self.alive {
            return;
        }
        let state = &self.courses[of].state;
        let known = name::releases(state);
        let index = usize::try_from(number / 10).unwrap() % known.len().max(1);
        let to = known.get(index).map(|one| one.release.label());
        let region = Region::new(REGIONS[index % REGIONS.len()]);
        let wish = match number % 10 {
            0..=2 => Wish::default(),
            3..=5 => Wish { to, force: number % 20 < 10, ..Wish::default() },
            6 => Wish { regions: [region].into(), ..Wish::default() },
            _ => Wish { dry_run: true, ..Wish::default() },
        };
        let act = match number % 10 {
            7 => Act::Veto,
            8 => Act::Resume,
            9 => to_pin(&known, index),
            _ => Act::Rollback(wish),
        };
        let app = self.courses[of].app.clone();
        let machines = self.platform.machines(&app).now_or_never().expect("at once");
        let signed = Signed { by: "ann".to_owned(), reason: String::new(), at: self.clock() };
        self.note_of(of, || format!("!! ann: {act:?}"));
        let order = Order::Act { act, signed };
        let input = Input::Operator { order, machines: machines.unwrap_or_default() };
        self.take(of, &input);
    }

    /// An operator's order; one that is given while the daemon is down is not.
    fn order(&mut self, of: usize, holds: bool) {
        let since = self.clock();
        let order = if holds {
            let by = "ann".to_owned();
            Order::Hold(OperatorHold { by, reason: "looking".to_owned(), since, until: None })
        } else {
            Order::Unhold(None)
        };
        if self.alive {
            self.take(of, &Input::Operator { order, machines: Vec::new() });
        } else if !holds {
            self.befalls(self.t + 1_000, of, Mishap::Operator { holds });
        }
    }
}
