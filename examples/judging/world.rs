//! One app: its machines and their traffic, second by second.

use super::{
    dice::Dice,
    host::Host,
    scene::{BOOT_S, From, How, MACHINES, Noise, Scene},
};

/// How long the failures of a machine's cold start last, as a time constant.
const COLD_S: f64 = 5.0;
/// How far the logarithm of a wandering share wanders: its standard deviation.
const WANDERS: f64 = 1.0;
/// How long a process that crashes stays up, and how long it is down.
const UP_S: f64 = 20.0;
const DOWN_S: f64 = 3.0;
/// The share of requests that are slow although nothing is wrong, and how long the others take.
const SLOW: f64 = 0.005;
const TAKES_S: f64 = 0.1;

/// Requests and failures of one second, on the machines of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub n: f64,
    pub k: f64,
}

impl Tally {
    pub fn add(&mut self, n: f64, k: f64) {
        self.n += n;
        self.k += k;
    }
}

/// One second: on the new release and on the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    pub new: Tally,
    pub old: Tally,
}

pub struct World {
    pub hosts: Vec<Host>,
    scene: Scene,
    dice: Dice,
    /// Where the wandering share is, in standard deviations of its logarithm.
    wandered: f64,
    /// A release is deployed at 0.
    deploys: bool,
}

impl World {
    /// v41 runs on every machine, for a long time.
    pub fn new(scene: &Scene, seed: u64, deploys: bool) -> Self {
        let mut dice = Dice::new(seed);
        let hosts = (0..MACHINES).map(Host::new).collect();
        let wandered = dice.normal();
        Self { hosts, scene: scene.clone(), dice, wandered, deploys }
    }

    /// Lives through the second that begins at `t`.
    pub fn pass(&mut self, t: f64) -> Second {
        self.happen(t);
        self.wander();
        let strength: Vec<f64> =
            self.scene.incidents.iter().map(|incident| incident.strength(t)).collect();
        let mut rate = self.scene.rate * self.scene.tide(t);
        let mut extra = 0.0;
        for (incident, strength) in self.scene.incidents.iter().zip(&strength) {
            rate *= 1.0 + (incident.rate - 1.0) * strength;
            extra += incident.extra * strength * self.scene.rate;
        }
        let up: Vec<usize> = (0..MACHINES).filter(|one| self.hosts[*one].is_up(t)).collect();
        let part = 1.0 / to_f64(up.len().max(1));
        let mut second = Second::default();
        for one in up {
            let (n, k) = self.serve(one, t, rate * part, extra * part, &strength);
            if self.hosts[one].is_new() {
                second.new.add(n, k);
            } else {
                second.old.add(n, k);
            }
        }
        for host in &mut self.hosts {
            host.scraped(t + 1.0);
        }
        second
    }

    /// Whether a machine was given the new release in the second that began at `t`.
    pub fn was_replaced(&self, t: f64) -> bool {
        self.hosts.iter().any(|host| host.is_new() && host.placed >= t)
    }

    /// Replaces, restarts and ends what is due.
    fn happen(&mut self, t: f64) {
        let crashes = self.fault_is(How::Crashes, t);
        let unhealthy = self.fault_is(How::Unhealthy, t);
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let due = to_f64(number) * self.scene.deploy_gap_s;
            if self.deploys && !host.is_new() && t >= due {
                host.replace(t, t + BOOT_S);
            }
            let mut restarts = self.scene.restarts.iter();
            let now = to_usize(t);
            if t >= 0.0 && restarts.any(|(at, which)| *which == number && to_usize(*at) == now) {
                host.restart(t, t + BOOT_S, false);
            }
            if crashes && host.is_new() && t - host.started >= UP_S {
                host.restart(t, t + DOWN_S, true);
            }
            host.check(t, unhealthy && host.is_new());
        }
    }

    fn fault_is(&self, how: How, t: f64) -> bool {
        self.scene.fault.is_some_and(|fault| fault.how == how && t >= fault.from)
    }

    fn wander(&mut self) {
        if let Noise::Wandering { tau_s } = self.scene.noise {
            let step = (2.0 / tau_s).sqrt() * self.dice.normal();
            self.wandered += step - self.wandered / tau_s;
        }
    }

    /// The share of failures of a machine's requests that nobody is to blame for.
    fn usual(&self, one: usize, t: f64, strength: &[f64]) -> f64 {
        let scene = &self.scene;
        let drifted = 1.0 + (scene.drifts_to - 1.0) * (t / super::life::ENDS).clamp(0.0, 1.0);
        let wandered = match scene.noise {
            Noise::Wandering { .. } => (WANDERS * self.wandered - WANDERS * WANDERS / 2.0).exp(),
            Noise::Steady | Noise::Clusters { .. } => 1.0,
        };
        let befallen = scene.incidents.iter().zip(strength);
        let befallen = befallen.filter(|(incident, _)| incident.place.has(one));
        let befallen: f64 = befallen.map(|(incident, strength)| incident.share * strength).sum();
        let age = t - self.hosts[one].started;
        let cold =
            if self.hosts[one].is_new() { scene.cold_share * (-age / COLD_S).exp() } else { 0.0 };
        (scene.base * drifted * wandered + befallen + cold).min(1.0)
    }

    /// Requests and failures of one machine in a second.
    fn serve(&mut self, one: usize, t: f64, rate: f64, extra: f64, strength: &[f64]) -> (f64, f64) {
        let usual = self.usual(one, t, strength);
        let fault = self.scene.fault.filter(|_| self.hosts[one].is_new());
        if fault.is_some_and(|f| f.how == How::Hangs && t >= f.from && f.place.has(one)) {
            self.hosts[one].hangs(rate);
            self.hosts[one].probe_fails = 1.0;
            return (0.0, 0.0);
        }
        let (share, endpoint) =
            fault.map_or((0.0, 1.0), |fault| (fault.share_at(t, one), fault.endpoint));
        let all = self.dice.poisson(rate);
        let rare = if endpoint < 1.0 { self.dice.binomial(all, endpoint) } else { 0.0 };
        let here = if endpoint < 1.0 { usual } else { (usual + share).min(1.0) };
        let mut failed = self.failures(all - rare, here);
        let rare_failed = self.failures(rare, (usual + share).min(1.0));
        let more = self.dice.poisson(extra);
        failed += more;
        let host = &mut self.hosts[one];
        host.count((all - rare + more, failed), (rare, rare_failed));
        host.is_at((all * TAKES_S).ceil());
        host.probe_fails = here;
        // The usual rules see errors; what is slow they would have to be told by a rule of its own.
        if self.scene.from == From::Shipped {
            let slow = fault.map_or(0.0, |fault| fault.slow_at(t, one));
            let slow = self.dice.binomial(all, (SLOW + slow).min(1.0));
            self.hosts[one].count_slow(slow);
        }
        (all + more, failed + rare_failed)
    }

    fn failures(&mut self, n: f64, p: f64) -> f64 {
        let Noise::Clusters { of } = self.scene.noise else { return self.dice.binomial(n, p) };
        let mut failed = 0.0;
        for _ in 0..to_usize(self.dice.poisson(n * p / of)) {
            failed += self.dice.exponential(of).ceil();
        }
        failed.min(n)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of machines")]
pub fn to_f64(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small number that was drawn, or a second"
)]
pub fn to_usize(number: f64) -> usize {
    number.max(0.0) as usize
}
