//! What the daemon would have done at each deploy: the same steps over the past, with the app's own past as
//! floor and comparison, other apps as neighbours, a countdown where nothing vouches, recoveries and holds.
//!
//! Who ran which release when nobody kept, so that every machine is taken to run the new one from the deploy
//! on: there is no control. What was deployed stays, whatever would have been done about it.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::both::Coming;
use crate::{
    decide::{
        AppState, Command, Input, Outcome, distress,
        state::{Phase, Revision, Trusted},
        step,
    },
    model::{
        AppName, Digest, Event, EventKind, ImageRef, Machine, MachineSample, Mode, Observation,
        OrgContext, Origin, Policy, Readings, Release, ReleaseStatus, ReleaseVersion, SourceName,
        Threshold, Wanted,
    },
};

/// A deploy is followed for at least so long.
pub(super) const FOLLOWED_FOR: SignedDuration = SignedDuration::from_mins(60);
/// Events that are kept of a deploy.
const EVENTS_MAX: usize = 50;

/// One deploy, and what the daemon would have told of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Deploy {
    pub(super) at: Timestamp,
    pub(super) release: ReleaseVersion,
    pub(super) events: Vec<Event>,
    /// When its rollback would have begun.
    pub(super) undone: Option<Timestamp>,
}

/// One app as the daemon would have known it.
struct App {
    policy: Policy,
    state: AppState,
    release: ReleaseVersion,
    deployed: Option<Timestamp>,
}

/// The app and its neighbours.
pub(super) struct Lived {
    app: App,
    neighbours: Vec<App>,
    coming: Coming,
    pub(super) deploys: Vec<Deploy>,
    source: SourceName,
}

/// A policy as it would be read from `origin`; thresholds that have no past are left out.
pub(super) fn elsewhere(policy: &Policy, origin: &Origin) -> Policy {
    let one = |threshold: &Threshold| {
        let kind = threshold.room().elsewhere(origin, 1.0)?;
        Some(Threshold { kind, ..threshold.clone() })
    };
    let thresholds = policy.thresholds.iter().filter_map(one).collect();
    Policy { mode: Mode::Rollback, thresholds, ..policy.clone() }
}

impl App {
    fn new(name: &AppName, policy: &Arc<Policy>, origin: &Origin, at: Timestamp) -> Self {
        let mut app = Self {
            policy: elsewhere(policy, origin),
            state: AppState::new(name.clone()),
            release: ReleaseVersion(1),
            deployed: None,
        };
        app.trust(at);
        app
    }

    fn leave_out(&mut self, refused: &[(String, String)]) {
        let is_refused = |one: &Threshold| refused.iter().any(|(name, _)| *name == one.name);
        self.policy.thresholds.retain(|one| !is_refused(one));
    }

    fn revision(&self) -> Revision {
        let digest = Digest::new(format!("sha256:{:064}", self.release.0));
        let image = ImageRef {
            registry: "registry.fly.io".to_owned(),
            repository: self.state.memory.app.to_string(),
            tag: None,
            digest: Some(digest.clone()),
        };
        Revision {
            version: Some(self.release),
            digest,
            image,
            author: None,
            created_at: self.deployed,
            has_release_command: Some(false),
        }
    }

    /// What it runs was left as it is: from now on it is what is known to be good.
    fn trust(&mut self, at: Timestamp) {
        let revision = self.revision();
        let memory = &mut self.state.memory;
        // How far counts spread is measured on as it runs; what is known of that stays.
        let dispersions = memory.known_good().map(|good| good.dispersions.clone());
        memory.current = Some(revision.clone());
        memory.current_since = Some(at);
        memory.seen_version = self.release;
        memory.rollbacks.clear();
        memory.quarantined.clear();
        memory.suspects.clear();
        memory.pending.clear();
        memory.baked = None;
        memory.trusted = vec![Trusted {
            revision,
            at,
            image_checked_at: Some(at),
            image_missing: false,
            crashes_per_machine: 0.0,
            failing: BTreeMap::new(),
            dispersions: dispersions.unwrap_or_default(),
            stayed_up: std::iter::once("app".into()).collect(),
            vouched: None,
            mirror: None,
            setup: None,
            revoked: None,
            ran: BTreeMap::new(),
        }];
        self.state.phase = Phase::Steady;
    }

    fn deploy(&mut self, at: Timestamp) {
        self.release = ReleaseVersion(self.release.0 + 1);
        self.deployed = Some(at);
    }

