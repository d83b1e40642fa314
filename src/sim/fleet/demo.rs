//! The organization of `waveoff demo`, and of `waveoff sim serve` when nobody describes another.

use super::{Fleet, FleetApp, FleetImage};
use crate::sim::model::behaviour::Behaviour;

/// The demo's fleet: `api` in three regions, `web` in two, `worker` in one, and images that go
/// wrong in one way each.
pub fn demo() -> Fleet {
    let name = |app: &str, tag: &str| format!("registry.fly.io/{app}:{tag}");
    let well = || Behaviour { error_share: 0.001, ..Behaviour::default() };
    let image = |app: &str, tag: &str, behaviour| FleetImage::new(&name(app, tag), behaviour);
    let app = |app: &str, machines: &[(&str, u32)], rate| {
        FleetApp::new(app, &name(app, "v41"), machines, rate)
    };
    let mut worker = app("worker", &[("iad", 1)], 0.0);
    for group in &mut worker.groups {
        group.services = false;
        group.checks = false;
    }
    Fleet {
        seed: 42,
        boot_s: 0.6,
        replace_s: 0.3,
        apps: vec![
            app("api", &[("iad", 2), ("lhr", 2), ("syd", 2)], 120.0),
            app("web", &[("iad", 2), ("lhr", 1)], 40.0),
            worker,
        ],
        images: vec![
            image("api", "v41", well()),
            image("web", "v41", well()),
            image("worker", "v41", Behaviour::default()),
            image("api", "good", well()),
            image("api", "errors", Behaviour { error_share: 0.3, ..well() }),
            image("api", "latency", Behaviour { slow_share: 0.6, ..well() }),
            image("api", "crash", Behaviour { crash_after_s: Some(2.0), ..well() }),
            image("api", "unhealthy", Behaviour { checks_fail: true, ..well() }),
        ],
        ..Fleet::empty("acme")
    }
}
