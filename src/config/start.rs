//! Which configuration a daemon starts with: what was pushed to it last, or what its image brings.

use std::path::{Path, PathBuf};

use super::{
    Config, ConfigErrors, Problem,
    load::load,
    settings,
    shelf::{Label, Shelf, Shelved},
};
use crate::model::Mode;

/// Where the data directory is, where no file says it.
const DATA_DIR_VARIABLE: &str = "WAVEOFF_DATA_DIR";

/// A configuration, and where it was read from.
#[derive(Debug)]
pub struct Start {
    pub config: Config,
    /// The directory it was read from.
    pub dir: PathBuf,
    /// What was pushed; `None`: it is the image's.
    pub label: Option<Label>,
    pub shelf: Shelf,
    /// Why what was pushed is not in force; the image's is then, and only observes.
    pub refused: Option<String>,
}

/// Reads what is to be in force. What was pushed comes first. When it cannot be used any more (a variable that it
/// names is gone, or a newer version of the daemon knows better), the image's is used, and nothing is rolled back by
/// it: somebody wanted something else than it says.
///
/// # Errors
/// When neither can be used: all that is wrong.
pub fn start(
    image: &Path,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Start, ConfigErrors> {
    let brought = load(image, &environment);
    let data_dir = match &brought {
        Ok(config) => Some(config.data_dir.clone()),
        Err(_) => settings::variable(&environment, DATA_DIR_VARIABLE).map(PathBuf::from),
    };
    let (brought, data_dir) = match (brought, data_dir) {
        (Err(errors), None) => return Err(errors),
        (brought, data_dir) => (brought, data_dir.unwrap_or_default()),
    };
    let shelf = Shelf::of(&data_dir);
    let pushed = match shelf.current() {
        Ok(None) => {
            let config = brought?;
            let dir = image.to_owned();
            return Ok(Start { config, dir, label: None, shelf, refused: None });
        }
        Ok(Some(pushed)) => pushed,
        Err(error) => {
            let why = format!("the pushed configuration cannot be read: {error}");
            return observing(brought, image, shelf, &why);
        }
    };
    let Shelved { dir, label } = pushed;
    match load(&dir, &environment) {
        Ok(mut config) => {
            let other = brought.as_ref().ok().filter(|it| it.organization != config.organization);
            if let Some(brought) = other {
                let why = format!(
                    "configuration {} is for the organization {}, and the image's for {}",
                    label.number, config.organization, brought.organization
                );
                return observing(Ok(brought.clone()), image, shelf, &why);
            }
            // The journal stays where it is, whatever was pushed.
            config.data_dir = data_dir;
            Ok(Start { config, dir, label: Some(label), shelf, refused: None })
        }
        Err(errors) => {
            let why = format!(
                "configuration {}, pushed by {}, cannot be used any more: {errors}",
                label.number, label.by
            );
            observing(brought, image, shelf, &why)
        }
    }
}

/// The image's, which nothing is rolled back by.
fn observing(
    brought: Result<Config, ConfigErrors>,
    image: &Path,
    shelf: Shelf,
    why: &str,
) -> Result<Start, ConfigErrors> {
    let mut config = brought.map_err(|errors| with(&errors, image, why))?;
    only_observe(&mut config);
    let why = format!("{why}\nThe image's is in force meanwhile, and only observes.");
    Ok(Start { config, dir: image.to_owned(), label: None, shelf, refused: Some(why) })
}

/// Has every policy watch and tell, and roll nothing back.
pub(crate) fn only_observe(config: &mut Config) {
    for file in &mut config.policies {
        std::sync::Arc::make_mut(&mut file.policy).mode = Mode::Observe;
    }
}

fn with(errors: &ConfigErrors, image: &Path, why: &str) -> ConfigErrors {
    let mut problems = errors.problems().to_vec();
    problems.push(Problem {
        file: image.display().to_string(),
        line: None,
        key: String::new(),
        message: why.to_owned(),
        suggestion: Some("mend what the image brings, and deploy it".to_owned()),
    });
    ConfigErrors::new(problems)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::config::Bundle;

    const OBSERVES: &str = "apps = [\"*\"]\nuse = [\"checks\"]\n";
    const ACTS: &str = "apps = [\"*\"]\nmode = \"rollback\"\nuse = [\"checks\"]\n";

    /// A daemon's image and volume.
    struct Host {
        dir: tempfile::TempDir,
        variables: BTreeMap<&'static str, String>,
    }

    impl Host {
        fn with(policy: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data").display().to_string();
            let host = Self { dir, variables: BTreeMap::from([("WAVEOFF_DATA_DIR", data)]) };
            host.brings("organization = \"acme\"\n", policy);
            host
        }

        fn brings(&self, settings: &str, policy: &str) {
            let image = self.dir.path().join("image");
            fs::create_dir_all(image.join("thresholds")).unwrap();
            fs::write(image.join("waveoff.toml"), settings).unwrap();
            fs::write(image.join("thresholds/all.toml"), policy).unwrap();
        }

        fn pushed(&self, settings: &str, policy: &str) {
            let files = [("waveoff.toml", settings), ("thresholds/all.toml", policy)];
            let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
            let label = |number| Label {
                number,
                at: "2026-03-01T02:03:04Z".parse().unwrap(),
                by: "dana".to_owned(),
                note: String::new(),
                fingerprint: String::new(),
                over: None,
            };
            let shelf = Shelf::of(&self.dir.path().join("data"));
            let bundle = Bundle::new(files.into()).unwrap();
            let environment = |name: &str| match name {
                "OPS_URL" => Some("https://hooks.example.com/x".to_owned()),
                name => self.variables.get(name).cloned(),
            };
            let (shelved, _) = shelf.put(&bundle, label, environment, |_| Vec::new()).unwrap();
            shelf.choose(Some(shelved.label.number)).unwrap();
        }

        fn start(&self) -> Result<Start, ConfigErrors> {
            start(&self.dir.path().join("image"), |name| self.variables.get(name).cloned())
        }
    }

    fn modes(start: &Start) -> Vec<Mode> {
        start.config.policies.iter().map(|file| file.policy.mode).collect()
    }

    #[test]
    fn the_image_s_configuration_is_in_force_until_one_is_pushed() {
        let host = Host::with(OBSERVES);
        let first = host.start().unwrap();
        assert_eq!((first.label.clone(), modes(&first)), (None, vec![Mode::Observe]));

        host.pushed("organization = \"acme\"\n", ACTS);

        let second = host.start().unwrap();
        assert_eq!(second.label.as_ref().unwrap().number, 1);
        assert_eq!((modes(&second), second.refused.clone()), (vec![Mode::Rollback], None));
        assert_eq!(second.config.data_dir, host.dir.path().join("data"));
    }

    #[test]
    fn what_was_pushed_is_in_force_although_the_image_s_is_broken() {
        let host = Host::with(OBSERVES);
        host.pushed("organization = \"acme\"\n", ACTS);
        host.brings("organization = \"acme\"\n", "apps = [\n");
        assert_eq!(modes(&host.start().unwrap()), [Mode::Rollback]);
    }

    #[test]
    fn where_what_was_pushed_cannot_be_used_any_more_nothing_is_rolled_back() {
        let host = Host::with(ACTS);
        let receiver = "organization = \"acme\"\n[[receiver]]\nname = \"ops\"\nformat = \"slack\"\n\
                        url_env = \"OPS_URL\"\n";
        host.pushed(receiver, ACTS);

        // The variable that the pushed one names is gone.
        let started = host.start().unwrap();

        assert_eq!((modes(&started), started.label.clone()), (vec![Mode::Observe], None));
        let why = started.refused.unwrap();
        assert!(
            why.contains("configuration 1, pushed by dana") && why.contains("OPS_URL"),
            "{why}"
        );

        host.brings("organization = \"acme\"\n", "apps = [\n");
        let errors = host.start().unwrap_err().to_string();
        assert!(errors.contains("all.toml:2") && errors.contains("OPS_URL"), "{errors}");
    }

    #[test]
    fn an_organization_s_configuration_is_not_put_in_force_for_another_one() {
        let host = Host::with(ACTS);
        host.pushed("organization = \"acme\"\n", ACTS);
        host.brings("organization = \"globex\"\n", ACTS);
        let started = host.start().unwrap();
        assert_eq!(started.config.organization, "globex");
        assert_eq!(modes(&started), [Mode::Observe]);
        assert!(started.refused.unwrap().contains("acme"));
    }

    #[test]
    fn a_shelf_that_cannot_be_read_is_no_empty_one() {
        let host = Host::with(ACTS);
        host.pushed("organization = \"acme\"\n", ACTS);
        fs::remove_dir_all(host.dir.path().join("data/pushed/versions")).unwrap();
        let started = host.start().unwrap();
        assert_eq!(modes(&started), [Mode::Observe]);
        assert!(started.refused.unwrap().contains("cannot be read"));
    }
}
