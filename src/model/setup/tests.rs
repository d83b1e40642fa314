//! What is read of configurations, and what two of them differ in.

use serde_json::json;

use super::*;
use crate::model::{MachineState, machine::tests::machine};

fn on(id: &str, group: &str, config: &Value) -> Machine {
    Machine {
        id: id.into(),
        group: group.into(),
        config: Some(RawConfig(config.to_string().into())),
        ..machine(MachineState::Started)
    }
}

fn setups(machines: &[Machine], secrets: &[(&str, &str)]) -> Setups {
    let text = |(name, digest): &(&str, &str)| ((*name).to_owned(), (*digest).to_owned());
    let secrets: Secrets = secrets.iter().map(text).collect();
    Setups::of(machines.iter(), |_| true, Some(&secrets), true)
}

fn of(config: &Value) -> Setups {
    setups(&[on("m1", "app", config)], &[])
}

/// `kind name edit`, of everything that differs.
fn told(was: &Setups, is: &Setups) -> Vec<String> {
    let (changes, left_out) = between(was, is, |group| was.put_back().contains_key(group));
    assert_eq!(left_out, 0);
    let word = |change: &Change| {
        let back = if change.put_back { "" } else { " stays" };
        format!("{:?} {} {:?}{back}", change.kind, change.name, change.edit).to_lowercase()
    };
    changes.iter().map(word).collect()
}

fn whole() -> Value {
    json!({
        "image": "registry.fly.io/api:v41",
        "env": {"LOG_LEVEL": "info", "OLD": "1", "SAME": "x"},
        "metadata": {"fly_release_version": "41"},
        "init": {"cmd": ["serve"]},
        "guest": {"cpus": 1, "memory_mb": 256},
        "services": [{"internal_port": 8080, "protocol": "tcp", "autostop": false,
                      "checks": [{"type": "http", "path": "/healthz"}],
                      "force_instance_key": null}],
        "checks": {"alive": {"type": "tcp", "port": 9000}},
        "mounts": [{"volume": "vol_1", "path": "/data", "size_gb": 1}],
        "restart": {"policy": "on-failure"},
    })
}

#[test]
fn every_part_that_differs_is_named_and_nothing_else() {
    let was = of(&whole());
    let mut config = whole();
    config["image"] = json!("registry.fly.io/api:v42");
    config["metadata"] = json!({"fly_release_version": "42"});
    assert_eq!(told(&was, &of(&config)), [""; 0]);

    config["env"] = json!({"LOG_LEVEL": "debug", "NEW": "", "SAME": "x"});
    config["init"] = json!({"cmd": ["serve", "--fast"]});
    config["guest"]["memory_mb"] = json!(512);
    config["services"][0]["autostop"] = json!(true);
    config["services"][0]["checks"][0]["path"] = json!("/up");
    config["checks"] = json!({});
    config["mounts"][0]["size_gb"] = json!(2);
    config["restart"]["policy"] = json!("always");
    assert_eq!(
        told(&was, &of(&config)),
        [
            "env log_level changed",
            "env new added",
            "env old removed",
            "service 8080/tcp changed",
            "check alive removed",
            "check http on 8080 changed",
            "init cmd changed",
            "mount /data changed stays",
            "guest memory_mb changed stays",
            "setting restart changed stays",
        ]
    );
}

#[test]
fn what_says_the_same_in_another_way_is_no_change() {
    let mut config = whole();
    config["services"][0].as_object_mut().unwrap().remove("force_instance_key");
    config["statics"] = json!([]);
    config["dns"] = json!({"nameservers": []});
    config["init"] = json!({"tty": null, "cmd": ["serve"]});
    // Each machine has a volume of its own.
    config["mounts"][0]["volume"] = json!("vol_2");
    assert_eq!(told(&of(&whole()), &of(&config)), [""; 0]);
}

#[test]
fn secrets_groups_and_the_number_of_machines_are_told_of_the_whole_app() {
    let small = json!({"image": "i"});
    let was = setups(
        &[on("m1", "app", &small), on("m2", "app", &small), on("m3", "old", &small)],
        &[("DB_URL", "a"), ("GONE", "b")],
    );
    let is = setups(
        &[on("m1", "app", &small), on("m4", "new", &small)],
        &[("DB_URL", "c"), ("MORE", "d")],
    );
    assert_eq!(
        told(&was, &is),
        [
            "secret db_url changed stays",
            "secret gone removed stays",
            "secret more added stays",
            "group new added stays",
            "group old removed stays",
            "scale app changed stays",
        ]
    );
    let (changes, _) = between(&was, &is, |_| false);
    assert_eq!(changes.last().unwrap().machines, Some(Count { from: 2, to: 1 }));
    // Unknown secrets are no change.
    let unread = Setups { secrets: None, ..was.clone() };
    assert_eq!(told(&unread, &Setups { secrets: is.secrets, ..was }), [""; 0]);
}

