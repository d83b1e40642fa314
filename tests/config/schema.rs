//! `waveoff schema`, as an editor uses it.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

fn schema(file: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waveoff"));
    let output = command.args(["schema", file]).env_clear().output().expect("the binary runs");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a validator says of a file; empty: it fits.
fn complaints(schema: &Value, toml: &str) -> String {
    let document: toml_edit::DocumentMut = toml.parse().expect("TOML");
    let instance: Value = toml_edit::de::from_document(document).expect("values");
    let python = std::env::var("WAVEOFF_TEST_PYTHON").expect(
        "WAVEOFF_TEST_PYTHON must name a Python with `jsonschema`: run scripts/test, which installs \
         it and sets it",
    );
    let mut child = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/valid.py"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let case = json!({ "schema": schema, "instance": instance }).to_string();
    child.stdin.take().expect("a pipe").write_all(case.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// A shipped file with all that it only shows.
fn uncommented(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(path).expect("it is shipped");
    let is_shown = |line: &str| {
        let rest = line.trim_start_matches(['#', ' ']);
        let key = |c: char| c.is_ascii_lowercase() || c == '_';
        rest.starts_with('[') && rest.ends_with(']')
            || rest.split_once(" = ").is_some_and(|(k, _)| k.chars().all(key))
    };
    let lines = text.lines().filter(|line| is_shown(line));
    lines.map(|line| format!("{}\n", line.trim_start_matches(['#', ' ']))).collect()
}

#[test]
fn what_ships_fits_with_all_that_it_shows() {
    let (settings, thresholds) = (schema("settings"), schema("thresholds"));
    assert_eq!(complaints(&settings, &uncommented("waveoff.toml")), "");
    for name in ["thresholds/default.toml", "thresholds/web.toml.example"] {
        assert_eq!(complaints(&thresholds, &uncommented(name)), "", "{name}");
    }
}

#[test]
fn what_check_refuses_is_marked_in_an_editor_too() {
    let (settings, thresholds) = (schema("settings"), schema("thresholds"));
    for (what, toml) in [
        ("`$.listen`", "organization = \"acme\"\nlisten = 8080\n"),
        ("keep_histroy", "keep_histroy = \"90d\"\n"),
        ("'format'", "[[receiver]]\nname = \"ops\"\n"),
        ("'email'", "[[receiver]]\nname = \"ops\"\nformat = \"email\"\n"),
        ("'no.such'", "[[receiver]]\nname = \"a\"\nformat = \"slack\"\nevents = [\"no.such\"]\n"),
    ] {
        let said = complaints(&settings, toml);
        let what = what.trim_matches('`');
        assert!(said.contains(what), "{what} is not in {said:?}");
    }
    for (what, toml) in [
        ("'apps'", "use = [\"checks\"]\n"),
        ("$.mode", "apps = [\"a\"]\nmode = \"armed\"\n"),
        ("$.watch.bake", "apps = [\"a\"]\n[watch]\nbake = \"5 minutes\"\n"),
        ("$.watch.bake", "apps = [\"a\"]\n[watch]\nbake = 5\n"),
        ("$.rollback.max_unavailable", "apps = [\"a\"]\n[rollback]\nmax_unavailable = \"3\"\n"),
        ("$.threshold[0]", "apps = [\"a\"]\n[[threshold]]\nname = \"x\"\n"),
        (
            "$.threshold[0]",
            "apps = [\"a\"]\n[[threshold]]\nname = \"x\"\nchecks = {}\ncrashes = {}\n",
        ),
        (
            "'total'",
            "apps = [\"a\"]\n[[threshold]]\nname = \"x\"\nmax = \"2%\"\nratio = { bad = 'b' }\n",
        ),
    ] {
        let said = complaints(&thresholds, toml);
        assert!(said.contains(what), "{what} is not in {said:?}");
    }
}

#[test]
fn who_reads_only_the_beginning_is_told_nothing() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_waveoff"))
        .args(["completions", "bash"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // As `head` does: more is written than a pipe holds, and nobody is there to read it.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
