//! What the same bad release would have left without Waveoff: the same organization once more, in
//! simulated time, where somebody runs a plain `fly deploy` and nobody looks for a while.

use std::time::Duration;

use jiff::Timestamp;

use super::{APP, Bad, story};
use crate::sim::{ShipOptions, Sim, Totals, fleet};

/// How long it takes until a person has noticed, found the cause, and deployed what was there before.
pub(super) const UNTIL_SOMEBODY: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(500);
/// A deploy is over by then.
const DEPLOY_MAX: Duration = Duration::from_secs(300);

/// What was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Machines that run the bad release, of so many.
    pub(super) bad: usize,
    pub(super) machines: usize,
    /// What the app's users got from the moment of the deploy on.
    pub(super) users: Totals,
}

/// The difference between two looks.
pub(super) fn since(before: Totals, now: Totals) -> Totals {
    Totals {
        requests: now.requests.saturating_sub(before.requests),
        failed: now.failed.saturating_sub(before.failed),
        slow: now.slow.saturating_sub(before.slow),
    }
}

/// How many machines run an image of this tag, of how many.
pub(super) fn on(sim: &Sim, tag: &str) -> (usize, usize) {
    let running = sim.running(APP);
    let wanted = format!(":{tag}@");
    (running.values().filter(|image| image.contains(&wanted)).count(), running.len())
}

/// Plays it.
pub(super) fn without_waveoff(bad: Bad) -> anyhow::Result<Left> {
    let sim = Sim::at(&fleet::demo(), Timestamp::UNIX_EPOCH);
    let ship = |tag: &str| -> anyhow::Result<()> {
        let image = format!("registry.fly.io/{APP}:{tag}");
        // As `fly deploy` does unless it is told not to wait.
        let options = ShipOptions { checks: true, ..ShipOptions::default() };
        let shipped = sim.ship(APP, &image, options);
        shipped.map_err(|refusal| anyhow::anyhow!("ship {image}: {}", refusal.text()))?;
        Ok(())
    };
    ship("good")?;
    let mut waited = Duration::ZERO;
    while sim.is_shipping() && waited < DEPLOY_MAX {
        sim.skip(STEP);
        waited += STEP;
    }
    let before = sim.totals(APP);
    ship(story::fault(bad))?;
    let mut passed = Duration::ZERO;
    while passed < UNTIL_SOMEBODY {
        sim.skip(STEP);
        passed += STEP;
        // Time is played when somebody looks.
        sim.totals(APP);
    }
    let (bad, machines) = on(&sim, story::fault(bad));
    Ok(Left { bad, machines, users: since(before, sim.totals(APP)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_deploy_leaves_what_its_checks_do_not_see_on_every_machine() {
        let errors = without_waveoff(Bad::Errors).unwrap();
        assert_eq!((errors.bad, errors.machines), (6, 6));
        let share = errors.users.failed as f64 / errors.users.requests as f64;
        assert!((0.28..0.31).contains(&share), "{errors:?}");
        let latency = without_waveoff(Bad::Latency).unwrap();
        let share = latency.users.slow as f64 / latency.users.requests as f64;
        assert!((0.55..0.61).contains(&share), "{latency:?}");
        assert_eq!(latency.bad, 6);
    }

    #[test]
    fn a_plain_deploy_stops_at_a_machine_whose_checks_fail_and_leaves_it_so() {
        let unhealthy = without_waveoff(Bad::Unhealthy).unwrap();
        assert_eq!((unhealthy.bad, unhealthy.machines), (1, 6));
    }

    #[test]
    fn a_plain_deploy_does_not_see_what_crashes_when_it_was_healthy_before() {
        let crash = without_waveoff(Bad::Crash).unwrap();
        assert_eq!((crash.bad, crash.machines), (6, 6));
        assert!(crash.users.failed * 2 > crash.users.requests, "{crash:?}");
    }
}
