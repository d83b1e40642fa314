//! `waveoff check` as its user runs it: the real binary, real files, its output and exit codes.

#![expect(clippy::expect_used, reason = "a helper that cannot go on fails its test")]

mod schema;
mod show;
mod workflows;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn directory(settings: &str, policy: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    fs::create_dir(dir.path().join("thresholds")).expect("a directory can be made");
    fs::write(dir.path().join("waveoff.toml"), settings).expect("a file can be written");
    fs::write(dir.path().join("thresholds/web.toml"), policy).expect("a file can be written");
    dir
}

/// Runs `waveoff check` with nothing in the environment but `variables`.
fn check(dir: &Path, json: bool, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waveoff"));
    command.arg("check").arg("--config").arg(dir).env_clear();
    if json {
        command.arg("--json");
    }
    command.envs(variables.iter().copied()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_valid_configuration_is_shown_as_it_is_in_force() {
    let dir = directory(
        "organization = \"acme\"\n[[receiver]]\nname = \"ops\"\nformat = \"standard\"\n\
         url_env = \"OPS_URL\"\nsecrets_env = [\"OPS_SECRET\"]\n",
        "apps = [\"web\"]\nexclude = [\"web-x\"]\nmode = \"rollback\"\nuse = [\"checks\"]\n\
         [[threshold]]\nname = \"5xx\"\nmax = \"2%\"\n\
         ratio = { bad = 'r{status=~\"5..\"}', total = 'r' }\n",
    );
    let variables = [
        ("OPS_URL", "https://example.com/hidden-path"),
        ("OPS_SECRET", SECRET),
        ("WAVEOFF_LISTEN", "[::]:8080"),
    ];
    let output = check(dir.path(), false, &variables);
    let shown = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{shown}");
    for want in [
        "organization  acme\n",
        "listen        [::]:8080\n",
        "receiver ops: standard, signed; every event; given up after 1d\n",
        "web, but not web-x\n",
        "5xx     at most 2% r{status=~\"5..\"} of r\n",
        "then 1, 2, 4… regions, at most 33% of a region down, confirm 2s to 30s",
    ] {
        assert!(shown.contains(want), "`{want}` is not in\n{shown}");
    }
    let json = text(&check(dir.path(), true, &variables).stdout);
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["valid"], true);
    assert_eq!(value["policies"][0]["watch"]["bake"], "10m");
    assert_eq!(value["policies"][0]["rollback"]["order"], "worst-first");
    assert_eq!(value["warnings"], serde_json::json!([]));
    for hidden in ["hidden-path", SECRET] {
        assert!(!shown.contains(hidden) && !json.contains(hidden));
    }
}

#[test]
fn without_productions_secrets_the_files_can_still_be_checked() {
    let dir = directory(
        "organization = \"acme\"\n[[receiver]]\nname = \"chat\"\nformat = \"slack\"\n\
         url_env = \"SLACK_URL\"\n",
        "apps = [\"web\"]\nmode = \"rollback\"\nuse = [\"checks\"]\n",
    );
    let output = check(dir.path(), false, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("the environment variable SLACK_URL is not set"));
}

#[test]
fn run_refuses_to_start_without_a_secret() {
    let dir = directory(
        "organization = \"acme\"\n[[receiver]]\nname = \"chat\"\nformat = \"slack\"\n\
         url_env = \"SLACK_URL\"\n",
        "apps = [\"web\"]\nmode = \"rollback\"\nuse = [\"checks\"]\n",
    );
    let output = Command::new(env!("CARGO_BIN_EXE_waveoff"))
        .args(["run", "--config"])
        .arg(dir.path())
        .env_clear()
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the environment variable SLACK_URL is not set"));
}

#[test]
fn what_is_wrong_goes_to_standard_error_with_file_and_line() {
    let dir = directory(
        "organization = \"acme\"\n",
        "apps = [\"web\"]\nuse = [\"checks\"]\n[watch]\nbake = \"5 sec\"\nblok = \"5s\"\n",
    );
    let output = check(dir.path(), false, &[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    let file = dir.path().join("thresholds/web.toml").display().to_string();
    assert_eq!(
        text(&output.stderr),
        format!(
            "{file}:4: watch.bake: `5 sec` is not how a duration is written; write \"5s\"\n\
             {file}:5: watch.blok: is not a known key; did you mean `block`?\n\
             2 problems in {file}\n"
        )
    );
    let output = check(dir.path(), true, &[]);
    assert_eq!(output.status.code(), Some(2));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["valid"], false);
    let problem = &value["problems"][0];
    assert_eq!((&problem["line"], &problem["key"]), (&4.into(), &"watch.bake".into()));
    assert_eq!(problem["suggestion"], "write \"5s\"");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let dir =
        directory("organization = \"acme\"\n", "apps = [\"web\"]\nuse = [\"\\u001b[2Jchecks\"]\n");
    let output = check(dir.path(), false, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains('\u{1b}'));
}
