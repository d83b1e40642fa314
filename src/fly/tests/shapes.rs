//! A machine's JSON in all the shapes it is known to come in.

use serde_json::json;

use super::{
    super::wire::machine::{WireLease, WireMachine},
    *,
};
use crate::model::{CheckStatus, HostStatus, MachineState};

/// A machine as the platform sends it, with `changes` laid over its fields.
pub(super) fn machine(changes: Value) -> Value {
    let mut machine = json!({
        "id": "m1", "name": "m-1", "state": "started", "region": "iad",
        "instance_id": "01NHBR1ZBMMCSRNE7H895EQX0G", "host_status": "ok",
        "image_ref": {"registry": "registry.fly.io", "repository": "web", "tag": "deployment-1",
            "digest": "sha256:42aa", "labels": {}},
        "private_ip": "fdaa:0:1:a7b:1::2",
        "created_at": "2026-11-23T23:00:00Z", "updated_at": "2026-11-23T23:10:02Z",
        "config": {"image": "registry.fly.io/web:deployment-1",
            "metadata": {"fly_process_group": "worker", "fly_release_version": "42"}},
        "events": [], "checks": [],
    });
    let Value::Object(changes) = changes else { panic!("fields are wanted, not {changes}") };
    for (field, value) in changes {
        machine[field] = value;
    }
    machine
}

fn parse(json: &Value) -> Machine {
    serde_json::from_str::<WireMachine>(&json.to_string()).unwrap().into_machine(&web()).unwrap()
}

#[test]
fn a_machine_is_read_whole() {
    let machine = parse(&machine(json!({
        "cordoned": true,
        "lease": {"owner": "dev@acme.test", "description": "deploy", "expires_at": 1_795_475_402},
        "config": {"image": "i", "metadata": {"fly_process_group": "web"},
            "metrics": {"port": 9091, "path": "/m"}, "standbys": ["m0"]},
    })));
    assert_eq!(machine.id.as_str(), "m1");
    assert_eq!(machine.instance.as_str(), "01NHBR1ZBMMCSRNE7H895EQX0G");
    assert_eq!(machine.region.as_str(), "iad");
    assert_eq!(machine.group.as_str(), "web");
    assert_eq!(machine.state, MachineState::Started);
    assert_eq!(machine.image.reference(), "registry.fly.io/web:deployment-1@sha256:42aa");
    assert_eq!(machine.updated_at, at("2026-11-23T23:10:02Z"));
    assert_eq!(machine.private_ip.unwrap().to_string(), "fdaa:0:1:a7b:1::2");
    assert_eq!(machine.metrics.unwrap().port, 9091);
    assert!(machine.cordoned && machine.standby);
    let lease = machine.lease.unwrap();
    assert_eq!((lease.owner.as_str(), lease.description.as_str()), ("dev@acme.test", "deploy"));
    assert_eq!(lease.expires_at, at("2026-11-23T23:10:02Z"));
}

#[test]
fn a_configuration_is_kept_byte_for_byte() {
    let config = r#"{ "z":1.00 ,"image":"i","big":123456789012345678901234567890,"é":"\u00e9", "z":2, "x":[1 , 2],
        "autostop":false}"#;
    let text = format!(r#"[{{"id":"m1","config": {config} ,"state":"started"}}]"#);
    let machines: Vec<WireMachine> = serde_json::from_str(&text).unwrap();
    let machine = machines.into_iter().next().unwrap().into_machine(&web()).unwrap();
    assert_eq!(&*machine.config.unwrap().0, config);
}

#[test]
fn next_to_nothing_is_a_machine_too() {
    for json in [
        json!({"id": "m1"}),
        json!({"id": "m1", "instance_id": null, "state": null, "region": null, "config": null,
            "image_ref": null, "host_status": null, "events": null, "checks": null, "lease": null,
            "created_at": "", "updated_at": "", "private_ip": "", "cordoned": null}),
    ] {
        let machine = parse(&json);
        assert_eq!(machine.group.as_str(), "app");
        assert_eq!(machine.state, MachineState::Unknown("unknown".to_owned()));
        assert_eq!(machine.host, HostStatus::Unknown);
        assert_eq!((machine.config, machine.image.digest, machine.release), (None, None, None));
    }
    let nameless: WireMachine = serde_json::from_str("{}").unwrap();
    assert!(nameless.into_machine(&web()).is_err());
}

