//! Whole configurations: real files in, a configuration or its problems out.

mod anything;
mod freezes;
mod kinds;
mod mistakes;
mod places;
mod reference;
mod schema;
mod shipped;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::*;
use crate::model::{
    Checks, Crashes, Gauge, Latency, MaxUnavailable, Mode, NoData, OnBreach, Ratio, Region,
    RegionOrder, SourceName, Strategy, ThresholdKind,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ACME: &str = "organization = \"acme\"\n";
/// A threshold file that needs nothing else.
const PLAIN: &str = "apps = [\"web\"]\nuse = [\"checks\"]\n";

/// A configuration's directory and the environment it is read in.
struct Place {
    dir: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Place {
    fn new(settings: &str, policies: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("thresholds")).unwrap();
        fs::write(dir.path().join("waveoff.toml"), settings).unwrap();
        for (name, text) in policies {
            fs::write(dir.path().join("thresholds").join(name), text).unwrap();
        }
        Self { dir, variables: BTreeMap::new() }
    }

    fn policy(text: &str) -> Self {
        Self::new(ACME, &[("web.toml", text)])
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        load(self.path(), |name| self.variables.get(name).cloned())
    }

    fn check(&self) -> Result<Checked, ConfigErrors> {
        check(self.path(), |name| self.variables.get(name).cloned())
    }

    #[track_caller]
    fn valid(&self) -> Config {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Every problem in a line of its own, without the directory.
    #[track_caller]
    fn problems(&self) -> Vec<String> {
        let errors = self.load().expect_err("this configuration is wrong");
        let dir = format!("{}/", self.path().display());
        errors.problems().iter().map(|problem| problem.to_string().replace(&dir, "")).collect()
    }

    #[track_caller]
    fn warnings(&self) -> Vec<String> {
        let checked = self.check().unwrap_or_else(|errors| panic!("{errors}"));
        let dir = format!("{}/", self.path().display());
        checked.warnings.iter().map(|warning| warning.to_string().replace(&dir, "")).collect()
    }
}

fn app(name: &str) -> AppName {
    AppName::new(name)
}

/// A threshold file with every key, none of them at its default.
const EVERYTHING: &str = r#"
apps = ["api-*", "web"]
exclude = ["web-staging"]
mode = "rollback"
use = ["checks"]
[watch]
scrape_every = "1s"
idle_scrape_every = "20s"
warm_up = "10s"
bake = "5m"
block = "3s"
false_rollbacks = "1 in 500"
countdown = "5s"
unvouched_countdown = "20s"
floor = false
late = "rollback"
false_late_alarms = "1 in 100"
[rollback]
order = ["lhr", "*", "iad"]
confirm = "20s"
strategy = "immediate"
max_unavailable = 2
escalate = false
only_breaching_regions = true
migrations = "rollback"
first_target = "previous-complete"
per_day_max = 1
ready_timeout = "1m"
mirror = "ghcr.io/acme/{app}"
config = "restore"
[metrics]
port = 9091
path = "/m"
https = true
[[threshold]]
name = "5xx"
from = "machine"
ratio = { bad = 'r{status=~"5.."}', total = 'r' }
max = "2%"
strict = true
no_data = "breach"
action = "alert"
[[threshold]]
name = "p95"
max = "500ms"
no_data = "ignore"
[threshold.latency]
histogram = "h"
quantile = 0.95
[[threshold]]
name = "memory"
gauge = "m"
max = "400MB"
for = "1m"
quorum = 1.0
[[threshold]]
name = "crashes"
crashes = { exits = 3, oom = 0, failing = "50%" }
"#;

#[test]
fn every_setting_and_receiver_is_understood() {
    let place = Place::new(
        &format!(
            "{ACME}listen = \"[::]:9\"\ndata_dir = \"/data\"\nkeep_history = \"30d\"\n\
             [[receiver]]\nname = \"ops\"\nformat = \"standard\"\nurl = \"https://example.com/x\"\n\
             secrets_env = [\"NEW\", \"OLD\"]\nevents = [\"rollback.started\"]\nmax_age = \"2h\"\n\
             [[receiver]]\nname = \"chat\"\nformat = \"slack\"\nurl_env = \"SLACK\"\n"
        ),
        &[("web.toml", PLAIN)],
    )
    .set("NEW", SECRET)
    .set("OLD", SECRET)
    .set("SLACK", "https://hooks.slack.com/services/T/B/x");
    let config = place.valid();
    assert_eq!(config.organization, "acme");
    assert_eq!(config.listen.to_string(), "[::]:9");
    assert_eq!(config.data_dir, Path::new("/data"));
    assert_eq!(config.keep_history, Duration::from_secs(30 * 86_400));
    let ops = &config.receivers["ops"];
    assert_eq!(ops.format, Format::Standard);
    assert_eq!(ops.url.expose(), "https://example.com/x");
    assert_eq!(ops.secrets.len(), 2);
    assert_eq!(ops.events, [EventKind::RollbackStarted]);
    assert_eq!(ops.max_age, Duration::from_secs(7200));
    let chat = &config.receivers["chat"];
    assert_eq!(chat.format, Format::Slack);
    assert_eq!(chat.url.expose(), "https://hooks.slack.com/services/T/B/x");
    assert_eq!(chat.max_age, Duration::from_secs(86_400));
}

#[test]
fn every_key_of_a_policy_is_understood() {
    let config = Place::policy(EVERYTHING).valid();
    let policy = &config.policies[0].policy;
    assert_eq!((policy.name.as_str(), policy.mode), ("web", Mode::Rollback));
    let seconds = Duration::from_secs;
    assert_eq!(
        policy.watch,
        crate::model::WatchPolicy {
            scrape_every: seconds(1),
            idle_scrape_every: seconds(20),
            warm_up: seconds(10),
            bake: seconds(300),
            block: seconds(3),
            false_rollbacks: 0.002,
            countdown: seconds(5),
            unvouched_countdown: seconds(20),
            floor: false,
            late: OnBreach::Rollback,
            false_late_alarms: 0.01,
            approve_within: seconds(1800),
        }
    );
    let iad_last = vec![Some(Region::new("lhr")), None, Some(Region::new("iad"))];
    assert_eq!(
        policy.rollback,
        crate::model::RollbackPolicy {
            order: RegionOrder::Listed(iad_last),
            confirm: crate::model::ConfirmTime::at_most(seconds(20)),
            regions_at_once: crate::model::RegionsAtOnce::All,
            overlap: true,
            strategy: Strategy::Immediate,
            max_unavailable: MaxUnavailable::Count(2),
            escalate: false,
            only_breaching_regions: true,
            despite_migrations: true,
            first_target_previous: true,
            per_day_max: 1,
            ready_timeout: seconds(60),
            mirror: Some(crate::model::MirrorRule {
                registry: "ghcr.io".to_owned(),
                repository: "acme/{app}".to_owned(),
            }),
            restore_config: true,
        }
    );
    assert_eq!((policy.metrics_port, policy.metrics_path.as_deref()), (Some(9091), Some("/m")));
    assert_eq!(policy.metrics_https, Some(true));
}

#[test]
fn every_kind_of_threshold_is_understood() {
    let config = Place::policy(EVERYTHING).valid();
    let seconds = Duration::from_secs;
    let policy = &config.policies[0].policy;
    let names: Vec<&str> = policy.thresholds.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["checks", "5xx", "p95", "memory", "crashes"]);
    let [checks, errors, latency, memory, crashes] = policy.thresholds.as_slice() else { panic!() };
    assert_eq!(checks.kind, ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 }));
    let ThresholdKind::Ratio(Ratio { bad, total, max, strict: true, .. }) = &errors.kind else {
        panic!()
    };
    assert_eq!((bad.metric.as_str(), total.text.as_str(), *max), ("r", "r", 0.02));
    assert_eq!((errors.no_data, errors.on_breach), (NoData::Breach, OnBreach::Alert));
    let ThresholdKind::Latency(Latency { histogram, quantile, bound_s, strict: false, .. }) =
        &latency.kind
    else {
        panic!()
    };
    assert_eq!((histogram.metric.as_str(), *quantile, *bound_s), ("h", 0.95, 0.5));
    assert_eq!((latency.no_data, latency.on_breach), (NoData::Ignore, OnBreach::Rollback));
    let ThresholdKind::Gauge(Gauge { max, sustain, quorum, .. }) = &memory.kind else { panic!() };
    assert_eq!((*max, *sustain, *quorum), (4e8, seconds(60), 1.0));
    assert_eq!(crashes.kind, ThresholdKind::Crashes(Crashes { exits: 3, oom: 0, failing: 0.5 }));
}

