//! Users' requests: spread over the machines that run, counted by how they went.
//!
//! Traffic is played from one change of the fleet to the next, and at a fixed beat in between, so
//! that within one stretch every machine is either up or not.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    behaviour::Behaviour,
    machine::{Process, SimMachine, later, seconds},
    org::{App, Org, Totals},
    proxied,
    rng::Rng,
};

/// The shortest beat, while somebody looks often.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// Beats in one advance at most, however long nobody looked.
const BEATS_MAX: u32 = 5_000;
/// Seconds after which a client gives a request up that is not answered.
const GIVES_UP_S: f64 = 60.0;
/// Seconds a request takes that is not slow.
pub(super) const FAST_S: f64 = 0.04;

impl Org {
    /// How far apart the beats are, to get to `now` in a bounded number of them.
    pub(in crate::sim) fn slice(&self, now: Timestamp) -> Duration {
        let gap = Duration::try_from(now.duration_since(self.now)).unwrap_or(Duration::ZERO);
        self.timing.beat.max(gap / BEATS_MAX)
    }

    /// Serves the requests that came since the last time.
    pub(in crate::sim) fn serve_traffic(&mut self) {
        let (from, to) = (self.traffic_until, self.now);
        let span_s = to.duration_since(from).as_secs_f64();
        if span_s <= 0.0 {
            return;
        }
        self.traffic_until = to;
        self.start_for_requests();
        let after_s = from.duration_since(self.began).as_secs_f64();
        let names: Vec<String> = self.apps.keys().cloned().collect();
        for name in names {
            let Some(app) = self.apps.get(&name) else { continue };
            let requests = span_s * app.traffic.factor(after_s);
            let (shares, lost) = self.shares(app);
            let shares: Vec<(String, f64)> =
                shares.into_iter().map(|(id, share)| (id.to_owned(), share)).collect();
            let mut totals = Totals::default();
            for (id, share) in shares {
                let Some(machine) = self.machines.get_mut(&id) else { continue };
                let behaviour = self.images.behaviour(machine.version.digest.as_deref());
                let behaviour = behaviour.on(&machine.region, &machine.version.config);
                let Some(process) = &mut machine.process else { continue };
                let arrived = arrivals(&mut process.carry, share * requests);
                let hung = hangs(process, behaviour, arrived, to, &mut self.rng);
                totals.requests += arrived;
                totals.failed += hung;
                let arrived = arrived - hung;
                let (failed, slow) = serve(process, behaviour, arrived, to, &mut self.rng);
                totals.failed += failed;
                totals.slow += slow;
                let slow = (slow, behaviour.slow_ms / 1000.0);
                proxied::add(&mut machine.proxied, arrived, failed, slow);
            }
            if let Some(app) = self.apps.get_mut(&name) {
                let unserved = arrivals(&mut app.carry, lost * requests);
                app.totals.requests += totals.requests + unserved;
                app.totals.failed += totals.failed + unserved;
                app.totals.slow += totals.slow;
            }
        }
    }

    /// Requests a second that come in each region.
    pub(super) fn rates<'a>(&'a self, app: &'a App) -> BTreeMap<&'a str, f64> {
        let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
        for machine in self.of_app(&app.name) {
            let version = &machine.version;
            if !machine.is_destroyed() && version.has_services() && !version.is_standby() {
                *weights.entry(&machine.region).or_default() += 1.0;
            }
        }
        let whole: f64 = weights.values().sum();
        let mut rates: BTreeMap<&str, f64> = weights
            .iter()
            .map(|(region, weight)| (*region, app.traffic.requests_per_s * weight / whole))
            .collect();
        if weights.is_empty() {
            rates.insert("", app.traffic.requests_per_s);
        }
        for (region, rate) in &app.traffic.regions {
            *rates.entry(region).or_default() += rate;
        }
        rates
    }

