//! The release ledger.

use serde_json::json;

use super::*;
use crate::model::ReleaseVersion;

fn node(version: u64, definition: &Value) -> Value {
    json!({"id": format!("rel_{version}"), "version": version, "status": "complete",
        "imageRef": format!("registry.fly.io/web:v{version}"),
        "user": {"id": "u1", "email": "dev@acme.test", "name": "Dev"},
        "createdAt": "2026-11-22T10:00:00Z", "configDefinition": definition})
}

fn graph(nodes: &Value) -> Reply {
    reply(200, json!({"data": {"app": {"releases": {"nodes": nodes}}}}))
}

fn versions(releases: &[Release]) -> Vec<u64> {
    releases.iter().map(|release| release.version.0).collect()
}

#[tokio::test]
async fn releases_are_sorted_by_their_number_whatever_the_platforms_order() {
    let nodes = json!([node(41, &json!(null)), node(43, &json!({})), node(42, &json!({}))]);
    let (fly, script) = platform([graph(&nodes)]).await;
    let releases = fly.releases(&web(), 2).await.unwrap();
    assert_eq!(versions(&releases), [43, 42]);
    assert_eq!(releases[0].id, "rel_43");
    assert_eq!(releases[0].status, ReleaseStatus::Complete);
    assert_eq!(releases[0].image, "registry.fly.io/web:v43");
    assert_eq!(releases[0].author.as_deref(), Some("dev@acme.test"));
    assert_eq!(releases[0].created_at, at("2026-11-22T10:00:00Z"));
    let asked = script.asked();
    assert_eq!(asked[0].line, "POST /graphql");
    assert_eq!(asked[0].json()["variables"], json!({"appName": "web", "limit": 25}));
    let query = asked[0].json()["query"].as_str().unwrap().to_owned();
    assert!(query.contains("releases: releasesUnprocessed(first: $limit) {"), "{query}");
}

