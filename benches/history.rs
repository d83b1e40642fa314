//! How many whole histories the simulated platform plays without tokio.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::time::Duration;

use waveoff::sim::{
    Ask, Behaviour, Fleet, Org, ShipOptions, Update,
    fleet::{FleetApp, FleetImage},
};

const OLD: &str = "registry.fly.io/web:v1";
const NEW: &str = "registry.fly.io/web:v2";

fn main() {
    divan::main();
}

fn organization() -> Org {
    let mut fleet = Fleet::empty("acme");
    fleet.beat_s = 60.0;
    fleet.apps = vec![FleetApp::new("web", OLD, &[("iad", 2), ("lhr", 2)], 30.0)];
    fleet.images = vec![
        FleetImage::new(OLD, Behaviour::default()),
        FleetImage::new(NEW, Behaviour::errors(0.3)),
    ];
    Org::new(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())
}

/// Lets time pass and reads every machine and every page each two seconds.
fn pass(org: &mut Org, seconds: u32) {
    for _ in 0..seconds / 2 {
        org.advance(org.now().checked_add(jiff::SignedDuration::from_secs(2)).unwrap());
        for machine in org.read_machines("web").unwrap() {
            divan::black_box(org.page("web", machine.id.as_str(), "/metrics"));
        }
    }
}

/// A minute, a deploy, a minute of it, and four machines put back one after the other.
#[divan::bench]
fn deploy_and_rollback_of_four_machines() {
    let mut org = organization();
    pass(&mut org, 60);
    org.ship("web", NEW, ShipOptions::default()).unwrap();
    pass(&mut org, 60);
    for machine in org.read_machines("web").unwrap() {
        let id = machine.id.as_str();
        let ttl = Duration::from_secs(60);
        let ask = Ask { nonce: None, ttl, owner: "us", description: "" };
        let nonce = org.take_lease("web", id, ask).unwrap().nonce;
        let text = machine.config.unwrap().0.replace(NEW, OLD);
        let update = Update {
            config: serde_json::from_str(&text).unwrap(),
            raw: Some(text.into()),
            current: None,
            skip_launch: false,
        };
        org.update("web", id, Some(&nonce), update).unwrap();
        pass(&mut org, 10);
        org.release_lease("web", id, &nonce).unwrap();
    }
}
