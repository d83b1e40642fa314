//! `waveoff config pull`: the daemon's files into a directory, over nothing that would be lost.

use std::{fs, io::Write, path::Path};

use anyhow::{Context as _, bail};

use super::bundle;
use crate::{config::Bundle, web::configuration::ConfigView};

/// # Errors
/// When files there differ and `force` was not given, or something cannot be written.
pub(super) fn run(
    dir: &Path,
    view: &ConfigView,
    asked: Option<&str>,
    force: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    // Names from elsewhere become paths here: only those that a configuration has.
    let new = Bundle::new(view.files.clone()).map_err(anyhow::Error::msg)?;
    let old = if dir.join("waveoff.toml").exists() { Some(bundle(dir)?) } else { None };
    let differing: Vec<&str> = new
        .files()
        .filter(|(name, text)| {
            let path = dir.join(name);
            let there = old.as_ref().and_then(|old| old.file(name));
            there.map_or_else(|| path.exists(), |there| there != *text)
        })
        .map(|(name, _)| name)
        .collect();
    let olds = old.iter().flat_map(Bundle::files);
    let surplus: Vec<&str> =
        olds.filter(|(name, _)| new.file(name).is_none()).map(|(name, _)| name).collect();
    let is_lost = !differing.is_empty() || !surplus.is_empty();
    if is_lost && !force {
        let names: Vec<&str> = differing.iter().chain(&surplus).copied().collect();
        let name = view.version.name();
        bail!(
            "{} in {}: nothing was written\n\
             {}; --force writes over it, another --config leaves it alone",
            match names.as_slice() {
                [one] => format!("{one} differs from {name}"),
                many => format!("{} differ from {name}", many.join(", ")),
            },
            dir.display(),
            how_they_differ(dir, asked)
        );
    }
    fs::create_dir_all(dir.join("thresholds"))
        .with_context(|| format!("make {}", dir.join("thresholds").display()))?;
    for (name, text) in new.files() {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    for name in surplus {
        let path = dir.join(name);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    let count = new.files().count();
    writeln!(out, "{}: {count} files in {}", view.version.name(), dir.display())?;
    Ok(0)
}

/// The command that shows more. Two that the daemon has are compared with each other, and a directory
/// with what is in force.
fn how_they_differ(dir: &Path, asked: Option<&str>) -> String {
    match asked {
        None => format!("`waveoff config diff --config {}` shows how", dir.display()),
        Some(version) => format!(
            "`waveoff config diff --version {version}` shows how that differs from what is in force"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::configuration::VersionView;

    fn view(policy: &str) -> ConfigView {
        let files =
            [("waveoff.toml", "organization = \"acme\"\n"), ("thresholds/api.toml", policy)];
        ConfigView {
            version: VersionView { number: Some(7), ..VersionView::default() },
            files: files.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        }
    }

    #[test]
    fn files_that_somebody_changed_are_kept_unless_it_is_insisted() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("config");
        let mut said = Vec::new();
        run(&place, &view("a"), None, false, &mut said).unwrap();
        assert!(String::from_utf8_lossy(&said).starts_with("configuration 7: 2 files in "));
        run(&place, &view("a"), None, false, &mut said).unwrap();

        fs::write(place.join("thresholds/api.toml"), "my own").unwrap();
        fs::write(place.join("thresholds/more.toml"), "my own").unwrap();
        let error = run(&place, &view("b"), None, false, &mut said).unwrap_err().to_string();
        assert!(error.contains("thresholds/api.toml, thresholds/more.toml differ"), "{error}");
        assert_eq!(fs::read_to_string(place.join("thresholds/api.toml")).unwrap(), "my own");

        run(&place, &view("b"), None, true, &mut said).unwrap();
        assert_eq!(Bundle::read(&place).unwrap(), Bundle::new(view("b").files).unwrap());
    }

    #[test]
    fn who_is_kept_from_writing_is_told_the_command_that_shows_the_difference() {
        let place = Path::new("desk");
        let shown = how_they_differ(place, None);
        assert_eq!(shown, "`waveoff config diff --config desk` shows how");
        let shown = how_they_differ(place, Some("image"));
        assert!(shown.starts_with("`waveoff config diff --version image` shows"), "{shown}");
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut hostile = view("a");
        hostile.files.insert("../evil.toml".to_owned(), String::new());
        assert!(run(&dir.path().join("config"), &hostile, None, true, &mut Vec::new()).is_err());
        assert!(!dir.path().join("evil.toml").exists());
    }
}
