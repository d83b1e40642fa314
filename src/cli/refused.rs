//! What is said of arguments that are not understood: as the parser says it, in lines that fit, and with
//! the command that says what would be.

use std::{ffi::OsString, process::ExitCode};

use clap::Command;

use super::text;

/// How the parser ends, which names no command.
const HINT: &str = "For more information, try '--help'.";
/// How it begins; every other complaint begins with our name.
const HEAD: &str = "error: ";

/// Writes it, and what was asked for: help and versions come as errors as well.
pub(super) fn exit(error: &clap::Error, command: &Command) -> ExitCode {
    if error.use_stderr() {
        let said = said(&error.render().to_string(), command, std::env::args_os().skip(1));
        // Nothing is left to do about a standard error that cannot be written.
        let _ = text::complain(said.trim_end());
    } else {
        // Whoever reads may have read enough.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

fn said(error: &str, command: &Command, words: impl Iterator<Item = OsString>) -> String {
    let help = format!("`{} --help` says what it takes.", path(command, words));
    let said = error.replacen(HINT, &help, 1);
    match said.strip_prefix(HEAD) {
        Some(rest) => format!("waveoff: {rest}"),
        None => said,
    }
}

/// `waveoff webhook list`: the command that the words come to.
fn path(command: &Command, words: impl Iterator<Item = OsString>) -> String {
    let mut at = command;
    let mut path = vec![command.get_name().to_owned()];
    for word in words {
        // A command has no options before the name of one of its own.
        let below = word.to_str().and_then(|word| at.find_subcommand(word));
        let Some(below) = below else { break };
        path.push(below.get_name().to_owned());
        at = below;
    }
    path.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    /// What a terminal of eighty columns is told.
    fn told(words: &str) -> String {
        let words = || words.split(' ').map(OsString::from);
        let command = Arguments::command();
        let all = std::iter::once(OsString::from("waveoff")).chain(words());
        let error = command.clone().try_get_matches_from(all).unwrap_err();
        text::fit(&said(&error.render().to_string(), &command, words()), Some(80))
    }

    #[test]
    fn each_names_the_help_of_its_command_and_fits_the_terminal() {
        for (words, begins, help) in [
            ("statsu", "waveoff: unrecognized subcommand 'statsu'", "waveoff"),
            ("rollback", "waveoff: the following required arguments", "waveoff rollback"),
            (
                "webhook list --nope",
                "waveoff: unexpected argument '--nope'",
                "waveoff webhook list",
            ),
            (
                "replay --app api --prometheus fly --last 3x",
                "waveoff: invalid value '3x' for '--last <TIME>'",
                "waveoff replay",
            ),
        ] {
            let text = told(words);
            assert!(text.starts_with(begins), "{text}");
            assert!(
                text.trim_end().ends_with(&format!("`{help} --help` says what it takes.")),
                "{text}"
            );
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }
}
