//! `waveoff check --live`: whether what the configuration names is there.

use serde_json::Value;

use crate::{
    platform::FLEET,
    stage::{POLICY, Stage, receiver},
};

/// Findings that are not ok, as `about: what: what it says`.
fn troubles(json: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(json).unwrap();
    let mut troubles = Vec::new();
    for section in report["sections"].as_array().unwrap() {
        let about = section["about"].as_str().unwrap().split(' ').next().unwrap();
        for one in section["findings"].as_array().unwrap() {
            if one["grade"] != "ok" {
                let [what, says] = ["what", "says"].map(|key| one[key].as_str().unwrap());
                troubles.push(format!("{about}: {what}: {says}"));
            }
        }
    }
    troubles
}

#[tokio::test]
async fn what_is_configured_right_is_found_to_be_there() {
    // Given what is shipped for the tests
    let stage = Stage::set().await;
    let config = stage.config();
    let dir = config.to_str().unwrap();
    // When it is looked at, then nothing is wrong, and no message is sent
    let (code, shown, said) = stage.waveoff_there(&["check", "--live", "--config", dir]).await;
    assert_eq!((code, said.as_str()), (0, ""), "{shown}");
    for want in ["2 of 2 are watched", "4 of 4 are started", "0 wrong, 0 to look at", "registry"] {
        assert!(shown.contains(want), "{want:?} is not in\n{shown}");
    }
    assert_eq!(stage.hook.raw().len(), 0);
    stage.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is() {
    let mut stage = Stage::set().await;
    let wrong = POLICY.replace("status=~", "code=~").replace("[\"*\"]", "[\"*\", \"apo\"]");
    let slow = "\n[[threshold]]\nname = \"p95\"\nmax = \"1m\"\n\
                latency = { histogram = 'http_request_duration_seconds', quantile = 0.95 }\n";
    stage.write("thresholds/all.toml", &format!("{wrong}{slow}"));
    let settings = format!("organization = \"acme\"\n{}", receiver("gone"));
    stage.write("waveoff.toml", &settings);
    stage.variable("GONE_URL", "http://127.0.0.1:9/nobody");
    let config = stage.config();
    let dir = config.to_str().unwrap();
    let arguments = ["check", "--live", "--json", "--config", dir];
    let (code, json, _) = stage.waveoff_there(&arguments).await;
    assert_eq!(code, 1, "{json}");
    let troubles = troubles(&json);
    for want in [
        "the: policy all: no app is like \"apo\"",
        "api: 5xx: no series of http_requests_total has a label code",
        "api: p95: no bucket ends at 60 s or above (the last ends at 10 s)",
        "web: 5xx: no series of http_requests_total has a label code",
        "receivers: gone: cannot be reached",
    ] {
        assert!(
            troubles.iter().any(|one| one.starts_with(want)),
            "{want:?} is not in {troubles:#?}"
        );
    }
    // A token that is refused is named first.
    stage
        .platform
        .control("POST", "faults", serde_json::json!({"kind": "status", "status": 401, "times": 9}))
        .await;
    let (code, json, _) = stage.waveoff_there(&arguments).await;
    assert_eq!(code, 1);
    assert!(json.contains("refuses the token"), "{json}");
    stage.end().await;
}

/// An app of which no machine takes requests.
const WORKER: &str = r#"
[[images]]
reference = "registry.fly.io/worker:v3"

[[apps]]
name = "worker"
image = "registry.fly.io/worker:v3"
version = 3
groups = [{ name = "app", machines = { iad = 1 }, services = false }]
"#;

#[tokio::test]
async fn what_does_not_apply_to_an_app_is_no_trouble_and_an_app_that_is_not_there_is() {
    // Given a worker whose policy has limits on requests
    let mut stage = Stage::with_fleet(&format!("{FLEET}{WORKER}")).await;
    let policy = "apps = [\"worker\"]\nuse = [\"fly-http\"]\n";
    stage.write("thresholds/worker.toml", policy);
    let config = stage.config();
    let dir = config.to_str().unwrap();
    let look = async |stage: &Stage, app: &str| {
        let arguments = ["check", "--live", "--json", "--config", dir, "--app", app];
        let (code, json, _) = stage.waveoff_there(&arguments).await;
        (code, json)
    };

    // When it is looked at, then that is said as the daemon says it, and nothing is to look at
    let (code, json) = look(&stage, "worker").await;
    assert_eq!((code, troubles(&json)), (0, Vec::new()), "{json}");
    let words = "does not apply: no machine has such a series or takes requests";
    assert_eq!(json.matches(words).count(), 2, "{json}");

    // And one that the organization has not is wrong, with the name that was meant or those there are
    for (app, next) in
        [("workr", "did you mean \\\"worker\\\"?"), ("nosuch", "there are api, web, worker")]
    {
        let (code, json) = look(&stage, app).await;
        let want = format!("the: app {app}: no app of acme is called so");
        assert_eq!((code, troubles(&json)), (1, vec![want]), "{json}");
        assert!(json.contains(next), "{json}");
    }

    // And a slug that is not the token's may be misspelt: that is said first
    stage.variable("WAVEOFF_ORGANIZATION", "acmee");
    let (code, json) = look(&stage, "worker").await;
    assert_eq!(code, 1);
    let says = "it is of acme, not of acmee; write the slug as it is (`organization`), or make one";
    assert!(json.contains(says), "{json}");
    stage.end().await;
}
