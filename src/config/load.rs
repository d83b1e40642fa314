//! Reads a whole configuration: every file, every problem, and what only shows across files.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use super::{
    Config, ConfigErrors, PolicyFile, apps, files, policy,
    problem::{Problem, Wrong},
    reader::{File, Reader},
    settings::{self, Settings},
    syntax,
};
use crate::model::{AppName, Mode};

/// A configuration that was looked at rather than put to use.
#[derive(Clone, Debug)]
pub struct Checked {
    /// For showing only: where a receiver's variable is not set, its URL or secret is missing.
    pub config: Config,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Problem>,
    /// Those of them that are about variables which are not set here, and may be elsewhere.
    pub missing: Vec<Problem>,
}

/// Reads and validates everything.
///
/// # Errors
/// All that is wrong, each with file, line and key.
pub fn load(
    dir: &Path,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut read = Read::all(dir, &environment);
    read.problems.append(&mut read.missing);
    read.finish().map(|checked| checked.config)
}

/// Validates everything as `load` does, and says what is probably not meant. Variables that
/// receivers name need not be set: the configuration is checked on laptops and in CI, where
/// production's secrets have no business. One that is set must be right.
///
/// # Errors
/// All that is wrong, each with file, line and key.
pub fn check(
    dir: &Path,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Checked, ConfigErrors> {
    let mut read = Read::all(dir, &environment);
    read.warnings.extend(read.missing.iter().cloned());
    read.finish()
}

/// Everything that was read, right or wrong.
#[derive(Default)]
struct Read {
    own_app: Option<AppName>,
    settings: Settings,
    policies: Vec<PolicyFile>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// Variables that are named and not set.
    missing: Vec<Problem>,
}

impl Read {
    fn all(dir: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let own_app = settings::variable(environment, "FLY_APP_NAME").map(AppName::new);
        let mut read = Self { own_app, ..Self::default() };
        if !dir.is_dir() {
            let suggestion =
                "name the directory that has waveoff.toml: --config DIR, or WAVEOFF_CONFIG";
            read.about(dir, Wrong::but("is not a directory that can be read", suggestion));
            return read;
        }
        read.settings(dir, environment);
        read.thresholds(dir);
        read.strays(dir);
        read.identical_patterns();
        read.possible_ties();
        read.mirror_login(environment);
        read
    }

    fn about(&mut self, path: &Path, wrong: Wrong) {
        self.problems.push(Problem {
            file: path.display().to_string(),
            line: None,
            key: String::new(),
            message: wrong.message,
            suggestion: wrong.suggestion,
        });
    }

    /// A file's text; what is wrong with it is reported.
    fn text(&mut self, path: &Path, absent: &str) -> Option<String> {
        let bytes = match files::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let wrong = match std::fs::read_link(path) {
                    Ok(target) => Wrong::but(
                        format!("is a link to {}, which does not exist", target.display()),
                        "make that file, or remove the link",
                    ),
                    Err(_) => Wrong::but("does not exist", absent),
                };
                self.about(path, wrong);
                return None;
            }
            Err(error) => {
                self.about(path, Wrong::new(format!("cannot be read: {error}")));
                return None;
            }
        };
        let valid = match String::from_utf8(bytes) {
            // Some editors write a mark before the first character.
            Ok(text) => {
                return Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text));
            }
            Err(error) => error.utf8_error().valid_up_to(),
        };
        let message = format!("is not UTF-8 text, from byte {valid} on");
        self.about(path, Wrong::but(message, "save it as UTF-8"));
        None
    }

    fn settings(&mut self, dir: &Path, environment: &dyn Fn(&str) -> Option<String>) {
        let path = files::settings_path(dir);
        let absent =
            "make one with the line organization = \"…\"; --config names the directory it is in";
        let Some(text) = self.text(&path, absent) else { return };
        let file = File::new(path.display().to_string(), &text);
        let (problems, missing) = (&mut self.problems, &mut self.missing);
        self.settings = settings::read(&file, environment, problems, missing);
        self.problems.append(&mut file.problems.take());
        self.warnings.append(&mut file.warnings.take());
        if self.settings.receivers.is_empty() {
            file.warning(
                None,
                "receiver",
                Wrong::but("there is none: nobody will be told", "add a [[receiver]]"),
            );
            self.warnings.append(&mut file.warnings.take());
        }
    }

    fn thresholds(&mut self, dir: &Path) {
        let directory = files::thresholds_dir(dir);
        let paths = match files::threshold_paths(dir) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let suggestion = "make it, with one .toml file for each policy";
                self.about(&directory, Wrong::but("does not exist", suggestion));
                return;
            }
            Err(error) => {
                self.about(&directory, Wrong::new(format!("cannot be read: {error}")));
                return;
            }
        };
        if paths.is_empty() {
            let suggestion = "add one .toml file for each policy, such as default.toml";
            self.about(
                &directory,
                Wrong::but("has no threshold files: nothing would be watched", suggestion),
            );
        }
        for path in paths {
            self.one_policy(&path);
        }
        self.who_only_observes(&directory.display().to_string());
    }

    /// Warns of policies that roll nothing back: one of several is easily forgotten.
    fn who_only_observes(&mut self, directory: &str) {
        let observing = self.policies.iter().filter(|file| file.policy.mode == Mode::Observe);
        let names: Vec<&str> = observing.map(|file| file.policy.name.as_str()).collect();
        if names.is_empty() || !self.problems.is_empty() {
            return;
        }
        let message = if names.len() == self.policies.len() {
            "every policy only observes: nothing will be rolled back".to_owned()
        } else {
            let verb = if names.len() == 1 { "observes" } else { "observe" };
            format!("{} only {verb}: their apps are not rolled back", names.join(", "))
        };
        self.warnings.push(Problem {
            file: directory.to_owned(),
            line: None,
            key: "mode".to_owned(),
            message,
            suggestion: Some("write mode = \"rollback\" where you trust the thresholds".to_owned()),
        });
    }

    /// Warns of files that look as if they should be read, and are not.
    fn strays(&mut self, dir: &Path) {
        for path in files::strays(dir) {
            self.warnings.push(Problem {
                file: path.display().to_string(),
                line: None,
                key: String::new(),
                message: "is not read".to_owned(),
                suggestion: Some("threshold files are thresholds/*.toml".to_owned()),
            });
        }
    }

    fn one_policy(&mut self, path: &Path) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let clash =
            self.policies.iter().find(|other| other.policy.name.eq_ignore_ascii_case(&stem));
        if let Some(other) = clash {
            let message =
                format!("has the same name as {}, but for capitals", other.path.display());
            self.about(path, Wrong::but(message, "rename one: policies go by their file's name"));
        }
        let Some(text) = self.text(path, "it was there a moment ago: try again") else { return };
        let file = File::new(path.display().to_string(), &text);
        if let Some(document) = syntax::parse(&file) {
            let table = Reader::new(&file, String::new(), document.as_table(), None);
            self.policies.extend(policy::read(&table, path, &stem, &self.settings.servers));
        }
        self.problems.append(&mut file.problems.take());
        self.warnings.append(&mut file.warnings.take());
    }

    /// Patterns that two files have in common tie for every app that they match.
    fn identical_patterns(&mut self) {
        let mut first: BTreeMap<&str, &PolicyFile> = BTreeMap::new();
        let mut found = Vec::new();
        for file in &self.policies {
            for glob in &file.apps {
                let Some(other) = first.get(glob.as_str()) else {
                    first.insert(glob.as_str(), file);
                    continue;
                };
                found.push(Problem {
                    file: file.path.display().to_string(),
                    line: glob.line(),
                    key: "apps".to_owned(),
                    message: format!(
                        "`{}` is in {} too: a tie for every app that it matches",
                        glob.as_str(),
                        other.path.display()
                    ),
                    suggestion: Some(
                        "keep it in one file, or make one of the two more specific".to_owned(),
                    ),
                });
            }
        }
        self.problems.append(&mut found);
    }

    /// Warns of patterns of two files that can claim one name equally: such an app is not watched.
    fn possible_ties(&mut self) {
        let mut found = Vec::new();
        for (index, file) in self.policies.iter().enumerate() {
            for other in self.policies.iter().skip(index + 1) {
                let pairs = file.apps.iter().flat_map(|a| other.apps.iter().map(move |b| (a, b)));
                let tie = pairs
                    .filter(|(one, other)| one.as_str() != other.as_str())
                    .find_map(|(one, two)| Some((one, two, apps::tied_name(one, two)?)));
                let Some((one, two, name)) = tie else { continue };
                if [file, other].iter().any(|file| file.exclude.iter().any(|e| e.matches(&name))) {
                    continue;
                }
                found.push(Problem {
                    file: other.path.display().to_string(),
                    line: two.line(),
                    key: "apps".to_owned(),
                    message: format!(
                        "`{}` and `{}` in {} tie for an app such as {name}, which would not be \
                         watched",
                        two.as_str(),
                        one.as_str(),
                        file.path.display()
                    ),
                    suggestion: Some("make one of the two more specific, or exclude".to_owned()),
                });
            }
        }
        self.warnings.append(&mut found);
    }

    /// Warns of copies that would be made without a name, which few registries allow.
    fn mirror_login(&mut self, environment: &dyn Fn(&str) -> Option<String>) {
        let mirrors = self.policies.iter().any(|file| file.policy.rollback.mirror.is_some());
        let missing: Vec<&str> = ["WAVEOFF_MIRROR_USER", "WAVEOFF_MIRROR_TOKEN"]
            .into_iter()
            .filter(|name| settings::variable(environment, name).is_none())
            .collect();
        if !mirrors || missing.is_empty() {
            return;
        }
        self.warnings.push(Problem {
            file: "environment".to_owned(),
            line: None,
            key: missing.join(" and "),
            message: "not set: images are copied to the mirror without a name".to_owned(),
            suggestion: Some("set both with `fly secrets set` for an account that may push".into()),
        });
    }

    fn finish(self) -> Result<Checked, ConfigErrors> {
        if !self.problems.is_empty() {
            return Err(ConfigErrors::new(self.problems));
        }
        let Settings {
            organization,
            listen,
            page_url,
            data_dir,
            keep_history,
            receivers,
            heartbeat,
            servers: metrics_servers,
            freezes,
            per_organization_max,
        } = self.settings;
        let receivers = receivers.into_iter().map(|r| (r.name.clone(), r)).collect();
        let mut warnings = self.warnings;
        warnings.sort();
        let mut policies = self.policies;
        for file in &mut policies {
            let policy = Arc::make_mut(&mut file.policy);
            policy.freezes.extend(freezes.iter().cloned());
            policy.per_organization_max = per_organization_max;
        }
        let own_app = self.own_app;
        // On Fly's private network the daemon has a name. One that listens on its own machine alone is reached by none.
        let is_open = !listen.ip().is_loopback();
        let named = own_app.as_ref().filter(|_| is_open);
        let named = named.map(|app| format!("http://{app}.internal:{}", listen.port()));
        let page_url = page_url.or(named);
        let config = Config {
            organization,
            listen,
            page_url,
            data_dir,
            keep_history,
            receivers,
            metrics_servers,
            heartbeat,
            own_app,
            policies,
        };
        Ok(Checked { config, warnings, missing: self.missing })
    }
}
