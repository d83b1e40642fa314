//! The client against the simulated platform, which was written apart from it: both have to have
//! understood the real one alike.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use waveoff::{
    config::Secret,
    fly::{Fly, FlySettings},
    model::{
        AppName, CheckStatus, Digest, HostStatus, ImageRef, InstanceId, Machine, MachineState,
        RawConfig, ReleaseStatus, ReleaseVersion,
    },
    ports::{
        Clock, FeedPosition, ImagePresence, Lease, MachineUpdate, NewRelease, Platform as _,
        PlatformError, Registry as _, WaitFor,
    },
    sim::{
        Behaviour, Fleet, Sim,
        fleet::{FleetApp, FleetImage},
        serve::{self, Options},
    },
};

const OLD: &str = "registry.fly.io/web:v41";
const NEW: &str = "registry.fly.io/web:v42";
const TTL: Duration = Duration::from_secs(30);

/// An organization with one app, two of its machines started and one stopped, served on a socket.
struct World {
    sim: Sim,
    url: String,
    fly: Fly,
}

impl World {
    async fn new() -> Self {
        let mut fleet = Fleet::empty("acme");
        // A process starts in no time, so that nobody waits for it.
        (fleet.boot_s, fleet.replace_s, fleet.check_s) = (0.05, 0.05, 0.05);
        fleet.images = vec![
            FleetImage::new(OLD, Behaviour::default()),
            FleetImage::new(NEW, Behaviour::default()),
        ];
        let mut web = FleetApp::new("web", OLD, &[("iad", 1), ("lhr", 1)], 0.0);
        web.groups[0].stopped = [("ams".to_owned(), 1)].into();
        web.release_command = Some("bin/migrate".to_owned());
        fleet.apps = vec![web];
        let sim = Sim::new(&fleet, Clock::system());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve::serve(
            sim.clone(),
            listener,
            Options::default(),
            std::future::pending(),
        ));
        let fly = client(&url, "token-of-the-daemon");
        Self { sim, url, fly }
    }

    async fn machines(&self) -> Vec<Machine> {
        self.fly.machines(&web()).await.unwrap()
    }

    /// A machine in that state.
    async fn one(&self, state: MachineState) -> Machine {
        self.machines().await.into_iter().find(|machine| machine.state == state).unwrap()
    }

    async fn lease(&self, machine: &Machine) -> Lease {
        self.fly.lease(&web(), &machine.id, TTL).await.unwrap()
    }

    fn digest(&self, image: &str) -> Digest {
        Digest::new(self.sim.digest(image).unwrap())
    }

    /// The machine's configuration with another image.
    fn update(&self, machine: &Machine, image: &str) -> MachineUpdate {
        let config = machine.config.as_ref().unwrap();
        let mut config: Value = serde_json::from_str(&config.0).unwrap();
        config["image"] = json!(format!("{image}@{}", self.digest(image)));
        MachineUpdate {
            config: RawConfig(Arc::from(config.to_string())),
            current: machine.instance.clone(),
            skip_launch: false,
        }
    }

    async fn control(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, format!("{}/_sim/{path}", self.url));
        let text = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The next call of this action meets this fault.
    async fn fault(&self, action: &str, fault: Value) {
        let mut rule = fault;
        rule["action"] = json!(action);
        let done = self.control(reqwest::Method::POST, "faults", rule).await;
        assert_eq!(done["ok"], true, "{done}");
    }

    /// Statuses of the calls of an action, in their order.
    async fn statuses(&self, action: &str) -> Vec<u64> {
        let log = self.control(reqwest::Method::GET, "calls", Value::Null).await;
        let calls = log["calls"].as_array().unwrap().iter();
        let calls = calls.filter(|call| call["action"] == action);
        calls.map(|call| call["status"].as_u64().unwrap()).collect()
    }
}

fn client(url: &str, token: &str) -> Fly {
    Fly::new(FlySettings {
        organization: "acme".to_owned(),
        token: Secret::new(token),
        api_url: url.to_owned(),
        flaps_url: url.to_owned(),
        uiex_url: url.to_owned(),
        registry_url: url.to_owned(),
        mirror_login: None,
    })
    .unwrap()
}

fn web() -> AppName {
    AppName::new("web")
}

