//! The apps of a history and the policy they are watched by, as its seed chooses them.

use std::time::Duration;

use super::late::LatePlan;
use crate::{
    model::{
        Checks, Crashes, Mode, NoData, OnBreach, Origin, Policy, Ratio, RollbackPolicy, Selector,
        Threshold, ThresholdKind, WatchPolicy,
    },
    sim::{
        Behaviour, Fleet, Rng,
        fleet::{Autostop, FleetApp, FleetImage, Pulse},
    },
};

pub const APPS: [&str; 3] = ["api", "web", "job"];
pub const REGIONS: [&str; 3] = ["ams", "iad", "lhr"];
pub const OLD: &str = "v41";
pub const BAD: &str = "bad";
pub const GOOD: &str = "good";
pub const NEWER: &str = "newer";
/// The tags of what behaves well.
pub const WELL: [&str; 3] = [OLD, GOOD, NEWER];

pub const BAKE_S: u64 = 60;
const SCRAPE_S: u64 = 5;

/// An app's image.
pub fn image(app: &str, tag: &str) -> String {
    format!("registry.fly.io/{app}:{tag}")
}

/// What is held against a release.
pub fn policy(dice: &mut Rng) -> Policy {
    let threshold = |name: &str, kind| Threshold {
        name: name.to_owned(),
        kind,
        no_data: NoData::Hold,
        on_breach: OnBreach::Rollback,
    };
    let share = Ratio {
        bad: Selector::metric("errors_total"),
        total: Selector::metric("requests_total"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    Policy {
        name: "histories".to_owned(),
        mode: Mode::Rollback,
        watch: WatchPolicy {
            bake: Duration::from_secs(BAKE_S),
            scrape_every: Duration::from_secs(SCRAPE_S),
            countdown: Duration::from_secs(dice.roll(2) * 10),
            ..WatchPolicy::default()
        },
        thresholds: vec![
            threshold("5xx", ThresholdKind::Ratio(share)),
            threshold("checks", ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 })),
            threshold(
                "crashes",
                ThresholdKind::Crashes(Crashes { exits: 2, oom: 1, failing: 0.3 }),
            ),
        ],
        rollback: RollbackPolicy {
            confirm: crate::model::ConfirmTime::at_most(Duration::from_secs(10)),
            escalate: dice.roll(2) == 0,
            ..RollbackPolicy::default()
        },
        freezes: Vec::new(),
        per_organization_max: 20,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}

/// The apps and their images.
pub fn fleet(seed: u64, dice: &mut Rng) -> Fleet {
    let mut fleet = Fleet::empty("acme");
    fleet.seed = seed;
    fleet.beat_s = 60.0;
    fleet.boot_s = [1.0, 3.0, 20.0, 45.0][usize::try_from(dice.roll(4)).unwrap()];
    let apps = [1, 1, 1, 1, 2, 3][usize::try_from(dice.roll(6)).unwrap()];
    let apps = if LatePlan::has_neighbours(seed) { APPS.len() } else { apps };
    for (number, app) in APPS.into_iter().enumerate().take(apps) {
        // Those besides the first are small.
        let (regions, most) = if number == 0 { (2 + dice.roll(2), 4) } else { (2, 2) };
        let places: Vec<(&str, u32)> = REGIONS[..usize::try_from(regions).unwrap()]
            .iter()
            .map(|region| (*region, 1 + u32::try_from(dice.roll(most).min(dice.roll(4))).unwrap()))
            .collect();
        fleet.apps.push(FleetApp::new(app, &image(app, OLD), &places, 30.0));
        let bad = match dice.roll(7) {
            0 => Behaviour::unhealthy(),
            1 => Behaviour::crashing(2.0),
            2 => Behaviour::errors(0.6),
            3 => Behaviour::errors(1.0),
            _ => Behaviour::errors(0.3),
        };
        fleet.images.push(FleetImage::new(&image(app, BAD), bad));
        for tag in WELL {
            fleet.images.push(FleetImage::new(&image(app, tag), Behaviour::default()));
        }
    }
    what_the_platform_does(seed, &mut fleet);
    fleet
}

/// Some apps have a proxy that stops and starts their machines with the traffic, some have volumes.
fn what_the_platform_does(seed: u64, fleet: &mut Fleet) {
    let Some(app) = fleet.apps.first_mut() else { return };
    let Some(group) = app.groups.first_mut() else { return };
    match seed % 8 {
        3 | 6 => {
            group.autostop = if seed % 16 < 8 { Autostop::Stop } else { Autostop::Suspend };
            (group.autostart, group.soft_limit, group.min_machines_running) = (true, 1, 1);
            let pulse = Pulse { every_s: 90.0, busy_s: 40.0, busy: 3.0, rest: 0.5 };
            (app.traffic.pulse, fleet.proxy_s) = (Some(pulse), 90.0);
        }
        1 => group.volume_gb = 1,
        _ => {}
    }
}
