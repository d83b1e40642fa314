//! Configurations that were pushed, on the daemon's volume: numbered, the newest few kept, one of them in
//! force. What the image brings is in force as long as none was pushed.
//!
//! ```text
//! <data_dir>/pushed/versions/7/{waveoff.toml, thresholds/…, label.json}
//! <data_dir>/pushed/current  ->  versions/7
//! ```
//!
//! A version is written whole and synced before `current` is pointed at it by a rename: after a crash one
//! or the other is in force, and never a half of one.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Config, ConfigErrors, Problem,
    bundle::{Bundle, write_synced},
    files,
    load::load,
};

/// Versions that are kept.
const KEPT: usize = 20;
/// Versions that are listed at most, however many there are.
const LISTED_MAX: usize = 1000;
const LABEL: &str = "label.json";

/// What is known of a configuration that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Counts up from 1.
    pub number: u32,
    pub at: Timestamp,
    /// Who pushed it, as they said.
    pub by: String,
    /// Why; may be empty.
    pub note: String,
    pub fingerprint: String,
    /// The fingerprint of what the image brought when it was pushed.
    pub over: Option<String>,
}

/// Where pushed configurations are kept.
#[derive(Clone, Debug)]
pub struct Shelf {
    root: PathBuf,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    pub dir: PathBuf,
    pub label: Label,
}

/// Why a configuration was not put on the shelf; nothing was changed.
#[derive(Debug)]
pub enum NotShelved {
    Wrong(ConfigErrors),
    Failed(io::Error),
}

impl Shelf {
    /// The shelf of a daemon whose data is in `data_dir`.
    pub fn of(data_dir: &Path) -> Self {
        Self { root: data_dir.join("pushed") }
    }

    fn versions_dir(&self) -> PathBuf {
        self.root.join("versions")
    }

    fn version_dir(&self, number: u32) -> PathBuf {
        self.versions_dir().join(number.to_string())
    }

