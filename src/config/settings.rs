//! `waveoff.toml`, with the environment on top of it: what is true for the whole organization.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format as _, Toml},
    value::{Dict, Map, Value},
};
use toml_edit::ImDocument;

use super::{
    entry::Entry,
    freeze,
    metrics_server::{self, Servers},
    problem::{Problem, Wrong},
    reader::{File, Reader},
    receiver, syntax, units,
};
use crate::{
    config::{Receiver, Secret},
    model::Freeze,
};

/// Keys that a variable can override, and its name.
const OVERRIDES: [(&str, &str); 4] = [
    ("organization", "WAVEOFF_ORGANIZATION"),
    ("listen", "WAVEOFF_LISTEN"),
    ("data_dir", "WAVEOFF_DATA_DIR"),
    ("keep_history", "WAVEOFF_KEEP_HISTORY"),
];

/// What stands where the organization's slug belongs in the shipped file.
pub(super) const PLACEHOLDER: &str = "your-organization";

const HISTORY_MIN: Duration = Duration::from_secs(86_400);
const HISTORY_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// What `waveoff.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) organization: String,
    pub(super) listen: SocketAddr,
    pub(super) page_url: Option<String>,
    pub(super) data_dir: PathBuf,
    pub(super) keep_history: Duration,
    pub(super) receivers: Vec<Receiver>,
    pub(super) heartbeat: Option<Secret>,
    pub(super) servers: Servers,
    pub(super) freezes: Vec<Freeze>,
    pub(super) per_organization_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            organization: String::new(),
            // Reachable from this machine only; fly.toml opens it to the private network.
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            page_url: None,
            data_dir: PathBuf::from("data"),
            keep_history: Duration::from_secs(90 * 86_400),
            receivers: Vec::new(),
            heartbeat: None,
            servers: metrics_server::unsaid(),
            freezes: Vec::new(),
            per_organization_max: 20,
        }
    }
}

/// Variables as a layer of the configuration.
struct Environment(Dict);

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

/// A variable that is set. An empty one counts as not set: that is how CI and shells unset them.
pub(super) fn variable(environment: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.trim().is_empty())
}

