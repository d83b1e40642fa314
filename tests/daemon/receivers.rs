//! Receivers that do not behave, beside one that does.

use tokio::net::TcpListener;

use crate::{
    hook::{Hook, Manner},
    stage::{Stage, receiver, receiver_url, signing_secret},
    wait::s,
};

#[tokio::test]
async fn a_receiver_that_fails_costs_the_others_nothing() {
    // Given three receivers with faults beside the healthy one: it is named last
    let mut stage = Stage::set().await;
    let silent = Hook::open(Manner::NeverAnswers, &signing_secret()).await;
    let failing = Hook::open(Manner::Fails, &signing_secret()).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    let mut text = "organization = \"acme\"\n".to_owned();
    for (name, url) in [("failing", &failing.url), ("gone", &gone), ("silent", &silent.url)] {
        text.push_str(&receiver(name));
        stage.variables.push(receiver_url(name, url));
    }
    text.push_str(&receiver("ops"));
    stage.write("waveoff.toml", &text);

    // When a release is rolled back
    stage.start().await;
    stage.trusted().await;
    stage.platform.ship("errors").await;
    stage.hook.about_api("rollback.completed", s(60)).await;

    // Then the healthy one was told everything, at once and in order
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let kinds = stage.hook.kinds("api");
    assert_eq!((kinds.len(), kinds.last().unwrap().as_str()), (9, "rollback.completed"));
    for message in stage.hook.messages() {
        assert!(message.delay_s < 2.0, "{} came after {} s", message.kind, message.delay_s);
    }

    // and the others are tried again and again, each by itself, with the oldest message first
    for other in [&silent, &failing] {
        let tried = other.raw();
        assert!(!tried.is_empty());
        assert!(tried.iter().all(|message| message.id == tried[0].id), "in order: {tried:?}");
    }
    let tries = failing.raw().len();
    assert!((3..=20).contains(&tries), "{tries} tries in half a minute");

    // and the log and the metrics say which, and why
    let log = stage.log();
    for (name, reason) in [("failing", "500"), ("gone", "refused"), ("silent", "answer")] {
        let told = log.lines().any(|line| {
            line.contains("message not delivered yet")
                && line.contains(&format!("receiver=\"{name}\""))
                && line.contains(reason)
        });
        assert!(told, "no line about {name} with {reason:?}");
    }
    let page = crate::page::series(&stage.get("/metrics").await.1);
    for name in ["failing", "gone", "silent"] {
        let pending = page[&format!("waveoff_outbox_pending{{receiver=\"{name}\"}}")];
        assert!(pending > 5.0, "{name}: {pending}");
    }
    stage.end().await;
}
