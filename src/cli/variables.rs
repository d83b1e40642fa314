//! Variables of the environment that commands read besides those of their options, for `--help`.

use clap::Command;

use super::text::broken;

/// A variable, and what it is for.
type Variable = (&'static str, &'static str);

const PLATFORM: &[Variable] = &[
    ("FLY_API_TOKEN", "the token; FLY_ACCESS_TOKEN goes before it, as for flyctl"),
    ("FLY_API_BASE_URL", "another address of the platform's web API"),
    ("FLY_FLAPS_BASE_URL", "another address of the Machines API"),
    ("FLY_UIEX_BASE_URL", "another address of the platform's other API"),
    ("FLY_REGISTRY_HOST", "another registry than Fly's"),
    ("WAVEOFF_MIRROR_USER", "who writes to the mirror of trusted images"),
    ("WAVEOFF_MIRROR_TOKEN", "with which password"),
];
const SETTINGS: &[Variable] = &[
    ("WAVEOFF_ORGANIZATION", "instead of `organization` in waveoff.toml"),
    ("WAVEOFF_LISTEN", "instead of `listen`"),
    ("WAVEOFF_DATA_DIR", "instead of `data_dir`"),
    ("WAVEOFF_KEEP_HISTORY", "instead of `keep_history`"),
    ("FLY_APP_NAME", "Waveoff's own app, which is not watched; Fly sets it"),
    ("…", "what `url_env`, `secrets_env`, `token_env` and their like name"),
];
const OPERATOR: &[Variable] =
    &[("WAVEOFF_OPERATOR_TOKEN", "the operator's token, with the value that the daemon has")];
const DAEMON: &[Variable] = &[
    (
        "WAVEOFF_OPERATOR_TOKEN",
        "what orders have to show, 16 characters or more; unless set, none are taken",
    ),
    (
        "WAVEOFF_READ_TOKEN",
        "what readers have to show, 16 characters or more; unless set, whoever reaches the address reads",
    ),
];
const READER: &[Variable] = &[(
    "WAVEOFF_READ_TOKEN",
    "the token for reading, where the daemon has one; WAVEOFF_OPERATOR_TOKEN does as well",
)];
const LOG: &[Variable] =
    &[("WAVEOFF_LOG", "what is logged, such as debug or waveoff::fly=trace; info, unless set")];
const COLOURS: &[Variable] = &[
    ("NO_COLOR", "no colours"),
    ("CLICOLOR", "0: no colours"),
    ("CLICOLOR_FORCE", "colours into a pipe as well"),
];
const BROWSER: &[Variable] = &[(
    "DISPLAY, WAYLAND_DISPLAY, BROWSER",
    "with --open: whether there is a browser to be opened",
)];

/// What a command reads; its words are those that are typed.
fn read_by(words: &[&str]) -> &'static [&'static [Variable]] {
    match words {
        ["run"] => &[PLATFORM, SETTINGS, DAEMON, LOG],
        ["check"] => &[PLATFORM, SETTINGS, COLOURS],
        ["init" | "replay"] => &[PLATFORM, SETTINGS],
        ["doctor"] => &[PLATFORM],
        ["status" | "history" | "releases" | "explain"] | ["webhook", "list"] => &[READER, COLOURS],
        ["config", "versions"] => &[READER],
        ["config", "show"] => &[SETTINGS],
        ["config", "push"] => &[OPERATOR, SETTINGS],
        ["config", "pull" | "diff" | "reset"] | ["webhook", "test" | "resend"] => &[OPERATOR],
        [
            "rollback" | "approve" | "veto" | "resume" | "pin" | "unpin" | "quarantine"
            | "unquarantine" | "trust" | "hold" | "unhold",
        ] => &[OPERATOR],
        ["demo"] => &[COLOURS, BROWSER],
        ["sim", "serve"] => &[LOG],
        _ => &[],
    }
}

/// The command with all of its variables in the help of each of its commands, in lines of at most
/// `width` columns.
pub(super) fn named(command: Command, width: usize) -> Command {
    below(command, &[], width)
}

