//! What happens in one life of a release: the traffic, what befalls everybody, and what is wrong with
//! the release. Times are seconds since its first machine was replaced.

use super::dice::Dice;

/// How long a machine takes to boot.
pub const BOOT_S: f64 = 4.0;

/// A day, and the part of its traffic that is left in the middle of the night.
pub const DAY_S: f64 = 86_400.0;
const NIGHT: f64 = 0.01;

/// Machines, in three regions.
pub const MACHINES: usize = 6;
pub const REGIONS: [&str; 3] = ["ams", "iad", "lhr"];

/// The region of a machine.
pub fn region_of(machine: usize) -> usize {
    machine * REGIONS.len() / MACHINES
}

/// How the share of failures wanders although nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    Steady,
    /// An Ornstein-Uhlenbeck process in the logarithm, with this time constant.
    Wandering {
        tau_s: f64,
    },
    /// So many requests in a row stand or fall together, on average.
    Clusters {
        of: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Everywhere,
    Region(usize),
    /// The first so many machines.
    Machines(usize),
    Machine(usize),
}

impl Place {
    pub fn has(self, machine: usize) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Region(region) => region_of(machine) == region,
            Self::Machines(first) => machine < first,
            Self::Machine(one) => machine == one,
        }
    }
}

/// What befalls machines whatever they run.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    pub from: f64,
    pub until: f64,
    pub share: f64,
    pub place: Place,
    /// The traffic is so many times the usual.
    pub rate: f64,
    /// It fades with this time constant after `until`; 0: at once.
    pub fades_s: f64,
    /// Requests besides the usual ones that always fail, as a part of the usual rate.
    pub extra: f64,
}

impl Incident {
    pub fn outage(from: f64, lasts: f64, share: f64) -> Self {
        let until = from + lasts;
        let place = Place::Everywhere;
        Self { from, until, share, place, rate: 1.0, fades_s: 0.0, extra: 0.0 }
    }

    /// How much of it there is at a moment, from 0 to 1.
    pub fn strength(&self, t: f64) -> f64 {
        if t < self.from {
            0.0
        } else if t < self.until {
            1.0
        } else if self.fades_s > 0.0 {
            (-(t - self.until) / self.fades_s).exp()
        } else {
            0.0
        }
    }
}

/// What a bad release does.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub from: f64,
    pub share: f64,
    /// From nothing to all of it.
    pub ramp_s: f64,
    pub place: Place,
    /// Only this part of the traffic, which is one endpoint's.
    pub endpoint: f64,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Errors,
    /// No request is answered any more; checks pass.
    Hangs,
    /// Health checks fail.
    Unhealthy,
    /// The process ends again and again.
    Crashes,
    /// On for 20 s, off for 40 s.
    Flaps,
    /// Requests are answered rightly, and take longer than anybody waits.
    Slow,
}

impl Fault {
    pub fn errors(from: f64, share: f64) -> Self {
        let place = Place::Everywhere;
        Self { from, share, ramp_s: 0.0, place, endpoint: 1.0, how: How::Errors }
    }

    /// The share of failures that it adds to what it touches.
    pub fn share_at(&self, t: f64, machine: usize) -> f64 {
        let errors = match self.how {
            How::Errors => true,
            How::Flaps => (t - self.from).rem_euclid(60.0) < 20.0,
            How::Hangs | How::Unhealthy | How::Crashes | How::Slow => false,
        };
        if errors { self.part_at(t, machine) } else { 0.0 }
    }

    /// The share of requests that it makes slow.
    pub fn slow_at(&self, t: f64, machine: usize) -> f64 {
        if self.how == How::Slow { self.part_at(t, machine) } else { 0.0 }
    }

    fn part_at(&self, t: f64, machine: usize) -> f64 {
        if t < self.from || !self.place.has(machine) {
            return 0.0;
        }
        let risen = if self.ramp_s > 0.0 { ((t - self.from) / self.ramp_s).min(1.0) } else { 1.0 };
        self.share * risen
    }
}

