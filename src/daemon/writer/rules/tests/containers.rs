//! Machines with several containers: the image has to come to those that have it.

use super::*;

fn configured(machine: Machine, image: &str, containers: &str) -> Machine {
    let config = format!(r#"{{"image":"{image}","containers":[{containers}]}}"#);
    Machine { config: Some(RawConfig(config.as_str().into())), ..machine }
}

const BAD: &str = "registry.fly.io/api@bad";
const GOOD: &str = "registry.fly.io/api@good";

fn container(image: &str) -> String {
    format!(r#"{{"image":"{image}"}},{{"image":"envoy:1"}}"#)
}

/// Up to the point where the update was accepted.
fn updated() -> Play {
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(configured(bad(), BAD, &container(BAD)));
    play.reads_the_ledger(Vec::new());
    play.updates();
    play.waits(WaitFor::Settled, true);
    play
}

#[test]
fn the_image_is_written_into_its_container_and_seen_to_be_kept() {
    let mut play = updated();
    let Call::Update(update) = play.writes[0].clone() else { panic!("no update") };
    let want = format!(r#""containers":[{}]"#, container(GOOD));
    assert!(update.config.0.contains(&want), "{}", update.config.0);
    play.sees(configured(good(), GOOD, &container(GOOD)));
    let outcome = put_outcome(play.gives_back());
    assert!(matches!(outcome, PutOutcome::Updated { .. }), "{outcome:?}");
}

/// A platform that resolves names, and lists containers in an order of its own.
#[test]
fn images_that_are_shown_with_a_digest_more_and_in_another_order_are_kept() {
    let mut play = updated();
    let shown = format!(r#"{{"image":"envoy:1@sha256:e1"}},{{"image":"{GOOD}"}}"#);
    play.sees(configured(good(), GOOD, &shown));
    let outcome = put_outcome(play.gives_back());
    assert!(matches!(outcome, PutOutcome::Updated { .. }), "{outcome:?}");
}

#[test]
fn a_platform_that_does_not_keep_it_is_not_taken_for_done() {
    let mut play = updated();
    play.pass(seconds(5));
    play.sees(configured(good(), GOOD, &container(BAD)));
    let outcome = put_outcome(play.gives_back());
    let refused = matches!(&outcome, PutOutcome::Refused { reason } if reason.contains("keep"));
    assert!(refused, "{outcome:?}");
}

#[test]
fn what_an_image_does_not_come_to_is_neither_written_nor_taken_for_done() {
    let other = r#"{"image":"envoy:1"}"#;
    // Before a write
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(configured(bad(), BAD, other));
    play.reads_the_ledger(Vec::new());
    assert!(play.writes.is_empty());
    let outcome = put_outcome(play.gives_back());
    let refused = matches!(&outcome, PutOutcome::Refused { reason } if reason.contains("envoy:1"));
    assert!(refused, "{outcome:?}");
    // And where the machine names the image already
    let mut play = Play::update();
    play.takes_the_lease();
    play.sees(configured(good(), GOOD, &container(BAD)));
    let outcome = put_outcome(play.gives_back());
    assert!(matches!(&outcome, PutOutcome::Refused { .. }), "{outcome:?}");
}