#[tokio::test]
async fn everything_can_be_read() {
    let world = World::new().await;
    let fly = &world.fly;
    assert_eq!(fly.apps().await.unwrap(), [web()]);
    let machines = world.machines().await;
    assert_eq!(machines.len(), 3);
    for machine in &machines {
        assert_eq!(machine.host, HostStatus::Ok);
        assert_eq!(machine.release, Some(ReleaseVersion(41)));
        assert_eq!(machine.image.digest, Some(world.digest(OLD)));
        assert!(machine.metrics.is_some());
        assert_eq!(machine.checks_configured, 1);
        if machine.state == MachineState::Started {
            assert_eq!(machine.checks.len(), 1);
            assert!(machine.checks[0].interval.is_some(), "{machine:?}");
            assert_eq!(machine.checks[0].status, CheckStatus::Passing);
            assert!(machine.started_at.is_some());
        }
        assert_eq!(fly.machine(&web(), &machine.id).await.unwrap().instance, machine.instance);
        fly.log_lines(&web(), &machine.id, 20).await.unwrap();
    }
    let releases = fly.releases(&web(), 3).await.unwrap();
    assert_eq!(releases[0].version, ReleaseVersion(41));
    assert_eq!(releases[0].status, ReleaseStatus::Complete);
    assert_eq!(releases[0].has_release_command, Some(true));
    let nowhere = AppName::new("nowhere");
    assert!(matches!(fly.machines(&nowhere).await, Err(PlatformError::NotFound(_))));
    assert!(matches!(fly.releases(&nowhere, 3).await, Err(PlatformError::NotFound(_))));
}

#[tokio::test]
async fn the_feed_tells_a_change_once() {
    let world = World::new().await;
    let first = world.fly.changes(&FeedPosition::default()).await.unwrap();
    assert_eq!(first.entries.len(), 3);
    let second = world.fly.changes(&first.next).await.unwrap();
    assert_eq!(second.entries, []);
    let machine = &world.one(MachineState::Started).await;
    let lease = world.lease(machine).await;
    world.fly.update(&lease, &world.update(machine, NEW)).await.unwrap();
    let third = world.fly.changes(&second.next).await.unwrap();
    let changed: Vec<_> = third.entries.iter().map(|entry| entry.machine.clone()).collect();
    assert_eq!(changed, std::slice::from_ref(&machine.id));
}

#[tokio::test]
async fn an_image_is_put_on_a_machine_under_a_lease() {
    let world = World::new().await;
    let fly = &world.fly;
    let before = &world.one(MachineState::Started).await;
    let lease = world.lease(before).await;
    // Others see it, and are kept out.
    let other = client(&world.url, "token-of-somebody-else");
    let seen = other.machine(&web(), &before.id).await.unwrap().lease.unwrap();
    assert!(seen.description.starts_with("waveoff "), "{seen:?}");
    let held = other.lease(&web(), &before.id, TTL).await.unwrap_err();
    let PlatformError::LeaseHeld { owner, expires_at } = held else { panic!("{held:?}") };
    assert_eq!(owner, seen.owner);
    assert!(expires_at.is_some());
    // The update is made, waited for and looked at.
    let update = world.update(before, NEW);
    let instance = fly.update(&lease, &update).await.unwrap();
    assert_ne!(instance, before.instance);
    let (app, ten) = (web(), Duration::from_secs(10));
    let wait = |state| fly.wait(&app, &before.id, &instance, state, ten);
    assert_eq!(wait(WaitFor::Started).await, Ok(true));
    assert_eq!(wait(WaitFor::Settled).await, Ok(true));
    let after = fly.machine(&web(), &before.id).await.unwrap();
    assert_eq!((&after.instance, after.image.digest), (&instance, Some(world.digest(NEW))));
    let json = |config: &RawConfig| serde_json::from_str::<Value>(&config.0).unwrap();
    assert_eq!(json(&after.config.unwrap()), json(&update.config));
    // The old instance is no more, which is no error to wait for.
    let gone = fly.wait(&app, &before.id, &before.instance, WaitFor::Started, Duration::ZERO);
    assert_eq!(gone.await, Ok(false));
    // The lease is prolonged, given back, and given back once more.
    let lease = fly.refresh(&lease, TTL).await.unwrap();
    fly.release(&lease).await.unwrap();
    fly.release(&lease).await.unwrap();
    assert_eq!(fly.machine(&web(), &before.id).await.unwrap().lease, None);
    other.lease(&web(), &before.id, TTL).await.unwrap();
}

