//! `waveoff config show`: what is in force for an app, and which line says so.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{directory, text};

const POLICY: &str = "# Ours.\napps = [\"web\", \"api-*\"]\nexclude = [\"api-test\"]\nmode = \"rollback\"\n\
    use = [\"checks\"]\n[watch]\nbake = \"5m\"\n[rollback]\nconfirm = \"20s\"\n\n[[threshold]]\n\
    name = \"5xx\"\nmax = \"2%\"\nratio = { bad = 'r{status=~\"5..\"}', total = 'r' }\n";

/// Exit code and standard output of `waveoff config show`.
fn show(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waveoff"));
    command.args(["config", "show"]).args(arguments).arg("--config").arg(dir).env_clear();
    let output = command.env("FLY_APP_NAME", "watcher").output().expect("the binary runs");
    (output.status.code(), text(&output.stdout))
}

#[test]
fn every_key_in_force_is_shown_with_the_line_that_says_so() {
    let freeze =
        |at: &str| format!("[[freeze]]\nat = \"{at}\"\nfor = \"2h\"\nreason = \"at {at}\"\n");
    let settings = format!("organization = \"acme\"\n{}", freeze("0 1 * * *"));
    let dir = directory(&settings, &format!("{POLICY}{}", freeze("0 18 * * fri")));
    let (code, shown) = show(dir.path(), &["api-1"]);
    assert_eq!(code, Some(0), "{shown}");
    let first = shown.lines().next().unwrap_or_default();
    assert!(first.starts_with("api-1 is watched by the policy web ("), "{first}");
    assert!(first.ends_with("web.toml:2: \"api-*\")"), "{first}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = shown.lines().map(words).collect();
    for want in [
        "mode web.toml:4 \"rollback\"",
        "watch.bake web.toml:7 \"5m\"",
        "watch.block default \"5s\"",
        "rollback.confirm web.toml:9 { at_least = \"2s\", at_most = \"20s\" }",
        "freeze 1 web.toml:15 at 0 18 * * fri, for 2h",
        "freeze 2 waveoff.toml at 0 1 * * *, for 2h",
        "threshold \"5xx\" web.toml:11 at most 2% r{status=~\"5..\"} of r",
    ] {
        assert!(lines.iter().any(|line| line == want), "`{want}` is not in\n{shown}");
    }
    let preset = lines.iter().find(|line| line.starts_with("threshold \"checks\""));
    assert!(preset.is_some_and(|line| line.contains("web.toml:5, by a preset")), "{shown}");
    // The same for programs.
    let (_, json) = show(dir.path(), &["api-1", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let keys = json["keys"].as_array().expect("a list");
    let bake = keys.iter().find(|key| key["key"] == "watch.bake").expect("it is there");
    assert_eq!(
        (bake["value"].as_str(), bake["from"].as_str()),
        (Some("\"5m\""), Some("web.toml:7"))
    );
}

#[test]
fn of_an_app_that_is_not_watched_it_is_said_why() {
    let dir = directory("organization = \"acme\"\n", POLICY);
    for (name, text) in [("one", "apps = [\"job-*\"]\n"), ("two", "apps = [\"*-job\"]\n")] {
        let path = dir.path().join(format!("thresholds/{name}.toml"));
        fs::write(path, format!("{text}use = [\"checks\"]\n")).expect("a file can be written");
    }
    for (app, why) in [
        ("api-test", "exclude = [\"api-test\"] in"),
        ("other", "no pattern in `apps` of any threshold file matches it"),
        ("job-a-job", "is claimed equally by the policies one and two"),
        ("watcher", "it is the app that Waveoff itself runs as"),
    ] {
        let (code, shown) = show(dir.path(), &[app]);
        assert_eq!(code, Some(1), "{shown}");
        assert!(
            shown.contains(&format!("{app} is not watched: ")) && shown.contains(why),
            "{shown}"
        );
    }
}

#[test]
fn a_configuration_that_is_wrong_is_not_shown() {
    let dir = directory("organization = \"acme\"\n", "apps = [\"web\"]\nmode = \"armed\"\n");
    let (code, shown) = show(dir.path(), &["web"]);
    assert_eq!((code, shown.as_str()), (Some(2), ""));
}
