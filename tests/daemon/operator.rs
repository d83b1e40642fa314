//! The operator's brake, by the commands that operators use.

use serde_json::{Value, json};

use crate::stage::{OPERATOR_TOKEN, Stage};

#[tokio::test]
async fn an_operator_holds_an_app_with_the_token_and_not_without() {
    // Given a daemon that knows the operator's token
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.start().await;
    stage.trusted().await;
    let hold = ["hold", "api", "--reason", "a sale", "--for", "2h", "--by", "dana"];

    // When somebody orders without the token, or with another, then it is refused
    let (code, _, complaint) = stage.waveoff(&hold).await;
    assert!(code == 1 && complaint.contains("WAVEOFF_OPERATOR_TOKEN is not set"), "{complaint}");
    let (code, _, complaint) = stage.waveoff_as("another-token-altogether", &hold).await;
    assert!(code == 1 && complaint.contains("the token is not the daemon's"), "{complaint}");
    let (code, ..) = stage.waveoff_as(OPERATOR_TOKEN, &["hold", "--reason", "x"]).await;
    assert_eq!(code, 2, "an app, or --all");
    for wrong in ["10", "91d"] {
        let hold = ["hold", "api", "--reason", "a sale", "--for", wrong];
        let (code, _, complaint) = stage.waveoff_as(OPERATOR_TOKEN, &hold).await;
        assert!(code == 2 && complaint.contains("for"), "{wrong}: {code} {complaint}");
    }

    // and with it, the app is held, which status shows, also after a restart
    let (code, said, complaint) = stage.waveoff_as(OPERATOR_TOKEN, &hold).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(said.starts_with("api: nothing is rolled back until 20"), "{said}");
    let log = stage.log();
    let held = log.lines().find(|line| line.contains("hold.placed")).expect(&log);
    assert!(held.contains("INFO"), "a person did it: {held}");
    stage.daemon().kill().await;
    stage.ended();
    stage.start().await;
    stage.logged("api is watched", crate::wait::s(10)).await;
    crate::wait::until("status shows the hold", crate::wait::s(20), async || {
        let (_, text, _) = stage.waveoff(&["status"]).await;
        text.contains("dana until 20").then_some(())
    })
    .await;

    // Then it ends when the operator says so
    let (code, said, _) = stage.waveoff_as(OPERATOR_TOKEN, &["unhold", "--all"]).await;
    assert_eq!(code, 0);
    assert!(said.contains("recorded by api, web"), "{said}");
    let (_, text, _) = stage.waveoff(&["status"]).await;
    assert!(!text.contains("dana"), "{text}");
    stage.end().await;
}

#[tokio::test]
async fn a_daemon_without_a_token_takes_no_orders_and_says_why() {
    let stage = Stage::running().await;
    let hold = ["hold", "--all", "--reason", "a sale"];
    let (code, _, complaint) = stage.waveoff_as(OPERATOR_TOKEN, &hold).await;
    assert_eq!(code, 1);
    assert!(complaint.contains("WAVEOFF_OPERATOR_TOKEN is not set on the daemon"), "{complaint}");
    // And its log said so before anybody tried.
    stage
        .logged("orders are not taken: WAVEOFF_OPERATOR_TOKEN is not set", crate::wait::s(5))
        .await;
    stage.end().await;
}

#[tokio::test]
async fn a_token_that_is_too_short_is_told_at_the_start_and_to_who_orders() {
    // Given a daemon whose token can be guessed
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", "too-short");

    // When it starts, then its log warns
    stage.start().await;
    let what = "WAVEOFF_OPERATOR_TOKEN is shorter than 16 characters on the daemon: set a longer one \
                with `fly secrets set`";
    stage.logged(what, crate::wait::s(10)).await;
    let line = stage.log().lines().find(|line| line.contains(what)).unwrap().to_owned();
    assert!(line.contains("WARN"), "{line}");

    // and who gives an order is told the same
    let hold = ["hold", "--all", "--reason", "a sale"];
    let (code, _, complaint) = stage.waveoff_as("too-short", &hold).await;
    assert!(code == 1 && complaint.contains(what), "{complaint}");
    stage.end().await;
}