#[test]
fn variables_override_the_file_and_only_known_ones_are_read() {
    let place = Place::new(
        "organization = \"acme\"\nlisten = \"wrong\"\ndata_dir = \"here\"\n",
        &[("web.toml", PLAIN)],
    )
    .set("WAVEOFF_ORGANIZATION", "other")
    .set("WAVEOFF_LISTEN", "[::]:80")
    .set("WAVEOFF_KEEP_HISTORY", "7d")
    .set("WAVEOFF_DATA_DIR", " ")
    .set("WAVEOFF_LOG", "debug")
    .set("WAVEOFF_CONFIG", "elsewhere")
    .set("WAVEOFF_OPERATOR_TOKEN", "t");
    let config = place.valid();
    assert_eq!(config.organization, "other");
    assert_eq!(config.listen.to_string(), "[::]:80");
    assert_eq!(config.keep_history, Duration::from_secs(7 * 86_400));
    assert_eq!(config.data_dir, Path::new("here"), "an empty variable is not set");
}

#[test]
fn a_wrong_variable_is_named() {
    let place = Place::policy(PLAIN).set("WAVEOFF_LISTEN", "8080");
    assert_eq!(
        place.problems(),
        ["environment: WAVEOFF_LISTEN: `8080` is not an address with a port; write \
             \"127.0.0.1:8080\" for this machine only, \"[::]:8080\" for all addresses"]
    );
}

