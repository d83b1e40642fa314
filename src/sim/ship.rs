//! Somebody else's deploy, as `fly deploy` does it: a release in the ledger, leases on every
//! machine concerned, then one machine after the other.
//!
//! It is played by `advance` like everything else that takes time, not by a task of its own.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    behaviour::CheckSays,
    change::Update,
    lease::Ask,
    ledger::{Entry, NewEntry},
    machine::{SimMachine, State, later},
    org::Org,
    refusal::Refusal,
};

/// Between two looks at the machine under way.
const LOOK: Duration = Duration::from_millis(250);
/// The leases' time to live and how often they are renewed, as in `fly deploy`.
const TTL: Duration = Duration::from_secs(13);
const RENEW: Duration = Duration::from_secs(4);
/// How long a lease that somebody else holds is waited for.
const LEASE_PATIENCE: Duration = Duration::from_secs(60);

/// One after the other, or all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShipStrategy {
    #[default]
    Rolling,
    Immediate,
}

/// How a release is shipped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShipOptions {
    /// Only these; empty: everywhere.
    pub regions: Vec<String>,
    pub author: String,
    /// The release's configuration runs a release command from now on.
    pub release_command: Option<String>,
    pub strategy: ShipStrategy,
    /// Wait for passing checks and give up on a crashing machine, as `fly deploy` does unless it
    /// is told `--detach`. Off, so that a bad release gets everywhere.
    pub checks: bool,
    /// Seconds a machine may take.
    pub wait_timeout_s: f64,
    /// Seconds between a machine that is up and the next.
    pub pause_s: f64,
}

impl Default for ShipOptions {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            author: "ci@sim.test".to_owned(),
            release_command: None,
            strategy: ShipStrategy::Rolling,
            checks: false,
            wait_timeout_s: 60.0,
            pause_s: 0.0,
        }
    }
}

/// The machine under way.
#[derive(Clone, Debug)]
struct Current {
    id: String,
    skip_launch: bool,
    deadline: Timestamp,
    up_since: Option<Timestamp>,
}

/// A deploy in progress.
#[derive(Clone, Debug)]
pub(super) struct Ship {
    /// When it is to be looked at next.
    pub(super) due: Timestamp,
    release: Entry,
    options: ShipOptions,
    /// Machines not leased yet, and until when that is tried.
    unleased: VecDeque<String>,
    patience: Timestamp,
    /// Machine → nonce.
    leases: BTreeMap<String, String>,
    renew: Timestamp,
    left: VecDeque<String>,
    current: Option<Current>,
}

enum Next {
    GoOn,
    Done,
}

impl Org {
    /// Writes a release of `image` and begins to put it on the app's machines.
    ///
    /// # Errors
    /// When there is no such app, or the registry has no such image: then nothing is written.
    pub fn ship(&mut self, app: &str, image: &str, options: ShipOptions) -> Result<Entry, Refusal> {
        self.app(app)?;
        if self.images.resolve(image).is_none() {
            return Err(Refusal::no("image", image));
        }
        let mut definition = self
            .app(app)?
            .releases
            .last()
            .map_or_else(|| json!({"app": app}), |entry| entry.definition.clone());
        if let (Some(command), Some(fields)) =
            (&options.release_command, definition.as_object_mut())
        {
            fields.insert("deploy".to_owned(), json!({"release_command": command}));
        }
        let strategy = match options.strategy {
            ShipStrategy::Rolling => "ROLLING",
            ShipStrategy::Immediate => "IMMEDIATE",
        };
        let new = NewEntry { image, strategy, definition: &definition, author: &options.author };
        let release = self.create_release(app, new)?;
        self.set_release_status(&release.id, "running")?;
        let machines: VecDeque<String> = self
            .of_app(app)
            .filter(|machine| !machine.is_destroyed() && machine.host == "ok")
            .filter(|machine| {
                options.regions.is_empty() || options.regions.contains(&machine.region)
            })
            .map(|machine| machine.id.clone())
            .collect();
        self.ships.push(Ship {
            due: self.now,
            release: release.clone(),
            options,
            unleased: machines.clone(),
            patience: later(self.now, LEASE_PATIENCE),
            leases: BTreeMap::new(),
            renew: later(self.now, RENEW),
            left: machines,
            current: None,
        });
        self.release(&release.id)
    }