fn below(mut command: Command, words: &[&str], width: usize) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in &names {
        let words: Vec<&str> = words.iter().copied().chain([name.as_str()]).collect();
        command = command.mut_subcommand(name, |one| below(one, &words, width));
    }
    let read: Vec<&Variable> = read_by(words).iter().copied().flatten().collect();
    if read.is_empty() {
        return command;
    }
    let widest = read.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = read.iter().map(|(name, what)| {
        let below = format!("\n{}", " ".repeat(widest + 4));
        let what = broken(what, width.saturating_sub(widest + 4).max(10));
        format!("  {name:<widest$}  {}", what.join(&below))
    });
    let text = format!("Environment:\n{}", lines.collect::<Vec<_>>().join("\n"));
    command.after_help(text)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    fn helps(command: Command, all: &mut Vec<(String, String)>) {
        for one in command.get_subcommands().cloned().collect::<Vec<_>>() {
            helps(one, all);
        }
        let name = command.get_name().to_owned();
        all.push((name, command.term_width(80).render_long_help().to_string()));
    }

    fn all() -> Vec<(String, String)> {
        let mut all = Vec::new();
        helps(named(Arguments::command(), 80), &mut all);
        all
    }

    /// Names of variables of ours and of Fly's that a source reads.
    fn read_in(source: &str) -> impl Iterator<Item = &str> {
        let shipped = source.split("#[cfg(test)]").next().unwrap();
        shipped.split('"').filter(|text| {
            let is_name = text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let is_ours = text.starts_with("WAVEOFF_") || text.starts_with("FLY_");
            // `doctor` writes this one to its machine.
            is_name && is_ours && *text != "WAVEOFF_DOCTOR"
        })
    }

    fn sources(dir: &Path, texts: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_test {
                sources(&path, texts);
            } else if path.extension().is_some_and(|e| e == "rs") && !is_test {
                texts.push(fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_variable_that_is_read_is_named_by_a_help() {
        let mut texts = Vec::new();
        for room in ["cli", "config", "fly", "web", "daemon", "notify"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut texts);
        }
        let read: BTreeSet<&str> = texts.iter().flat_map(|text| read_in(text)).collect();
        assert!(read.len() > 12, "{read:?}");
        let helps = all();
        for name in read {
            assert!(helps.iter().any(|(_, help)| help.contains(name)), "{name} is in no --help");
        }
    }

    #[test]
    fn every_command_that_takes_orders_names_the_token() {
        let mut seen = 0;
        for (name, help) in all() {
            let orders =
                ["hold", "unhold", "rollback", "veto", "approve", "resume", "pin", "unpin"];
            if orders.contains(&name.as_str()) {
                seen += 1;
                assert!(help.contains("Environment:\n  WAVEOFF_OPERATOR_TOKEN"), "{name}: {help}");
            }
        }
        assert_eq!(seen, 8);
    }

    #[test]
    fn no_help_is_wider_than_the_terminal() {
        // What has no space in it cannot be broken.
        let is_wide = |line: &&str| line.chars().count() > 80 && line.trim().contains(' ');
        let helps = all();
        let wide = helps.iter().flat_map(|(name, help)| {
            help.lines().filter(is_wide).map(move |line| format!("{name}: {line}"))
        });
        assert_eq!(wide.collect::<Vec<_>>(), Vec::<String>::new());
    }

    #[test]
    fn what_only_reads_asks_for_no_operators_token_and_the_daemon_says_what_its_own_are_for() {
        let help = |words: &[&str]| {
            let mut command = named(Arguments::command(), 100);
            for word in words {
                command = command.find_subcommand(word).unwrap().clone();
            }
            command.render_long_help().to_string()
        };
        for words in [["config", "versions"], ["webhook", "list"]] {
            let help = help(&words);
            assert!(help.contains("Environment:\n  WAVEOFF_READ_TOKEN "), "{help}");
            assert!(!help.contains("  WAVEOFF_OPERATOR_TOKEN "), "{help}");
        }
        let run = help(&["run"]);
        assert!(
            run.contains("orders have to show") && !run.contains("that the daemon has"),
            "{run}"
        );
    }
}
