//! The `waveoff` binary: arguments in, exit code out.
fn main() {}
