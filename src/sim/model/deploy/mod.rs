//! Somebody else's deploy, as `fly deploy` and `fly secrets set` do it: a release in the ledger,
//! leases on every machine concerned, then the machines by the rules of its strategy.
//!
//! It is played by `advance` like everything else that takes time, not by a task of its own. What
//! it knows of the machines is what it read when it began, as with `flyctl`.

mod bluegreen;
mod canary;
mod gate;
mod options;
mod rolling;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::{bluegreen::Bluegreen, canary::Canary, gate::note, rolling::Rolling};
pub use self::{
    gate::{GateKind, GateResult},
    options::{ShipOptions, ShipStrategy},
};
use crate::sim::model::{
    clock::moved,
    lease::Ask,
    ledger::{Entry, NewEntry},
    machine::{SimMachine, State, later},
    org::Org,
    refusal::Refusal,
};

/// Between two looks at what is under way.
const LOOK: Duration = Duration::from_millis(250);
/// The leases' time to live and how often they are renewed, as in `fly deploy`.
const TTL: Duration = Duration::from_secs(13);
const RENEW: Duration = Duration::from_secs(4);
/// How long a lease that somebody else holds is waited for.
const LEASE_PATIENCE: Duration = Duration::from_secs(60);

/// A machine as the deploy read it when it began.
#[derive(Clone, Debug)]
struct Target {
    id: String,
    region: String,
    /// Whether it is to run: it was started, starting or failed. `flyctl` leaves any other as it
    /// is, also one that was `replacing` because somebody was just updating it.
    launch: bool,
    /// With the release's image and number in it.
    config: Value,
    /// What it is to run.
    digest: Option<String>,
}

/// What a deploy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Image,
    /// New secrets: each machine keeps its own image.
    Secrets,
}

/// How far a deploy is.
#[derive(Clone, Debug)]
enum Stage {
    Canary(Canary),
    /// Machines not leased yet.
    Leasing(VecDeque<String>),
    Rolling(Rolling),
    Bluegreen(Bluegreen),
}

/// A deploy in progress.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Ship {
    /// When it is to be looked at next.
    pub(in crate::sim) due: Timestamp,
    release: Entry,
    options: ShipOptions,
    targets: Vec<Target>,
    /// Until when leases are tried for.
    patience: Timestamp,
    /// Machine → nonce.
    leases: BTreeMap<String, String>,
    renew: Timestamp,
    stage: Stage,
}

impl Ship {
    /// The platform's clock is set.
    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        for at in [&mut self.due, &mut self.patience, &mut self.renew] {
            moved(at, by);
        }
        match &mut self.stage {
            Stage::Canary(canary) => canary.set_clock(by),
            Stage::Leasing(_) => {}
            Stage::Rolling(rolling) => rolling.set_clock(by),
            Stage::Bluegreen(greens) => greens.set_clock(by),
        }
    }
}

