//! What happens in an hour, chosen by the dice. What the platform refuses just then does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::SignedDuration;
use waveoff::{
    model::{OperatorHold, Order},
    ports::PlatformError,
    sim::{
        Behaviour, CallKind, Fault, FaultRule, Quirks, Right, Rng, ShipOptions, ShipStrategy, fleet,
    },
};

use super::{Hour, truth::US};
use crate::{
    mortal::{At, Blow},
    world::QUICK,
};

pub const APPS: [&str; 2] = ["api", "web"];
/// Images of every app: those that work, those that only fail requests, and all that are bad.
pub const WELL: [&str; 4] = ["v41", "good", "fix", "final"];
pub const FAILS_REQUESTS: [&str; 2] = ["errors", "latency"];
const BAD: [&str; 4] = ["errors", "latency", "crash", "unhealthy"];

pub fn image(app: &str, tag: &str) -> String {
    format!("registry.fly.io/{app}:{tag}")
}

pub fn of<'a, T>(dice: &mut Rng, all: &'a [T]) -> &'a T {
    let index = dice.roll(all.len() as u64);
    all.get(usize::try_from(index).unwrap()).unwrap()
}

/// Two apps in two or three regions, with images that go wrong in one way each.
pub fn fleet(seed: u64, dice: &mut Rng) -> fleet::Fleet {
    let mut fleet = fleet::Fleet::empty("acme");
    fleet.seed = seed;
    // Whoever looks sees what was served until then.
    fleet.beat_s = 5.0;
    fleet.boot_s = *of(dice, &[0.6, 3.0, 15.0]);
    fleet.replace_s = 0.3;
    let api: &[(&str, u32)] = match dice.roll(3) {
        0 => &[("iad", 2), ("lhr", 2)],
        1 => &[("iad", 3), ("lhr", 1)],
        _ => &[("iad", 2), ("lhr", 1), ("syd", 1)],
    };
    let web: &[(&str, u32)] = &[("iad", 1), ("lhr", 1)];
    for (app, machines, rate) in [("api", api, 60.0), ("web", web, 30.0)] {
        fleet.apps.push(fleet::FleetApp::new(app, &image(app, "v41"), machines, rate));
        let Some(group) = fleet.apps.last_mut().and_then(|app| app.groups.first_mut()) else {
            continue;
        };
        // In some hours a proxy follows the traffic, in some the machines have volumes.
        match seed % 5 {
            2 if app == "api" => {
                group.autostop = fleet::Autostop::Suspend;
                (group.autostart, group.soft_limit, group.min_machines_running) = (true, 1, 1);
                fleet.proxy_s = 120.0;
            }
            4 => group.volume_gb = 1,
            _ => {}
        }
        let well = || Behaviour { error_share: 0.001, ..Behaviour::default() };
        for tag in WELL {
            fleet.images.push(fleet::FleetImage::new(&image(app, tag), well()));
        }
        for (tag, how) in BAD.into_iter().zip([
            Behaviour::errors(0.3),
            Behaviour::slow(0.6),
            Behaviour::crashing(2.0),
            Behaviour::unhealthy(),
        ]) {
            fleet.images.push(fleet::FleetImage::new(&image(app, tag), how));
        }
    }
    fleet
}

/// Short times, and what lasts is not told over and over.
pub fn policy(mode: &str) -> String {
    let head = QUICK
        .replace("\"1m\"", "\"30s\"")
        .replace("[rollback]", "[rollback]\nper_day_max = 20\nescalate = false");
    crate::world::policy(&head)
        .replace("[\"api\"]", "[\"api\", \"web\"]")
        .replace("\"rollback\"\n", &format!("\"{mode}\"\n"))
}

/// What comes to an end by itself, and what has to be ended.
#[derive(Default)]
pub struct Lasting {
    /// Seconds by which the platform's clock is ahead.
    ahead_s: i64,
    /// Machines whose process was killed: nobody is killed twice, or it would be the release's.
    killed: BTreeSet<String>,
    observes: bool,
    /// What was shipped last of each app.
    shipped: BTreeMap<&'static str, &'static str>,
}

fn fault(dice: &mut Rng) -> FaultRule {
    let fault = match dice.roll(4) {
        0 => Fault::RequestLost,
        1 => Fault::AnswerLost,
        2 => Fault::Slow(Duration::from_secs(5 + dice.roll(20))),
        _ => Fault::Fail(PlatformError::Unavailable("503".to_owned())),
    };
    let kinds = [
        CallKind::Changes,
        CallKind::Apps,
        CallKind::Machines,
        CallKind::Machine,
        CallKind::Releases,
        CallKind::Lease,
        CallKind::Refresh,
        CallKind::Release,
        CallKind::Update,
        CallKind::Start,
        CallKind::Wait,
        CallKind::LogLines,
        CallKind::OpenRelease,
        CallKind::SetReleaseStatus,
        CallKind::Presence,
    ];
    FaultRule::new(fault).on(*of(dice, &kinds)).times(1 + dice.roll(15))
}