    /// A round at `at`; what it told.
    fn look(
        &mut self,
        at: Timestamp,
        read: &[(&Machine, Readings)],
        (source, org): (&SourceName, OrgContext),
    ) -> Vec<Event> {
        let revision = self.revision();
        let machine = |(machine, _): &(&Machine, Readings)| {
            let mut machine = Machine::clone(machine);
            machine.release = Some(self.release);
            machine.image = revision.image.clone();
            if let Some(deployed) = self.deployed {
                machine.instance = format!("{}-{}", machine.id, self.release.0).as_str().into();
                machine.started_at = Some(deployed);
                machine.placed_at = Some(deployed);
                machine.updated_at = deployed;
            }
            machine
        };
        let machines: Vec<Machine> = read.iter().map(machine).collect();
        let sample = |(machine, (_, readings)): (&Machine, &(&Machine, Readings))| MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: source.clone(),
            readings: Ok(readings.clone()),
        };
        let release = Release {
            id: format!("rel_{}", self.release.0),
            version: self.release,
            status: ReleaseStatus::Complete,
            image: revision.image.reference(),
            author: None,
            created_at: self.deployed.unwrap_or(at),
            has_release_command: Some(false),
            is_brief: false,
        };
        let input = Input::Observed(Observation {
            began: at,
            samples: machines.iter().zip(read).map(sample).collect(),
            machines: Ok(machines),
            ledger: Some(vec![release]),
            secrets: None,
            blind: BTreeMap::new(),
            org,
        });
        let mut events = self.take(&input, at);
        // The registry has whatever it is asked for; nothing else is carried out.
        let mut asked: Vec<u64> = self.pending();
        while let Some(command) = asked.pop() {
            let outcome = Outcome::ImagePresent;
            events.extend(self.take(&Input::Finished { command, outcome }, at));
            asked = self.pending();
        }
        events
    }

    fn pending(&self) -> Vec<u64> {
        let pending = self.state.memory.pending.iter();
        let looks_up = pending.filter(|(_, one)| matches!(one, Command::CheckImage { .. }));
        looks_up.map(|(id, _)| *id).collect()
    }

    fn take(&mut self, input: &Input, at: Timestamp) -> Vec<Event> {
        let empty = AppState::new(self.state.memory.app.clone());
        let state = std::mem::replace(&mut self.state, empty);
        let done = step(&self.policy, state, input, at);
        self.state = done.state;
        done.events
    }
}

impl Lived {
    /// All of it is read from `origin`.
    pub(super) fn new(
        (app, policy): (&AppName, &Arc<Policy>),
        neighbours: &[(AppName, Arc<Policy>)],
        origin: &Origin,
        deploys: &[Timestamp],
        from: Timestamp,
    ) -> Self {
        let neighbours =
            neighbours.iter().map(|(app, policy)| App::new(app, policy, origin, from)).collect();
        Self {
            app: App::new(app, policy, origin, from),
            neighbours,
            coming: Coming::new(deploys),
            deploys: Vec::new(),
            source: origin.source.clone(),
        }
    }

    /// What has to be read for the app, and for each neighbour.
    pub(super) fn wants(&self) -> Vec<Wanted> {
        self.app.policy.wants(&self.source)
    }

    /// Leaves out thresholds of the app that ask what the server does not take.
    pub(super) fn leave_out(&mut self, refused: &[(String, String)]) {
        self.app.leave_out(refused);
    }

    /// The same of a neighbour, by its place; which one that is.
    pub(super) fn leave_out_beside(
        &mut self,
        neighbour: usize,
        refused: &[(String, String)],
    ) -> Option<AppName> {
        let neighbour = self.neighbours.get_mut(neighbour)?;
        neighbour.leave_out(refused);
        Some(neighbour.state.memory.app.clone())
    }

    pub(super) fn neighbours_want(&self) -> Vec<(AppName, Vec<Wanted>)> {
        let wants = |one: &App| (one.state.memory.app.clone(), one.policy.wants(&self.source));
        self.neighbours.iter().map(wants).collect()
    }

    /// Takes in what was read at one moment of the app, and of its neighbours in their order.
    pub(super) fn round(
        &mut self,
        at: Timestamp,
        read: &[(&Machine, Readings)],
        beside: &[Vec<(&Machine, Readings)>],
    ) {
        for (neighbour, read) in self.neighbours.iter_mut().zip(beside) {
            let _untold = neighbour.look(at, read, (&self.source, OrgContext::default()));
        }
        while let Some(deploy) = self.coming.by(at) {
            if self.app.deployed.is_some() {
                self.app.trust(deploy);
            }
            self.app.deploy(deploy);
            let (release, events) = (self.app.release, Vec::new());
            self.deploys.push(Deploy { at: deploy, release, events, undone: None });
        }
        let mut org = OrgContext::default();
        for state in self.neighbours.iter().map(|one| &one.state) {
            let name = &state.memory.app;
            if let Some(distress) = distress::of(state) {
                org.neighbours.insert(name.clone(), distress);
            }
            if let Some(well) = distress::wellness(state) {
                org.well.insert(name.clone(), well);
            }
        }
        let events = self.app.look(at, read, (&self.source, org));
        let Some(deploy) = self.deploys.last_mut() else { return };
        if at.duration_since(deploy.at) > FOLLOWED_FOR || deploy.undone.is_some() {
            return;
        }
        let room = EVENTS_MAX.saturating_sub(deploy.events.len());
        deploy.events.extend(events.into_iter().filter(tells).take(room));
        if matches!(self.app.state.phase, Phase::RollingBack(_)) {
            deploy.undone = Some(at);
            self.app.trust(at);
        }
    }
}

