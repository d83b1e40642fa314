//! The proxy starts and stops machines with its users' requests, where their services ask for it.
//!
//! It starts one when every machine that runs has more requests at once than its soft limit, or none
//! runs; every few minutes it stops one of a region that has more of them than it needs.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    machine::{SimMachine, State, Version, later},
    org::Org,
    traffic::{count, seconds_of_a_request},
};

/// Requests at once that a machine takes gladly when its services do not say.
const SOFT_LIMIT: f64 = 20.0;

impl Version {
    fn services(&self) -> impl Iterator<Item = &Value> {
        self.config.get("services").and_then(Value::as_array).into_iter().flatten()
    }

    /// Whether the proxy may start it.
    fn is_autostarted(&self) -> bool {
        self.services().any(|service| service.get("autostart") == Some(&Value::Bool(true)))
    }

    /// What the proxy leaves it as when nobody needs it.
    fn autostop(&self) -> Option<State> {
        self.services().find_map(|service| match service.get("autostop")? {
            Value::Bool(true) => Some(State::Stopped),
            Value::String(how) if how == "stop" => Some(State::Stopped),
            Value::String(how) if how == "suspend" => Some(State::Suspended),
            _ => None,
        })
    }

    /// Whether the proxy starts or stops it at all.
    pub(super) fn is_proxied(&self) -> bool {
        self.is_autostarted() || self.autostop().is_some()
    }

    fn soft_limit(&self) -> f64 {
        let limits = self.services().filter_map(|service| {
            service.pointer("/concurrency/soft_limit").and_then(Value::as_f64)
        });
        limits.filter(|limit| *limit > 0.0).fold(None, least).unwrap_or(SOFT_LIMIT)
    }

    /// Machines that go on running in the primary region.
    fn min_running(&self) -> usize {
        let least = self.services().filter_map(|service| service.get("min_machines_running"));
        let most = least.filter_map(Value::as_u64).max().unwrap_or(0);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn is_at_home_in(&self, region: &str) -> bool {
        self.config.pointer("/env/PRIMARY_REGION").and_then(Value::as_str) == Some(region)
    }
}

fn least(one: Option<f64>, other: f64) -> Option<f64> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// A running machine and how many requests it has at once.
struct Busy<'a> {
    machine: &'a SimMachine,
    requests: f64,
}

impl Busy<'_> {
    fn is_over_its_limit(&self) -> bool {
        self.requests > self.machine.version.soft_limit()
    }
}

impl Org {
    /// The machines of an app that take requests, with what they have to do now.
    fn busy(&self, app: &str) -> Vec<Busy<'_>> {
        let Some(app) = self.apps.get(app) else { return Vec::new() };
        let after_s = self.now.duration_since(self.began).as_secs_f64();
        let factor = app.traffic.factor(after_s);
        let (shares, _) = self.shares(app);
        let machines = self.of_app(&app.name).filter(|machine| machine.takes_requests());
        machines
            .map(|machine| {
                let rate = shares.get(machine.id.as_str()).copied().unwrap_or(0.0) * factor;
                let requests = rate * seconds_of_a_request(self.behaviour_of(machine));
                Busy { machine, requests }
            })
            .collect()
    }

    /// How many requests a machine works on at once.
    pub(super) fn concurrency(&self, machine: &SimMachine) -> f64 {
        let busy = self.busy(&machine.app);
        busy.iter().find(|one| one.machine.id == machine.id).map_or(0.0, |one| one.requests)
    }

    /// Requests came: starts a machine of each app that needs one more.
    pub(super) fn start_for_requests(&mut self) {
        if !self.has_proxy {
            return;
        }
        let names: Vec<String> = self.apps.keys().cloned().collect();
        let wanted: Vec<(String, String)> =
            names.iter().filter_map(|app| Some((app.clone(), self.to_be_started(app)?))).collect();
        for (app, id) in wanted {
            // Whoever is on the way to something else is not started; the next request asks again.
            drop(self.force_start(&app, &id));
        }
    }

    fn to_be_started(&self, app: &str) -> Option<String> {
        let mut idle = self.of_app(app).filter(|machine| is_idle(machine)).peekable();
        idle.peek()?;
        let traffic = &self.apps.get(app)?.traffic;
        let after_s = self.now.duration_since(self.began).as_secs_f64();
        let demand = traffic.requests_per_s + traffic.regions.values().sum::<f64>();
        // The one that was started for the last request is waited for.
        let mut of_app = self.of_app(app);
        let comes = of_app.any(|one| one.state == State::Starting && one.version.has_services());
        if demand * traffic.factor(after_s) <= 0.0 || comes {
            return None;
        }
        let busy = self.busy(app);
        if !busy.iter().all(Busy::is_over_its_limit) {
            return None;
        }
        let app = self.apps.get(app)?;
        let rates = self.rates(app);
        // The nearest to most users: where most requests come for each machine that runs.
        let nearness = |machine: &SimMachine| {
            let rate = rates.get(machine.region.as_str()).copied().unwrap_or(0.0);
            let here = busy.iter().filter(|one| one.machine.region == machine.region).count();
            rate / (count(here) + 1.0)
        };
        // Of several that are as near, the first.
        let nearest =
            idle.reduce(|best, one| if nearness(one) > nearness(best) { one } else { best });
        nearest.map(|machine| machine.id.clone())
    }

    /// Stops or suspends a machine of each region that has too many.
    pub(super) fn stop_idle(&mut self, every: Duration) {
        self.proxy_due = later(self.now, every);
        let names: Vec<String> = self.apps.keys().cloned().collect();
        let idle: Vec<(String, String, State)> =
            names.iter().flat_map(|app| self.to_be_stopped(app)).collect();
        for (app, id, to) in idle {
            drop(self.force_rest(&app, &id, to == State::Suspended));
        }
    }

    fn to_be_stopped(&self, app: &str) -> Vec<(String, String, State)> {
        let mut places: BTreeMap<(&str, &str), Vec<Busy<'_>>> = BTreeMap::new();
        for one in self.busy(app) {
            let group = one.machine.version.metadata("fly_process_group").unwrap_or_default();
            places.entry((&one.machine.region, group)).or_default().push(one);
        }
        let chosen = places.into_iter().filter_map(|((region, _), running)| {
            let last = running.iter().rev().find(|one| one.machine.version.autostop().is_some())?;
            let version = &last.machine.version;
            let over = running.iter().filter(|one| one.is_over_its_limit()).count();
            let is_excess = match running.as_slice() {
                [alone] => alone.requests <= 0.0,
                several => several.len() > over + 1,
            };
            let kept = if version.is_at_home_in(region) { version.min_running() } else { 0 };
            let id = last.machine.id.clone();
            (is_excess && running.len() > kept).then_some((app.to_owned(), id, version.autostop()?))
        });
        chosen.collect()
    }
}

/// Whether the proxy may start it.
fn is_idle(machine: &SimMachine) -> bool {
    matches!(machine.state, State::Stopped | State::Suspended)
        && !machine.cordoned
        && machine.host == "ok"
        && machine.version.is_autostarted()
        && !machine.version.is_standby()
}