/// Reads the settings; what is wrong is in the file, or in `elsewhere` when a variable is.
/// `missing` takes variables that receivers name and that are not set.
pub(super) fn read(
    file: &File<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
    elsewhere: &mut Vec<Problem>,
    missing: &mut Vec<Problem>,
) -> Settings {
    let mut settings = Settings::default();
    let document = syntax::parse(file);
    let empty = toml_edit::Table::new();
    let root = document.as_ref().map_or(&empty, ImDocument::as_table);
    let table = Reader::new(file, String::new(), root, None);
    let entries: Vec<(&str, Option<Entry<'_>>)> =
        OVERRIDES.iter().map(|(key, _)| (*key, table.get(key))).collect();
    let overrides: Dict = OVERRIDES
        .iter()
        .filter_map(|(key, name)| {
            variable(environment, name).map(|value| ((*key).to_owned(), Value::from(value)))
        })
        .collect();
    let mut merged = Figment::new();
    if document.is_some() {
        merged = merged.merge(Toml::string(file.text));
    }
    let merged = merged.merge(Environment(overrides));
    for (key, entry) in &entries {
        let Ok(value) = merged.find_value(key) else {
            if *key == "organization" && document.is_some() {
                let suggestion =
                    "write the slug that `fly orgs list` shows, or set WAVEOFF_ORGANIZATION";
                table.missing(key, suggestion);
            }
            continue;
        };
        let variable = merged.find_metadata(key).is_some_and(|source| source.name == "environment");
        // From the file it is read with its type and place; a variable is always a text.
        let text = if variable { value.as_str() } else { entry.as_ref().and_then(text_of(key)) };
        let Some(text) = text else { continue };
        if let Err(wrong) = settings.set(key, text) {
            match entry.as_ref().filter(|_| !variable) {
                Some(entry) => entry.wrong(wrong),
                None => elsewhere.push(Problem {
                    file: "environment".to_owned(),
                    line: None,
                    key: OVERRIDES
                        .iter()
                        .find(|(k, _)| k == key)
                        .map_or(*key, |(_, n)| *n)
                        .to_owned(),
                    message: wrong.message,
                    suggestion: wrong.suggestion,
                }),
            }
        }
    }
    if let Some(entry) = table.get("page_url") {
        settings.page_url = receiver::open_url(&entry);
    }
    if let Some(entry) = table.get("receiver") {
        settings.receivers = receiver::read_all(&entry, environment, missing);
    }
    if let Some(entry) = table.get("heartbeat_url_env") {
        settings.heartbeat = receiver::secret_url(&entry, environment, missing);
    }
    if let Some(entry) = table.get("metrics_server") {
        settings.servers = metrics_server::read_all(&entry, environment, missing);
    }
    if let Some(entry) = table.get("freeze") {
        settings.freezes = freeze::read_all(&entry);
    }
    let most = table.get("per_organization_max");
    if let Some(most) = most.and_then(|entry| entry.whole(1..=100_000)) {
        settings.per_organization_max = most;
    }
    table.finish();
    settings
}

/// How the text of a key is read.
fn text_of<'e, 'a>(key: &str) -> impl FnOnce(&'e Entry<'a>) -> Option<&'a str> + use<'e, 'a> {
    let is_address = key == "listen";
    move |entry| {
        // A port alone would leave open who may reach it.
        if let Some(port) = entry.as_number().filter(|_| is_address) {
            let message = format!("`{port}` is a port, and an address is needed before it");
            entry.wrong(Wrong::but(message, both_addresses(&port.to_string())));
            return None;
        }
        entry.text()
    }
}

/// What to write for a port.
fn both_addresses(port: &str) -> String {
    format!("write \"127.0.0.1:{port}\" for this machine only, \"[::]:{port}\" for all addresses")
}

impl Settings {
    fn set(&mut self, key: &str, text: &str) -> Result<(), Wrong> {
        match key {
            "organization" => self.organization = organization(text)?,
            "listen" => self.listen = listen(text)?,
            "data_dir" => {
                if text.trim().is_empty() {
                    return Err(Wrong::but("is empty", "write a directory such as \"data\""));
                }
                self.data_dir = PathBuf::from(text);
            }
            _ => {
                let duration = units::duration(text)?;
                if !(HISTORY_MIN..=HISTORY_MAX).contains(&duration) {
                    let message = format!("`{text}` is outside the sensible range");
                    return Err(Wrong::but(message, "write 1d to 3650d, such as \"90d\""));
                }
                self.keep_history = duration;
            }
        }
        Ok(())
    }
}

fn organization(text: &str) -> Result<String, Wrong> {
    let found = "write the slug that `fly orgs list` shows";
    if text == PLACEHOLDER {
        let message = format!("`{text}` stands for the name of your organization");
        return Err(Wrong::but(message, format!("{found}, or set WAVEOFF_ORGANIZATION")));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 100 || !text.chars().all(plain) {
        let slug = text.trim().to_lowercase().replace([' ', '_', '.'], "-");
        let suggestion = if !slug.is_empty() && slug.chars().all(plain) {
            format!("did you mean \"{slug}\"? {found}")
        } else {
            found.to_owned()
        };
        let message = format!("`{text}` is not the slug of an organization");
        return Err(Wrong::but(message, suggestion));
    }
    Ok(text.to_owned())
}

fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let suggestion = match port {
        Some(port) if text.starts_with("localhost") => format!("write \"127.0.0.1:{port}\""),
        Some(port) => both_addresses(&port.to_string()),
        None => both_addresses("8080"),
    };
    Err(Wrong::but(format!("`{text}` is not an address with a port"), suggestion))
}