    /// Requests a second for each machine, and those that no machine can take.
    pub(super) fn shares<'a>(&'a self, app: &'a App) -> (BTreeMap<&'a str, f64>, f64) {
        let mut up: BTreeMap<&str, Vec<&SimMachine>> = BTreeMap::new();
        for machine in self.of_app(&app.name).filter(|machine| machine.takes_requests()) {
            up.entry(&machine.region).or_default().push(machine);
        }
        let rates = self.rates(app);
        let mut shares: BTreeMap<&str, f64> = BTreeMap::new();
        // What a region cannot take goes to the others, as the proxy sends it.
        let mut over = 0.0;
        for (region, rate) in rates {
            match up.get(region) {
                Some(machines) => {
                    for machine in machines {
                        *shares.entry(&machine.id).or_default() += rate / count(machines.len());
                    }
                }
                None => over += rate,
            }
        }
        let all = count(shares.len());
        if shares.is_empty() {
            return (shares, over);
        }
        for share in shares.values_mut() {
            *share += over / all;
        }
        (shares, 0.0)
    }
}

pub(super) fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

/// How many whole requests a fraction makes; the rest is carried over.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole, non-negative number of requests, far below 2^53"
)]
fn arrivals(carry: &mut f64, requests: f64) -> u64 {
    let total = *carry + requests.max(0.0);
    let whole = total.floor();
    *carry = total - whole;
    whole as u64
}

/// How many requests a process takes and never answers: nothing counts them.
fn hangs(
    process: &Process,
    behaviour: &Behaviour,
    requests: u64,
    at: Timestamp,
    rng: &mut Rng,
) -> u64 {
    let is_itself = at >= later(process.runs_since, seconds(behaviour.after_s));
    if is_itself && behaviour.hang_share > 0.0 {
        rng.binomial(requests, behaviour.hang_share)
    } else {
        0
    }
}

/// Serves requests with a process, and tells how many failed and how many were slow.
fn serve(
    process: &mut Process,
    behaviour: &Behaviour,
    requests: u64,
    at: Timestamp,
    rng: &mut Rng,
) -> (u64, u64) {
    let is_itself = at >= later(process.runs_since, seconds(behaviour.after_s));
    let (error_share, slow_share) =
        if is_itself { (behaviour.error_share, behaviour.slow_share) } else { (0.0, 0.0) };
    let (checkout, broken) = checkout(behaviour, is_itself, requests, rng);
    process.checkout.0 += checkout - broken;
    process.checkout.1 += broken;
    let failed = rng.binomial(requests - checkout, error_share) + broken;
    let slow = rng.binomial(requests, slow_share);
    process.failed += failed;
    process.ok += requests - failed;
    let bucket = crate::sim::model::page::bucket(behaviour.slow_ms / 1000.0);
    *process.slow.entry(bucket).or_default() += slow;
    process.seconds += wide(requests - slow) * FAST_S + wide(slow) * behaviour.slow_ms / 1000.0;
    (failed, slow)
}

/// How many requests are for `/checkout`, and how many of those fail.
fn checkout(behaviour: &Behaviour, is_itself: bool, requests: u64, rng: &mut Rng) -> (u64, u64) {
    if behaviour.checkout_share <= 0.0 {
        return (0, 0);
    }
    let asked = rng.binomial(requests, behaviour.checkout_share);
    let share = if is_itself { behaviour.checkout_error_share } else { 0.0 };
    (asked, rng.binomial(asked, share))
}

/// How long a request takes on the average.
pub(super) fn seconds_of_a_request(behaviour: &Behaviour) -> f64 {
    let slow = behaviour.slow_share.clamp(0.0, 1.0);
    let answered = (1.0 - slow) * FAST_S + slow * behaviour.slow_ms / 1000.0;
    let hung = behaviour.hang_share.clamp(0.0, 1.0);
    (1.0 - hung) * answered + hung * GIVES_UP_S
}

/// A count as a number with a fraction; counts stay far below 2^53.
fn wide(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