#[test]
fn a_group_that_the_release_did_not_reach_is_counted_and_not_compared() {
    let worker = json!({"image": "i", "env": {"A": "1"}});
    let fleet = [on("m1", "app", &whole()), on("m2", "worker", &worker)];
    let was = setups(&fleet, &[]);
    let is = Setups::of(fleet.iter(), |machine| machine.group.as_str() == "app", None, false);
    assert_eq!(is.groups[&"worker".into()], Setup { machines: 1, ..Setup::default() });
    assert_eq!(told(&was, &is), [""; 0]);
}

#[test]
fn what_the_machines_of_a_group_do_not_agree_in_is_neither_compared_nor_put_back() {
    let with = |level: &str| json!({"image": "i", "env": {"LOG_LEVEL": level}});
    let mixed = setups(&[on("m1", "app", &with("info")), on("m2", "app", &with("debug"))], &[]);
    assert_eq!(mixed.put_back(), PutBack::new());
    assert_eq!(
        told(&mixed, &setups(&[on("m1", "app", &with("warn"))], &[])),
        ["scale app changed stays"]
    );
    // Differing guests are no obstacle to the environment.
    let guest = |mb: u32| json!({"image": "i", "env": {"A": "1"}, "guest": {"memory_mb": mb}});
    let sized = setups(&[on("m1", "app", &guest(256)), on("m2", "app", &guest(512))], &[]);
    assert_eq!(sized.put_back().len(), 1);
}

#[test]
fn neither_values_nor_machines_outside_a_release_are_kept() {
    let config = json!({"image": "i", "env": {"TOKEN": "hunter2"}});
    let hand = Machine { release: None, ..on("m9", "tools", &config) };
    let kept = Setups::of([on("m1", "app", &config), hand].iter(), |_| true, None, false);
    let stored = serde_json::to_string(&kept).unwrap();
    assert!(!stored.contains("hunter2") && stored.contains("TOKEN"), "{stored}");
    assert!(!stored.contains("tools"));
    assert!(!format!("{:?}", of(&config)).contains("hunter2"));
}

#[test]
fn texts_are_kept_as_they_came_and_known_again_however_they_are_written() {
    let raw = RawConfig(
        r#"{"image":"i","env": {"B":"2","A":"\u00e9"},"init":{},"checks":null,"x":{"n":1.00}}"#
            .into(),
    );
    let texts = Texts::of(&raw).unwrap();
    assert_eq!(texts.get("env"), Some(r#"{"B":"2","A":"\u00e9"}"#));
    assert_eq!((texts.get("checks"), texts.get("services")), (Some("null"), None));
    let same = |text: &str| texts.is_in(&RawConfig(text.into()));
    assert!(same(r#"{"env":{"A":"é","B":"2"}}"#));
    assert!(same(r#"{"env":{"A":"é","B":"2"},"services":[],"guest":{"cpus":4}}"#));
    assert!(!same(r#"{"env":{"A":"é"}}"#));
    assert!(!same(r#"{"env":{"A":"é","B":"2"},"checks":{"alive":{"port":1}}}"#));
    assert!(!same("[]"));
    let long = json!({"image": "i", "env": {"A": "x".repeat(40_000)}});
    assert_eq!(Texts::of(&RawConfig(long.to_string().into())), None);
}

#[test]
fn what_is_remembered_is_bounded_and_a_full_list_makes_up_no_change() {
    let env = |from: usize| -> Value {
        (from..from + 300).map(|n| (format!("K{n:04}"), json!("1"))).collect::<Map<_, _>>().into()
    };
    let (was, is) = (of(&json!({"env": env(1)})), of(&json!({"env": env(0)})));
    assert_eq!(told(&was, &is), ["env k0000 added"]);
    let many: Vec<Machine> =
        (0..30).map(|n| on(&format!("m{n}"), &format!("g{n}"), &whole())).collect();
    assert_eq!(setups(&many, &[]).groups.len(), GROUPS_MAX);
    assert_eq!(brief(&"é".repeat(300)).len(), NAME_MAX);
    let none = Setups::default();
    let (changes, left_out) = between(&none, &setups(&many, &[]), |_| false);
    assert_eq!((changes.len(), left_out), (GROUPS_MAX, 0));
    let no_env = of(&json!({"init": {"cmd": ["x"]}}));
    let (changes, left_out) = between(&no_env, &is, |_| false);
    assert_eq!((changes.len(), left_out), (50, 151), "{changes:?}");
}
