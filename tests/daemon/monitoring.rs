//! What people are given to monitor Waveoff with: rules, a dashboard, and the page that both read.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use regex::Regex;
use serde_json::Value;

use crate::stage::Stage;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring").join(name)
}

/// What `promtool` says; panics when it is not satisfied.
fn promtool(arguments: &[&str], input: &str) -> String {
    let program = std::env::var_os("WAVEOFF_TEST_PROMTOOL").expect(
        "WAVEOFF_TEST_PROMTOOL must name the program `promtool`: run scripts/test, which fetches it \
         with Prometheus and sets it",
    );
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(docs(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn each_alert_fires_on_what_it_is_for_and_on_nothing_else() {
    let checked = promtool(&["check", "rules", "alerts.yml"], "");
    assert!(checked.contains("14 rules found"), "{checked}");
    promtool(&["test", "rules", "alerts.test.yml"], "");
    // Each is played.
    let rules = std::fs::read_to_string(docs("alerts.yml")).unwrap();
    let played = std::fs::read_to_string(docs("alerts.test.yml")).unwrap();
    let names = Regex::new(r"- alert: (\w+)").unwrap();
    for name in names.captures_iter(&rules) {
        assert!(played.contains(&format!("\"{}\"", &name[1])), "{} is not played", &name[1]);
    }
}

/// Names of our own metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:waveoff|process)_[a-z_]+\b").unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

#[tokio::test]
async fn the_page_is_lint_free_and_has_every_series_that_rules_and_dashboard_read() {
    let mut stage = Stage::set().await;
    stage.start().await;
    stage.trusted().await;
    let page = stage.get("/metrics").await.1;
    promtool(&["check", "metrics"], &page);
    let known: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect();
    let mut read = BTreeSet::new();
    for file in ["alerts.yml", "dashboard.json"] {
        read.extend(named(&std::fs::read_to_string(docs(file)).unwrap()));
    }
    let missing: Vec<&String> = read.difference(&known).collect();
    assert!(missing.is_empty(), "the page has no {missing:?}:\n{page}");
    // What the kernel counts of the daemon is there, and plausible.
    let resident = page.lines().find_map(|l| l.strip_prefix("process_resident_memory_bytes "));
    let resident: f64 = resident.unwrap().parse().unwrap();
    assert!((1e6..500e6).contains(&resident), "{resident}");
    // The dashboard is one that can be imported: panels with queries that Prometheus can parse.
    let text = std::fs::read_to_string(docs("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap().replace("$app", ".*");
            let parsed = promql_parser::parser::parse(&query);
            assert!(parsed.is_ok(), "{title}: {query}: {parsed:?}");
        }
    }
    stage.end().await;
}
