//! Taking, prolonging and giving back leases.

use serde_json::json;

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn grant(nonce: &str) -> Value {
    json!({"status": "success", "data": {"nonce": nonce, "expires_at": 1_795_475_402,
        "owner": "waveoff", "description": "", "version": "01A"}})
}

#[tokio::test]
async fn a_lease_is_taken_with_a_name_to_it() {
    let (fly, script) = platform([reply(201, grant("n1"))]).await;
    let lease = fly.lease(&web(), &m1(), Duration::from_millis(29_500)).await.unwrap();
    assert_eq!((lease.nonce.as_str(), lease.machine), ("n1", m1()));
    assert_eq!(lease.expires_at, at("2026-11-23T23:10:02Z"));
    let asked = script.asked();
    assert_eq!(asked[0].line, "POST /v1/apps/web/machines/m1/lease?ttl=30");
    assert_eq!(asked[0].header("content-type"), "application/json");
    assert_eq!(asked[0].header("fly-machine-lease-nonce"), "");
    assert_eq!(asked[0].json()["ttl"], 30);
    assert!(asked[0].json()["description"].as_str().unwrap().starts_with("waveoff "));
}

#[tokio::test]
async fn a_lease_that_does_not_say_when_it_ends_lives_as_long_as_asked_for() {
    let (fly, _script) = platform([reply(200, r#"{"nonce":"n1"}"#)]).await;
    let before = fly.caller.clock().now();
    let lease = fly.lease(&web(), &m1(), TTL).await.unwrap();
    let lives = lease.expires_at.duration_since(before).as_secs();
    assert!((30..60).contains(&lives), "{lives}");
}

#[tokio::test]
async fn a_lease_of_somebody_else_is_not_waited_for() {
    let text =
        "machine ID m1 lease currently held by dev@acme.test, expires at 2026-08-14T09:57:35Z";
    let body = json!({"status": "error", "message": text, "code": "invalid"});
    let (fly, script) = platform([reply(409, body), reply(201, grant("n1"))]).await;
    let want = PlatformError::LeaseHeld {
        owner: "dev@acme.test".to_owned(),
        expires_at: Some(at("2026-08-14T09:57:35Z")),
    };
    assert_eq!(fly.lease(&web(), &m1(), TTL).await.unwrap_err(), want);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn taking_a_lease_is_not_repeated_when_it_may_have_been_taken() {
    for status in [408, 500, 503] {
        let (fly, script) = platform([reply(status, "{}"), reply(201, grant("n2"))]).await;
        let error = fly.lease(&web(), &m1(), TTL).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unavailable(_)), "{error:?}");
        assert_eq!(script.asked().len(), 1, "{status}");
    }
    let turned_away = reply(429, "{}").with("retry-after", "0.001");
    let (fly, script) = platform([turned_away, reply(201, grant("n2"))]).await;
    assert_eq!(fly.lease(&web(), &m1(), TTL).await.unwrap().nonce, "n2");
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test]
async fn a_lease_without_a_nonce_is_none() {
    let (fly, _script) = platform([reply(201, grant(""))]).await;
    let error = fly.lease(&web(), &m1(), TTL).await.unwrap_err();
    assert!(error.to_string().contains("a lease without a nonce"), "{error}");
}

#[tokio::test]
async fn a_lease_is_prolonged_under_its_nonce() {
    let (fly, script) = platform([reply(503, ""), reply(201, grant("5c35f65c9f95"))]).await;
    let lease = fly.refresh(&held(), TTL).await.unwrap();
    assert_eq!(lease.nonce, held().nonce);
    for asked in script.asked() {
        assert_eq!(asked.line, "POST /v1/apps/web/machines/m1/lease?ttl=30");
        assert_eq!(asked.header("fly-machine-lease-nonce"), "5c35f65c9f95");
    }
}

#[tokio::test]
async fn another_lease_in_place_of_ours_is_given_back() {
    let (fly, script) = platform([reply(201, grant("other")), reply(200, "{}")]).await;
    let error = fly.refresh(&held(), TTL).await.unwrap_err();
    assert_eq!(error, PlatformError::NotFound("the lease of m1 has ended".to_owned()));
    let asked = script.asked();
    assert_eq!(asked[1].line, "DELETE /v1/apps/web/machines/m1/lease");
    assert_eq!(asked[1].header("fly-machine-lease-nonce"), "other");
}

#[tokio::test]
async fn a_lease_is_given_back_whatever_became_of_it() {
    let gone = r#"{"error":"invalid_argument: lease not found"}"#;
    let taken = r#"{"error":"aborted: lease currently held by x, expires at y"}"#;
    for answer in [
        reply(200, ""),
        reply(204, ""),
        reply(404, "{}"),
        reply(400, gone),
        reply(412, gone),
        reply(409, taken),
    ] {
        let (fly, script) = platform([reply(502, ""), answer]).await;
        fly.release(&held()).await.unwrap();
        let asked = script.asked();
        assert_eq!(asked[1].line, "DELETE /v1/apps/web/machines/m1/lease");
        assert_eq!(asked[1].header("fly-machine-lease-nonce"), "5c35f65c9f95");
    }
    let (fly, _script) = platform([reply(403, "{}")]).await;
    assert!(matches!(fly.release(&held()).await, Err(PlatformError::Denied(_))));
}

#[test]
fn a_nonce_is_not_shown() {
    assert!(!format!("{:?}", held()).contains("5c35f65c9f95"));
}
