//! `waveoff doctor`: what the platform does, beside what the daemon assumes, on an app of its own.

use serde_json::Value;

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
