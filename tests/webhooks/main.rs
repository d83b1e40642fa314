//! What we sign and say, checked by implementations that are not ours: the Standard Webhooks
//! reference library and a JSON Schema validator, both in Python.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot go on fails its test"
)]

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use waveoff::{
    config::Secret,
    model::{
        Change, ChangeKind, Drift, Edit, Event, EventKind, Evidence, Kind, MachineReport, Mode,
        Note, Reason, RegionReport, RegionStage, ReleaseVersion, Trouble, Troubled, Unit, Verdict,
        event::ReleaseInfo, setup,
    },
    notify::{
        Sender, discord::discord, pagerduty::pagerduty, payload, signing, slack::slack,
        teams::teams,
    },
    ports::Clock,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Runs `verify.py`; `Err` is what it complained about.
fn verify(headers: &[(String, String)], body: &str, secret: &str) -> Result<(), String> {
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let schema: Value = serde_json::from_str(include_str!("../../docs/webhook.schema.json"))
        .expect("the schema is JSON");
    ask(&json!({ "headers": headers, "body": body, "secret": secret, "schema": schema }))
}

/// Whether bodies have the shape that their receiver documents.
fn shaped(bodies: &[String], schema: &str) -> Result<(), String> {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    ask(&json!({ "bodies": bodies, "secret": null, "schema": schema }))
}

fn ask(case: &Value) -> Result<(), String> {
    let python = std::env::var("WAVEOFF_TEST_PYTHON").expect(
        "WAVEOFF_TEST_PYTHON must name a Python with `standardwebhooks` and `jsonschema`: run \
         scripts/test, which installs them and sets it",
    );
    let mut child = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webhooks/verify.py"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{python} does not run: {error}"));
    child.stdin.take().unwrap().write_all(case.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// An event with everything an event can have.
fn full(kind: EventKind) -> Event {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let release = |version| ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: Some("deployment-01HX".to_owned()),
        digest: "sha256:0123456789abcdef".into(),
        author: Some("Zoë <zoe@example.com>".to_owned()),
        created_at: Some(at),
    };
    let mut event = Event::new(kind, at, Some("api".into()));
    event.release = Some(release(42));
    event.known_good = Some(release(41));
    event.reason = Some(Reason::Told { text: "the \"first\" region\nfailed".to_owned() });
    event.mode = Some(Mode::Rollback);
    let trouble = Trouble::Failing { check: "ü".to_owned(), times: 3 };
    let troubled = Troubled { machine: "148e".into(), trouble };
    event.evidence = vec![Evidence {
        threshold: "5xx".to_owned(),
        kind: Kind::Ratio,
        verdict: Verdict::Breach,
        value: Some(0.09),
        limit: 0.02,
        unit: Unit::Requests,
        source: r#"http_requests_total{status=~"5.."}"#.to_owned(),
        bad: 37.0,
        total: 410.0,
        lately: None,
        ln_odds: Some(9.4),
        ln_odds_needed: Some(8.3),
        blocks: 3,
        last_blocks: Vec::new(),
        control: Some((5.0, 1250.0)),
        note: Some(Note::Troubled(vec![troubled])),
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }];
    event.regions = vec![RegionReport {
        region: "iad".into(),
        phase: RegionStage::Confirming,
        machines: [("148e".into(), MachineReport::OnTarget { at_rest: true })].into(),
    }];
    let change = |kind, machines| Change {
        kind,
        name: "LOG_LEVEL".to_owned(),
        edit: Edit::Changed,
        groups: ["app".into()].into(),
        put_back: true,
        machines,
    };
    let count = setup::Count { from: 2, to: 3 };
    event.drift = Some(Drift {
        from: Some(ReleaseVersion(41)),
        to: Some(ReleaseVersion(42)),
        image: true,
        changes: vec![change(ChangeKind::Env, None), change(ChangeKind::Scale, Some(count))],
        left_out: 3,
    });
    event.after_s = Some(14.5);
    event.log_lines = vec!["panic: 💥 at line 3".to_owned()];
    event
}

/// The reference library compares with the real time, so messages are signed with it.
fn now() -> jiff::Timestamp {
    Clock::system().now()
}

