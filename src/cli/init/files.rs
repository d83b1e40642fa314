//! The files that `waveoff init` writes: those that ship, and one for each app that needs other limits.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::habit::{Habit, Habits, propose};
use crate::{
    config::{self, schema},
    model::AppName,
    numbers::{plain, share},
};

const SETTINGS: &str = include_str!("../../../config/waveoff.toml");
const DEFAULT: &str = include_str!("../../../config/thresholds/default.toml");
/// What the comments of the others point at.
const EXAMPLE: &str = include_str!("../../../config/thresholds/web.toml.example");
/// Apps that get a file of their own; others keep the preset's limits.
const OWN_MAX: usize = 150;

/// Files of a configuration that are there already, but for those in which nobody wrote anything.
pub(super) fn present(dir: &Path) -> Vec<String> {
    let thresholds = fs::read_dir(dir.join("thresholds")).into_iter().flatten();
    let thresholds = thresholds.filter_map(|entry| Some(entry.ok()?.path()));
    let toml = thresholds.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    let all = [dir.join("waveoff.toml")].into_iter().filter(|path| path.exists()).chain(toml);
    let written = all.filter(|path| !is_as_it_ships(dir, path));
    written.map(|path| path.display().to_string()).collect()
}

/// Whether a file is one that ships, and nobody changed it.
fn is_as_it_ships(dir: &Path, path: &Path) -> bool {
    let ships = [("waveoff.toml", SETTINGS), ("thresholds/default.toml", DEFAULT)];
    let shipped = ships.into_iter().find(|(name, _)| dir.join(name) == path);
    // A checkout may have other ends of lines.
    shipped.is_some_and(|(_, text)| {
        fs::read_to_string(path).is_ok_and(|there| there.lines().eq(text.lines()))
    })
}

/// Writes them all; answers with their paths.
pub(super) fn write(
    dir: &Path,
    organization: &str,
    apps: &[AppName],
    habits: &Habits,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut write = |name: &str, text: &str| -> anyhow::Result<()> {
        let path = dir.join(name);
        let opened = match is_as_it_ships(dir, &path) {
            true => File::create(&path),
            false => File::create_new(&path),
        };
        let mut file = opened.with_context(|| format!("write {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        written.push(path);
        Ok(())
    };
    let thresholds = dir.join("thresholds");
    fs::create_dir_all(&thresholds).with_context(|| format!("make {}", thresholds.display()))?;
    let example = thresholds.join("web.toml.example");
    if !example.exists() {
        write("thresholds/web.toml.example", EXAMPLE)?;
    }
    let own = apps.iter().filter_map(|app| Some((app, own(app, habits.of(app)?)?)));
    for (app, text) in own.take(OWN_MAX) {
        write(&format!("thresholds/{app}.toml"), &text)?;
    }
    write("thresholds/default.toml", &format!("#:schema ../thresholds.schema.json\n{DEFAULT}"))?;
    let slug = quoted(organization);
    let settings = SETTINGS.replace("\"your-organization\"", &slug);
    write("waveoff.toml", &format!("#:schema waveoff.schema.json\n{settings}"))?;
    for (name, schema) in
        [("waveoff.schema.json", schema::settings()), ("thresholds.schema.json", schema::policy())]
    {
        // They come with the program, and say nothing of anybody: an old one is written over.
        let path = dir.join(name);
        fs::write(&path, format!("{schema:#}\n"))
            .with_context(|| format!("write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// As a file has it, whatever is in it.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// The policy of an app that the preset's limits do not fit.
fn own(app: &AppName, habit: &Habit) -> Option<String> {
    let proposal = propose(habit);
    if proposal.share.is_none() && proposal.latency.is_none() {
        return None;
    }
    // A name that would lead elsewhere names no file.
    let plain_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !app.as_str().chars().all(plain_name) || app.as_str() == "default" {
        return None;
    }
    let mut why = String::new();
    if let Some(range) = &habit.failed {
        why.push_str(&format!(
            "# In the last 14 days {} of its requests failed, as a rule, and {} in one of twenty quarters of a day.\n",
            share(range.usual),
            share(range.high)
        ));
    }
    if let Some(range) = &habit.slow {
        why.push_str(&format!(
            "# 95 of 100 were answered within {} s, as a rule, and within {} s when it was slow.\n",
            plain(range.usual, 3),
            plain(range.high, 3)
        ));
    }
    let thresholds = config::fly_http(proposal.share.as_deref(), proposal.latency.as_deref());
    let name = quoted(app.as_str());
    Some(format!(
        "#:schema ../thresholds.schema.json\n\
         # The limits of the preset fly-http (2% failed, 2.5s) are below what {app} is used to.\n\
         {why}\
         # A release within the limits below is no worse than that: lower them when the app is better.\n\
         apps = [{name}]\n\
         mode = \"observe\"\n\
         use = [\"checks\", \"crashes\", \"hang\"]\n\n\
         {thresholds}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::init::habit::Range;

    fn chronic() -> Habit {
        Habit {
            rate: 3.0,
            failed: Some(Range { usual: 0.031, high: 0.048 }),
            slow: Some(Range { usual: 0.5, high: 1.0 }),
            bounds: vec![0.5, 1.0, 2.5],
        }
    }

    #[test]
    fn an_app_that_needs_other_limits_gets_a_file_that_says_why() {
        let text = own(&AppName::new("shop"), &chronic()).unwrap();
        insta::assert_snapshot!(text.lines().take(9).collect::<Vec<_>>().join("\n"), @r##"
        #:schema ../thresholds.schema.json
        # The limits of the preset fly-http (2% failed, 2.5s) are below what shop is used to.
        # In the last 14 days 3.1 % of its requests failed, as a rule, and 4.8 % in one of twenty quarters of a day.
        # 95 of 100 were answered within 0.5 s, as a rule, and within 1 s when it was slow.
        # A release within the limits below is no worse than that: lower them when the app is better.
        apps = ["shop"]
        mode = "observe"
        use = ["checks", "crashes", "hang"]
        "##);
        assert!(text.contains("max = \"8%\"") && text.contains("max = \"2.5s\""), "{text}");
        assert_eq!(own(&AppName::new("../shop"), &chronic()), None);
    }

    #[test]
    fn an_organization_s_name_is_no_toml() {
        assert_eq!(quoted("a\"b"), "'a\"b'");
    }
}
