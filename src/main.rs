//! The `waveoff` binary: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    waveoff::cli::main()
}
