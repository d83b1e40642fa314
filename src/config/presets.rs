//! Presets: thresholds by one word in `use`, which need nothing from the app.

use toml_edit::ImDocument;

use super::{
    metrics_server::Servers,
    reader::{File, Reader},
    threshold,
};
use crate::model::{Kind, NoData, OnBreach, Threshold};

/// What Fly's proxy tells of the requests that it passes on.
pub(super) const FLY_HTTP: &str = r#"[[threshold]]
name = "fly-http 5xx"
from = "fly"
ratio = { bad = 'fly_app_http_responses_count{status=~"5.."}', total = 'fly_app_http_responses_count' }
max = "2%"

[[threshold]]
name = "fly-http latency"
from = "fly"
latency = { histogram = 'fly_app_http_response_time_seconds', quantile = 0.95 }
max = "2.5s"
"#;

/// The thresholds of `fly-http` with other limits, as a file has them.
pub fn fly_http(share: Option<&str>, latency: Option<&str>) -> String {
    let share = format!("max = \"{}\"", share.unwrap_or("2%"));
    let latency = format!("max = \"{}\"", latency.unwrap_or("2.5s"));
    FLY_HTTP.replace("max = \"2%\"", &share).replace("max = \"2.5s\"", &latency)
}

/// A release that takes requests and answers none: how long each of them waits, by Little's law
/// (those at work over those answered in a second), beside how long that was twenty to ten minutes ago.
pub(super) const HANG: &str = r#"[[threshold]]
name = "hang"
promql = '''
  sum by (instance) (fly_app_concurrency{app="$app"})
/
  clamp_min(
    sum by (instance) (rate(fly_app_http_responses_count{app="$app"}[1m]))
      or 0 * sum by (instance) (fly_app_concurrency{app="$app"}),
    0.2)
/ on() group_left()
  clamp_min(
    sum(avg_over_time(fly_app_concurrency{app="$app"}[10m] offset 10m))
      / clamp_min(sum(rate(fly_app_http_responses_count{app="$app"}[10m] offset 10m)), 0.2),
    1)
'''
max = 30
for = "30s"
no_data = "ignore"
"#;

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    /// A kind with nothing but its defaults.
    Kind(Kind),
    /// Thresholds, as a file has them.
    Written(&'static str),
}

/// The presets by their words.
pub(super) fn all() -> Vec<(&'static str, Preset)> {
    let kinds = kinds().map(|kind| (kind.as_str(), Preset::Kind(kind)));
    let written = [("fly-http", Preset::Written(FLY_HTTP)), ("hang", Preset::Written(HANG))];
    written.into_iter().chain(kinds).collect()
}

fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| kind.preset().is_some())
}

/// `use = ["checks", "crashes"]`: those that need no metrics, as a file has them.
pub(super) fn without_metrics() -> String {
    let words: Vec<String> = kinds().map(|kind| format!("\"{}\"", kind.as_str())).collect();
    format!("use = [{}]", words.join(", "))
}

impl Preset {
    pub(super) fn thresholds(self, servers: &Servers) -> Vec<Threshold> {
        match self {
            Self::Kind(kind) => of_kind(kind).into_iter().collect(),
            Self::Written(text) => read(text, servers),
        }
    }
}

fn of_kind(kind: Kind) -> Option<Threshold> {
    Some(Threshold {
        name: kind.as_str().to_owned(),
        kind: kind.preset()?,
        no_data: NoData::Hold,
        on_breach: OnBreach::Rollback,
    })
}

fn read(text: &str, servers: &Servers) -> Vec<Threshold> {
    let file = File::new("a preset".to_owned(), text);
    let Ok(document) = ImDocument::parse(text) else { return Vec::new() };
    let table = Reader::new(&file, String::new(), document.as_table(), None);
    let tables = table.get("threshold").map(|entry| entry.tables()).unwrap_or_default();
    tables.iter().filter_map(|table| threshold::read(table, servers)).collect()
}
