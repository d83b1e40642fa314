//! Copies of trusted images in a registry of our own, and going back to them.

use std::time::Duration;

use waveoff::{
    model::{
        Act,
        EventKind::{
            HoldPlaced, ImageMissing, ImageNotMirrored, ReleaseDetected, ReleaseTrusted,
            RollbackCompleted, RollbackStopped,
        },
        Reply, Wish,
    },
    ports::PlatformError,
    sim::{CallKind, Fault, FaultRule, fleet},
    web::view::{MirrorState, MirrorView},
};

use crate::world::{QUICK, World, policy, why};

const OWN: &str = "registry.fly.io/api";
const MIRROR: &str = "ghcr.io/acme/api";

fn mirroring() -> String {
    policy(&format!("{QUICK}mirror = \"ghcr.io/acme/{{app}}\"\n"))
}

async fn world() -> World {
    World::new(&fleet::demo(), &mirroring()).await
}

/// One that is looked at seldom while nothing happens: days pass quickly.
async fn slow_world() -> World {
    let seldom = mirroring().replace("[watch]", "[watch]\nidle_scrape_every = \"5m\"");
    World::new(&fleet::demo(), &seldom).await
}

/// The reference of a copy.
fn copy_of(world: &World, tag: &str) -> String {
    let digest = world.sim.digest(&format!("{OWN}:{tag}")).expect("it is there");
    format!("{MIRROR}@{digest}")
}

fn newest(world: &World) -> MirrorView {
    world.view().mirror.first().cloned().expect("a copy is wanted")
}

async fn until_copied(world: &mut World) {
    for _ in 0..600 {
        if newest(world).state == MirrorState::Copied {
            return;
        }
        world.run_for(1).await;
    }
    panic!("never copied: {:?}\n{}", newest(world), world.timeline().await);
}

fn parts_copied(world: &World) -> usize {
    world.sim.calls().iter().filter(|call| call.action == CallKind::Copy).count()
}

/// What machines run, without tags.
fn references(world: &World) -> Vec<String> {
    let mut all: Vec<String> = world.sim.running("api").into_values().collect();
    all.sort();
    all.dedup();
    all
}

