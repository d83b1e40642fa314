//! The files of a configuration as data: what is pushed to a daemon, kept there, and compared.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files;

/// The file with what is true for the organization, as a bundle names it.
const SETTINGS: &str = "waveoff.toml";
/// Where the threshold files are.
const THRESHOLDS: &str = "thresholds/";
/// Longest name of a file.
const NAME_MAX: usize = 100;
/// All files together, in bytes.
pub const BUNDLE_MAX: usize = 2 << 20;

/// The files of a configuration by their path in its directory, such as `thresholds/api.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Bundle(BTreeMap<String, String>);

impl Bundle {
    /// # Errors
    /// A sentence: a name that no configuration has, too many files, too much text.
    pub fn new(files: BTreeMap<String, String>) -> Result<Self, String> {
        if !files.contains_key(SETTINGS) {
            return Err(format!("{SETTINGS} is missing"));
        }
        for name in files.keys().filter(|name| *name != SETTINGS) {
            let short = name.strip_prefix(THRESHOLDS).unwrap_or_default();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let is_name = short.len() > ".toml".len()
                && short.len() <= NAME_MAX
                && Path::new(short).extension().is_some_and(|ending| ending == "toml")
                && !short.starts_with('.')
                && short.chars().all(plain);
            if !is_name {
                return Err(format!(
                    "{name:?} is no file of a configuration: those are {SETTINGS} and \
                     {THRESHOLDS}NAME.toml, with letters, digits, '.', '_' and '-' in NAME"
                ));
            }
        }
        if files.len() > files::FILES_MAX {
            return Err(format!("there are more than {} files", files::FILES_MAX));
        }
        let size: usize = files.values().map(String::len).sum();
        if size > BUNDLE_MAX {
            return Err(format!("the files have more than {} KiB together", BUNDLE_MAX >> 10));
        }
        Ok(Self(files))
    }

    /// Reads the files of the configuration in `dir`: those that are put in force, and no others.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn read(dir: &Path) -> Result<Self, String> {
        let text = |path: &Path| -> Result<String, String> {
            let bytes = files::read(path)
                .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
        };
        let mut all = BTreeMap::new();
        all.insert(SETTINGS.to_owned(), text(&files::settings_path(dir))?);
        let thresholds = files::threshold_paths(dir).map_err(|error| {
            format!("{} cannot be read: {error}", files::thresholds_dir(dir).display())
        })?;
        for path in thresholds {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            all.insert(format!("{THRESHOLDS}{name}"), text(&path)?);
        }
        Self::new(all)
    }

    /// Name and text of each file.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text of one file.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What tells one configuration from another: 24 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in &self.0 {
            // Lengths keep one file's end apart from the next one's beginning.
            for part in [name, text] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes the files into `dir`, which is made, and waits until they are on the disk.
    ///
    /// # Errors
    /// When `dir` is there already, or cannot be written.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)?;
        let thresholds = files::thresholds_dir(dir);
        fs::create_dir(&thresholds)?;
        for (name, text) in self.files() {
            write_synced(&dir.join(name), text.as_bytes())?;
        }
        File::open(&thresholds)?.sync_all()?;
        File::open(dir)?.sync_all()
    }
}

impl TryFrom<BTreeMap<String, String>> for Bundle {
    type Error = String;

    fn try_from(files: BTreeMap<String, String>) -> Result<Self, String> {
        Self::new(files)
    }
}

impl From<Bundle> for BTreeMap<String, String> {
    fn from(bundle: Bundle) -> Self {
        bundle.0
    }
}

/// Writes a new file, and waits until it is on the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(names: &[&str]) -> Result<Bundle, String> {
        Bundle::new(names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect())
    }

    #[test]
    fn only_what_a_configuration_consists_of_is_in_a_bundle() {
        assert!(bundle(&["waveoff.toml", "thresholds/a-b_c.1.toml"]).is_ok());
        for (names, why) in [
            (vec!["thresholds/web.toml"], "waveoff.toml is missing"),
            (vec!["waveoff.toml", "../waveoff.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/../../x.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/a/b.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/.a.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/a.yaml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/a b.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "/etc/a.toml"], "no file of a configuration"),
            (vec!["waveoff.toml", "thresholds/a\u{1b}.toml"], r"a\u{1b}.toml"),
        ] {
            let error = bundle(&names).unwrap_err();
            assert!(error.contains(why), "{names:?}: {error}");
        }
        let long = "a".repeat(NAME_MAX);
        assert!(bundle(&["waveoff.toml", &format!("thresholds/{long}.toml")]).is_err());
    }

    #[test]
    fn too_much_is_refused() {
        let many = (0..files::FILES_MAX).map(|n| (format!("thresholds/{n}.toml"), String::new()));
        let mut all: BTreeMap<String, String> = many.collect();
        all.insert(SETTINGS.to_owned(), String::new());
        assert!(Bundle::new(all.clone()).unwrap_err().contains("more than 200 files"));
        all.pop_last();
        all.insert(SETTINGS.to_owned(), "x".repeat(BUNDLE_MAX + 1));
        all.retain(|name, _| name == SETTINGS);
        assert!(Bundle::new(all).unwrap_err().contains("more than 2048 KiB"));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("waveoff.toml", "a = 1\r\n"), ("thresholds/web.toml", "\u{feff}b = \"ü\"")];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let bundle = Bundle::new(files.into()).unwrap();
        let place = dir.path().join("one");

        bundle.write(&place).unwrap();

        fs::write(place.join("thresholds/.swp.toml"), "editor").unwrap();
        fs::write(place.join("thresholds/notes.txt"), "notes").unwrap();
        assert_eq!(Bundle::read(&place).unwrap(), bundle);
        assert!(bundle.write(&place).is_err(), "nothing is written over");
    }

    #[test]
    fn one_changed_letter_or_name_is_another_configuration() {
        let of = |name: &str, text: &str| {
            let files = [("waveoff.toml", ""), (name, text)];
            let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
            Bundle::new(files.into()).unwrap().fingerprint()
        };
        let one = of("thresholds/a.toml", "x");
        assert_eq!(one.len(), 24);
        assert_eq!(of("thresholds/a.toml", "x"), one);
        assert_ne!(of("thresholds/a.toml", "y"), one);
        assert_ne!(of("thresholds/b.toml", "x"), one);
    }
}
