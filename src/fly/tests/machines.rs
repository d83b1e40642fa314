//! Reading machines, updating, starting, waiting.

use std::sync::Arc;

use serde_json::json;

use super::{shapes::machine, *};
use crate::model::{MachineState, RawConfig, Transition};

const CONFIG: &str = r#"{"z":1.00,"image":"registry.fly.io/web@sha256:41aa", "x":[1 , 2]}"#;

fn new_version() -> MachineUpdate {
    MachineUpdate {
        config: RawConfig(Arc::from(CONFIG)),
        current: InstanceId::new("01OLD"),
        skip_launch: true,
    }
}

#[tokio::test]
async fn machines_are_listed_with_their_leases_and_without_the_dead() {
    let list = json!([machine(json!({})), machine(json!({"id": "m2", "state": "destroyed"}))]);
    let (fly, script) = platform([reply(200, list), reply(200, "null")]).await;
    let machines = fly.machines(&web()).await.unwrap();
    assert_eq!(machines.iter().map(|machine| machine.id.as_str()).collect::<Vec<_>>(), ["m1"]);
    assert_eq!(fly.machines(&web()).await.unwrap(), [], "Go's empty list");
    assert_eq!(script.lines()[0], "GET /v1/apps/web/machines?include_leases=true");
}

#[tokio::test]
async fn one_machine_is_read() {
    let (fly, script) = platform([
        reply(200, machine(json!({"state": "replacing"}))),
        reply(404, r#"{"error":"not_found: invalid machine ID 'm1'"}"#),
    ])
    .await;
    let machine = fly.machine(&web(), &m1()).await.unwrap();
    assert_eq!(machine.state, MachineState::Transient(Transition::Replacing));
    assert!(matches!(fly.machine(&web(), &m1()).await, Err(PlatformError::NotFound(_))));
    assert_eq!(script.lines()[0], "GET /v1/apps/web/machines/m1?include_leases=true");
}

/// Machines of one release with the same tag run the same image.
#[tokio::test]
async fn a_digest_that_is_left_out_is_that_of_its_neighbours() {
    // Given a machine of which the platform leaves the digest out, and neighbours that have it
    let image = |tag: &str, digest: &str| json!({"registry": "registry.fly.io", "repository": "web", "tag": tag, "digest": digest});
    let released = |version: &str| {
        json!({"image": "registry.fly.io/web:deployment-1",
            "metadata": {"fly_release_version": version}})
    };
    let odd = |version: &str| {
        let image_ref = image("deployment-1", "");
        machine(json!({"id": "m1", "image_ref": image_ref, "config": released(version)}))
    };
    let neighbour = machine(json!({"id": "m2", "config": released("42")}));
    let contrary = machine(json!({"id": "m3", "config": released("42"),
        "image_ref": image("deployment-1", "sha256:41aa")}));
    for (list, want) in [
        (json!([odd("42"), neighbour]), Some("sha256:42aa")),
        // The tag may have moved between two releases, or machines of one release disagree.
        (json!([odd("41"), neighbour]), None),
        (json!([odd("42"), neighbour, contrary]), None),
        (json!([odd("42")]), None),
    ] {
        // When it is listed, or read by itself
        let one = list[0].clone();
        let (fly, _script) =
            platform([reply(200, list.clone()), reply(200, one), reply(200, list.clone())]).await;
        let listed = fly.machines(&web()).await.unwrap().remove(0);
        let read = fly.machine(&web(), &m1()).await.unwrap();
        // Then it has theirs, if they agree
        let digest = |machine: &Machine| machine.digest().map(|one| one.as_str().to_owned());
        assert_eq!(digest(&listed).as_deref(), want, "{list}");
        assert_eq!(digest(&read).as_deref(), want, "{list}");
    }
}

#[tokio::test]
async fn names_cannot_leave_their_place_in_the_path() {
    let (fly, script) = platform([reply(404, "")]).await;
    let odd = MachineId::new("../../secrets?x=/y");
    fly.machine(&web(), &odd).await.unwrap_err();
    let line = &script.lines()[0];
    assert!(line.starts_with("GET /v1/apps/web/machines/..%2F..%2Fsecrets%3Fx=%2Fy?"), "{line}");
}

#[tokio::test]
async fn an_update_sends_the_configuration_as_it_is() {
    let (fly, script) = platform([reply(200, r#"{"id":"m1","instance_id":"01NEW"}"#)]).await;
    let instance = fly.update(&held(), &new_version()).await.unwrap();
    assert_eq!(instance.as_str(), "01NEW");
    let asked = script.asked();
    assert_eq!(asked[0].line, "POST /v1/apps/web/machines/m1");
    assert_eq!(asked[0].header("fly-machine-lease-nonce"), "5c35f65c9f95");
    let want = format!(r#"{{"config":{CONFIG},"current_version":"01OLD","skip_launch":true}}"#);
    assert_eq!(asked[0].body, want);
}

#[tokio::test]
async fn a_lost_race_is_told_and_not_repeated() {
    for (status, text) in [
        (409, "aborted: machine is replacing: concurrent update in progress"),
        (412, "failed_precondition: machine version is 01X, not 01OLD"),
    ] {
        let (fly, script) = platform([reply(status, json!({ "error": text }))]).await;
        let error = fly.update(&held(), &new_version()).await.unwrap_err();
        assert!(matches!(&error, PlatformError::Conflict(said) if said.contains(text)), "{error}");
        assert_eq!(script.asked().len(), 1, "no look either: nothing of ours was under way");
    }
}

#[tokio::test]
async fn an_update_whose_answer_was_lost_is_repeated_under_the_same_lease() {
    let (fly, script) =
        platform([reply(408, "{}"), reply(503, ""), reply(200, r#"{"instance_id":"01NEW"}"#)])
            .await;
    assert_eq!(fly.update(&held(), &new_version()).await.unwrap().as_str(), "01NEW");
    let asked = script.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|asked| asked.header("fly-machine-lease-nonce") == held().nonce));
}

#[tokio::test]
async fn an_update_that_was_carried_out_without_an_answer_is_found() {
    let ours = machine(json!({"instance_id": "01NEW",
        "config": {"image": "registry.fly.io/web@sha256:41aa"}}));
    let race = || reply(412, r#"{"error":"failed_precondition: stale"}"#);
    // The repeated update is turned away, or its answer is no JSON.
    for second in [race(), reply(409, "{}"), reply(200, "<html>")] {
        let (fly, script) = platform([reply(504, ""), second, reply(200, &ours)]).await;
        let instance = fly.update(&held(), &new_version()).await.unwrap();
        assert_eq!(instance.as_str(), "01NEW");
        assert_eq!(script.lines()[2], "GET /v1/apps/web/machines/m1?include_leases=true");
    }
    // It was not carried out, or somebody else was faster.
    let same = machine(json!({"instance_id": "01OLD"}));
    let foreign = machine(json!({"instance_id": "01X", "config": {"image": "other"}}));
    for seen in [same, foreign] {
        let (fly, _script) = platform([reply(504, ""), race(), reply(200, seen)]).await;
        let error = fly.update(&held(), &new_version()).await.unwrap_err();
        assert!(matches!(error, PlatformError::Conflict(_)), "{error:?}");
    }
}

#[tokio::test]
async fn an_update_needs_an_instance_in_its_answer_and_json_in_its_configuration() {
    let (fly, _script) = platform([reply(200, r#"{"id":"m1"}"#)]).await;
    let error = fly.update(&held(), &new_version()).await.unwrap_err();
    assert!(error.to_string().contains("without an instance id"), "{error}");
    let (fly, script) = platform([]).await;
    let broken = MachineUpdate { config: RawConfig(Arc::from("{")), ..new_version() };
    let error = fly.update(&held(), &broken).await.unwrap_err();
    assert!(matches!(error, PlatformError::Refused(_)), "{error:?}");
    assert_eq!(script.asked().len(), 0);
}

#[tokio::test]
async fn a_start_is_asked_for_once() {
    let (fly, script) = platform([reply(200, ""), reply(503, ""), reply(412, "{}")]).await;
    fly.start(&held()).await.unwrap();
    assert!(matches!(fly.start(&held()).await, Err(PlatformError::Unavailable(_))));
    assert!(matches!(fly.start(&held()).await, Err(PlatformError::Conflict(_))));
    let asked = script.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].line, "POST /v1/apps/web/machines/m1/start");
    assert_eq!(asked[0].header("fly-machine-lease-nonce"), "5c35f65c9f95");
}

async fn waited(fly: &Fly, state: WaitFor, seconds: u64) -> Result<bool, PlatformError> {
    let instance = InstanceId::new("01NEW");
    fly.wait(&web(), &m1(), &instance, state, Duration::from_secs(seconds)).await
}

#[tokio::test]
async fn a_wait_names_the_instance_and_stays_within_what_is_allowed() {
    let yes = || reply(200, r#"{"ok":true,"state":"started","version":"01NEW","event_id":"e"}"#);
    let (fly, script) = platform([yes(), yes(), yes()]).await;
    assert_eq!(waited(&fly, WaitFor::Started, 10).await, Ok(true));
    assert_eq!(waited(&fly, WaitFor::Settled, 0).await, Ok(true));
    assert_eq!(waited(&fly, WaitFor::Settled, 600).await, Ok(true));
    assert_eq!(
        script.lines(),
        [
            "GET /v1/apps/web/machines/m1/wait?state=started&timeout=10&version=01NEW",
            "GET /v1/apps/web/machines/m1/wait?state=settled&timeout=1&version=01NEW",
            "GET /v1/apps/web/machines/m1/wait?state=settled&timeout=60&version=01NEW",
        ]
    );
}

#[tokio::test]
async fn a_wait_that_did_not_come_true_is_not_yet() {
    let late =
        "deadline_exceeded: machine failed to reach desired state, started, currently stopped";
    for (answer, want) in [
        (reply(408, json!({ "error": late })), false),
        (reply(400, r#"{"error":"invalid_argument: unknown version"}"#), false),
        (reply(200, r#"{"ok":true,"state":"started","version":"01OLD"}"#), false),
        (reply(200, r#"{"ok":true,"state":"stopped","version":"01NEW"}"#), false),
        (reply(200, r#"{"ok":false}"#), false),
        (reply(200, r#"{"ok":true}"#), true),
        (reply(200, ""), true),
    ] {
        let text = format!("{answer:?}");
        let (fly, script) = platform([answer]).await;
        assert_eq!(waited(&fly, WaitFor::Started, 1).await, Ok(want), "{text}");
        assert_eq!(script.asked().len(), 1, "not repeated here: {text}");
    }
}

#[tokio::test]
async fn secrets_are_listed_by_name_and_digest_and_values_are_not_asked_for() {
    let listed = r#"{"secrets":[{"name":"DB_URL","digest":"8a1f"},{"name":"","digest":"x"},
        {"name":"ODD","digest":null,"value":"hunter2"}]}"#;
    let (fly, script) = platform([reply(200, listed), reply(200, r#"{"secrets":null}"#)]).await;
    let secrets = fly.secrets(&"web".into()).await.unwrap();
    let names: Vec<(&str, &str)> = secrets.iter().map(|(n, d)| (n.as_str(), d.as_str())).collect();
    assert_eq!(names, [("DB_URL", "8a1f"), ("ODD", "")]);
    assert_eq!(fly.secrets(&"web".into()).await.unwrap().len(), 0);
    assert_eq!(script.lines()[0], "GET /v1/apps/web/secrets");
}