#[tokio::test]
async fn an_operator_rolls_back_by_hand_and_follows_it_to_its_end() {
    // Given a daemon that only observes, and a release that it may not undo
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    let observes = crate::stage::POLICY.replace("mode = \"rollback\"", "mode = \"observe\"");
    stage.write("thresholds/all.toml", &observes);
    stage.start().await;
    stage.trusted().await;
    stage.platform.ship("errors").await;
    stage.hook.about_api("release.degraded", crate::wait::s(40)).await;

    // When somebody asks what there is, then it is shown, with what a rollback would go to
    let (code, text, _) = stage.waveoff(&["releases", "api"]).await;
    assert_eq!(code, 0);
    let row = |label: &str| text.lines().find(|line| line.contains(label)).expect(&text).to_owned();
    assert!(row("v42").starts_with('●') && row("v42").contains("degraded"), "{text}");
    assert!(row("v41").starts_with('←') && row("v41").contains("trusted"), "{text}");
    assert!(text.contains("a rollback now would go to v41"), "{text}");

    // what cannot be done is refused with a code of its own, and a dry run does nothing
    let order = async |arguments: &[&str]| stage.waveoff_as(OPERATOR_TOKEN, arguments).await;
    let (code, _, complaint) = order(&["rollback", "api", "--to", "v40"]).await;
    assert!(code == 4 && complaint.contains("\"v40\" is no release"), "{code} {complaint}");
    let (code, _, complaint) = order(&["approve", "api"]).await;
    assert!(code == 4 && complaint.contains("no rollback of api waits for a yes"), "{complaint}");
    let (code, said, _) = order(&["rollback", "api", "--dry-run"]).await;
    assert!(
        code == 0 && said.contains("v42 (errors) → v41") && said.contains("nothing was done"),
        "{said}"
    );
    let (code, said, _) = order(&["rollback", "api", "--dry-run", "--json"]).await;
    let plan: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &plan["effect"]["plan"]["to"]["version"]), (0, &41.into()));
    assert_eq!(stage.platform.tags().await, ["errors"]);
    // who only asks is refused nothing, in the log either
    let (code, ..) = order(&["rollback", "api", "--dry-run", "--to", "v42"]).await;
    assert_eq!(code, 4);
    let log = stage.log();
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("a rollback by")).collect();
    assert!(asked.len() == 3 && asked.iter().all(|line| line.contains("dry run of")), "{log}");
    assert!(asked.iter().all(|line| !line.contains("refused")), "{log}");

    // and what can be done is done, line by line, although the daemon only observes
    let rollback = ["rollback", "api", "--watch", "--reason", "the sale", "--by", "dana"];
    let (code, said, complaint) = order(&rollback).await;
    assert_eq!(code, 0, "{said}\n{complaint}");
    assert!(said.contains("ordered by dana: the sale"), "{said}");
    assert!(said.lines().last().unwrap().contains("rolled back in"), "{said}");
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let started = stage.hook.about_api("rollback.started", crate::wait::s(10)).await;
    let text = started.body["data"]["text"].as_str().unwrap();
    assert!(text.ends_with("Undo it: waveoff rollback api --to v42"), "{text}");
    assert_eq!(started.body["data"]["commands"][1]["purpose"], "undo");

    // and every view says that it was done, and what runs now
    assert_eq!(started.body["data"]["mode"], "rollback");
    let (_, text, _) = stage.waveoff(&["history", "api"]).await;
    let observed: Vec<&str> = text.lines().filter(|line| line.contains("not done")).collect();
    assert!(observed.iter().all(|line| line.contains("rollback.planned")), "{text}");
    let (_, text, _) = stage.waveoff(&["status"]).await;
    assert!(text.contains("v43 (v41)") && text.contains("what v42 showed then:"), "{text}");
    assert!(text.contains("waveoff rollback api --to v42"), "{text}");
    let (_, text, _) = stage.waveoff(&["releases", "api"]).await;
    let marked: Vec<&str> = text.lines().filter(|line| line.starts_with('●')).collect();
    assert!(matches!(marked[..], [one] if one.contains("v43")), "{text}");

    // also when somebody vouches for the release that was undone, who is told that it was
    let (code, said, complaint) = order(&["trust", "api", "v42"]).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(
        said.contains("by dana at 20") && said.contains("waveoff quarantine api v42"),
        "{said}"
    );
    let (_, text, _) = stage.waveoff(&["explain", "api", "v42"]).await;
    assert!(text.starts_with("api v42 (errors), against v41"), "{text}");
    let (code, _, complaint) = order(&["quarantine", "api", "v42"]).await;
    assert_eq!(code, 0, "{complaint}");
    stage.end().await;
}

