//! What people read, and that they get it: whole, signed, once, in order.

use waveoff::model::EventKind::{ReleaseDegraded, RollbackCompleted};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn the_sentences_carry_the_numbers() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    insta::assert_snapshot!(world.sentences().await, @r"
    api v41: new release by dev@sim.test (v41): first seen: it has to earn trust.
    api v41: trusted after 62 s: 5xx 0.0938 % (7 of 7464 requests), limit 2 %; p95 0 % slower than 500 ms (0 of 7464 requests), limit 5 %; checks failing on 0 of 6 machines, limit 30 %; crashes on 0 of 6 machines, limit 2 exits each.
    api v42 (errors): new release by ci@sim.test (469876b9a2d5), judged against v41.
    api v42 (errors): degraded after 13 s: 5xx 28.4 % (360 of 1266 requests), limit 2 %, odds 6200:1; v41 at the same time 0 % (0 of 210).
    api v42 (errors) → v41: will be rolled back: 5xx 28.4 % (360 of 1266 requests), limit 2 %, odds 6200:1; v41 at the same time 0 % (0 of 210). iad, lhr, syd next.
    api v42 (errors) → v41: 5xx 28.4 % (360 of 1266 requests), limit 2 %, odds 6200:1; v41 at the same time 0 % (0 of 210). iad, lhr, syd next.
    api v42 (errors) → v41: iad is well on the known-good release: 5xx 0 % (0 of 99), odds over 1 000 000:1. iad done in 5 s; lhr, syd next.
    api v42 (errors) → v41: lhr is well on the known-good release: 5xx 0 % (0 of 121), odds over 1 000 000:1. iad, lhr done in 9.5 s; syd rolling back.
    api v42 (errors) → v41: syd is well on the known-good release: 5xx 0 % (0 of 115), odds over 1 000 000:1. iad, lhr, syd done in 12 s.
    api v42 (errors) → v41: rolled back in 12 s: 5xx 28.4 % (360 of 1266 requests), limit 2 %, odds 6200:1; v41 at the same time 0 % (0 of 210). iad, lhr, syd done.
    ");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_degraded_release_carries_value_limit_counts_odds_and_log_lines() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    let degraded = world.until(ReleaseDegraded).await;
    let evidence = degraded.evidence.iter().find(|e| e.threshold == "5xx").unwrap();
    assert!((evidence.value.unwrap() - 0.3).abs() < 0.1, "{evidence:?}");
    assert!(evidence.total > 100.0 && evidence.bad > 20.0, "{evidence:?}");
    assert!(evidence.ln_odds.unwrap() >= evidence.ln_odds_needed.unwrap(), "{evidence:?}");
    assert!(evidence.source.contains(r#"http_requests_total{status=~"5.."}"#));
    assert!(!degraded.log_lines.is_empty());
    world.finish().await;
}

/// A receiver that is down gets everything later, under the same ids and in order.
#[tokio::test(start_paused = true)]
async fn messages_wait_for_a_receiver_that_is_down_across_a_restart() {
    let mut world = World::quick().await;
    world.trusted().await;
    *world.inbox.refusing.lock().unwrap() = true;
    let before = world.inbox.got.lock().unwrap().len();
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    assert_eq!(world.inbox.got.lock().unwrap().len(), before);
    world.restart().await;
    *world.inbox.refusing.lock().unwrap() = false;
    let inbox = world.inbox.clone();
    world.finish().await;
    let got = inbox.got.lock().unwrap();
    let kinds: Vec<&str> = got
        .iter()
        .filter(|(_, body)| body["data"]["app"] == "api")
        .map(|(_, b)| b["type"].as_str().unwrap())
        .collect();
    let completed = kinds.iter().position(|kind| *kind == "rollback.completed").unwrap();
    let degraded = kinds.iter().position(|kind| *kind == "release.degraded").unwrap();
    assert!(degraded < completed, "{kinds:?}");
}
