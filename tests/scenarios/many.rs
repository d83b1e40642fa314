//! An organization with hundreds of apps.

use waveoff::sim::{
    CallKind, Fleet,
    fleet::{self, FleetApp, FleetImage},
};

use crate::world::World;

const APPS: usize = 200;
const IMAGE: &str = "registry.fly.io/many:v1";

/// What is watched by checks alone, every five seconds when it is steady.
const POLICY: &str = r#"
apps = ["*"]
mode = "observe"
use = ["checks"]
[watch]
bake = "20s"
scrape_every = "5s"
idle_scrape_every = "5s"
"#;

/// What an organization costs has an end: beside many apps each is looked at more seldom.
#[tokio::test(start_paused = true)]
async fn hundreds_of_steady_apps_are_looked_at_twenty_a_second() {
    // Given two hundred apps under a policy that wants each to be looked at every five seconds
    let app = |number: usize| FleetApp::new(&format!("app-{number}"), IMAGE, &[("iad", 1)], 0.0);
    let apps = (0..APPS).map(app).collect();
    let fleet =
        Fleet { apps, images: vec![FleetImage::new(IMAGE, Default::default())], ..fleet::demo() };
    let mut world = World::new(&fleet, POLICY).await;
    // When nothing is watched any more
    world.run_for(90).await;
    let before = world.sim.calls().len();
    world.run_for(60).await;
    // Then their lists are asked for twenty times a second in all, and none is forgotten
    let calls = world.sim.calls().split_off(before);
    let lists = calls.iter().filter(|call| call.action == CallKind::Machines).count();
    assert!((APPS * 4..=APPS * 7).contains(&lists), "{lists} lists in a minute");
    world.finish().await;
}