/// A daemon that was deployed a minute ago has seen one release; people know the ones before it.
#[tokio::test]
async fn an_operator_goes_to_a_release_that_the_daemon_never_saw() {
    // Given releases from before the daemon's time, of which one was removed from the registry
    let mut stage = Stage::set().await;
    for tag in ["errors", "v42"] {
        stage.platform.ship(tag).await;
        stage.platform.runs_everywhere(tag).await;
    }
    let gone = json!({"image": "registry.fly.io/api:errors"});
    stage.platform.control("DELETE", "images", gone).await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.start().await;
    stage.trusted().await;

    // When somebody asks what there is, then the registry says which of them can still be had
    let (code, text, _) = stage.waveoff(&["releases", "api", "--json"]).await;
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, 0);
    let releases = view["releases"].as_array().unwrap();
    let state = |one: &Value| (one["version"].as_u64(), one["image_state"].clone());
    let states: Vec<_> = releases.iter().map(state).collect();
    let want = [(43, "present"), (42, "missing"), (41, "present")];
    assert_eq!(states, want.map(|(version, state)| (Some(version), Value::from(state))));

    // what is gone is refused, what was never seen healthy needs force, and goes
    let order = async |arguments: &[&str]| stage.waveoff_as(OPERATOR_TOKEN, arguments).await;
    let (code, _, complaint) = order(&["rollback", "api", "--to", "errors", "--force"]).await;
    assert!(code == 4 && complaint.contains("which its registry has no more"), "{complaint}");
    let (code, _, complaint) = order(&["rollback", "api", "--to", "v41"]).await;
    assert!(code == 4 && complaint.contains("neither trusted nor baked"), "{complaint}");
    let rollback = ["rollback", "api", "--to", "v41", "--force", "--watch", "--reason", "the sale"];
    let (code, said, complaint) = order(&rollback).await;
    assert_eq!(code, 0, "{said}\n{complaint}");
    assert_eq!(stage.platform.tags().await, ["v41"]);
    stage.end().await;
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_by_the_api_with_the_place() {
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.start().await;
    stage.trusted().await;
    for (path, body, status, want) in [
        ("api/approve", "{}", 409, "no rollback of api waits"),
        (
            "api/approve",
            r#"{"release":"v1"}"#,
            400,
            "unknown field `release`, expected `by` or `reason`",
        ),
        ("api/pin", "{}", 400, "missing field `release`"),
        (
            "api/pin",
            r#"{"release":"v41","to":"v1"}"#,
            400,
            "unknown field `to`, expected one of `release`",
        ),
        ("api/rollback", r#"{"strategy":"canary"}"#, 400, "canary"),
        ("api/rollback", r#"{"too":"v41"}"#, 400, "too"),
        ("api/explode", "{}", 404, "no such page"),
        ("nobody/veto", "{}", 404, "nobody is not watched"),
    ] {
        let (got, text) = stage.post(&format!("/api/v1/apps/{path}"), body).await;
        assert_eq!(got, status, "{path} {body}: {text}");
        assert!(text.contains(want), "{path} {body}: {text}");
    }
    stage.end().await;
}