#[tokio::test(start_paused = true)]
async fn a_trusted_image_is_copied_in_the_background_and_its_progress_shown() {
    // Given a release that has just earned trust
    let mut world = world().await;
    world.trusted().await;
    // When its image is on its way to the mirror
    let mut seen = Vec::new();
    for _ in 0..40 {
        let mirror = newest(&world);
        seen.push((mirror.state, mirror.done));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // Then it is shown how far it is, and that it has arrived
    assert!(seen.contains(&(MirrorState::Copying, Some(20_000_000))), "{seen:?}");
    let mirror = newest(&world);
    assert_eq!((mirror.state, mirror.done, mirror.of), (MirrorState::Copied, None, None));
    assert_eq!(mirror.image, copy_of(&world, "v41"));
    assert!(world.sim.digest(&mirror.image).is_some());
    // And it is not copied again
    let parts = parts_copied(&world);
    world.run_for(120).await;
    assert_eq!(parts_copied(&world), parts);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_platforms_image_is_gone_the_mirrors_is_deployed() {
    // Given v41, copied, and then lost by the platform's registry
    let mut world = world().await;
    world.trusted().await;
    until_copied(&mut world).await;
    let copy = copy_of(&world, "v41");
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    // When a bad release comes
    world.ship("registry.fly.io/api:errors");
    // Then people are told that it is gone, and where the copy is
    let missing = world.until(ImageMissing).await;
    assert!(why(&missing).contains(&format!("its copy {copy} is used")), "{}", why(&missing));
    // And the machines run the copy
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(completed.known_good.unwrap().label(), "v41");
    assert_eq!(references(&world), std::slice::from_ref(&copy));
    assert_eq!(world.count(ImageMissing).await, 1);
    // And it is the trusted release, not news: nothing else happens to it
    let detected = world.count(ReleaseDetected).await;
    world.run_for(180).await;
    assert_eq!(world.count(ReleaseDetected).await, detected);
    let mirror = newest(&world);
    assert!(mirror.only_copy, "{mirror:?}");
    // And the next bad release is undone the same way
    world.ship("registry.fly.io/api:unhealthy");
    while world.count(RollbackCompleted).await < 2 {
        world.run_for(1).await;
    }
    assert_eq!(references(&world), [copy]);
    assert_eq!(world.count(ImageMissing).await, 1, "it is known");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_neither_has_is_passed_over_for_the_next_older_trusted_release() {
    // Given a newer trusted release whose image and copy are both gone
    let mut world = world().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    until_copied(&mut world).await;
    let copy = copy_of(&world, "good");
    world.sim.remove_image("registry.fly.io/api:good").unwrap();
    world.sim.remove_image(&copy).unwrap();
    // When a bad release comes
    world.ship("registry.fly.io/api:errors");
    // Then the older one is gone back to, from the platform's registry
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(completed.known_good.unwrap().label(), "v41");
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn with_no_image_left_anywhere_nothing_is_done() {
    let mut world = world().await;
    world.trusted().await;
    until_copied(&mut world).await;
    let copy = copy_of(&world, "v41");
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    world.sim.remove_image(&copy).unwrap();
    world.ship("registry.fly.io/api:errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("no trusted release's image is left"), "{}", why(&held));
    world.all_run("errors");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_nobody_knows_of_is_looked_for_before_use() {
    // Given a platform that lost the image before it was copied, and a mirror that has it all the same
    let mut world = world().await;
    let digest = world.sim.digest("registry.fly.io/api:v41").unwrap();
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Copy));
    world.trusted().await;
    world.run_for(5).await;
    let copy = format!("{MIRROR}@{digest}");
    world.sim.add_image(&copy, waveoff::sim::Behaviour::default());
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    // When a bad release comes, then the copy is found
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    assert_eq!(references(&world), [copy]);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_in_the_middle_goes_on_and_nobody_is_bothered() {
    // Given a connection that breaks after two of four parts, twice
    let mut world = world().await;
    world.sim.add_fault(FaultRule::new(Fault::RequestLost).on(CallKind::Copy).after(2).times(2));
    // When the image is copied
    world.trusted().await;
    until_copied(&mut world).await;
    // Then it arrives, nothing of it was copied twice, and nothing is told
    assert_eq!(parts_copied(&world), 4 + 2);
    assert_eq!(world.count(ImageNotMirrored).await, 0);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_refuses_is_told_once_with_what_helps_and_tried_ever_more_seldom() {
    // Given a mirror that does not let us in
    let mut world = slow_world().await;
    let no = PlatformError::Denied("POST /v2/acme/api/blobs/uploads/ answered 403".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(no)).on(CallKind::Copy));
    // When hours pass
    world.trusted().await;
    let told = world.until(ImageNotMirrored).await;
    world.run_for(4 * 3600).await;
    // Then it was said once, with the remedy, and in the status
    let said = why(&told);
    assert!(said.contains("WAVEOFF_MIRROR_TOKEN") && said.contains("403"), "{said}");
    assert_eq!(world.count(ImageNotMirrored).await, 1);
    let mirror = newest(&world);
    assert_eq!(mirror.state, MirrorState::Failed);
    assert!(mirror.why.is_some_and(|why| why.contains("WAVEOFF_MIRROR_USER")));
    let tries = parts_copied(&world);
    assert!((8..=12).contains(&tries), "{tries} attempts in four hours");
    // And when it lets us in, the image is copied
    world.sim.clear_faults();
    world.run_for(3700).await;
    assert_eq!(newest(&world).state, MirrorState::Copied);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_does_not_answer_is_told_when_that_lasts() {
    let mut world = world().await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Copy));
    world.trusted().await;
    world.run_for(90).await;
    assert_eq!(world.count(ImageNotMirrored).await, 0, "it may pass");
    let told = world.until(ImageNotMirrored).await;
    assert!(why(&told).contains("tried again"), "{}", why(&told));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_killed_in_the_middle_of_a_copy_goes_on_with_it() {
    let mut world = world().await;
    world.trusted().await;
    while parts_copied(&world) < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // When the power goes, and comes back
    world.kill().await;
    let before = parts_copied(&world);
    world.run_for(30).await;
    world.start().await;
    until_copied(&mut world).await;
    // Then what was there is not copied again
    assert_eq!(parts_copied(&world), 4, "{before} before");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn images_are_copied_one_after_the_other() {
    // Given two apps that earn trust together
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    for app in ["api", "web"] {
        let image = format!("registry.fly.io/{app}:v41");
        fleet.apps.push(fleet::FleetApp::new(app, &image, &[("iad", 2)], 60.0));
    }
    let both = mirroring().replace("apps = [\"api\"]", "apps = [\"api\", \"web\"]");
    let mut world = World::new(&fleet, &both).await;
    // When both are copied
    world.trusted().await;
    until_copied(&mut world).await;
    world.run_for(60).await;
    // Then one was begun when the other was done
    let calls = world.sim.calls();
    let mut of: Vec<String> = calls
        .iter()
        .filter(|call| call.action == CallKind::Copy)
        .map(|call| call.app.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(of.len(), 8, "{of:?}");
    of.dedup();
    assert_eq!(of.len(), 2, "{of:?}");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_copy_delays_no_rollback() {
    // Given a mirror that takes minutes for a part
    let mut world = world().await;
    let slow = Fault::Slow(Duration::from_secs(600));
    world.sim.add_fault(FaultRule::new(slow).on(CallKind::Copy));
    world.trusted().await;
    world.run_for(10).await;
    // When a bad release comes meanwhile, then it is undone as fast as without
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let took = world.seconds_between(ReleaseDetected, RollbackCompleted).await;
    assert!(took < 200.0, "{took} s");
    assert_eq!(newest(&world).state, MirrorState::Copying);
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_configured_later_gets_what_is_trusted_and_one_taken_away_is_left() {
    let mut world = World::quick().await;
    world.trusted().await;
    assert_eq!(world.view().mirror, []);
    world.rewrite_policy(&mirroring()).await;
    world.run_for(20).await;
    until_copied(&mut world).await;
    let copy = copy_of(&world, "v41");
    // Taken out of the policy, it is nothing to go back to any more
    world.rewrite_policy(&policy(QUICK)).await;
    world.run_for(20).await;
    assert_eq!(world.view().mirror, []);
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    world.ship("registry.fly.io/api:errors");
    world.until(HoldPlaced).await;
    assert!(world.sim.digest(&copy).is_some());
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_mirror_lost_is_noticed_within_a_day_and_copied_again() {
    let mut world = slow_world().await;
    world.trusted().await;
    until_copied(&mut world).await;
    let copy = copy_of(&world, "v41");
    world.sim.remove_image(&copy).unwrap();
    world.run_for(25 * 3600).await;
    assert!(world.sim.digest(&copy).is_some(), "copied again");
    assert_eq!(world.count(ImageMissing).await, 0, "the image itself is there");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_by_hand_takes_the_copy_as_well() {
    // Given a good release after v41, whose image only the mirror still has
    let mut world = world().await;
    world.trusted().await;
    until_copied(&mut world).await;
    let copy = copy_of(&world, "v41");
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    world.ship("registry.fly.io/api:good");
    world.run_for(20).await;
    // When a person goes back to it
    let order = || Act::Rollback(Wish { to: Some("v41".to_owned()), ..Wish::default() });
    let reply = world.act(order()).await;
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    // Then the copy is deployed
    world.until(RollbackCompleted).await;
    assert_eq!(references(&world), std::slice::from_ref(&copy));
    // And where neither is left, it is called off with the reason
    world.ship("registry.fly.io/api:good");
    world.run_for(20).await;
    world.sim.remove_image(&copy).unwrap();
    world.act(order()).await;
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("not in the registry any more"), "{}", why(&stopped));
    world.finish().await;
}