#[tokio::test]
async fn release_commands_are_found_in_the_app_configuration() {
    let cases = [
        (json!(null), None),
        (json!({}), Some(false)),
        (json!({"deploy": {}}), Some(false)),
        (json!({"deploy": {"release_command": ""}}), Some(false)),
        (json!({"deploy": {"release_command": null}}), Some(false)),
        (json!({"deploy": {"release_command": "bin/migrate"}}), Some(true)),
        (json!({"deploy": {"release_command": ["bin/migrate"]}}), Some(true)),
        (json!(r#"{"deploy":{"release_command":"bin/migrate"}}"#), Some(true)),
        (json!("odd"), None),
    ];
    for (definition, want) in cases {
        let (fly, _script) = platform([graph(&json!([node(42, &definition)]))]).await;
        let releases = fly.releases(&web(), 25).await.unwrap();
        assert_eq!(releases[0].has_release_command, want, "{definition}");
    }
}

#[tokio::test]
async fn sparse_releases_are_read_too() {
    let nodes = json!([
        {"id": 7, "version": "42", "status": null, "user": {"email": "", "name": "Dev"}},
        {"id": "rel_41", "version": 41, "user": null, "status": "odd"},
        {"id": "rel", "version": null}, {"version": 3},
    ]);
    let (fly, _script) = platform([graph(&nodes)]).await;
    let releases = fly.releases(&web(), 25).await.unwrap();
    assert_eq!(versions(&releases), [42, 41]);
    assert_eq!((releases[0].id.as_str(), releases[0].author.as_deref()), ("7", Some("Dev")));
    assert_eq!(releases[1].status, ReleaseStatus::Other("odd".to_owned()));
    assert_eq!(releases[1].author, None);
}

#[tokio::test]
async fn older_releases_are_on_further_pages() {
    let paged = |versions: std::ops::Range<u64>, cursor: &str| {
        let nodes: Vec<Value> = versions.rev().map(|version| node(version, &json!({}))).collect();
        reply(
            200,
            json!({"data": {"app": {"releases": {"nodes": nodes,
            "pageInfo": {"hasNextPage": !cursor.is_empty(), "endCursor": cursor}}}}}),
        )
    };
    let (fly, script) = platform([paged(30..55, "c1"), paged(5..30, "c2"), paged(1..5, "")]).await;
    assert_eq!(fly.releases(&web(), 30).await.unwrap().len(), 30);
    let asked = script.asked();
    assert_eq!(asked.len(), 2);
    let variables = json!({"appName": "web", "limit": 25, "after": "c1"});
    assert_eq!(asked[1].json()["variables"], variables);
}

fn graph_failure(message: &str, code: &str) -> Reply {
    reply(
        200,
        json!({"data": null, "errors": [{"message": message, "extensions": {"code": code}}]}),
    )
}

#[tokio::test]
async fn failures_inside_a_success_are_failures() {
    use PlatformError::{Denied, NotFound, Refused};
    type Variant = fn(String) -> PlatformError;
    let cases: [(Reply, Variant, &str, usize); 4] = [
        (graph_failure("gone", "NOT_FOUND"), NotFound, "GraphQL: gone", 1),
        (
            graph_failure("Could not find App \"web\"", ""),
            NotFound,
            "GraphQL: Could not find App \"web\"",
            1,
        ),
        // The release endpoints are asked as well, and its own words are told.
        (graph_failure("no", "UNAUTHORIZED"), Denied, "GraphQL: no", 2),
        (graph_failure("syntax", "INVALID"), Refused, "GraphQL: syntax", 2),
    ];
    for (answer, variant, text, asked) in cases {
        let (fly, script) = platform([answer]).await;
        let error = fly.releases(&web(), 25).await.unwrap_err();
        assert_eq!(error, variant(text.to_owned()));
        assert_eq!(script.asked().len(), asked);
    }
    let (fly, _script) = platform([reply(200, r#"{"data":{"app":null}}"#)]).await;
    assert!(matches!(fly.releases(&web(), 25).await, Err(NotFound(_))));
    let (fly, _script) = platform([reply(200, r#"{"data":{"app":{}}}"#)]).await;
    assert!(matches!(fly.releases(&web(), 25).await, Err(PlatformError::Unreadable(_))));
}

#[tokio::test]
async fn where_graphql_does_not_answer_the_release_endpoints_are_read() {
    // Given a token that GraphQL does not know
    let list = json!({"releases": [
        {"id": "rel_41", "version": 41, "status": "complete", "user": "dev@acme.test",
            "created_at": "2026-11-22T10:00:00Z", "image_ref": "registry.fly.io/web:v41"},
        {"id": "rel_42", "version": 42, "status": "running", "user": "dana@acme.test",
            "created_at": "2026-11-23T10:00:00Z", "image_ref": "registry.fly.io/web:v42"}]});
    let (fly, script) = platform([reply(401, ""), reply(200, &list), reply(200, &list)]).await;
    // When the ledger is read
    let releases = fly.releases(&web(), 2).await.unwrap();
    // Then numbers, authors and status are known, and nothing of app configurations
    assert_eq!(versions(&releases), [42, 41]);
    assert_eq!(releases[0].author.as_deref(), Some("dana@acme.test"));
    assert_eq!(releases[0].status, ReleaseStatus::Running);
    assert_eq!((releases[0].has_release_command, releases[0].is_brief), (None, true));
    // And right after that nobody waits for GraphQL again
    fly.releases(&web(), 2).await.unwrap();
    let brief = "GET /api/v1/apps/web/releases?limit=25";
    assert_eq!(script.lines(), ["POST /graphql", brief, brief]);
}

#[tokio::test]
async fn a_failing_server_inside_a_success_is_asked_again() {
    let failing = graph_failure("boom", "SERVER_ERROR");
    let (fly, script) = platform([failing, graph(&json!([node(42, &json!({}))]))]).await;
    assert_eq!(versions(&fly.releases(&web(), 25).await.unwrap()), [42]);
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test]
async fn data_beside_errors_is_used() {
    let body = json!({"data": {"app": {"releases": {"nodes": [node(42, &json!(null))]}}},
        "errors": [{"message": "configDefinition is not for you"}]});
    let (fly, _script) = platform([reply(200, body)]).await;
    let releases = fly.releases(&web(), 25).await.unwrap();
    assert_eq!(releases[0].has_release_command, None);
}

fn rollback() -> NewRelease {
    NewRelease { app: web(), image: "registry.fly.io/web@sha256:41aa".to_owned() }
}

#[tokio::test]
async fn a_release_is_opened_with_the_definition_of_the_newest() {
    let nodes = json!([
        node(41, &json!({"old": true})),
        node(43, &json!(null)),
        node(42, &json!({"a": 1}))
    ]);
    let opened = json!({"release": {"id": "rel_44", "version": 44, "status": "pending",
        "stable": false, "in_progress": true, "strategy": "ROLLING", "user": "daemon@acme.test",
        "created_at": "2026-11-23T10:00:00Z", "image_ref": "registry.fly.io/web@sha256:41aa"}});
    for answer in [reply(201, &opened), reply(200, &opened["release"])] {
        let (fly, script) = platform([graph(&nodes), answer]).await;
        let release = fly.open_release(&rollback()).await.unwrap();
        assert_eq!((release.id.as_str(), release.version), ("rel_44", ReleaseVersion(44)));
        assert_eq!(release.status, ReleaseStatus::Pending);
        assert_eq!(release.author.as_deref(), Some("daemon@acme.test"));
        let asked = script.asked();
        assert_eq!(asked[1].line, "POST /api/v1/releases");
        assert_eq!(asked[1].header("authorization"), format!("Bearer {TOKEN}"));
        let want = json!({"app_name": "web", "build_id": 0, "definition": {"a": 1},
            "image": "registry.fly.io/web@sha256:41aa", "strategy": "ROLLING"});
        assert_eq!(asked[1].json(), want);
    }
}

#[tokio::test]
async fn opening_a_release_is_not_repeated() {
    let (fly, script) =
        platform([graph(&json!([])), reply(502, ""), reply(201, r#"{"release":{}}"#)]).await;
    let error = fly.open_release(&rollback()).await.unwrap_err();
    assert!(matches!(error, PlatformError::Unavailable(_)), "{error:?}");
    let asked = script.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].json()["definition"], json!(null), "none is made up");
    for odd in ["", "{}", r#"{"release":{"id":"x"}}"#] {
        let (fly, _script) = platform([graph(&json!([])), reply(201, odd)]).await;
        let error = fly.open_release(&rollback()).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unreadable(_)), "{odd}");
    }
}

#[tokio::test]
async fn a_status_is_set_with_whatever_answer() {
    for answer in [reply(200, "{}"), reply(200, ""), reply(204, ""), reply(202, "odd")] {
        let (fly, script) = platform([reply(503, ""), answer]).await;
        fly.set_release_status("rel_44", ReleaseStatus::Running).await.unwrap();
        let asked = script.asked();
        assert_eq!(asked.len(), 2, "repeated");
        assert_eq!(asked[1].line, "PATCH /api/v1/releases/rel_44");
        assert_eq!(asked[1].json(), json!({"status": "running"}));
    }
}

#[tokio::test]
async fn a_finished_release_refuses_unless_it_was_us() {
    let finished = || reply(422, r#"{"error":"release has already finished"}"#);
    let (fly, _script) = platform([finished()]).await;
    let error = fly.set_release_status("rel_44", ReleaseStatus::Complete).await.unwrap_err();
    assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
    let (fly, _script) = platform([reply(504, ""), finished()]).await;
    fly.set_release_status("rel_44", ReleaseStatus::Complete).await.unwrap();
}

#[tokio::test]
async fn a_question_about_one_app_that_fails_leaves_the_ledgers_of_the_others_whole() {
    let list = json!({"releases": [{"id": "rel_42", "version": 42, "status": "complete",
        "created_at": "2026-11-23T10:00:00Z", "image_ref": "registry.fly.io/web:v42"}]});
    let full = || graph(&json!([node(42, &json!({"deploy": {"release_command": "bin/migrate"}}))]));
    let asked = async |error| {
        let replies = [error, reply(200, &list), full(), reply(200, &list)];
        let (fly, _script) = platform(replies).await;
        assert!(fly.releases(&"other".into(), 2).await.unwrap()[0].is_brief);
        fly.releases(&web(), 2).await
    };
    let releases = asked(graph_failure("internal", "INTERNAL")).await.unwrap();
    assert_eq!(releases[0].has_release_command, Some(true));
}