#[tokio::test]
async fn an_update_whose_answer_is_lost_is_found_again() {
    let world = World::new().await;
    let before = &world.one(MachineState::Started).await;
    let lease = world.lease(before).await;
    world.fault("machine_update", json!({"kind": "answer_lost"})).await;
    let instance = world.fly.update(&lease, &world.update(before, NEW)).await.unwrap();
    let after = world.fly.machine(&web(), &before.id).await.unwrap();
    assert_eq!(after.instance, instance, "updated once, not twice");
    assert_eq!(after.image.digest, Some(world.digest(NEW)));
}

#[tokio::test]
async fn a_stale_update_loses_its_race() {
    let world = World::new().await;
    let machine = &world.one(MachineState::Started).await;
    let lease = world.lease(machine).await;
    let stale = MachineUpdate {
        current: InstanceId::new("01STALE0000000000000000000"),
        ..world.update(machine, NEW)
    };
    let error = world.fly.update(&lease, &stale).await.unwrap_err();
    assert!(matches!(error, PlatformError::Conflict(_)), "{error:?}");
}

#[tokio::test]
async fn a_stopped_machine_is_started() {
    let world = World::new().await;
    let machine = &world.one(MachineState::Stopped).await;
    let lease = world.lease(machine).await;
    world.fly.start(&lease).await.unwrap();
    let (app, ten) = (web(), Duration::from_secs(10));
    let wait = world.fly.wait(&app, &machine.id, &machine.instance, WaitFor::Started, ten);
    assert_eq!(wait.await, Ok(true));
}

#[tokio::test]
async fn a_rollback_is_written_into_the_ledger() {
    let world = World::new().await;
    let image = format!("{OLD}@{}", world.digest(OLD));
    let new = NewRelease { app: web(), image: image.clone() };
    let release = world.fly.open_release(&new).await.unwrap();
    assert_eq!((release.version, &release.image), (ReleaseVersion(42), &image));
    for status in [ReleaseStatus::Running, ReleaseStatus::Complete] {
        world.fly.set_release_status(&release.id, status.clone()).await.unwrap();
        let newest = &world.fly.releases(&web(), 1).await.unwrap()[0];
        assert_eq!((&newest.id, &newest.status), (&release.id, &status));
        assert_eq!(newest.has_release_command, Some(true), "its definition is the last one's");
    }
    let error = world.fly.set_release_status(&release.id, ReleaseStatus::Failed).await;
    assert!(matches!(error, Err(PlatformError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn images_are_looked_up() {
    let world = World::new().await;
    let image = ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: "web".to_owned(),
        tag: Some("v41".to_owned()),
        digest: Some(world.digest(OLD)),
    };
    assert_eq!(world.fly.presence(&image).await, Ok(ImagePresence::Present));
    world.sim.remove_image(OLD).unwrap();
    assert_eq!(world.fly.presence(&image).await, Ok(ImagePresence::Missing));
}

#[tokio::test]
async fn failures_on_the_way_are_got_over() {
    let world = World::new().await;
    world.fault("machines_list", json!({"kind": "request_lost"})).await;
    world.fault("machine_get", json!({"kind": "status", "status": 503})).await;
    world.fault("graphql", json!({"kind": "answer_lost"})).await;
    let machines = world.machines().await;
    world.fly.machine(&web(), &machines[0].id).await.unwrap();
    assert_eq!(world.fly.releases(&web(), 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn many_calls_at_once_stay_within_the_rate_limits() {
    let world = World::new().await;
    let machine = &world.one(MachineState::Started).await;
    let app = web();
    let readings = (0..14).map(|_| world.fly.machine(&app, &machine.id));
    try_join_all(readings).await.unwrap();
    let leases = join_all((0..3).map(|_| world.fly.lease(&app, &machine.id, TTL))).await;
    assert_eq!(leases.iter().filter(|lease| lease.is_ok()).count(), 1);
    assert_eq!(world.statuses("machine_get").await, [200; 14], "nobody was turned away");
    assert_eq!(world.statuses("lease_take").await, [201, 409, 409]);
}
