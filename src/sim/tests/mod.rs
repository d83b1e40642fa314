//! The model through the daemon's ports, on paused time: each test is a small scene.

mod deploys;
mod fleets;
mod histories;
mod invariants;
mod oddities;
mod proxied;
mod rights;
mod scenes;

use std::time::Duration;

use super::{
    Behaviour, CallKind, Fault, FaultRule, Fleet, ShipOptions, Sim, State,
    fleet::{FleetApp, FleetImage},
    ports::SimPlatform,
};
use crate::{
    model::{
        Digest, ImageRef, InstanceId, Machine, MachineId, MachineState, RawConfig, Transition,
    },
    ports::{
        Clock, FeedPosition, ImagePresence, Lease, MachineUpdate, MetricsPages as _, NewRelease,
        PageError, PageReader, Platform as _, PlatformError, Registry as _, ScrapeTarget, WaitFor,
    },
};

const OLD: &str = "registry.fly.io/web:v1";
const NEW: &str = "registry.fly.io/web:v2";
const TTL: Duration = Duration::from_secs(30);

/// `web` with two machines in iad and one in lhr, 30 requests a second.
fn fleet(new: Behaviour) -> Fleet {
    let mut fleet = Fleet::empty("acme");
    fleet.seed = 7;
    fleet.apps = vec![FleetApp::new("web", OLD, &[("iad", 2), ("lhr", 1)], 30.0)];
    fleet.images = vec![FleetImage::new(OLD, Behaviour::default()), FleetImage::new(NEW, new)];
    fleet
}

struct Scene {
    sim: Sim,
    platform: SimPlatform,
    /// The machines, iad first.
    ids: Vec<MachineId>,
}

impl Scene {
    fn new(new: Behaviour) -> Self {
        Self::of(&fleet(new))
    }

    fn of(fleet: &Fleet) -> Self {
        let start = "2026-01-05T03:00:00Z".parse().unwrap();
        let sim = Sim::new(fleet, Clock::starting_at(start));
        let ids = ["iad", "lhr"]
            .iter()
            .flat_map(|region| sim.machine_ids("web", Some(region)))
            .map(MachineId::new)
            .collect();
        Self { platform: SimPlatform::new(sim.clone(), "us@acme.test"), sim, ids }
    }

    async fn machine(&self, index: usize) -> Machine {
        self.platform.machine(&"web".into(), &self.ids[index]).await.unwrap()
    }

    async fn lease(&self, index: usize) -> Lease {
        self.platform.lease(&"web".into(), &self.ids[index], TTL).await.unwrap()
    }

    fn update_of(machine: &Machine, image: &str) -> MachineUpdate {
        let text = machine.config.as_ref().unwrap().0.replace(OLD, image);
        MachineUpdate {
            config: RawConfig(text.into()),
            current: machine.instance.clone(),
            skip_launch: machine.state.is_at_rest(),
        }
    }

    async fn put(&self, index: usize, image: &str) -> InstanceId {
        let (machine, lease) = (self.machine(index).await, self.lease(index).await);
        let update = Self::update_of(&machine, image);
        let instance = self.platform.update(&lease, &update).await.unwrap();
        self.platform.release(&lease).await.unwrap();
        instance
    }

    async fn wait(&self, index: usize, instance: &InstanceId, state: WaitFor) -> bool {
        let (app, id) = ("web".into(), &self.ids[index]);
        self.platform.wait(&app, id, instance, state, Duration::from_secs(10)).await.unwrap()
    }

    /// The instance that a machine runs, as the platform itself knows.
    fn id_of_version(&self, index: usize) -> InstanceId {
        let progress = self.sim.with(|org| org.progress("web", self.ids[index].as_str())).unwrap();
        InstanceId::new(progress.instance)
    }

    fn image_of(&self, image: &str) -> ImageRef {
        ImageRef {
            registry: "registry.fly.io".to_owned(),
            repository: "web".to_owned(),
            tag: None,
            digest: Some(self.digest(image)),
        }
    }

    fn digest(&self, image: &str) -> Digest {
        Digest::new(self.sim.digest(image).unwrap())
    }

    async fn page(&self, index: usize) -> Result<String, PageError> {
        struct Text(String);
        impl PageReader for Text {
            fn chunk(&mut self, bytes: &[u8]) -> Result<(), PageError> {
                self.0.push_str(std::str::from_utf8(bytes).unwrap());
                Ok(())
            }
        }
        let machine = self.machine(index).await;
        let metrics = machine.metrics.unwrap();
        let target = ScrapeTarget {
            app: machine.app,
            machine: machine.id,
            address: machine.private_ip.unwrap(),
            port: metrics.port,
            path: metrics.path,
            https: metrics.https,
        };
        let mut text = Text(String::new());
        self.platform.read(&target, &mut text).await.map(|()| text.0)
    }
}

/// Time is simulated: whoever uses this has `start_paused = true`.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

const OK_SERIES: &str = "http_requests_total{method=\"GET\",path=\"/users/{id}\",status=\"200\"}";
const FAILED_SERIES: &str =
    "http_requests_total{method=\"GET\",path=\"/users/{id}\",status=\"500\"}";
