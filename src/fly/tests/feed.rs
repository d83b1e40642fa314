//! The change feed: pages, overlap, each change once.

use serde_json::json;

use super::*;

fn entry(id: &str, instance: &str, state: &str, second: u32) -> Value {
    json!({"id": id, "app_name": "web", "region": "iad", "state": state, "version": instance,
        "updated_at": format!("2026-11-23T23:10:{second:02}Z"),
        "config": {"image": "i", "metadata": {"fly_release_version": "42"}}})
}

fn page(machines: &Value) -> Reply {
    reply(200, json!({"machines": machines, "next_cursor": "", "error_regions": null}))
}

fn start_over() -> FeedPosition {
    FeedPosition::default()
}

fn told(reading: &FeedReading) -> Vec<String> {
    reading
        .entries
        .iter()
        .map(|entry| format!("{} {} {}", entry.machine, entry.instance, entry.state))
        .collect()
}

#[tokio::test]
async fn the_first_reading_is_everything_that_lives() {
    let (fly, script) = platform([page(&json!([entry("m1", "01A", "started", 5)]))]).await;
    let reading = fly.changes(&start_over()).await.unwrap();
    let first = &reading.entries[0];
    assert_eq!((first.app.as_str(), first.region.as_str()), ("web", "iad"));
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:05Z")));
    assert_eq!(script.lines(), ["GET /v1/orgs/acme/machines"]);
}

#[tokio::test]
async fn a_later_reading_reaches_back_and_tells_nothing_twice() {
    let old = entry("m1", "01A", "started", 5);
    let (fly, script) = platform([
        page(&json!([old])),
        page(&json!([old, entry("m2", "01B", "started", 3)])),
        page(&json!([old, entry("m1", "01A", "stopped", 5), entry("m1", "01C", "started", 9)])),
        page(&json!([])),
    ])
    .await;
    let reading = fly.changes(&start_over()).await.unwrap();
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(told(&reading), ["m2 01B started"], "older than the position, and new");
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:05Z")));
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(told(&reading), ["m1 01A stopped", "m1 01C started"]);
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(told(&reading), [""; 0]);
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:09Z")));
    let lines = script.lines();
    let back =
        "GET /v1/orgs/acme/machines?updated_after=2026-11-23T23%3A09%3A05Z&include_deleted=true";
    assert_eq!(lines[1], back, "60 s before the position");
}

#[tokio::test]
async fn starting_over_tells_everything_again() {
    let all = || page(&json!([entry("m1", "01A", "started", 5)]));
    let (fly, _script) = platform([all(), all()]).await;
    assert_eq!(fly.changes(&start_over()).await.unwrap().entries.len(), 1);
    assert_eq!(fly.changes(&start_over()).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn pages_may_be_short_or_empty_before_the_last() {
    let more = |machines: Value, cursor: &str| {
        reply(200, json!({"machines": machines, "next_cursor": cursor}))
    };
    let (fly, script) = platform([
        more(json!([entry("m1", "01A", "started", 1)]), "c1"),
        more(json!(null), "c 2"),
        more(json!([entry("m1", "01A", "started", 1), entry("m2", "01B", "started", 2)]), "c3"),
        reply(200, r#"{"machines":[],"last_updated_at":"2026-11-23T23:10:30Z"}"#),
    ])
    .await;
    let reading = fly.changes(&start_over()).await.unwrap();
    assert_eq!(told(&reading), ["m1 01A started", "m2 01B started"]);
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:30Z")));
    assert_eq!(
        script.lines(),
        [
            "GET /v1/orgs/acme/machines",
            "GET /v1/orgs/acme/machines?cursor=c1",
            "GET /v1/orgs/acme/machines?cursor=c+2",
            "GET /v1/orgs/acme/machines?cursor=c3",
        ]
    );
}

#[tokio::test]
async fn a_feed_without_end_is_an_error() {
    let endless = (0..6).map(|number| reply(200, json!({ "next_cursor": number.to_string() })));
    let (fly, script) = platform(endless).await;
    let url = fly.bases.flaps.to_string();
    let fly = Fly::tuned(settings(&url), Tuning { pages_max: 4, ..quick() }).unwrap();
    let error = fly.changes(&start_over()).await.unwrap_err();
    assert!(error.to_string().contains("does not end, given up after 4 pages"), "{error}");
    assert_eq!(script.asked().len(), 4);
    let (fly, _script) = platform((0..9).map(|_| reply(200, r#"{"next_cursor":"c"}"#))).await;
    let error = fly.changes(&start_over()).await.unwrap_err();
    assert!(error.to_string().contains("repeats itself, given up after 2 pages"), "{error}");
}

#[tokio::test]
async fn the_position_waits_for_regions_that_could_not_be_read() {
    let partial = |second| {
        reply(
            200,
            json!({"machines": [entry("m1", "01A", "started", second)],
            "error_regions": ["syd"]}),
        )
    };
    let (fly, script) = platform([
        partial(5),
        partial(5),
        page(&json!([entry("m1", "01A", "started", 5), entry("m2", "01B", "started", 1)])),
        partial(9),
    ])
    .await;
    let reading = fly.changes(&start_over()).await.unwrap();
    assert_eq!(reading.error_regions, [crate::model::Region::new("syd")]);
    assert_eq!(told(&reading), ["m1 01A started"]);
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(told(&reading), [""; 0], "told already");
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(told(&reading), ["m2 01B started"], "what the region hid");
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:05Z")));
    let reading = fly.changes(&reading.next).await.unwrap();
    assert_eq!(reading.next.updated_after, Some(at("2026-11-23T23:10:05Z")), "not 09");
    let lines = script.lines();
    assert_eq!(lines[..3], ["GET /v1/orgs/acme/machines"; 3], "everything, until it was whole");
}

#[tokio::test]
async fn a_page_that_fails_leaves_everything_as_it_was() {
    let first =
        || reply(200, json!({"machines": [entry("m1", "01A", "started", 1)], "next_cursor": "c1"}));
    let last = page(&json!([]));
    let (fly, _script) = platform([first(), reply(403, "{}"), first(), last]).await;
    assert!(matches!(fly.changes(&start_over()).await, Err(PlatformError::Denied(_))));
    let position = FeedPosition { updated_after: Some(at("2026-11-23T23:10:00Z")) };
    let reading = fly.changes(&position).await.unwrap();
    assert_eq!(told(&reading), ["m1 01A started"], "the failed reading told nobody");
}

#[tokio::test]
async fn odd_entries_are_passed_over() {
    let old = json!({"id": "m3", "app_name": "web", "instance_id": "01OLD", "config": null,
        "updated_at": "2026-11-23T23:10:01Z"});
    let odd = json!([{"id": "m1"}, {"app_name": "web"}, {"id": "m2", "app_name": "web"}, old]);
    let (fly, _script) = platform([page(&odd)]).await;
    let reading = fly.changes(&start_over()).await.unwrap();
    assert_eq!(told(&reading), ["m3 01OLD "], "older revisions say instance_id");
}
