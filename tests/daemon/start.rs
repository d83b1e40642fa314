//! What a user sees who got something wrong before the daemon could do anything.

use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    stage::Stage,
    wait::{s, until},
};

/// Waits for `/readyz` to say no with all of these words, and answers with what it said.
async fn not_ready(stage: &Stage, words: &[&str]) -> String {
    until(&format!("/readyz says {words:?}"), s(20), async || {
        let (status, text) = stage.get("/readyz").await;
        assert_eq!(status, 503, "{text}");
        words.iter().all(|word| text.contains(word)).then_some(text)
    })
    .await
}

#[tokio::test]
async fn without_a_token_it_says_how_to_get_one() {
    let mut stage = Stage::set().await;
    stage.variables.retain(|(name, _)| name != "FLY_API_TOKEN");
    let config = stage.config();
    let (code, _, complaint) =
        stage.waveoff_there(&["run", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, 1);
    assert!(complaint.contains("no token: set FLY_API_TOKEN"), "{complaint}");
    assert!(complaint.contains("fly tokens create org"), "{complaint}");
    stage.end().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_how_to_choose_another() {
    let mut stage = Stage::set().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    stage.variable("WAVEOFF_LISTEN", &address.to_string());
    let config = stage.config();
    let (code, _, complaint) =
        stage.waveoff_there(&["run", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, 1);
    let said = format!("listen on {address}: stop what listens there, or choose another address");
    assert!(complaint.contains(&said), "{complaint}");
    assert!(complaint.contains("WAVEOFF_LISTEN"), "{complaint}");
    stage.end().await;
}

#[tokio::test]
async fn a_wrong_organization_is_named_until_it_is_there() {
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_ORGANIZATION", "acne");
    stage.start().await;
    not_ready(&stage, &["apps of acne", "404"]).await;
    let (code, text, _) = stage.waveoff(&["status"]).await;
    assert_eq!(code, 0);
    assert!(text.contains("not ready") && text.contains("404"), "{text}");
    stage.logged("the organization's apps cannot be listed", s(5)).await;
    stage.end().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_said_and_tried_again() {
    // Given a platform that does not know the token
    let mut stage = Stage::set().await;
    stage.platform.fault(json!({"kind": "status", "status": 401, "times": 1000})).await;

    // When the daemon starts, it says so
    stage.start().await;
    not_ready(&stage, &["not allowed", "401"]).await;

    // Then, once the token is known, it goes on by itself
    stage.platform.control("DELETE", "faults", serde_json::Value::Null).await;
    until("it is ready", s(20), async || (stage.get("/readyz").await.0 == 200).then_some(())).await;
    stage.end().await;
}

#[tokio::test]
async fn a_platform_that_cannot_be_reached_is_named() {
    let mut stage = Stage::set().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    stage.variable("FLY_FLAPS_BASE_URL", &format!("http://{nobody}"));
    stage.start().await;
    not_ready(&stage, &["GET /v1/apps", "refused"]).await;
    stage.end().await;
}

#[tokio::test]
async fn its_own_app_is_never_watched() {
    // Given a policy for every app, and a daemon that runs as one of them
    let mut stage = Stage::set().await;
    stage.variable("FLY_APP_NAME", "web");
    stage.start().await;
    stage.trusted().await;

    // Then that one is not watched
    assert!(stage.view("api").await.is_some());
    assert!(stage.view("web").await.is_none());
    stage.end().await;
}