/// Whom the counts are read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// The machines' own pages.
    Pages,
    /// A metrics server that reads them every 15 s and shows it 15 s late.
    Server,
    /// The same, for the whole policy that ships: errors, latency and hangs.
    Shipped,
    /// Requests of our own, one a machine at each look.
    Probes,
}

#[derive(Clone, Debug)]
pub struct Scene {
    /// Requests a second of the whole app.
    pub rate: f64,
    /// The share of failures of both releases.
    pub base: f64,
    /// The share at the end of the life, as a multiple of `base`.
    pub drifts_to: f64,
    pub noise: Noise,
    pub from: From,
    /// Seconds from one machine's replacement to the next.
    pub deploy_gap_s: f64,
    pub incidents: Vec<Incident>,
    pub fault: Option<Fault>,
    /// The share of failures of a machine's first seconds.
    pub cold_share: f64,
    /// Machines that are restarted, and when.
    pub restarts: Vec<(f64, usize)>,
    /// How many of ten readings of a page come to nothing.
    pub unread: f64,
    /// Two apps beside it that nobody deploys, and that the same incidents befall.
    pub neighbours: bool,
    /// What befalls them besides.
    pub theirs: Vec<Incident>,
    /// When it is over.
    pub ends: f64,
    /// For how long the app is known before the deploy.
    pub known_s: f64,
    /// By night there is hardly any traffic.
    pub nights: bool,
}

impl Scene {
    /// Nothing is wrong.
    pub fn calm(rate: f64) -> Self {
        Self {
            rate,
            base: 0.005,
            drifts_to: 1.0,
            noise: Noise::Steady,
            from: From::Pages,
            deploy_gap_s: 10.0,
            incidents: Vec::new(),
            fault: None,
            cold_share: 0.0,
            restarts: Vec::new(),
            unread: 0.0,
            neighbours: false,
            theirs: Vec::new(),
            ends: super::life::ENDS,
            known_s: super::life::KNOWN_S,
            nights: false,
        }
    }

    /// The part of the usual traffic at a moment.
    pub fn tide(&self, t: f64) -> f64 {
        if !self.nights {
            return 1.0;
        }
        let day = (t / DAY_S * std::f64::consts::TAU).cos();
        NIGHT + (1.0 - NIGHT) * (1.0 + day) / 2.0
    }

    /// When every machine has been replaced.
    pub fn settles_at(&self) -> f64 {
        self.deploy_gap_s * 6.0
    }

    /// When the first request meets what is wrong with the release; `None`: nothing is.
    pub fn turns_bad(&self) -> Option<f64> {
        let fault = self.fault?;
        let first = (0..MACHINES).find(|machine| fault.place.has(*machine)).unwrap_or(0);
        let serves = self.deploy_gap_s * super::world::to_f64(first) + BOOT_S;
        Some(fault.from.max(serves))
    }

    /// What happens to an app beside it.
    pub fn beside(&self) -> Self {
        let incidents = self.incidents.iter().chain(&self.theirs).copied().collect();
        Self { fault: None, incidents, restarts: Vec::new(), ..self.clone() }
    }

    /// The same without what befalls it: how it was before the deploy.
    pub fn before(&self) -> Self {
        let fault = None;
        let (incidents, restarts) = (Vec::new(), Vec::new());
        Self { incidents, restarts, fault, drifts_to: 1.0, ..self.clone() }
    }
}

/// Short bursts of failures: some three a 10 minutes, a few seconds each.
pub fn bursts(dice: &mut Dice, until: f64) -> Vec<Incident> {
    let mut bursts = Vec::new();
    let mut at = dice.exponential(180.0);
    while at < until {
        bursts.push(Incident::outage(at, dice.exponential(3.0), 0.3));
        at += dice.exponential(180.0);
    }
    bursts
}