impl Hour {
    /// One thing happens.
    pub async fn mishap(&mut self) {
        let app = if self.dice.roll(3) == 0 { "web" } else { "api" };
        let machines = self.world.sim.machine_ids(app, None);
        let machine = of(&mut self.dice, &machines).clone();
        match self.dice.roll(12) {
            0..=2 => self.deploy(app),
            3 | 4 => self.meddle_with(app, &machine),
            5 | 6 => self.work_by_hand(app, &machine, machines.len()),
            7 | 8 => self.spoil_calls(),
            9 => self.spoil_sight(),
            10 => self.strike_the_daemon().await,
            _ => self.give_orders(app).await,
        }
    }

    fn deploy(&mut self, app: &'static str) {
        if self.dice.roll(8) == 0 {
            let done = self.world.sim.ship_secrets(app, ShipOptions::default());
            let done = done.map(|entry| self.truth.released(app, entry.version));
            return self.happened(done.is_ok(), &format!("new secrets of {app}"));
        }
        let strategy = *of(
            &mut self.dice,
            &[
                ShipStrategy::Rolling,
                ShipStrategy::Rolling,
                ShipStrategy::Immediate,
                ShipStrategy::Immediate,
                ShipStrategy::Canary,
            ],
        );
        let before = self.lasting.shipped.get(app).copied();
        let tag = if let Some(before) = before.filter(|_| self.dice.roll(4) == 0) {
            // The same once more, as people do who do not believe it.
            before
        } else if self.dice.roll(5) < 3 {
            *of(&mut self.dice, &BAD)
        } else {
            *of(&mut self.dice, &["good", "fix"])
        };
        let regions = if self.dice.roll(6) == 0 { vec!["iad".to_owned()] } else { Vec::new() };
        let told = format!("{app}:{tag} is shipped, {strategy:?} {regions:?}");
        let options = ShipOptions {
            strategy,
            checks: self.dice.roll(3) == 0,
            pause_s: *of(&mut self.dice, &[0.0, 2.0, 2.0, 30.0]),
            regions,
            ..ShipOptions::default()
        };
        self.lasting.shipped.insert(app, tag);
        let done = self.world.sim.ship(app, &image(app, tag), options);
        let done = done.map(|entry| self.truth.released(app, entry.version));
        self.happened(done.is_ok(), &told);
    }

    fn meddle_with(&mut self, app: &str, machine: &str) {
        let sim = self.world.sim.clone();
        let (done, what) = match self.dice.roll(6) {
            0 if self.lasting.killed.insert(machine.to_owned()) => {
                (sim.kill(machine).is_ok(), "its process is killed".to_owned())
            }
            0 | 1 => (sim.stop(machine).is_ok(), "is stopped".to_owned()),
            2 => (sim.start(machine).is_ok(), "is started".to_owned()),
            3 | 4 => {
                let status = *of(&mut self.dice, &["ok", "unreachable", "unknown"]);
                (sim.set_host(machine, status).is_ok(), format!("its host is {status}"))
            }
            _ => {
                let reverts = sim.revert_next_update(machine).is_ok();
                (reverts, "its next update is reverted".to_owned())
            }
        };
        self.happened(done, &format!("{app} {machine} {what}"));
    }

    fn work_by_hand(&mut self, app: &str, machine: &str, machines: usize) {
        let sim = self.world.sim.clone();
        let (done, what) = match self.dice.roll(5) {
            0 => {
                let tag = if self.dice.roll(2) == 0 { *of(&mut self.dice, &BAD) } else { "good" };
                (sim.put_image(machine, &image(app, tag)).is_ok(), format!("is set to {tag}"))
            }
            1 => {
                let time = Duration::from_secs(5 + self.dice.roll(60));
                let leased = sim.lease_as(machine, "zoe@example.com", time).is_ok();
                (leased, format!("is leased for {} s", time.as_secs()))
            }
            2 if machines > 5 => (sim.destroy(machine).is_ok(), "is destroyed".to_owned()),
            2 | 3 => (sim.clone_machine(machine).is_ok(), "is copied".to_owned()),
            _ if machines > 5 => (false, String::new()),
            _ => (sim.scale(app, "lhr", 1).is_ok(), "gets a sibling in lhr".to_owned()),
        };
        self.happened(done, &format!("{app} {machine} {what}"));
    }

    fn spoil_calls(&mut self) {
        if self.dice.roll(3) == 0 {
            let right = *of(&mut self.dice, &Right::ALL);
            let status = *of(&mut self.dice, &[401, 403]);
            let time = Duration::from_secs(5 + self.dice.roll(60));
            self.world.sim.deny(Some(US), right, status, Some(time));
            return self.happened(true, &format!("{right:?} is denied with {status} for {time:?}"));
        }
        let rule = fault(&mut self.dice);
        let told = format!("{rule:?}");
        self.world.sim.add_fault(rule);
        self.happened(true, &told);
    }

