//! The files in config/ are valid as they ship, and what they call a default is one.

use super::*;
use crate::{config::settings::Settings, model::Policy};

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    fs::read_to_string(path).unwrap()
}

/// The file with every key that is commented out put in force.
fn uncommented(text: &str) -> String {
    let key = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let (name, _) = rest.split_once(" = ")?;
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then(|| rest.to_owned())
    };
    let lines = text.lines().map(|line| match line {
        "# [[receiver]]" => "[[receiver]]".to_owned(),
        _ => key(line).unwrap_or_else(|| line.to_owned()),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn place(settings: &str, policies: &[(&str, &str)]) -> Place {
    Place::new(settings, policies)
        .set("WAVEOFF_ORGANIZATION", "acme")
        .set("OPS_URL", "https://example.com/hook")
        .set("OPS_WEBHOOK_SECRET", SECRET)
        .set("SLACK_URL", "https://hooks.slack.com/services/x")
        .set("PAGERDUTY_KEY", "0123456789abcdef0123456789abcdef")
}

fn default_policy(text: &str) -> Policy {
    let config = place(&shipped("waveoff.toml"), &[("default.toml", text)]).valid();
    config.policies[0].policy.as_ref().clone()
}

#[test]
fn the_shipped_files_only_lack_the_name_of_the_organization() {
    let policies = [
        ("default.toml", shipped("thresholds/default.toml")),
        ("web.toml", shipped("thresholds/web.toml.example")),
    ];
    let policies = policies.each_ref().map(|(name, text)| (*name, text.as_str()));
    let config = place(&shipped("waveoff.toml"), &policies).valid();
    assert!(config.policies.iter().all(|file| file.policy.mode == Mode::Observe));
    let nameless = Place::new(&shipped("waveoff.toml"), &policies);
    assert_eq!(
        nameless.problems(),
        ["waveoff.toml:9: organization: `your-organization` stands for the name of your \
             organization; write the slug that `fly orgs list` shows, or set WAVEOFF_ORGANIZATION"]
    );
}

#[test]
fn what_the_settings_call_a_default_is_one() {
    let text = uncommented(&shipped("waveoff.toml"));
    let config = place(&text, &[("web.toml", PLAIN)]).valid();
    let defaults = Settings::default();
    assert_eq!(
        (config.listen, config.data_dir, config.keep_history),
        (defaults.listen, defaults.data_dir, defaults.keep_history)
    );
    let ops = &config.receivers["ops"];
    let chat = &config.receivers["slack"];
    assert_eq!(ops.max_age, chat.max_age, "said and unsaid are the same");
    assert_eq!(ops.events, chat.events);
    assert_eq!((&ops.apps, ops.severity), (&chat.apps, chat.severity));
    for key in ["organization", "listen", "data_dir", "keep_history", "receiver"] {
        assert!(
            text.contains(&format!("\n{key} = ")) || text.contains(&format!("[[{key}]]")),
            "{key}"
        );
    }
}

#[test]
fn what_the_policy_calls_a_default_is_one() {
    let written = shipped("thresholds/default.toml");
    let everything = uncommented(&written);
    // Every key there is, so that a new one cannot be forgotten here.
    for key in [
        "scrape_every",
        "idle_scrape_every",
        "warm_up",
        "bake",
        "block",
        "false_rollbacks",
        "countdown",
        "unvouched_countdown",
        "floor",
        "late",
        "false_late_alarms",
        "approve_within",
        "order",
        "confirm",
        "strategy",
        "max_unavailable",
        "escalate",
        "only_breaching_regions",
        "migrations",
        "first_target",
        "per_day_max",
        "ready_timeout",
        "mirror",
        "config",
        "port",
        "path",
        "https",
        "apps",
        "exclude",
        "mode",
        "use",
    ] {
        assert!(everything.contains(&format!("\n{key} = ")), "{key} is not described");
    }
    let mut said = default_policy(&everything);
    let unsaid = default_policy(&written);
    // The one exception: their default is the machine's own setting.
    assert_eq!(
        (said.metrics_port.take(), said.metrics_path.take(), said.metrics_https.take()),
        (Some(9091), Some("/metrics".to_owned()), Some(false))
    );
    assert_eq!(said, unsaid);
    assert_eq!(unsaid.watch, crate::model::WatchPolicy::default());
    assert_eq!(unsaid.rollback, crate::model::RollbackPolicy::default());
}

#[test]
fn what_the_example_says_of_thresholds_is_the_default_where_there_is_one() {
    let text = shipped("thresholds/web.toml.example");
    let short: String = text
        .lines()
        .filter(|line| {
            let optional = ["from = ", "strict = ", "no_data = ", "for = ", "quorum = "];
            let unnamed = line.starts_with("action = \"rollback\"");
            !unnamed && !optional.iter().any(|key| line.starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(short.len() < text.len());
    assert_eq!(default_policy(&short), default_policy(&text));
}

#[test]
fn what_the_documentation_calls_a_default_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = fs::read_to_string(path).unwrap();
    let mut policy = PLAIN.to_owned();
    let mut keys = 0;
    for section in ["watch", "rollback"] {
        policy.push_str(&format!("[{section}]\n"));
        let start = documentation.find(&format!("### `[{section}]`\n")).unwrap();
        let table = documentation[start..].lines().skip(4);
        for row in table.take_while(|line| line.starts_with("| `")) {
            let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
            let (key, default) = (cells.nth(1).unwrap(), cells.next().unwrap());
            policy.push_str(&format!("{key} = {default}\n"));
            keys += 1;
        }
    }
    assert_eq!(keys, 12 + 14, "every key of the two tables");
    let [said, unsaid] = [policy.as_str(), PLAIN].map(default_policy);
    assert_eq!(said, Policy { name: said.name.clone(), ..unsaid });
}
