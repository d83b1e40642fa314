//! The app of a history and the policy it is watched by, as its seed chooses them.

use std::time::Duration;

use super::world::{APP, BAD, BAKE_S, GOOD, NEWER, OLD, REGIONS, SCRAPE_S};
use crate::{
    model::{
        Checks, Crashes, Mode, NoData, OnBreach, Policy, Ratio, RollbackPolicy, Selector,
        Threshold, ThresholdKind, WatchPolicy,
    },
    sim::{
        Behaviour, Fleet, Rng,
        fleet::{FleetApp, FleetImage},
    },
};

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
        strict: false,
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
            escalate: false,
            ..RollbackPolicy::default()
        },
        metrics_port: None,
        metrics_path: None,
    }
}

/// The app and its images.
pub fn fleet(seed: u64, dice: &mut Rng) -> Fleet {
    let mut fleet = Fleet::empty("acme");
    fleet.seed = seed;
    fleet.beat_s = 60.0;
    fleet.boot_s = [1.0, 3.0, 20.0, 45.0][usize::try_from(dice.roll(4)).unwrap()];
    let regions = usize::try_from(2 + dice.roll(2)).unwrap();
    let places: Vec<(&str, u32)> = REGIONS[..regions]
        .iter()
        .map(|region| (*region, 1 + u32::try_from(dice.roll(4)).unwrap()))
        .collect();
    fleet.apps = vec![FleetApp::new(APP, OLD, &places, 30.0)];
    let bad = match dice.roll(6) {
        0 => Behaviour::unhealthy(),
        1 => Behaviour::crashing(2.0),
        2 => Behaviour::errors(0.6),
        _ => Behaviour::errors(0.3),
    };
    fleet.images = vec![
        FleetImage::new(OLD, Behaviour::default()),
        FleetImage::new(BAD, bad),
        FleetImage::new(GOOD, Behaviour::default()),
        FleetImage::new(NEWER, Behaviour::default()),
    ];
    fleet
}
