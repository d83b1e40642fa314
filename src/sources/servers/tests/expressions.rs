//! Expressions: how often, for how many apps at once, and what a refusal costs.

use super::*;
use crate::model::{Oddity, Promql};

fn evaluated(name: &str, expression: &str) -> Threshold {
    let promql = Promql {
        expression: expression.to_owned(),
        looks_back: Duration::ZERO,
        max: 10.0,
        sustain: Duration::ZERO,
        quorum: 0.3,
        from: MetricsServer::fly().origin(),
    };
    let kind = ThresholdKind::Promql(promql);
    Threshold { kind, ..threshold(name, MetricsServer::fly().origin()) }
}

#[tokio::test(start_paused = true)]
async fn an_expression_is_evaluated_for_each_app_as_often_as_the_server_has_anything_new() {
    let mut stage = Stage::new();
    stage.policy.thresholds = vec![evaluated("queue", "queue{app=\"$app\"}")];
    stage.samples("api", "m1", 1.0, 0.0);
    let mut told = Vec::new();
    for _ in 0..30 {
        for app in ["api", "shop"] {
            let answer = stage.look(app).await;
            let read = answer.samples.first().and_then(|sample| sample.readings.as_ref().ok());
            told.extend(read.and_then(|read| read.gauges.get("queue").copied()));
        }
    }
    let asked = stage.asked();
    let of =
        |app: &str| asked.iter().filter(|one| **one == format!("queue{{app=\"{app}\"}}")).count();
    assert_eq!(of("api") + of("shop"), asked.len(), "{asked:?}");
    // Two minutes, a quarter of a minute apart.
    assert!((6..=9).contains(&of("api")) && (6..=9).contains(&of("shop")), "{asked:?}");
    assert!(told.iter().all(|value| (41.0..43.0).contains(value)), "{told:?}");
    assert!((asked.len() - 2..=asked.len()).contains(&told.len()), "each value is told once");
}

/// A round of all these apps: the value that each was told of `queue`.
async fn values(stage: &Stage, apps: &[String]) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for (app, answer) in apps.iter().zip(join_all(apps.iter().map(|app| stage.look(app))).await) {
        let read = answer.samples.first().and_then(|sample| sample.readings.as_ref().ok());
        values.extend(read.and_then(|read| Some((app.clone(), *read.gauges.get("queue")?))));
    }
    values
}

#[tokio::test(start_paused = true)]
async fn an_expression_is_evaluated_for_many_apps_in_few_queries() {
    let mut stage = Stage::new();
    stage.policy.thresholds = vec![evaluated("queue", "queue{app=\"$app\"}")];
    stage.samples("api", "m1", 1.0, 0.0);
    let apps: Vec<String> = (0..100).map(|number| format!("app-{number}")).collect();
    let mut told = BTreeMap::new();
    for _ in 0..10 {
        told.extend(values(&stage, &apps).await);
    }
    assert_eq!(told.len(), 100);
    assert!(stage.asked().len() <= 10, "{}", stage.asked().len());
}

/// One app's series may not fit the expression: that is no trouble of the others.
#[tokio::test(start_paused = true)]
async fn an_expression_that_is_refused_for_one_app_is_evaluated_for_the_others() {
    let mut stage = Stage::new();
    stage.policy.thresholds = vec![evaluated("queue", "queue{app=\"$app\"}")];
    stage.samples("api", "m1", 1.0, 0.0);
    let apps = ["api", "broken", "shop"].map(str::to_owned);
    let mut told = BTreeMap::new();
    for _ in 0..10 {
        told.extend(values(&stage, &apps).await);
    }
    assert_eq!(told.keys().collect::<Vec<_>>(), ["api", "shop"]);
    let refused = |answer: Answer| {
        let Ok(read) = &answer.samples[0].readings else { panic!("unread") };
        matches!(read.oddities.get("queue"), Some(Oddity::Refused { .. }))
    };
    assert!(refused(stage.look("broken").await));
    assert!(!refused(stage.look("api").await));
}

/// However many expressions there are and however slow they are, what is counted is asked for meanwhile.
#[tokio::test(start_paused = true)]
async fn many_slow_expressions_keep_nobody_from_being_counted() {
    let mut stage = Stage::new();
    // So long that hardly two of them make a query.
    let expression = format!("queue{{app=\"$app\",job!=\"{}\"}}", "x".repeat(4000));
    stage.policy.thresholds.push(evaluated("queue", &expression));
    stage.samples("api", "m1", 1.0, 0.0);
    *lock(&stage.fake.takes) = Duration::from_millis(500);
    let apps: Vec<String> = (0..60).map(|number| format!("app-{number}")).collect();
    let mut told = BTreeMap::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        told.extend(values(&stage, &apps).await);
    }
    let counts = stage.asked().iter().filter(|one| one.contains("__name__")).count();
    assert!(counts >= 10, "counted {counts} times in two minutes");
    assert_eq!(told.len(), 60, "each had its turn");
}

/// What is joined is refused for one of them, so that each is asked for alone: that takes its turns as well.
#[tokio::test(start_paused = true)]
async fn many_slow_expressions_that_cannot_be_joined_keep_nobody_from_being_counted() {
    let mut stage = Stage::new();
    stage.policy.thresholds.push(evaluated("queue", "queue{app=\"$app\"}"));
    stage.samples("api", "m1", 1.0, 0.0);
    *lock(&stage.fake.takes) = Duration::from_millis(500);
    let mut apps: Vec<String> = (0..60).map(|number| format!("app-{number}")).collect();
    apps.push("broken".to_owned());
    let mut told = BTreeMap::new();
    let began = Instant::now();
    let counted =
        |stage: &Stage| stage.asked().iter().filter(|one| one.contains("__name__")).count();
    while began.elapsed() < Duration::from_secs(25) {
        told.extend(values(&stage, &apps).await);
    }
    // One after the other they would take half a minute.
    assert!(counted(&stage) >= 2, "counted once while all were asked for");
    while began.elapsed() < Duration::from_secs(120) {
        told.extend(values(&stage, &apps).await);
    }
    assert_eq!(told.len(), 60, "each had its turn");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_refused_is_told_and_no_trouble_of_the_others() {
    let mut stage = Stage::new();
    stage.policy.thresholds.push(evaluated("wrong", "broken{app=\"$app\"}"));
    stage.samples("api", "m1", 0.0, 0.0);
    stage.counted("api", 4).await;
    stage.samples("api", "m1", 100.0, 10.0);
    assert_eq!(stage.counted("api", 12).await, (100.0, 10.0));
    let answer = stage.look("api").await;
    assert_eq!(answer.blind, None);
    let Ok(readings) = &answer.samples[0].readings else { panic!("unread") };
    let Some(Oddity::Refused { detail }) = readings.oddities.get("wrong") else {
        panic!("{readings:?}")
    };
    assert!(detail.contains("(422): no broken") && !readings.oddities.contains_key("5xx"));
}
