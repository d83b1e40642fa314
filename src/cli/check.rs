//! `waveoff check`.
use std::{io::Write, path::Path};

pub(super) fn run(_dir: &Path, _json: bool, _out: &mut dyn Write) -> i32 {
    1
}
