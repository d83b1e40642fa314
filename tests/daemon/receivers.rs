//! Receivers that do not behave, beside one that does.

use tokio::net::TcpListener;

use crate::{
    hook::{Hook, Manner},
    stage::{OPERATOR_TOKEN, Stage, receiver, receiver_url, signing_secret},
    wait::{s, until},
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

#[tokio::test]
async fn what_a_receiver_declined_is_listed_and_sent_again_once_it_works() {
    // Given a receiver that wants no message, beside one that takes all
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    let declining = Hook::open(Manner::Declines, &signing_secret()).await;
    stage.variables.push(receiver_url("late", &declining.url));
    let settings = format!("organization = \"acme\"\n{}{}", receiver("ops"), receiver("late"));
    stage.write("waveoff.toml", &settings);
    stage.start().await;
    stage.trusted().await;
    until("it is given up", s(20), async || {
        let (_, status, _) = stage.waveoff(&["status"]).await;
        status.contains("given up for late: waveoff webhook list").then_some(())
    })
    .await;

    // When somebody looks, and tries it out
    let (code, list, _) = stage.waveoff(&["webhook", "list"]).await;
    assert!(code == 0 && list.contains("answered 410"), "{list}");
    let order = async |arguments: &[&str]| stage.waveoff_as(OPERATOR_TOKEN, arguments).await;
    let (code, said, _) = order(&["webhook", "test", "late", "--by", "dana"]).await;
    assert!(code == 1 && said.contains("did not take the message: answered 410"), "{said}");
    let (code, _, said) = order(&["webhook", "test", "nobody"]).await;
    assert!(code == 1 && said.contains("no receiver is called nobody; there are "), "{said}");

    // and mends it
    declining.mend();
    let (code, said, _) = order(&["webhook", "test", "late", "--by", "dana"]).await;
    assert!(code == 0 && said == "late took the message\n", "{said}");
    let told = declining.raw().pop().unwrap();
    assert!(
        told.text().contains("a test of the receiver late, ordered by dana"),
        "{}",
        told.text()
    );
    let (code, said, _) = order(&["webhook", "resend", "late"]).await;
    assert!(code == 0 && said.contains("sent again to late"), "{said}");

    // Then it gets all that it missed, under the same ids, and nothing is left
    let missed = stage.hook.messages().first().unwrap().id.clone();
    until("it came again", s(20), async || {
        let came = declining.raw().iter().filter(|message| message.id == missed).count();
        (came == 2).then_some(())
    })
    .await;
    until("nothing is left", s(20), async || {
        let (_, status, _) = stage.waveoff(&["status"]).await;
        (!status.contains("late")).then_some(())
    })
    .await;
    stage.end().await;
}