/// What is of interest afterwards.
fn tells(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::ReleaseDegraded
            | EventKind::ReleaseTrusted
            | EventKind::ReleaseBaked
            | EventKind::RollbackPlanned
            | EventKind::RollbackStarted
            | EventKind::RollbackStopped
            | EventKind::HoldPlaced
            | EventKind::HoldCleared
            | EventKind::MachineSuspect
            | EventKind::ConfigWarning
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::replay::stage::{self, at},
        model::{Count, NoData, Since},
        sources::servers::unknown_machine,
    };

    fn policy() -> Arc<Policy> {
        stage::policy(vec![stage::requests(NoData::Hold)])
    }

    fn readings(bad: f64) -> Readings {
        let count = Count { n: 500.0, k: bad, since: Since::LastScrape };
        Readings { counts: [("5xx".to_owned(), count)].into(), ..Readings::default() }
    }

    /// A deploy at 1800; 500 requests each 5 s, of which so many fail; the same of two neighbours.
    fn lived(failed: impl Fn(i64) -> f64, beside: impl Fn(i64) -> f64) -> Lived {
        let app = AppName::new("api");
        let neighbours: Vec<(AppName, Arc<Policy>)> =
            ["pay", "web"].map(|name| (AppName::new(name), policy())).into();
        let mut lived =
            Lived::new((&app, &policy()), &neighbours, &Origin::PAGES, &[at(1800)], at(0));
        let machines = ["m1", "m2"].map(|id| unknown_machine(id, at(-100)));
        for second in (0..4200).step_by(5) {
            let of = |bad: f64| -> Vec<(&Machine, Readings)> {
                machines.iter().map(|machine| (machine, readings(bad))).collect()
            };
            let neighbours = [of(beside(second)), of(beside(second))];
            lived.round(at(second), &of(failed(second)), &neighbours);
        }
        lived
    }

    fn kinds(deploy: &Deploy) -> Vec<EventKind> {
        deploy.events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_bad_deploy_is_undone_as_soon_as_the_daemon_would_have() {
        let lived = lived(|second| if second < 1800 { 1.0 } else { 50.0 }, |_| 1.0);
        let [deploy] = &lived.deploys[..] else { panic!("{:?}", lived.deploys) };
        let took = deploy.undone.unwrap().duration_since(deploy.at).as_secs();
        assert!((10..=60).contains(&took), "{took} s: {:?}", kinds(deploy));
        assert!(kinds(deploy).contains(&EventKind::RollbackStarted), "{:?}", kinds(deploy));
    }

    #[test]
    fn a_healthy_deploy_is_trusted() {
        let lived = lived(|_| 1.0, |_| 1.0);
        assert_eq!(kinds(&lived.deploys[0]), [EventKind::ReleaseTrusted]);
        assert_eq!(lived.deploys[0].undone, None);
    }

    #[test]
    fn an_outage_that_its_neighbours_share_is_held_and_over_with_it() {
        let outage = |second: i64| if (2100..2160).contains(&second) { 200.0 } else { 1.0 };
        let lived = lived(outage, outage);
        assert_eq!(lived.deploys[0].undone, None, "{:?}", kinds(&lived.deploys[0]));
    }

    #[test]
    fn an_outage_of_seconds_is_called_off_by_the_recovery() {
        // Nobody vouches: the neighbours have no requests.
        let outage = |second: i64| if (2100..2125).contains(&second) { 200.0 } else { 1.0 };
        let app = AppName::new("api");
        let mut lived = Lived::new((&app, &policy()), &[], &Origin::PAGES, &[at(1800)], at(0));
        let machine = unknown_machine("m1", at(-100));
        for second in (0..3600).step_by(5) {
            lived.round(at(second), &[(&machine, readings(outage(second)))], &[]);
        }
        let deploy = &lived.deploys[0];
        assert_eq!(deploy.undone, None, "{:?}", kinds(deploy));
        assert!(kinds(deploy).contains(&EventKind::RollbackStopped), "{:?}", kinds(deploy));
    }
}
