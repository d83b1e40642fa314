//! The main job, seen from outside.

use serde_json::Value;

use crate::{page::series, stage::Stage, wait::s};

#[tokio::test]
async fn a_bad_release_is_undone_and_everybody_can_see_it() {
    // Given an organization whose releases are trusted, and a daemon that watches it
    let mut stage = Stage::running().await;
    assert_eq!(stage.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(stage.get("/readyz").await, (200, "ready\n".to_owned()));

    // When somebody ships a bad one
    assert_eq!(stage.platform.ship("errors").await, 42);
    stage.hook.about_api("rollback.completed", s(60)).await;

    // Then the machines run what they ran before, and the ledger says who did it
    assert_eq!(stage.platform.tags().await, ["v41"]);
    assert_eq!(stage.platform.leased().await, Vec::<String>::new());
    let release = stage.platform.app("api").await["release"].clone();
    assert_eq!(release["version"], 43, "the rollback has a release of its own");
    assert_eq!(release["status"], "complete");
    assert!(release["image"].as_str().unwrap().contains("registry.fly.io/api"), "{release}");

    // and the receiver was told everything once, in order, signed
    let told = [
        "release.detected",
        "release.trusted",
        "release.detected",
        "release.degraded",
        "rollback.planned",
        "rollback.started",
        "rollback.region_confirmed",
        "rollback.region_confirmed",
        "rollback.completed",
    ];
    assert_eq!(stage.hook.kinds("api"), told);
    assert_eq!(stage.hook.raw().len(), stage.hook.messages().len(), "nothing came twice");

    status_and_history(&stage).await;
    explained(&stage).await;
    own_metrics(&stage).await;
    colours(&stage.log());
    stage.daemon();
    stage.end().await;
}

async fn status_and_history(stage: &Stage) {
    let (code, text, _) = stage.waveoff(&["status"]).await;
    assert_eq!(code, 0);
    let about = text.lines().find(|line| line.starts_with("api ")).expect(&text);
    assert!(about.contains("rolled back") && about.contains("policy all"), "{about}");
    let (code, text, _) = stage.waveoff(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &status["organization"]), (0, &"acme".into()));
    let api = status["apps"].as_array().unwrap().iter().find(|app| app["app"] == "api").unwrap();
    assert_eq!(api["phase"], "rolled_back");
    assert_eq!(api["release"]["version"], 42);
    assert_eq!(api["known_good"]["version"], 41);

    let (code, text, _) = stage.waveoff(&["history", "api"]).await;
    assert_eq!(code, 0);
    assert!(text.contains("rollback.completed") && text.contains("5xx"), "{text}");
    let (_, text, _) = stage.waveoff(&["history", "api", "--json"]).await;
    let history: Value = serde_json::from_str(&text).unwrap();
    let mut kept: Vec<(&str, &str)> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["id"].as_str().unwrap(), event["event"].as_str().unwrap()))
        .collect();
    kept.reverse();
    let messages = stage.hook.messages();
    let sent: Vec<(&str, &str)> = messages
        .iter()
        .filter(|message| message.is_about("api"))
        .map(|message| (message.id.as_str(), message.kind.as_str()))
        .collect();
    assert_eq!(kept, sent, "history and messages are the same story");

    let (code, _, complaint) = stage.waveoff(&["history", "nobody"]).await;
    let said = "waveoff: app nobody is not watched; the policy all would watch it, and the \
                platform lists no such app";
    assert_eq!(
        (code, complaint.split_whitespace().collect::<Vec<_>>().join(" ").as_str()),
        (1, said)
    );
}

async fn explained(stage: &Stage) {
    // What was rolled back is still dealt with: its breach is shown block by block
    let (code, text, _) = stage.waveoff(&["explain", "api"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("api v42"), "{text}");
    assert!(text.contains("REQUESTS") && text.contains("█") && text.contains("1000:1"), "{text}");
    let (_, text, _) = stage.waveoff(&["explain", "api", "v42", "--json"]).await;
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&view["live"], &view["known_good"]["version"]), (&true.into(), &41.into()));
    let thresholds = view["thresholds"].as_array().unwrap();
    let share = thresholds.iter().find(|one| one["verdict"] == "breach").unwrap();
    let blocks = share["blocks"].as_array().unwrap();
    let last = blocks.last().unwrap()["ln_odds"].as_f64().unwrap();
    assert!((1..=20).contains(&blocks.len()) && last >= 6.9, "{share}");
    assert_eq!(view["machines"].as_array().unwrap().len(), 4);

    // Of the release before, the journal has what was told
    let (_, text, _) = stage.waveoff(&["explain", "api", "v41", "--json"]).await;
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(view["live"], false);
    assert_eq!(view["told"].as_array().unwrap().last().unwrap()["event"], "release.trusted");

    let (code, _, complaint) = stage.waveoff(&["explain", "api", "v7"]).await;
    assert_eq!(code, 1);
    assert!(complaint.contains("v41") && complaint.contains("v42"), "{complaint}");
}

async fn own_metrics(stage: &Stage) {
    let (status, text) = stage.get("/metrics").await;
    assert_eq!(status, 200);
    let series = series(&text);
    for (name, value) in [
        ("waveoff_ready", 1.0),
        ("waveoff_apps_watched", 2.0),
        (r#"waveoff_app_phase{app="api",phase="rolled_back"}"#, 1.0),
        (r#"waveoff_app_phase{app="web",phase="steady"}"#, 1.0),
        (r#"waveoff_rollbacks_total{outcome="completed"}"#, 1.0),
        (r#"waveoff_outbox_dead{receiver="ops"}"#, 0.0),
    ] {
        let found = series.get(name).copied();
        assert!(found.is_some_and(|found| (found - value).abs() < 1e-9), "{name} is {found:?}");
    }
    let updates = series[r#"waveoff_platform_calls_total{action="update",outcome="ok"}"#];
    assert!((updates - 4.0).abs() < 1e-9, "one update for each machine, not {updates}");
}

/// A log that goes to a file is plain text.
fn colours(log: &str) {
    assert!(!log.contains('\u{1b}'), "the log has escape sequences");
}