/// What follows a look at a stage.
enum Next {
    /// Nothing yet.
    Wait,
    Stage(Stage),
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
        self.begin_ship(app, image, Content::Image, options)
    }

    /// New secrets: writes a release that names the image of the one before, and begins to give
    /// every machine its number; each keeps the image that it has.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn ship_secrets(&mut self, app: &str, options: ShipOptions) -> Result<Entry, Refusal> {
        let image = self.app(app)?.releases.last().map(|entry| entry.image.clone());
        let options = ShipOptions { strategy: ShipStrategy::Rolling, ..options };
        self.begin_ship(app, &image.unwrap_or_default(), Content::Secrets, options)
    }

    fn begin_ship(
        &mut self,
        app: &str,
        image: &str,
        content: Content,
        options: ShipOptions,
    ) -> Result<Entry, Refusal> {
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
        let new = NewEntry {
            image,
            strategy: options.strategy.name(),
            definition: &definition,
            author: &options.author,
        };
        let release = self.create_release(app, new)?;
        self.set_release_status(&release.id, "running")?;
        let secret = |(name, value)| (name, Some(value).filter(|value: &&str| !value.is_empty()));
        let secrets: Vec<(&String, Option<&str>)> =
            options.secrets.iter().map(|(name, value)| secret((name, value.as_str()))).collect();
        if !secrets.is_empty() {
            self.set_secrets(app, &secrets)?;
        }
        let targets = self.targets(&release, content, &options);
        let ids: VecDeque<String> = targets.iter().map(|target| target.id.clone()).collect();
        let stage = match options.strategy {
            ShipStrategy::Canary => Stage::Canary(Canary::default()),
            ShipStrategy::Rolling | ShipStrategy::Immediate | ShipStrategy::Bluegreen => {
                Stage::Leasing(ids)
            }
        };
        self.ships.push(Ship {
            due: self.now,
            release: release.clone(),
            options,
            targets,
            patience: later(self.now, LEASE_PATIENCE),
            leases: BTreeMap::new(),
            renew: later(self.now, RENEW),
            stage,
        });
        self.release(&release.id)
    }

    /// The machines that a deploy is about, in the order of their ids.
    fn targets(&self, release: &Entry, content: Content, options: &ShipOptions) -> Vec<Target> {
        let wanted = self.images.resolve(&release.image);
        self.of_app(&release.app)
            .filter(|machine| !machine.is_destroyed() && machine.host == "ok")
            .filter(|machine| {
                options.regions.is_empty() || options.regions.contains(&machine.region)
            })
            .filter(|machine| {
                options.groups.is_empty()
                    || options.groups.iter().any(|group| group == group_of(machine))
            })
            .map(|machine| {
                let image = match content {
                    Content::Image => release.image.as_str(),
                    Content::Secrets => machine.version.image(),
                };
                let digest = match content {
                    Content::Image => wanted.clone(),
                    Content::Secrets => machine.version.digest.clone(),
                };
                // A `.` in what the release changes is its image.
                let edited = options.edited(machine.version.config.clone());
                Target {
                    id: machine.id.clone(),
                    region: machine.region.clone(),
                    launch: is_launched(machine.state),
                    config: released(&edited, release, image),
                    digest,
                }
            })
            .collect()
    }

    /// The next step of a deploy.
    pub(in crate::sim) fn step_ship(&mut self, index: usize) {
        if index >= self.ships.len() {
            return;
        }
        let mut ship = self.ships.swap_remove(index);
        // Where beats are rare, it looks more seldom too.
        ship.due = later(self.now, LOOK.max(self.timing.beat / 60));
        self.renew_leases(&mut ship);
        let status = loop {
            match self.look(&mut ship) {
                Ok(Next::Wait) => {
                    self.ships.push(ship);
                    return;
                }
                Ok(Next::Stage(stage)) => ship.stage = stage,
                Ok(Next::Done) => break "complete",
                // Why is seen in the machines, and in what the gates decided.
                Err(_) => {
                    match &ship.stage {
                        Stage::Canary(canary) => self.leave_canaries(&ship.release.app, canary),
                        Stage::Bluegreen(greens) => self.remove_greens(&ship.release.app, greens),
                        Stage::Leasing(_) | Stage::Rolling(_) => {}
                    }
                    break "failed";
                }
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

    fn look(&mut self, ship: &mut Ship) -> Result<Next, Refusal> {
        // Whatever the look says, the stage it leaves is put back.
        match std::mem::replace(&mut ship.stage, Stage::Leasing(VecDeque::new())) {
            Stage::Canary(mut canary) => {
                let next = self.look_at_canary(ship, &mut canary);
                ship.stage = Stage::Canary(canary);
                next
            }
            Stage::Leasing(left) => self.take_leases(ship, left),
            Stage::Rolling(mut rolling) => {
                let next = self.roll(ship, &mut rolling);
                ship.stage = Stage::Rolling(rolling);
                next
            }
            Stage::Bluegreen(mut greens) => {
                let next = self.look_at_greens(ship, &mut greens);
                ship.stage = Stage::Bluegreen(greens);
                next
            }
        }
    }

    fn renew_leases(&mut self, ship: &mut Ship) {
        if self.now < ship.renew {
            return;
        }
        ship.renew = later(self.now, RENEW);
        for (id, nonce) in &ship.leases {
            let ask = ask(&ship.options.author, Some(nonce));
            // A lost refresh goes unnoticed until the next write fails.
            let _lost = self.take_lease(&ship.release.app, id, ask).is_err();
        }
    }

    fn take_leases(
        &mut self,
        ship: &mut Ship,
        mut left: VecDeque<String>,
    ) -> Result<Next, Refusal> {
        let app = ship.release.app.clone();
        for id in std::mem::take(&mut left) {
            match self.take_lease(&app, &id, ask(&ship.options.author, None)) {
                Ok(lease) => {
                    ship.leases.insert(id, lease.nonce);
                }
                Err(Refusal::NotFound(_)) => ship.targets.retain(|target| target.id != id),
                Err(refusal) if self.now >= ship.patience => return Err(refusal),
                Err(_) => left.push_back(id),
            }
        }
        if !left.is_empty() {
            ship.stage = Stage::Leasing(left);
            return Ok(Next::Wait);
        }
        Ok(Next::Stage(match ship.options.strategy {
            ShipStrategy::Bluegreen => Stage::Bluegreen(Bluegreen::Begun),
            ShipStrategy::Rolling | ShipStrategy::Immediate | ShipStrategy::Canary => {
                Stage::Rolling(Rolling::of(&ship.targets))
            }
        }))
    }

    /// The client of an app's deploys is killed: its leases run out, and its releases stay as they
    /// are.
    pub fn kill_ships(&mut self, app: &str) {
        self.ships.retain(|ship| ship.release.app != app);
    }

    /// How the gates of an app's deploys decided, oldest first.
    pub fn gates(&self, app: &str) -> Vec<GateResult> {
        self.gates.iter().filter(|gate| gate.app == app).cloned().collect()
    }

    fn note_gate(&mut self, result: GateResult) {
        note(&mut self.gates, result);
    }
}

/// Whether `flyctl` starts a machine that it found in this state.
fn is_launched(state: State) -> bool {
    matches!(state, State::Started | State::Starting | State::Failed)
}

/// A configuration with an image, and with the id and number of a release.
pub(in crate::sim) fn released(config: &Value, release: &Entry, image: &str) -> Value {
    let mut config = config.clone();
    set_image(&mut config, image);
    set_metadata(&mut config, "fly_release_id", &release.id);
    set_metadata(&mut config, "fly_release_version", &release.version.to_string());
    config
}

/// Gives a configuration an image, and those of its containers that had the one of before, or that
/// ask for the app's with a `.`.
fn set_image(config: &mut Value, image: &str) {
    let Some(fields) = config.as_object_mut() else { return };
    let before = fields.insert("image".to_owned(), json!(image)).unwrap_or_default();
    let containers = fields.get_mut("containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let Some(own) = container.get_mut("image") else { continue };
        if *own == before || *own == "." {
            *own = json!(image);
        }
    }
}

fn set_metadata(config: &mut Value, key: &str, value: &str) {
    let Some(fields) = config.as_object_mut() else { return };
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.insert(key.to_owned(), json!(value));
    }
}

fn ask<'a>(owner: &'a str, nonce: Option<&'a str>) -> Ask<'a> {
    Ask { nonce, ttl: TTL, owner, description: "" }
}

/// The process group of a machine.
fn group_of(machine: &SimMachine) -> &str {
    machine.version.metadata("fly_process_group").unwrap_or("app")
}
