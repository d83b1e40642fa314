//! Bad input: it costs its own source, and nothing else.

use serde_json::json;

use crate::{
    platform::FLEET,
    stage::{POLICY, Stage},
    wait::s,
};

/// By how much such pages and answers may make the daemon larger, in a build without optimizations: much less than
/// the endless ones of them would.
const GROWTH_MAX: u64 = 20 << 20;

#[tokio::test]
async fn pages_that_are_no_metrics_and_answers_that_are_no_answers_do_not_save_a_bad_release() {
    // Given machines whose pages are everything but metrics: in each region one that is well
    let fleet = FLEET.replace("machines = { iad = 2, lhr = 2 }", "machines = { iad = 4, lhr = 3 }");
    let mut stage = Stage::with_fleet(&fleet).await;
    let machines = stage.platform.machines().await;
    let of = |region: &str| -> Vec<String> {
        let here = machines.iter().filter(|machine| machine["region"] == region);
        here.map(|machine| machine["id"].as_str().unwrap().to_owned()).collect()
    };
    let (iad, lhr) = (of("iad"), of("lhr"));
    let odd = [
        (&iad[0], "huge", "larger than"),
        (&iad[1], "endless", "larger than"),
        (&iad[2], "html", "HTML page"),
        (&lhr[0], "silent", "did not finish within"),
        (&lhr[1], "cut", "cannot be read"),
    ];
    stage.start().await;
    stage.trusted().await;
    let before = stage.daemon().resident();
    // (Trusted before: what is mostly unread earns nothing.)
    for (machine, kind, _) in &odd {
        let path = format!("machines/{machine}/page");
        stage.platform.control("PUT", &path, json!({"kind": kind})).await;
    }

    // When a bad release comes, and the platform answers as it likes
    stage.platform.ship("errors").await;
    for fault in [
        json!({"kind": "truncated", "action": "machines_list", "app": "api", "times": 2}),
        json!({"kind": "truncated", "action": "org_machines", "times": 2}),
        json!({"kind": "status", "status": 429, "retry_after": 1, "action": "machine_get", "times": 3}),
        json!({"kind": "status", "status": 503, "action": "lease_take", "times": 2}),
        json!({"kind": "status", "status": 502, "action": "releases_list", "times": 5}),
        json!({"kind": "answer_lost", "action": "machine_update", "times": 2}),
        json!({"kind": "request_lost", "action": "machine_update", "times": 1}),
        json!({"kind": "timeout", "action": "machine_wait", "times": 1}),
    ] {
        stage.platform.fault(fault).await;
    }
    stage.hook.about_api("rollback.completed", s(100)).await;

    // Then it was undone
    assert_eq!(stage.platform.tags().await, ["v41"]);
    // and the status page and the log say which page could not be read, and why
    let view = stage.view("api").await.unwrap();
    let (_, status, _) = stage.waveoff(&["status"]).await;
    let log = stage.log();
    for (machine, kind, why) in &odd {
        let reason = view["unread"][machine.as_str()].as_str();
        assert!(reason.is_some_and(|reason| reason.contains(why)), "{kind}: {reason:?}");
        let here = |text: &str| {
            text.lines().any(|line| line.contains(machine.as_str()) && line.contains(why))
        };
        assert!(here(&status), "{kind}: not in {status}");
        assert!(here(&log), "{kind}: not in the log");
    }
    assert!(log.contains("not the JSON that was expected"), "truncated answers are told");
    // and the app that had nothing to do with it was watched all the time
    assert!(stage.hook.kinds("web").iter().all(|kind| kind != "monitor.blind"));
    // and the daemon is no larger for it
    let resident = stage.daemon().resident();
    let (was, is) = (before >> 20, resident >> 20);
    assert!(resident < before + GROWTH_MAX, "{was} MiB before it, and {is} MiB now");
    stage.end().await;
}

/// The first thing that a new user meets: Fly's documentation says to listen on 0.0.0.0, and the
/// private network is IPv6.
#[tokio::test]
async fn pages_that_refuse_connections_are_told_with_the_likely_cause() {
    // Given machines on whose metrics port nobody listens
    let mut stage = Stage::set().await;
    let policy = format!("{POLICY}\n[metrics]\nport = 1\n");
    stage.write("thresholds/all.toml", &policy);
    stage.start().await;

    // Then people hear that nothing can be read, what it probably is, and what helps
    let told = stage.hook.about_api("monitor.blind", s(60)).await;
    for words in ["refused", "0.0.0.0", "fly-local-6pn"] {
        assert!(told.text().contains(words), "{words}: {}", told.text());
    }
    // and so does whoever looks
    let (_, status, _) = stage.waveoff(&["status"]).await;
    assert!(status.contains("fly-local-6pn"), "{status}");
    stage.end().await;
}