    /// The next step of a deploy.
    pub(super) fn step_ship(&mut self, index: usize) {
        if index >= self.ships.len() {
            return;
        }
        let mut ship = self.ships.swap_remove(index);
        ship.due = later(self.now, LOOK);
        let status = match self.roll(&mut ship) {
            Ok(Next::GoOn) => {
                self.ships.push(ship);
                return;
            }
            Ok(Next::Done) => "complete",
            Err(refusal) => {
                tracing::debug!(release = ship.release.version, "shipping failed: {refusal:?}");
                "failed"
            }
        };
        let app = ship.release.app.as_str();
        for (id, nonce) in &ship.leases {
            // A lease or machine that is gone needs no giving back.
            let _gone = self.release_lease(app, id, nonce).is_err();
        }
        // The same of a release that somebody finished by hand.
        let _finished = self.set_release_status(&ship.release.id, status).is_err();
    }

    fn roll(&mut self, ship: &mut Ship) -> Result<Next, Refusal> {
        let app = ship.release.app.clone();
        let author = ship.options.author.clone();
        if self.now >= ship.renew {
            ship.renew = later(self.now, RENEW);
            for (id, nonce) in &ship.leases {
                // A lost refresh goes unnoticed until the next write fails.
                let _lost = self.take_lease(&app, id, ask(&author, Some(nonce))).is_err();
            }
        }
        for id in std::mem::take(&mut ship.unleased) {
            match self.take_lease(&app, &id, ask(&author, None)) {
                Ok(lease) => {
                    ship.leases.insert(id, lease.nonce);
                }
                Err(Refusal::NotFound(_)) => ship.left.retain(|left| *left != id),
                Err(refusal) if self.now >= ship.patience => return Err(refusal),
                Err(_) => ship.unleased.push_back(id),
            }
        }
        if !ship.unleased.is_empty() {
            return Ok(Next::GoOn);
        }
        loop {
            if let Some(current) = &mut ship.current {
                let pause = super::machine::seconds(ship.options.pause_s);
                if !self.is_done(&app, current, ship.options.checks, pause)? {
                    return Ok(Next::GoOn);
                }
            }
            ship.current = None;
            let Some(id) = ship.left.pop_front() else { return Ok(Next::Done) };
            let nonce = ship.leases.get(&id).cloned().unwrap_or_default();
            let skip_launch = match self.put(&ship.release, &id, &nonce) {
                Ok(skip_launch) => skip_launch,
                Err(Refusal::NotFound(_)) => continue,
                Err(refusal) => return Err(refusal),
            };
            if ship.options.strategy == ShipStrategy::Rolling {
                let patience = super::machine::seconds(ship.options.wait_timeout_s);
                let deadline = later(self.now, patience);
                ship.current = Some(Current { id, skip_launch, deadline, up_since: None });
            }
        }
    }

    /// Updates one machine to the release.
    fn put(&mut self, release: &Entry, id: &str, nonce: &str) -> Result<bool, Refusal> {
        let machine = self.living(&release.app, id)?;
        let skip_launch = !machine.state.is_up() && !machine.state.has_failed();
        let mut config = machine.version.config.clone();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("image".to_owned(), json!(release.image));
            let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
            if let Value::Object(metadata) = metadata {
                metadata.insert("fly_release_id".to_owned(), json!(release.id));
                let version = json!(release.version.to_string());
                metadata.insert("fly_release_version".to_owned(), version);
            }
        }
        let update = Update { config, raw: None, current: None, skip_launch };
        self.update(&release.app, id, Some(nonce), update)?;
        Ok(skip_launch)
    }

    /// Whether the next machine may follow; an error ends the deploy.
    fn is_done(
        &self,
        app: &str,
        current: &mut Current,
        checks: bool,
        pause: Duration,
    ) -> Result<bool, Refusal> {
        let machine = self.machine(app, &current.id)?;
        if machine.is_destroyed() {
            return Ok(true);
        }
        if current.skip_launch {
            return Ok(machine.state.is_settled());
        }
        if checks && machine.restarts.len() > 1 {
            return Err(Refusal::Precondition("the app appears to be crashing".to_owned()));
        }
        let up = if checks { is_healthy(machine) } else { has_started(machine) };
        if up {
            let since = *current.up_since.get_or_insert(self.now);
            return Ok(self.now >= later(since, pause));
        }
        if self.now < current.deadline {
            return Ok(false);
        }
        Err(Refusal::Precondition(format!("machine {} did not get ready", current.id)))
    }
}

fn ask<'a>(owner: &'a str, nonce: Option<&'a str>) -> Ask<'a> {
    Ask { nonce, ttl: TTL, owner, description: "" }
}

fn has_started(machine: &SimMachine) -> bool {
    machine.state == State::Started
        || machine.events.iter().any(|event| event.get("type") == Some(&json!("start")))
}

fn is_healthy(machine: &SimMachine) -> bool {
    let checked = machine.version.checks().is_empty()
        || machine.check.is_some_and(|check| check.says == CheckSays::Passing);
    machine.state == State::Started && checked
}