#[test]
fn every_kind_of_event_is_signed_and_shaped_as_published() {
    let secret = [Secret::new(SECRET)];
    for kind in EventKind::ALL {
        for event in [full(kind), Event::new(kind, "2026-03-01T02:03:04Z".parse().unwrap(), None)] {
            let body = payload::standard("install-api-7-0", &event, &Sender::new("acme"));
            let headers = signing::headers("install-api-7-0", now(), &body, &secret).unwrap();
            assert_eq!(verify(&headers, &body, SECRET), Ok(()), "{kind:?}: {body}");
        }
    }
}

#[test]
fn every_kind_of_event_has_the_shape_that_its_receiver_documents() {
    let key = "0123456789abcdef0123456789abcdef";
    let mut bodies = [const { Vec::new() }; 4];
    for page_url in [None, Some("https://waveoff.example")] {
        let sender = Sender { organization: "acme", page_url };
        for kind in EventKind::ALL {
            let bare = Event::new(kind, "2026-03-01T02:03:04Z".parse().unwrap(), None);
            for event in [full(kind), bare] {
                bodies[0].push(slack(&event, &sender));
                bodies[1].push(discord(&event, &sender));
                bodies[2].push(pagerduty(&event, &sender, key));
                bodies[3].push(teams(&event, &sender));
            }
        }
    }
    let schemas = [
        include_str!("shapes/slack.schema.json"),
        include_str!("shapes/discord.schema.json"),
        include_str!("shapes/pagerduty.schema.json"),
        include_str!("shapes/teams.schema.json"),
    ];
    for (bodies, schema) in bodies.iter().zip(schemas) {
        assert_eq!(shaped(bodies, schema), Ok(()));
    }
    let wrong =
        shaped(&["{\"embeds\": []}".to_owned()], include_str!("shapes/discord.schema.json"))
            .unwrap_err();
    assert!(wrong.contains("schema:"), "{wrong}");
}

#[test]
fn while_a_secret_changes_receivers_with_either_believe_us() {
    let secrets = [Secret::new(SECRET), Secret::new(OLD_SECRET)];
    let body = payload::standard("m-1", &full(EventKind::RollbackCompleted), &Sender::new("acme"));
    let headers = signing::headers("m-1", now(), &body, &secrets).unwrap();
    for known in [SECRET, OLD_SECRET] {
        assert_eq!(verify(&headers, &body, known), Ok(()));
    }
}

#[test]
fn the_checker_itself_notices_a_forgery_and_a_wrong_shape() {
    let secret = [Secret::new(SECRET)];
    let body = payload::standard("m-1", &full(EventKind::RollbackCompleted), &Sender::new("acme"));
    let headers = signing::headers("m-1", now(), &body, &secret).unwrap();
    let forged = verify(&headers, &body.replace("acme", "evil"), SECRET).unwrap_err();
    assert!(forged.contains("WebhookVerificationError"), "{forged}");

    let wrong = body.replace("\"breach\"", "\"maybe\"");
    let headers = signing::headers("m-1", now(), &wrong, &secret).unwrap();
    let complaint = verify(&headers, &wrong, SECRET).unwrap_err();
    assert!(complaint.contains("schema: 'maybe'"), "{complaint}");
}

#[test]
fn the_schema_names_every_kind_of_event_and_nothing_else() {
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/webhook.schema.json")).unwrap();
    let kinds: Vec<&str> = EventKind::ALL.into_iter().map(EventKind::as_str).collect();
    assert_eq!(schema["properties"]["type"]["enum"], json!(kinds));
}

#[test]
fn a_body_is_bounded_and_the_same_on_every_attempt() {
    let mut event = full(EventKind::RollbackFailed);
    event.reason = Some(Reason::Told { text: "r".repeat(1_000_000) });
    event.log_lines = (0..1000).map(|n| format!("{n} {}", "l".repeat(10_000))).collect();
    event.regions[0].machines =
        (0..5000).map(|n| (format!("{n:014}").as_str().into(), MachineReport::Waiting)).collect();
    let body = payload::standard("m-1", &event, &Sender::new("acme"));
    assert!(body.len() < 64 * 1024, "{}", body.len());
    assert_eq!(body, payload::standard("m-1", &event, &Sender::new("acme")));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["regions"][0]["machines_left_out"], 4800);
    assert!(body["data"]["log_lines"][19].as_str().unwrap().starts_with("999 "));
}