#[test]
fn a_machine_on_a_dead_host_shows_its_release_but_has_no_configuration() {
    let machine = parse(&machine(json!({
        "host_status": "unreachable", "config": null,
        "incomplete_config": {"metadata": {"fly_release_version": "41", "process_group": "old"}},
    })));
    assert_eq!(machine.host, HostStatus::Unreachable);
    assert_eq!(machine.config, None);
    assert_eq!(machine.release.unwrap().0, 41);
    assert_eq!(machine.group.as_str(), "old", "the legacy key");
}

#[test]
fn a_lease_is_held_as_long_as_it_is_shown() {
    let lease = |lease: Value| parse(&machine(json!({ "lease": lease }))).lease;
    assert_eq!(lease(json!(null)), None);
    assert_eq!(lease(json!({})), None);
    assert_eq!(lease(json!({"owner": "", "expires_at": 0})), None);
    let endless = lease(json!({"owner": "dev@acme.test", "expires_at": ""})).unwrap();
    assert_eq!(endless.expires_at, jiff::Timestamp::MAX);
    let text = lease(json!({"owner": "x", "expires_at": "2026-11-23T23:10:02Z"})).unwrap();
    assert_eq!(text.expires_at, at("2026-11-23T23:10:02Z"));
}

#[test]
fn a_host_nobody_mentions_is_well_if_the_configuration_is_there() {
    let host = |status: Value| parse(&machine(json!({ "host_status": status }))).host;
    assert_eq!(host(json!("ok")), HostStatus::Ok);
    assert_eq!(host(json!("")), HostStatus::Ok);
    assert_eq!(host(json!("unknown")), HostStatus::Unknown);
    assert_eq!(host(json!("odd")), HostStatus::Unknown);
}

#[test]
fn an_image_without_a_valid_digest_has_none() {
    for digest in [json!(""), json!(null), json!("latest"), json!("sha256:"), json!("sha256:../x")]
    {
        let image = parse(&machine(json!({"image_ref": {"registry": "registry.fly.io",
            "repository": "web", "tag": "", "digest": digest}})))
        .image;
        assert_eq!((image.digest, image.tag), (None, None), "{digest}");
    }
}

/// The platform may leave the digest out, and say it all the same.
#[test]
fn a_digest_that_is_not_said_is_the_one_that_is_configured() {
    let pinned = "registry.fly.io/web:v1@sha256:42aa";
    let said = |repository: &str, tag: &str| json!({"registry": "registry.fly.io", "repository": repository, "tag": tag, "digest": ""});
    for (image_ref, configured, reference) in [
        (json!(null), "ghcr.io:443/acme/web:v1@sha256:42aa", "ghcr.io:443/acme/web:v1@sha256:42aa"),
        (json!({}), pinned, pinned),
        (said("web", "v1"), pinned, pinned),
        (said("web", ""), pinned, "registry.fly.io/web@sha256:42aa"),
        // Where the two differ, nothing is guessed.
        (said("web", "v2"), pinned, "registry.fly.io/web:v2"),
        (said("other", "v1"), pinned, "registry.fly.io/other:v1"),
        (said("web", "v1"), "registry.fly.io/web:v1@latest", "registry.fly.io/web:v1"),
    ] {
        let config = json!({"image": configured});
        let image = parse(&machine(json!({"image_ref": image_ref, "config": config}))).image;
        assert_eq!(image.reference(), reference, "{image_ref} {configured}");
    }
}

#[test]
fn checks_are_read_with_their_intervals_and_without_the_made_up_ones() {
    let machine = parse(&machine(json!({
        "checks": [
            {"name": "servicecheck-00-http-8080", "status": "critical", "output": "no",
                "updated_at": "2026-11-23T23:10:00Z"},
            {"name": "db", "status": "passing", "output": null, "updated_at": ""},
            {"name": "new", "status": "warning", "updated_at": null},
            {"name": "odd", "status": "pending"},
            {"name": "bg_deployments_compat_1", "status": "passing"},
        ],
        "config": {"image": "i", "checks": {"db": {"interval": 15_000_000_000_u64}},
            "services": [{"internal_port": 8080, "checks": [{"type": "http", "interval": "1m30s"}]}]},
    })));
    let names: Vec<_> = machine.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["servicecheck-00-http-8080", "db", "new", "odd"]);
    let statuses: Vec<_> = machine.checks.iter().map(|check| check.status).collect();
    use CheckStatus::{Critical, Passing, Warning};
    assert_eq!(statuses, [Critical, Passing, Warning, Warning]);
    let intervals: Vec<_> =
        machine.checks.iter().map(|check| check.interval.map(|i| i.as_secs())).collect();
    assert_eq!(intervals, [Some(90), Some(15), None, None]);
    assert_eq!(machine.checks[0].changed_at, Some(at("2026-11-23T23:10:00Z")));
    assert_eq!(machine.checks[1].changed_at, None);
    assert_eq!(machine.checks_configured, 2);
}

