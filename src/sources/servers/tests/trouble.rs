//! A server that answers some questions and others not.

use super::*;

/// A threshold whose metrics are too much for the server.
fn heavy_one(name: &str) -> Threshold {
    let mut heavy = threshold(name, MetricsServer::fly().origin());
    if let ThresholdKind::Ratio(ratio) = &mut heavy.kind {
        ratio.bad = Selector::metric(format!("{name}_bad"));
        ratio.total = Selector::metric(name.to_owned());
    }
    heavy
}

fn heavy() -> Threshold {
    heavy_one("a_heavy")
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_takes_no_other_down() {
    // Given two questions of which the first is too heavy
    let mut stage = Stage::new();
    stage.policy.thresholds.push(heavy());
    stage.samples("api", "m1", 0.0, 0.0);
    stage.counted("api", 8).await;
    stage.samples("api", "m1", 100.0, 10.0);
    // Then the other is judged
    assert_eq!(stage.counted("api", 20).await, (100.0, 10.0));
    // and the one that fails says why, for its threshold alone
    let answer = stage.look("api").await;
    assert_eq!(answer.blind, None);
    let Ok(readings) = &answer.samples[0].readings else { panic!("unread") };
    assert!(readings.oddities.contains_key("a_heavy"), "{readings:?}");
    assert!(!readings.oddities.contains_key("5xx") && readings.counts.contains_key("5xx"));
    let name = SourceName::Server("fly".to_owned());
    assert!(stage.servers.troubles().is_empty() && stage.servers.is_answered(&name));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_is_asked_ever_more_seldom_and_after_the_others() {
    let mut stage = Stage::new();
    stage.policy.thresholds.push(heavy());
    stage.samples("api", "m1", 0.0, 0.0);
    stage.counted("api", 300).await;
    let asked = stage.asked();
    let heavy = asked.iter().filter(|query| query.contains("heavy")).count();
    assert!((8..=18).contains(&heavy), "{heavy} of {} in ten minutes", asked.len());
    assert!(asked.len() - heavy >= 80, "{} others", asked.len() - heavy);
    // An app that asks for nothing else is blind
    stage.policy.thresholds = vec![self::heavy()];
    let blind = stage.look("api").await.blind;
    assert_eq!(blind.as_deref(), Some("answered 503: query timed out"));
}

#[tokio::test(start_paused = true)]
async fn many_queries_that_fail_slowly_keep_no_other_waiting_for_long() {
    let mut stage = Stage::new();
    for name in ["a_heavy", "b_heavy", "c_heavy", "z_heavy"] {
        stage.policy.thresholds.push(heavy_one(name));
    }
    stage.samples("api", "m1", 0.0, 0.0);
    let (mut before, mut longest) = (Instant::now(), Duration::ZERO);
    for _ in 0..150 {
        let asked = stage.asked().len();
        stage.look("api").await;
        if stage.asked()[asked..].iter().any(|query| !query.contains("heavy")) {
            longest = longest.max(before.elapsed());
            before = Instant::now();
        }
    }
    assert!(longest <= Duration::from_secs(30), "{longest:?} between two answers");
    for name in ["a_heavy", "b_heavy", "c_heavy", "z_heavy"] {
        let asked = stage.asked().iter().filter(|query| query.contains(name)).count();
        assert!(asked >= 4, "{name} was asked {asked} times");
    }
}
