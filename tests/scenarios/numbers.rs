//! Numbers that cannot be judged, and thresholds that cannot be fed: they are told of and decide
//! nothing, and what can be judged goes on being judged.

use waveoff::{
    model::{
        EventKind::{
            MonitorBlind, ReleaseBaked, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
            RollbackStarted,
        },
        Note, Reason,
    },
    sim::{Behaviour, fleet},
    web::view::{EvidenceView, ProtectionLevel},
};

use crate::world::{APP, QUICK, World, policy, why};

const RATIO: &str =
    r#"ratio = { bad = 'http_requests_total{status=~"5.."}', total = 'http_requests_total' }"#;

/// The usual thresholds, with another first one.
fn instead(ratio: &str) -> String {
    let policy = policy(QUICK);
    assert!(policy.contains(RATIO), "{policy}");
    policy.replace(RATIO, ratio)
}

fn evidence(world: &World, threshold: &str) -> EvidenceView {
    let evidence = world.view().evidence.into_iter().find(|one| one.threshold == threshold);
    evidence.expect("it is judged")
}

/// `bad` and `total` were swapped by a slip of the hand: nearly every request is counted as a bad
/// one, of the few errors in all.
#[tokio::test(start_paused = true)]
async fn a_swapped_ratio_is_told_with_its_numbers_and_undoes_nothing() {
    let swapped = instead(
        r#"ratio = { bad = 'http_requests_total', total = 'http_requests_total{status=~"5.."}' }"#,
    );
    let mut world = World::new(&fleet::demo(), &swapped).await;
    // When it is looked at for a while
    let told = world.until(MonitorBlind).await;
    world.run_for(900).await;
    // Then it was told once, and what it shows is a contradiction
    let Some(Reason::Unjudgeable { threshold, note: Note::Inconsistent { bad, total }, .. }) =
        &told.reason
    else {
        panic!("{:?}", told.reason);
    };
    assert!(threshold == "5xx" && bad > total, "{threshold}: {bad} of {total}");
    assert!(why(&told).contains("are `bad` and `total` swapped?"), "{}", why(&told));
    assert_eq!(world.count(MonitorBlind).await, 1);
    assert_eq!(evidence(&world, "5xx").note.unwrap().split(':').next(), Some("inconsistent"));
    // And nothing is trusted on it, and nothing undone by it.
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    assert_eq!(world.count(ReleaseTrusted).await, 0);
    world.finish().await;
}

/// The same slip while there is something to go back to: it was made after trust was earned.
#[tokio::test(start_paused = true)]
async fn a_ratio_that_is_swapped_under_a_trusted_app_undoes_no_healthy_release() {
    let mut world = World::quick().await;
    world.trusted().await;
    let swapped = instead(
        r#"ratio = { bad = 'http_requests_total', total = 'http_requests_total{status=~"5.."}' }"#,
    );
    world.rewrite_policy(&swapped).await;
    world.ship("registry.fly.io/api:good");
    world.run_for(600).await;
    let told = world.told(MonitorBlind).await;
    assert!(told.iter().any(|event| why(event).contains("inconsistent")), "{told:?}");
    assert_eq!(world.count(RollbackStarted).await, 0, "{}", world.timeline().await);
    world.all_run("good");
    // And what can be judged still protects.
    world.ship("registry.fly.io/api:unhealthy");
    world.until(RollbackCompleted).await;
    world.finish().await;
}

/// `code` for `status`: nothing matches, and no error would ever be counted.
#[tokio::test(start_paused = true)]
async fn a_label_that_no_series_has_is_told_with_those_that_are_there() {
    let label = instead(
        r#"ratio = { bad = 'http_requests_total{code=~"5.."}', total = 'http_requests_total' }"#,
    );
    let mut world = World::new(&fleet::demo(), &label).await;
    let told = world.until(MonitorBlind).await;
    assert!(why(&told).contains("has the label `code`"), "{}", why(&told));
    for seen in ["method", "path", "status"] {
        assert!(why(&told).contains(seen), "{}", why(&told));
    }
    // Zero errors that could not be counted are no health.
    world.run_for(600).await;
    assert_eq!(world.count(MonitorBlind).await, 1, "once is enough");
    assert_eq!(world.count(ReleaseTrusted).await, 0, "{}", world.timeline().await);
    assert!(evidence(&world, "5xx").note.unwrap().contains("`code`"));
    world.finish().await;
}

/// The demo's worker alone: one machine without services, whose page has no requests.
fn worker(metrics: bool) -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.retain(|app| app.name == "worker");
    for worker in &mut fleet.apps {
        APP.clone_into(&mut worker.name);
        "registry.fly.io/api:v41".clone_into(&mut worker.image);
        for group in &mut worker.groups {
            group.metrics = metrics;
            group.checks = true;
        }
    }
    fleet
}

/// A worker under the thresholds of a web application: those that count requests do not apply, it
/// says so, and the others protect it.
#[tokio::test(start_paused = true)]
async fn a_worker_is_protected_by_the_thresholds_that_it_can_feed() {
    for metrics in [true, false] {
        // Given a worker, whose requests nobody can count
        let policy = instead(r#"ratio = { bad = 'jobs_failed_total', total = 'jobs_total' }"#);
        let mut world = World::new(&worker(metrics), &policy).await;
        // When it was seen for its bake
        world.run_for(240).await;
        // Then it is protected, and says what does not apply to it; where there is not even a page that could be
        // read, it is trusted by the rest
        if metrics {
            let note = evidence(&world, "5xx").note.unwrap();
            assert!(note.contains("does not apply"), "{note}");
        } else {
            assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
            assert_eq!(world.count(MonitorBlind).await, 0, "{}", world.timeline().await);
        }
        let protection = world.view().protection;
        assert_ne!(
            protection.level,
            ProtectionLevel::None,
            "{protection:?} {}",
            world.timeline().await
        );
        let earned = world.count(ReleaseBaked).await + world.count(ReleaseTrusted).await;
        assert!(earned > 0, "{}", world.timeline().await);
        // And one that does not work is undone.
        world.sim.add_image("registry.fly.io/api:dies", Behaviour::crashing(1.0));
        world.ship("registry.fly.io/api:dies");
        world.until(RollbackCompleted).await;
        world.all_run("v41");
        world.finish().await;
    }
}