    /// What was pushed last; `None`: nothing was, or it was taken back.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn current(&self) -> io::Result<Option<Shelved>> {
        let target = match fs::read_link(self.root.join("current")) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name
            .parse()
            .map_err(|_| io::Error::other(format!("current points to {}", target.display())))?;
        let missing = || io::Error::other(format!("configuration {number} is not there any more"));
        self.version(number)?.ok_or_else(missing).map(Some)
    }

    /// One version; `None`: it is not kept.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn version(&self, number: u32) -> io::Result<Option<Shelved>> {
        let dir = self.version_dir(number);
        let bytes = match files::read(&dir.join(LABEL)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let label = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        Ok(Some(Shelved { dir, label }))
    }

    /// Every version that is kept, the newest first.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub fn versions(&self) -> io::Result<Vec<Label>> {
        let mut labels = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            labels.extend(self.version(number)?.map(|shelved| shelved.label));
        }
        Ok(labels)
    }

    /// Numbers of all versions, those that were given up half way included; ascending.
    fn numbers(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(self.versions_dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in entries.take(LISTED_MAX) {
            numbers.extend(entry?.file_name().to_string_lossy().parse::<u32>());
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes a configuration down, reads it as it will be read from then on, and lets `look` say what
    /// stands against it. Nothing is in force by this: [`Shelf::choose`] does that.
    ///
    /// # Errors
    /// All that is wrong, by the files' names in the bundle; or the volume cannot be written.
    pub fn put(
        &self,
        bundle: &Bundle,
        label: impl FnOnce(u32) -> Label,
        environment: impl Fn(&str) -> Option<String>,
        look: impl FnOnce(&Config) -> Vec<Problem>,
    ) -> Result<(Shelved, Config), NotShelved> {
        fs::create_dir_all(self.versions_dir()).map_err(NotShelved::Failed)?;
        let numbers = self.numbers().map_err(NotShelved::Failed)?;
        let number = numbers.last().map_or(1, |last| last.saturating_add(1));
        let dir = self.version_dir(number);
        let put = || {
            bundle.write(&dir).map_err(NotShelved::Failed)?;
            let config =
                load(&dir, environment).map_err(|e| NotShelved::Wrong(e.named_from(&dir)))?;
            let against = look(&config);
            if !against.is_empty() {
                return Err(NotShelved::Wrong(ConfigErrors::new(against).named_from(&dir)));
            }
            let label = label(number);
            let text = serde_json::to_vec(&label).map_err(io::Error::other);
            let write = |text: Vec<u8>| {
                write_synced(&dir.join(LABEL), &text)?;
                File::open(&dir)?.sync_all()?;
                File::open(self.versions_dir())?.sync_all()
            };
            text.and_then(write).map_err(NotShelved::Failed)?;
            Ok((Shelved { dir: dir.clone(), label }, config))
        };
        let done = put();
        if done.is_err() && dir.exists() {
            // What stays of it has no label, and is no version.
            fs::remove_dir_all(&dir).map_err(NotShelved::Failed)?;
        }
        done
    }

    /// Makes a version the one in force, or none of them.
    ///
    /// # Errors
    /// When the volume cannot be written: then what was in force stays.
    pub fn choose(&self, number: Option<u32>) -> io::Result<()> {
        let current = self.root.join("current");
        match number {
            Some(number) => {
                let next = self.root.join("current.next");
                remove(&next)?;
                let target = Path::new("versions").join(number.to_string());
                std::os::unix::fs::symlink(target, &next)?;
                fs::rename(&next, &current)?;
            }
            None => remove(&current)?,
        }
        if self.root.is_dir() { File::open(&self.root)?.sync_all() } else { Ok(()) }
    }

    /// Notes that somebody was told that the image's configuration, with this fingerprint, is not in force.
    ///
    /// # Errors
    /// When the volume cannot be written.
    pub fn stands_over(&self, label: &Label, image: String) -> io::Result<Label> {
        let label = Label { over: Some(image), ..label.clone() };
        let dir = self.version_dir(label.number);
        let next = dir.join("label.next");
        remove(&next)?;
        let text = serde_json::to_vec(&label).map_err(io::Error::other)?;
        write_synced(&next, &text)?;
        fs::rename(&next, dir.join(LABEL))?;
        File::open(&dir)?.sync_all()?;
        Ok(label)
    }

    /// Forgets versions beyond the newest few, never the one in force.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn trim(&self) -> io::Result<()> {
        let in_force = self.current()?.map(|shelved| shelved.label.number);
        let numbers = self.numbers()?;
        for number in numbers.iter().rev().skip(KEPT).filter(|n| Some(**n) != in_force) {
            fs::remove_dir_all(self.version_dir(*number))?;
        }
        Ok(())
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    const NOW: &str = "2026-03-01T02:03:04Z";

    fn label(number: u32) -> Label {
        Label {
            number,
            at: NOW.parse().unwrap(),
            by: "dana".to_owned(),
            note: String::new(),
            fingerprint: String::new(),
            over: None,
        }
    }

    fn bundle(policy: &str) -> Bundle {
        let files =
            [("waveoff.toml", "organization = \"acme\"\n"), ("thresholds/web.toml", policy)];
        Bundle::new(files.map(|(name, text)| (name.to_owned(), text.to_owned())).into()).unwrap()
    }

    const GOOD: &str = "apps = [\"web\"]\nuse = [\"checks\"]\n";

    fn put(shelf: &Shelf, policy: &str) -> Result<Shelved, NotShelved> {
        shelf.put(&bundle(policy), label, |_| None, |_| Vec::new()).map(|(shelved, _)| shelved)
    }

    #[test]
    fn nothing_is_in_force_until_it_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        assert_eq!(shelf.current().unwrap(), None);
        assert!(shelf.versions().unwrap().is_empty());

        let first = put(&shelf, GOOD).unwrap();
        assert_eq!(shelf.current().unwrap(), None);
        shelf.choose(Some(1)).unwrap();
        assert_eq!(shelf.current().unwrap(), Some(first.clone()));
        assert_eq!(Bundle::read(&first.dir).unwrap(), bundle(GOOD));
        assert!(check(&first.dir, |_| None).unwrap().config.organization == "acme");

        let second = put(&shelf, GOOD).unwrap();
        assert_eq!(second.label.number, 2);
        shelf.choose(Some(2)).unwrap();
        assert_eq!(shelf.current().unwrap(), Some(second));
        shelf.choose(Some(1)).unwrap();
        assert_eq!(shelf.current().unwrap(), Some(first));
        shelf.choose(None).unwrap();
        assert_eq!(shelf.current().unwrap(), None);
        shelf.choose(None).unwrap();
        let kept: Vec<u32> = shelf.versions().unwrap().iter().map(|label| label.number).collect();
        assert_eq!(kept, [2, 1]);
    }

    #[test]
    fn what_is_wrong_leaves_nothing_behind_and_is_named_as_the_person_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());

        let refused = put(&shelf, "apps = [\"web\"]\nuse = [\"chekcs\"]\n").unwrap_err();

        let NotShelved::Wrong(errors) = refused else { panic!("{refused:?}") };
        let text = errors.to_string();
        assert!(text.contains("thresholds/web.toml:2"), "{text}");
        assert!(!text.contains(&dir.path().display().to_string()), "{text}");
        assert!(shelf.versions().unwrap().is_empty());
        assert_eq!(put(&shelf, GOOD).unwrap().label.number, 1);
    }

    #[test]
    fn what_stands_against_it_keeps_it_off_the_shelf() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        let against = |config: &Config| {
            vec![Problem {
                file: "waveoff.toml".to_owned(),
                line: None,
                key: "organization".to_owned(),
                message: format!("{} is another one", config.organization),
                suggestion: None,
            }]
        };
        let refused = shelf.put(&bundle(GOOD), label, |_| None, against);
        assert!(matches!(refused, Err(NotShelved::Wrong(_))));
        assert!(shelf.versions().unwrap().is_empty());
    }

    #[test]
    fn a_version_that_was_given_up_half_way_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        put(&shelf, GOOD).unwrap();
        shelf.choose(Some(1)).unwrap();
        // The power went before the label was written.
        bundle(GOOD).write(&shelf.version_dir(2)).unwrap();

        assert_eq!(shelf.current().unwrap().unwrap().label.number, 1);
        assert_eq!(shelf.versions().unwrap().len(), 1);
        assert_eq!(put(&shelf, GOOD).unwrap().label.number, 3);
    }

    #[test]
    fn old_versions_go_and_the_one_in_force_stays() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        put(&shelf, GOOD).unwrap();
        shelf.choose(Some(1)).unwrap();
        for _ in 0..KEPT + 3 {
            put(&shelf, GOOD).unwrap();
            shelf.trim().unwrap();
        }
        let kept: Vec<u32> = shelf.versions().unwrap().iter().map(|label| label.number).collect();
        assert_eq!(kept.len(), KEPT + 1);
        assert_eq!(kept.last(), Some(&1));
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error_and_not_the_image_s_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        put(&shelf, GOOD).unwrap();
        shelf.choose(Some(1)).unwrap();
        fs::remove_dir_all(shelf.version_dir(1)).unwrap();
        assert!(shelf.current().unwrap_err().to_string().contains("configuration 1"));
    }
}
