//! Whole histories without tokio: the model alone, driven by a plain loop with a clock of its own.

use std::time::Duration;

use crate::sim::{
    Ask, Behaviour, Fleet, Org, ShipOptions, Update,
    fleet::{FleetApp, FleetImage},
};

const OLD: &str = "registry.fly.io/web:v1";
const NEW: &str = "registry.fly.io/web:v2";

fn organization(seed: u64) -> Org {
    let mut fleet = Fleet::empty("acme");
    (fleet.seed, fleet.beat_s) = (seed, 60.0);
    fleet.apps = vec![FleetApp::new("web", OLD, &[("iad", 2), ("lhr", 2)], 30.0)];
    fleet.images = vec![
        FleetImage::new(OLD, Behaviour::default()),
        FleetImage::new(NEW, Behaviour::errors(0.3)),
    ];
    Org::new(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())
}

/// Lets time pass; looks at everything every two seconds, as a daemon does.
fn pass(org: &mut Org, seconds: u32) {
    for _ in 0..seconds / 2 {
        let now = org.now().checked_add(jiff::SignedDuration::from_secs(2)).unwrap();
        org.advance(now);
        for machine in org.read_machines("web").unwrap() {
            let (id, metrics) = (machine.id.as_str(), machine.metrics.unwrap());
            let page = org.page("web", id, &metrics.path);
            assert!(page.is_some() || machine.state.as_str() != "started");
        }
    }
}

/// A minute of v1, v2 everywhere, a minute of it, and back, one machine after the other.
fn history(seed: u64) -> Org {
    let mut org = organization(seed);
    pass(&mut org, 60);
    org.ship("web", NEW, ShipOptions::default()).unwrap();
    pass(&mut org, 60);
    let machines = org.read_machines("web").unwrap();
    for machine in machines {
        let id = machine.id.as_str();
        let ttl = Duration::from_secs(60);
        let ask = Ask { nonce: None, ttl, owner: "us", description: "" };
        let nonce = org.take_lease("web", id, ask).unwrap().nonce;
        let text = machine.config.unwrap().0.replace(NEW, OLD);
        let update = Update {
            config: serde_json::from_str(&text).unwrap(),
            raw: Some(text.into()),
            current: Some(machine.instance.as_str()),
            skip_launch: false,
        };
        org.update("web", id, Some(&nonce), update).unwrap();
        while org.read_machine("web", id).unwrap().state.as_str() != "started" {
            let due = org.next_due().expect("it is on its way");
            org.advance(due);
        }
        org.release_lease("web", id, &nonce).unwrap();
        pass(&mut org, 10);
    }
    org
}

#[test]
fn a_rollback_of_four_machines_is_played_by_a_plain_loop_and_is_the_same_each_time() {
    let (one, same) = (history(7), history(7));
    assert_eq!(one.now(), same.now());
    let totals = |org: &Org| org.apps["web"].totals;
    assert_eq!(totals(&one), totals(&same));
    assert!(totals(&one).failed > 100, "{:?}", totals(&one));
    assert_ne!(totals(&history(8)).failed, totals(&one).failed);
    let old = one.images.resolve(OLD).unwrap();
    assert!(one.running("web").values().all(|image| image.ends_with(&old)));
}