#[test]
fn the_most_specific_pattern_decides_and_exclude_wins() {
    let policy = |apps: &str| format!("apps = {apps}\nuse = [\"checks\"]\n");
    let config = Place::new(
        ACME,
        &[
            ("all.toml", &policy("[\"*\"]\nexclude = [\"secret-*\"]")),
            ("api.toml", &policy("[\"api-*\"]\nexclude = [\"*-staging\"]")),
            ("eu.toml", &policy("[\"*-europe\"]")),
            ("one.toml", &policy("[\"api-1\", \"secret-app\"]")),
        ],
    )
    .valid();
    let name = |text: &str| config.policy_for(&app(text)).map(|policy| policy.name.clone());
    assert_eq!(name("web").as_deref(), Some("all"));
    assert_eq!(name("api-2").as_deref(), Some("api"));
    assert_eq!(name("api-1").as_deref(), Some("one"));
    assert_eq!(name("api-europe").as_deref(), Some("eu"), "more letters of its own");
    assert_eq!(name("api-staging").as_deref(), Some("all"), "the next specific one");
    assert_eq!(name("secret-thing"), None);
    assert_eq!(name("secret-app").as_deref(), Some("one"));
}

#[test]
fn an_app_that_two_policies_claim_equally_is_named_and_not_watched() {
    let policy = |apps: &str| format!("apps = {apps}\nuse = [\"checks\"]\n");
    let config = Place::new(
        ACME,
        &[("a.toml", &policy("[\"api-*\", \"*\"]")), ("b.toml", &policy("[\"*-web\"]"))],
    )
    .valid();
    let names = [app("api-web"), app("my-web"), app("api-x")];
    assert_eq!(config.ties(&names), ["api-web is claimed equally by the policies a and b"]);
    assert!(config.policy_for(&app("api-web")).is_none());
    assert!(config.policy_for(&app("my-web")).is_some());
}

#[test]
fn a_missing_secret_stops_run_and_is_a_warning_of_check() {
    let place = Place::new(
        &format!(
            "{ACME}[[receiver]]\nname = \"ops\"\nformat = \"standard\"\nurl_env = \"OPS_URL\"\n\
             secrets_env = [\"OPS_SECRET\"]\n"
        ),
        &[("web.toml", &PLAIN.replace("apps", "mode = \"rollback\"\napps"))],
    );
    let want = [
        "waveoff.toml:5: receiver \"ops\".url_env: the environment variable OPS_URL is not set; \
         set it to the URL: fly secrets set OPS_URL=…",
        "waveoff.toml:6: receiver \"ops\".secrets_env: the environment variable OPS_SECRET is not \
         set; set it to a signing secret: fly secrets set OPS_SECRET=…",
    ];
    assert_eq!(place.problems(), want);
    assert_eq!(place.warnings(), want);
}

#[test]
fn no_message_ever_shows_a_secret() {
    let settings = |lines: &str| format!("{ACME}[[receiver]]\nname = \"ops\"\n{lines}");
    let hidden = "s3cr3t";
    for lines in [
        "format = \"standard\"\nurl_env = \"https://u:s3cr3t@example.com\"\n",
        "format = \"standard\"\nurl = \"https://u:s3cr3t@example.com\"\n",
        "format = \"slack\"\nurl = \"https://hooks.slack.com/services/s3cr3t\"\n",
        "format = \"standard\"\nurl_env = \"BAD_URL\"\nsecrets_env = [\"BAD\"]\n",
        "format = \"standard\"\nurl = \"https://a.b\"\nsecrets_env = [\"whsec_s3cr3t\"]\n",
        "format = \"standard\"\nurl = \"https://a.b\"\nsecrets_env = [\"MfKQ9r8GKYqrTwjs3cr3t\"]\n",
        "format = \"standard\"\nurl = \"\"\"\nhttps://a.b\ns3cr3t\\q\"\"\"\n",
        "format = \"standard\"\nurl = \"https://a.b\"\nsecret = \"s3cr3t\"\n",
        "format = \"standard\"\nurl = \"https://a.b\"\nsecret = whsec_s3cr3t\n",
    ] {
        let place = Place::new(&settings(lines), &[("web.toml", PLAIN)])
            .set("BAD_URL", "ftp://s3cr3t")
            .set("BAD", "whsec_s3cr3t");
        let text = format!("{:?} {}", place.load(), place.problems().join("\n"));
        assert!(!text.contains(hidden), "{text}");
    }
    let config = Place::new(
        &settings("format = \"standard\"\nurl_env = \"URL\"\nsecrets_env = [\"GOOD\"]\n"),
        &[("web.toml", PLAIN)],
    )
    .set("URL", "https://example.com/s3cr3t")
    .set("GOOD", SECRET)
    .valid();
    let shown = format!("{config:?}");
    assert!(!shown.contains(hidden) && !shown.contains(SECRET), "{shown}");
}

