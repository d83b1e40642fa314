//! Log lines.

use serde_json::json;

use super::*;

fn line(second: u32, message: &str, instance: &str) -> Value {
    json!({"id": "x", "attributes": {"timestamp": format!("2026-11-23T23:10:{second:02}Z"),
        "message": message, "level": "info", "instance": instance, "region": "iad", "meta": {}}})
}

#[tokio::test]
async fn the_newest_lines_come_oldest_first() {
    let data = json!([line(3, "third", "m1"), line(1, "first", "m1"), line(2, "  second\t", ""),
        line(4, "of another", "m2"), line(5, "", "m1"), {"attributes": null}, {}]);
    let body = json!({"data": data, "meta": {"next_token": "17"}});
    let (fly, script) = platform([reply(200, &body), reply(200, &body)]).await;
    assert_eq!(fly.log_lines(&web(), &m1(), 20).await.unwrap(), ["first", "  second", "third"]);
    assert_eq!(fly.log_lines(&web(), &m1(), 2).await.unwrap(), ["  second", "third"]);
    let asked = script.asked();
    assert_eq!(asked[0].line, "GET /api/v1/apps/web/logs?instance=m1");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {TOKEN}"));
}

#[tokio::test]
async fn lines_are_bounded_and_clean() {
    let long = "é".repeat(5000);
    let odd = format!("\u{1b}[31mred\u{1b}[0m {TOKEN}");
    let data = json!([line(1, &long, "m1"), line(2, &odd, "m1")]);
    let (fly, _script) = platform([reply(200, json!({ "data": data }))]).await;
    let lines = fly.log_lines(&web(), &m1(), 20).await.unwrap();
    assert_eq!(lines[0].chars().count(), 1000);
    assert_eq!(lines[1], " [31mred [0m ***");
}

#[tokio::test]
async fn no_lines_and_a_refusal_are_told_apart() {
    let (fly, _script) = platform([reply(200, r#"{"data":null}"#), reply(401, "{}")]).await;
    assert_eq!(fly.log_lines(&web(), &m1(), 20).await.unwrap(), [""; 0]);
    assert!(matches!(fly.log_lines(&web(), &m1(), 20).await, Err(PlatformError::Denied(_))));
}
