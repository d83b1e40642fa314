//! `waveoff schema`: what may be written in a file, for editors.

use std::io::Write;

use crate::config::schema;

/// A file of the configuration.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum File {
    /// waveoff.toml
    Settings,
    /// thresholds/*.toml
    Thresholds,
}

pub(super) fn run(file: File, out: &mut dyn Write) -> anyhow::Result<i32> {
    let schema = match file {
        File::Settings => schema::settings(),
        File::Thresholds => schema::policy(),
    };
    writeln!(out, "{schema:#}")?;
    Ok(0)
}