#[test]
fn a_policy_that_only_observes_beside_one_that_is_armed_is_named() {
    let armed = PLAIN.replace("apps = [\"web\"]", "apps = [\"web\"]\nmode = \"rollback\"");
    assert!(armed.contains("mode"), "{armed}");
    let other = PLAIN.replace("\"web\"", "\"pay\"");
    let place = Place::new(ACME, &[("web.toml", &armed), ("pay.toml", &other)]);
    let warnings = place.warnings().join("\n");
    let want = "thresholds: mode: pay only observes: their apps are not rolled back";
    assert!(warnings.contains(want), "{warnings}");
    let place = Place::new(ACME, &[("web.toml", &armed)]);
    assert!(!place.warnings().join("\n").contains("observe"), "{:?}", place.warnings());
}

#[test]
fn on_fly_the_page_is_where_the_daemon_is_unless_somebody_says_otherwise() {
    let page = |listen: &str| {
        Place::new(ACME, &[("web.toml", PLAIN)])
            .set("FLY_APP_NAME", "waveoff-acme")
            .set("WAVEOFF_LISTEN", listen)
            .valid()
            .page_url
    };
    let named = Some("http://waveoff-acme.internal:9000".to_owned());
    assert_eq!(page("[::]:9000"), named);
    assert_eq!(page("127.0.0.1:9000"), None, "nobody reaches it");
    let place = Place::new(ACME, &[("web.toml", PLAIN)]);
    assert_eq!(place.set("WAVEOFF_LISTEN", "[::]:9000").valid().page_url, None, "not on Fly");
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let place = Place::policy(
        "apps = [\"web\"]\n[rollback]\norder = [\"iax\", \"*\"]\n[[threshold]]\nname = \"5xx\"\n\
         ratio = { bad = 'r{status=\"5..\"}', total = 'r' }\nmax = 0.01\n",
    );
    let warnings = place.warnings().join("\n");
    for want in [
        "thresholds: mode: every policy only observes",
        "thresholds/web.toml:3: rollback.order: `iax` is no region of Fly that this version \
         knows; did you mean \"iad\"?",
        "thresholds/web.toml:6: threshold \"5xx\".ratio.bad: compares literally with what looks \
         like a pattern; did you mean status=~\"5..\"?",
        "every threshold counts answered requests, and a release that hangs answers none",
        "waveoff.toml: receiver: there is none: nobody will be told",
    ] {
        assert!(warnings.contains(want), "{want} not in\n{warnings}");
    }
    let harmless = Place::policy(
        "apps = [\"web\"]\nmode = \"rollback\"\n[[threshold]]\nname = \"c\"\nchecks = {}\n\
         action = \"alert\"\n",
    );
    let warnings = harmless.warnings().join("\n");
    assert!(warnings.contains("thresholds/web.toml: every threshold only alerts"), "{warnings}");
    let open = Place::new(
        &format!(
            "{ACME}[[receiver]]\nname = \"ops\"\nformat = \"standard\"\nurl = \"http://example.com\"\n"
        ),
        &[("web.toml", PLAIN)],
    );
    let warnings = open.warnings().join("\n");
    assert!(warnings.contains("waveoff.toml:5: receiver \"ops\".url: messages go out unencrypted"));
    assert!(warnings.contains("messages are not signed"), "{warnings}");
    for near in
        ["http://localhost:1", "http://127.0.0.1", "http://app.internal", "http://[fdaa::3]"]
    {
        let settings = format!(
            "{ACME}[[receiver]]\nname = \"ops\"\nformat = \"standard\"\nurl = \"{near}\"\n"
        );
        let warnings = Place::new(&settings, &[("web.toml", PLAIN)]).warnings().join("\n");
        assert!(!warnings.contains("unencrypted"), "{near}: {warnings}");
    }
}