fn exit(timestamp: u64, request: Value) -> Value {
    let mut event = json!({"type": "exit", "status": "stopped", "source": "flyd"});
    event["timestamp"] = timestamp.into();
    event["request"] = request;
    event
}

#[test]
fn exits_are_read_in_every_shape() {
    let ms = 1_795_475_402_000_u64;
    let machine = parse(&machine(json!({ "events": [
        exit(ms, json!({"exit_event": {"exit_code": 1, "exited_at": "2026-11-23T23:10:01Z",
            "requested_stop": false, "oom_killed": true, "restarting": true}, "restart_count": 2})),
        exit(ms + 5000, json!({"exit_event": {"exit_code": 0, "exited_at": 1_795_475_407_500_u64,
            "requested_stop": true}, "MonitorEvent": {"exit_event": {"exit_code": 137}}})),
        exit(ms + 9000, json!({"MonitorEvent": {"exit_event": {"exit_code": 3}}})),
        exit(ms + 10_000, json!({"exit_event": {"guest_exit_code": 4,
            "exited_at": "0001-01-01T00:00:00Z"}, "MonitorEvent": null})),
        exit(ms, json!(null)),
        exit(ms, json!({"exit_event": null})),
        json!({"type": "exit"}),
        json!({"type": "update", "timestamp": ms}),
    ]})));
    let exits: Vec<_> = machine
        .exits
        .iter()
        .map(|exit| (exit.at.to_string(), exit.exit_code, exit.oom_killed, exit.requested_stop))
        .collect();
    assert_eq!(
        exits,
        [
            ("2026-11-23T23:10:12Z".to_owned(), 4, false, false),
            ("2026-11-23T23:10:11Z".to_owned(), 3, false, false),
            ("2026-11-23T23:10:07.5Z".to_owned(), 137, false, true),
            ("2026-11-23T23:10:01Z".to_owned(), 1, true, false),
        ]
    );
}

#[test]
fn the_newest_start_counts_whatever_the_order() {
    let event = |kind: &str, second: i64| json!({"type": kind, "timestamp": second * 1000});
    let machine = parse(&machine(json!({"events": [
        event("start", 1_795_475_000), event("exit", 1_795_475_900),
        event("start", 1_795_475_402), event("launch", 1_795_474_000),
    ]})));
    assert_eq!(machine.started_at, Some(at("2026-11-23T23:10:02Z")));
}

#[test]
fn a_machine_without_a_time_takes_the_next_best() {
    let time = |changes: Value| parse(&machine(changes)).updated_at;
    assert_eq!(time(json!({"updated_at": null})), at("2026-11-23T23:00:00Z"));
    let event = json!([{"type": "start", "timestamp": 1_795_475_402_000_u64}]);
    let events = json!({"updated_at": "", "created_at": "", "events": event});
    assert_eq!(time(events), at("2026-11-23T23:10:02Z"));
}

#[test]
fn a_lease_comes_in_an_envelope_or_bare() {
    let grant = json!({"nonce": "n1", "expires_at": 1_795_475_402, "owner": "x", "version": "v"});
    for body in [json!({"status": "success", "data": grant}), grant.clone()] {
        let grant = serde_json::from_value::<WireLease>(body).unwrap().grant();
        assert_eq!(grant.nonce, "n1");
        assert_eq!(grant.expires_at, Some(at("2026-11-23T23:10:02Z")));
    }
    let grant: WireLease = serde_json::from_str(r#"{"status":"success","data":null}"#).unwrap();
    assert_eq!(grant.grant().nonce, "");
}
