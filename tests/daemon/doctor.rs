//! `waveoff doctor`: what the platform does, beside what the daemon assumes, on an app of its own.

use serde_json::{Value, json};

use crate::stage::Stage;

#[tokio::test]
async fn every_question_is_answered_and_nothing_is_left() {
    // Given an organization, and an image that stays up
    let stage = Stage::set().await;
    let doctor = ["doctor", "--scratch-app", "scratch-1", "--organization", "acme", "--json"];
    let with = [&doctor[..], &["--image", "registry.fly.io/api:v41", "--region", "iad"]].concat();

    // When the platform is asked
    let (code, json, wrong) = stage.waveoff_there(&with).await;

    // Then all is as the daemon needs it, with an answer to each question
    assert_eq!(code, 0, "{json}{wrong}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() >= 13, "{report:#}");
    for one in findings {
        assert!(one["grade"] == "ok" || one["grade"] == "known", "{one}");
    }
    // And it names nobody, so that it can be shown to others
    for name in ["scratch-1", "acme", "@tokens"] {
        assert!(!json.contains(name), "{name} is in {json}");
    }
    // And the app is gone; one that is there is not touched
    assert_eq!(stage.platform.apps().await, ["api", "web"]);
    let there = with.iter().map(|word| if *word == "scratch-1" { "api" } else { *word });
    let (code, _, wrong) = stage.waveoff_there(&there.collect::<Vec<_>>()).await;
    assert!(code == 1 && wrong.contains("nothing was changed"), "{wrong}");
    assert_eq!(stage.platform.apps().await, ["api", "web"]);
    stage.end().await;
}

#[tokio::test]
async fn where_updates_are_refused_that_is_the_finding_and_nobody_waits_for_an_instance_of_them() {
    // Given a platform that refuses every update of the scratch app
    let stage = Stage::set().await;
    let fault = json!({ "kind": "status", "status": 422, "action": "machine_update",
        "app": "scratch-1", "times": 50 });
    stage.platform.fault(fault).await;

    // When it is asked
    let doctor = ["doctor", "--scratch-app", "scratch-1", "--organization", "acme", "--json"];
    let with = [&doctor[..], &["--image", "registry.fly.io/api:v41", "--region", "iad"]].concat();
    let (code, report, wrong) = stage.waveoff_there(&with).await;

    // Then the refusal is what was found, and what follows from it is not known
    assert_eq!(code, 1, "{report}{wrong}");
    let report: Value = serde_json::from_str(&report).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |question: &str| findings.iter().find(|one| one["question"] == question).unwrap();
    let update = of("an update under a lease");
    assert_eq!(update["grade"], "DIFFERENT", "{update}");
    assert!(update["platform"].as_str().unwrap().starts_with("422"), "{update}");
    let feed = of("the change feed");
    assert!(feed["platform"].as_str().unwrap().starts_with("no update: 422"), "{feed}");

    // and no wait follows an update that was refused
    let calls = stage.platform.control("GET", "calls?after=0", Value::Null).await;
    let calls = calls["calls"].as_array().unwrap();
    let refused = |call: &Value| call["action"] == "machine_update" && call["status"] == 422;
    let waits = |call: &Value| call["path"].as_str().is_some_and(|path| path.contains("/wait"));
    assert!(calls.iter().filter(|call| refused(call)).count() > 3, "{calls:#?}");
    assert!(calls.iter().any(waits), "{calls:#?}");
    for two in calls.windows(2) {
        assert!(!(refused(&two[0]) && waits(&two[1])), "{two:#?}");
    }
    stage.end().await;
}
