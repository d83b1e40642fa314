//! `[[metrics_server]]`: Prometheus or `VictoriaMetrics` servers that thresholds are read from. The
//! platform's own is there without being named.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Url;

use super::{Secret, entry::Entry, problem::Problem, problem::Wrong, reader::Reader, receiver};
use crate::model::Origin;

/// What the platform's own server is called.
pub const FLY: &str = "fly";
/// What no server can be called: these words mean the machines themselves.
const TAKEN: [&str; 3] = ["machine", "pages", "probes"];
const SERVERS_MAX: usize = 20;
const NAME_MAX: usize = 64;
/// Fly reads every machine and its proxy so often.
const SCRAPE_EVERY: Duration = Duration::from_secs(15);
const SCRAPE_MIN: Duration = Duration::from_secs(1);
const SCRAPE_MAX: Duration = Duration::from_secs(300);

/// A metrics server that thresholds are read from.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsServer {
    /// Unique; `fly` is the platform's own.
    pub name: String,
    /// What `/api/v1/query` is appended to; `None`: where the platform has its own.
    pub url: Option<String>,
    /// What it wants to be shown; `None`: nothing, or of the platform's own the platform's token.
    pub token: Option<Secret>,
    /// How often it reads its targets.
    pub scrape_every: Duration,
    /// Which label holds the app's name, and which one the machine's id.
    pub app_label: String,
    pub machine_label: String,
}

impl MetricsServer {
    /// The platform's own server, as it is when nothing is said of it.
    pub fn fly() -> Self {
        Self {
            name: FLY.to_owned(),
            url: None,
            token: None,
            scrape_every: SCRAPE_EVERY,
            app_label: "app".to_owned(),
            machine_label: "instance".to_owned(),
        }
    }

    pub fn origin(&self) -> Origin {
        Origin::server(&self.name, self.scrape_every)
    }
}

/// Servers by their name.
pub(super) type Servers = BTreeMap<String, MetricsServer>;

/// What there is when none is named.
pub(super) fn unsaid() -> Servers {
    Servers::from([(FLY.to_owned(), MetricsServer::fly())])
}

/// Reads every server. Variables that are not set are in `missing`.
pub(super) fn read_all(
    entry: &Entry<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: &mut Vec<Problem>,
) -> Servers {
    let tables = entry.tables();
    let mut servers = unsaid();
    if tables.len() > SERVERS_MAX {
        entry.wrong(Wrong::new(format!("there are more than {SERVERS_MAX} metrics servers")));
        return servers;
    }
    let mut names = Vec::new();
    for table in tables {
        let name = name(&table);
        if let Some((entry, name)) = &name {
            if names.contains(name) {
                let message = format!("there is another metrics server `{name}`");
                entry
                    .wrong(Wrong::but(message, "give it another name: thresholds name it by that"));
            }
            table.rename(format!("metrics_server \"{name}\""));
            names.push(name.clone());
        }
        let server = read(&table, name.map(|(_, name)| name), environment, missing);
        table.finish();
        servers.extend(server.map(|server| (server.name.clone(), server)));
    }
    servers
}

fn name<'a>(table: &Reader<'a>) -> Option<(Entry<'a>, String)> {
    let entry = table.require("name", "give it one, such as name = \"metrics\"")?;
    let text = entry.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(plain) {
        let message = format!("must have 1 to {NAME_MAX} letters, digits, dashes or underscores");
        entry.wrong(Wrong::new(message));
        return None;
    }
    if TAKEN.contains(&text) {
        let message = format!("`{text}` means what the machines tell themselves");
        entry.wrong(Wrong::but(message, "give it another name"));
        return None;
    }
    Some((entry, text.to_owned()))
}

fn read(
    table: &Reader<'_>,
    name: Option<String>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: &mut Vec<Problem>,
) -> Option<MetricsServer> {
    let unsaid = MetricsServer::fly();
    let written = table.get("url");
    let url = match &written {
        Some(entry) => entry.parse(url).map(Some),
        None if name.as_deref() == Some(FLY) => Some(None),
        None => {
            let example = "write where it is, such as url = \"http://victoria.internal:8428\"";
            table.missing("url", example);
            None
        }
    };
    let token = table.get("token_env");
    let token = token.and_then(|entry| receiver::secret(&entry, "the token", environment, missing));
    if let (Some(entry), Some(_), Some(url)) =
        (&written, &token, url.as_ref().and_then(Option::as_ref))
        && let Ok(url) = Url::parse(url)
    {
        receiver::warn_if_open(entry, &url, "the token goes");
    }
    let every = table.get("scrape_every");
    let scrape_every =
        every.map_or(Some(unsaid.scrape_every), |entry| entry.duration(SCRAPE_MIN..=SCRAPE_MAX));
    let label = |key, unsaid: String| match table.get(key) {
        Some(entry) => entry.parse(label),
        None => Some(unsaid),
    };
    let app_label = label("app_label", unsaid.app_label);
    let machine_label = label("machine_label", unsaid.machine_label);
    Some(MetricsServer {
        name: name?,
        url: url?,
        token,
        scrape_every: scrape_every?,
        app_label: app_label?,
        machine_label: machine_label?,
    })
}

/// A server's URL, without what is appended to it.
fn url(text: &str) -> Result<String, Wrong> {
    let example = "write one such as \"http://victoria.internal:8428\"";
    let wrong = |why: &str| Wrong::but(format!("is no usable URL: {why}"), example);
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it is not that of an HTTP server"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let message = "a URL with a password does not belong in a file";
        return Err(Wrong::but(message, "name a variable with a token instead: token_env"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or a fragment"));
    }
    let text = url.as_str().trim_end_matches('/');
    if let Some(base) = ["/api/v1/query", "/api/v1"].iter().find_map(|end| text.strip_suffix(end)) {
        let message = "`/api/v1` is appended to it".to_owned();
        return Err(Wrong::but(message, format!("write \"{base}\"")));
    }
    Ok(text.to_owned())
}

fn label(text: &str) -> Result<String, Wrong> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if begins && plain && text.len() <= NAME_MAX && text != "__name__" {
        return Ok(text.to_owned());
    }
    let message = format!("`{text}` is not the name of a label");
    Err(Wrong::but(message, "write one such as \"instance\""))
}