    fn set_clock(&mut self, seconds: i64) {
        self.world.sim.set_skew(SignedDuration::from_secs(seconds));
        let back = std::mem::replace(&mut self.lasting.ahead_s, seconds) - seconds;
        // Time that comes a second time is not counted twice.
        self.truth.hidden_for(u64::try_from(back).unwrap_or(0) * 1000);
    }

    fn spoil_sight(&mut self) {
        let region = *of(&mut self.dice, &["iad", "lhr", "syd", "*"]);
        let told = match self.dice.roll(5) {
            0 | 1 => {
                let seconds = *of(&mut self.dice, &[0, 5, 15, 30]);
                self.world.sim.set_list_lag(region, Duration::from_secs(seconds));
                self.truth.lists_are_late(seconds * 1000);
                format!("lists of {region} are {seconds} s late")
            }
            2 => {
                let time = Duration::from_secs(5 + self.dice.roll(40));
                self.world.sim.hide_region(region, time);
                self.truth.hidden_for(u64::try_from(time.as_millis()).unwrap() + 40_000);
                format!("{region} is missing from lists for {time:?}")
            }
            3 => {
                let seconds = *of(&mut self.dice, &[-120, -40, 0, 40, 120]);
                self.set_clock(seconds);
                format!("the platform's clock is {seconds} s ahead")
            }
            _ => {
                let roll = self.dice.roll(16);
                let quirks = Quirks {
                    events_survive: roll & 1 == 1,
                    updated_at_of_config: roll & 2 == 2,
                    checks_without_time: roll & 4 == 4,
                    checks_wait: roll & 8 == 8,
                    made_up_checks: false,
                };
                self.world.sim.set_quirks(quirks);
                format!("{quirks:?}")
            }
        };
        self.happened(true, &told);
    }

    async fn strike_the_daemon(&mut self) {
        let blow = *of(&mut self.dice, &[Blow::DieBefore, Blow::DieAfter]);
        match self.dice.roll(5) {
            0 => {
                self.happened(true, "the daemon is killed");
                self.world.restart().await;
            }
            1 | 2 => {
                let at = At::Call(1 + self.dice.roll(60));
                self.happened(true, &format!("{blow:?} {at:?}"));
                self.world.fate.decree(Some((at, blow)));
            }
            3 => {
                let lost = [blow, Blow::LoseRequest, Blow::LoseAnswer];
                let (blow, at) = (*of(&mut self.dice, &lost), At::Commit(1 + self.dice.roll(8)));
                self.happened(true, &format!("{blow:?} {at:?}"));
                self.world.fate.decree(Some((at, blow)));
            }
            _ => {
                let refuses = self.dice.roll(2) == 0;
                *self.world.inbox.refusing.lock().unwrap() = refuses;
                self.happened(true, &format!("the receiver refuses: {refuses}"));
            }
        }
    }

    async fn give_orders(&mut self, app: &str) {
        match self.dice.roll(5) {
            0 => {
                let time = SignedDuration::from_secs(20 + self.dice.roll(60).cast_signed());
                let since = self.world.now();
                let until = Some(since.checked_add(time).unwrap());
                let by = "ann".to_owned();
                let hold = OperatorHold { by, reason: "looking".to_owned(), since, until };
                let taken = self.world.try_order(Some(app), &Order::Hold(hold)).await;
                self.happened(taken.is_some(), &format!("{app} is held for {time:?}"));
            }
            1 => {
                self.lasting.observes = !self.lasting.observes;
                let mode = if self.lasting.observes { "observe" } else { "rollback" };
                self.happened(true, &format!("mode = {mode}"));
                self.world.change_policy(&policy(mode));
            }
            2 | 3 => {
                let rate = *of(&mut self.dice, &[0.0, 2.0, 60.0, 120.0]);
                self.world.sim.set_traffic(app, rate).unwrap();
                self.happened(true, &format!("{app} gets {rate} requests a second"));
            }
            _ => {
                let machines = self.world.sim.machine_ids(app, None);
                let (machine, reads) =
                    (of(&mut self.dice, &machines).clone(), self.dice.roll(2) == 0);
                self.world.sim.set_page_readable(&machine, reads);
                self.happened(true, &format!("the page of {app} {machine} is readable: {reads}"));
            }
        }
    }

    fn happened(&self, done: bool, what: &str) {
        if done {
            self.truth.note(format!("!! {what}"));
        }
    }

    /// Peace: everything works again.
    pub async fn calm(&mut self) {
        self.set_clock(0);
        let sim = &self.world.sim;
        sim.clear_faults();
        sim.allow_all();
        sim.set_quirks(Quirks::default());
        for region in ["iad", "lhr", "syd", "*"] {
            sim.set_list_lag(region, Duration::ZERO);
        }
        for app in APPS {
            sim.set_traffic(app, 60.0).unwrap();
            for id in sim.machine_ids(app, None) {
                sim.set_host(&id, "ok").unwrap();
                sim.set_page_readable(&id, true);
            }
        }
        self.world.fate.decree(None);
        *self.world.inbox.refusing.lock().unwrap() = false;
        self.world.change_policy(&policy("rollback"));
        // Holds end by themselves.
        self.truth.note("!! calm".to_owned());
    }
}
