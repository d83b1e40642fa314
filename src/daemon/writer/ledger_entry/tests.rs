//! Our entry in the ledger, when the ledger does not play along.

use super::*;
use crate::{
    ports::{Clock, Platform},
    sim::{CallKind, Fault, FaultRule, ShipOptions, Sim, fleet, ports::SimPlatform},
};

const IMAGE: &str = "registry.fly.io/api:v41@sha256:41";

struct Stage {
    sim: Sim,
    platform: SimPlatform,
    since: Timestamp,
}

impl Stage {
    fn new() -> Self {
        let clock = Clock::starting_at("2026-03-01T03:00:00Z".parse().unwrap());
        let sim = Sim::new(&fleet::demo(), clock.clone());
        let platform = SimPlatform::new(sim.clone(), "waveoff@tokens.fly.io");
        Self { sim, platform, since: clock.now() }
    }

    fn own(&self) -> Own<'static> {
        Own { image: IMAGE, after: ReleaseVersion(41), since: self.since }
    }

    async fn opens(&self) -> ReleaseVersion {
        open(&self.platform, &AppName::new("api"), self.own()).await.unwrap().1
    }

    async fn makes_one(&self) {
        let new = NewRelease { app: "api".into(), image: IMAGE.to_owned() };
        self.platform.open_release(&new).await.unwrap();
    }

    fn statuses(&self) -> Vec<String> {
        let mut statuses: Vec<_> =
            self.sim.releases("api").into_iter().map(|e| (e.version, e.status)).collect();
        statuses.sort();
        statuses
            .into_iter()
            .skip(1)
            .map(|(version, status)| format!("{version} {status}"))
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_making_was_not_answered_is_found_again() {
    let stage = Stage::new();
    let rule = FaultRule::new(Fault::AnswerLost).on(CallKind::OpenRelease).times(1);
    stage.sim.add_fault(rule);
    assert!(open(&stage.platform, &"api".into(), stage.own()).await.is_err());
    assert_eq!(stage.opens().await, ReleaseVersion(42));
    assert_eq!(stage.statuses(), ["42 running"]);
}

/// The ledger lagged, so that another was made: the one that nobody knows of pauses nobody.
#[tokio::test(start_paused = true)]
async fn of_two_entries_one_is_closed() {
    let stage = Stage::new();
    stage.makes_one().await;
    stage.makes_one().await;
    assert_eq!(stage.opens().await, ReleaseVersion(43));
    assert_eq!(stage.statuses(), ["42 failed", "43 running"]);
}

/// A rollback that paused for long closed its entry, and needs another to go on.
#[tokio::test(start_paused = true)]
async fn an_entry_that_was_closed_is_not_taken_up_again() {
    let stage = Stage::new();
    assert_eq!(stage.opens().await, ReleaseVersion(42));
    close_strays(&stage.platform, &"api".into(), stage.own(), false).await.unwrap();
    assert_eq!(stage.opens().await, ReleaseVersion(43));
    assert_eq!(stage.statuses(), ["42 failed", "43 running"]);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_release_is_neither_taken_nor_closed() {
    let stage = Stage::new();
    stage.sim.ship("api", "registry.fly.io/api:good", ShipOptions::default()).unwrap();
    assert_eq!(stage.opens().await, ReleaseVersion(43));
    close_strays(&stage.platform, &"api".into(), stage.own(), true).await.unwrap();
    let statuses = stage.statuses();
    assert_eq!(statuses[1], "43 complete");
    assert_eq!(statuses[0], "42 running", "theirs goes on");
}
