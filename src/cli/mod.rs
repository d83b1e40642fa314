//! The command line: one file per command, and the exit codes they share.
//!
//! 0: done. 1: something failed, or the answer is no. 2: the arguments or the configuration are wrong. 3: another daemon
//! uses the data directory. 4: the daemon refused the order, and says why. 5: the rollback that was
//! watched ended without being completed.

mod act;
mod aside;
mod board;
mod check;
mod client;
mod configuration;
mod demo;
mod doctor;
#[cfg(test)]
mod documented;
mod explain;
mod follow;
pub mod history;
mod hold;
mod in_force;
mod init;
mod live;
mod receiver;
mod refused;
mod releases;
mod replay;
mod run;
mod schema;
mod sim;
pub mod status;
mod terminal;
mod text;
mod variables;
mod watch;
mod webhook;

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::{ports::Clock, sim::serve::Options, web::operator::TOKEN_VARIABLE};

/// Something failed.
const EXIT_FAILED: i32 = 1;
/// The arguments or the configuration are wrong.
const EXIT_WRONG: i32 = 2;
/// Another daemon uses the data directory.
const EXIT_IN_USE: i32 = 3;
/// An order was understood, and something stands against it.
const EXIT_REFUSED: i32 = 4;
/// A rollback that was followed ended without being completed.
const EXIT_NOT_COMPLETED: i32 = 5;
/// Ended by a signal from the keyboard, as shells count it.
const EXIT_INTERRUPTED: i32 = 130;

/// Widest help: longer lines are hard to read.
const HELP_WIDTH: usize = 100;

/// Watches every release of a Fly.io organization and puts the last known-good image back, region
/// by region, when one degrades.
#[derive(Debug, Parser)]
#[command(name = "waveoff", version, max_term_width = HELP_WIDTH)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    ///
    /// Tokens come from the environment: `FLY_API_TOKEN`, and what the receivers name. Base URLs can
    /// be overridden as for flyctl: `FLY_API_BASE_URL`, `FLY_FLAPS_BASE_URL`, `FLY_UIEX_BASE_URL`.
    ///
    /// Exit code 3: another daemon uses the data directory; it says which.
    Run {
        /// Directory with waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// How log lines are written.
        #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "WAVEOFF_LOG_FORMAT")]
        log_format: LogFormat,
    },
    /// Write a first configuration, with limits that fit what the apps were like in the last 14 days.
    ///
    /// Asks the platform, with `FLY_API_TOKEN`, which organization and which apps there are, and its managed
    /// Prometheus what was counted of them. Nothing is written over, and nothing is rolled back by what it writes.
    Init(init::Init),
    /// Validate the configuration. Exit code 2 when it is wrong.
    ///
    /// With --live it is also looked whether what it names is there: the token's rights, each policy's
    /// apps, each selector among the series that a machine or a metrics server shows, the image that
    /// runs, each receiver, the clock. Nothing is changed, and no message is sent. Exit code 1 when
    /// something is not as the configuration says. Metrics pages are reached from inside the
    /// organization's private network alone: `fly ssh console -C "/waveoff check --live --config /config"`.
    Check {
        /// Directory with waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// Also look whether what it names is there. Needs `FLY_API_TOKEN`.
        #[arg(long)]
        live: bool,
        /// With --live, this app alone.
        #[arg(long, requires = "live")]
        app: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask the platform itself what nobody has written down about it, on an app that is made for it and
    /// removed: leases, updates, waiting, events, the change feed, rate limits, the release ledger.
    ///
    /// Takes two minutes, one small machine, and `FLY_API_TOKEN`. Each answer stands beside what the daemon
    /// assumes; no names and no secrets are in it. Exit code 1: something is not as the daemon needs it.
    Doctor(doctor::Doctor),
    /// Show every watched app, the worst first; one app in full.
    ///
    /// Of several apps those in trouble are shown in full (phase, known-good release, evidence so far),
    /// and the others in a line each: phase, release, for how long, what protects it. With --watch a board is drawn anew in its place until Ctrl-C: machines, evidence on its way to the
    /// limit, what happened. Into a pipe it is a line for each app whose phase changes.
    Status {
        /// Only this one, in full.
        #[arg(conflicts_with_all = ["watch", "verbose"])]
        app: Option<String>,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// Go on showing it, until Ctrl-C.
        #[arg(long, conflicts_with = "json")]
        watch: bool,
        /// Show every app in full.
        #[arg(long, short, conflicts_with_all = ["watch", "json"])]
        verbose: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what happened to an app, and why; without one, to all of them and to the daemon itself.
    History {
        app: Option<String>,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// How many events, the newest first.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an app's releases: what is known of each, and which one a rollback would go to.
    Releases {
        app: String,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how a release came to its verdict: block by block, region by region, machine by machine.
    Explain {
        app: String,
        /// Its number (v42), its tag or its digest; without it, the one that is dealt with, or the newest.
        release: Option<String>,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judge an app's past by its thresholds: what would have been rolled back, when, and on which
    /// evidence; and what other limits would have made of it.
    Replay(Box<replay::Replay>),
    #[command(flatten)]
    Act(act::Act),
    /// Receivers of messages: try one out, list what was not delivered, send it again.
    #[command(subcommand)]
    Webhook(webhook::Webhook),
    /// Hold an app, or all of them: nothing is rolled back, at once and at any moment of a rollback.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    #[command(group = clap::ArgGroup::new("whom").required(true).args(["app", "all"]))]
    Hold {
        app: Option<String>,
        /// Every app, those that appear later included.
        #[arg(long)]
        all: bool,
        /// Why; it stands in every message and in `status`.
        #[arg(long)]
        reason: String,
        /// How long, such as 2h; without it, until `waveoff unhold`.
        #[arg(long = "for", value_name = "TIME", value_parser = text::period)]
        length: Option<String>,
        /// Who says so.
        #[arg(long, env = "USER")]
        by: Option<String>,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// The operator's token.
        #[arg(skip = std::env::var(TOKEN_VARIABLE).ok())]
        token: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End an operator's hold of an app, or of all of them.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    #[command(group = clap::ArgGroup::new("whom").required(true).args(["app", "all"]))]
    Unhold {
        app: Option<String>,
        /// Every app.
        #[arg(long)]
        all: bool,
        /// Why; it stands in the history.
        #[arg(long)]
        reason: Option<String>,
        /// Who says so.
        #[arg(long, env = "USER")]
        by: Option<String>,
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// The operator's token.
        #[arg(skip = std::env::var(TOKEN_VARIABLE).ok())]
        token: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The configuration: show what is in force for an app; push files to the daemon, pull them, compare.
    #[command(subcommand)]
    Config(configuration::ConfigCommand),
    /// Print the JSON Schema of a configuration file, for editors: `#:schema` in its first line.
    Schema {
        /// Which file.
        #[arg(value_enum)]
        file: schema::File,
    },
    /// Print what completes commands and options in a shell, such as
    /// `waveoff completions bash > ~/.local/share/bash-completion/completions/waveoff`.
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Run the real daemon against the embedded simulated platform: ship a good release, then a
    /// bad one, and watch it being undone.
    ///
    /// On a terminal it is a board that is drawn anew in its place; into a pipe, and with --plain, lines.
    Demo(demo::Demo),
    /// The simulated platform.
    Sim {
        #[command(subcommand)]
        command: SimCommand,
    },
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    /// Serve a simulated Fly organization that flyctl and Waveoff can be pointed at.
    Serve {
        /// The fleet to simulate (TOML); without it, the demo's.
        #[arg(long)]
        fleet: Option<PathBuf>,
        #[arg(long, default_value = "127.0.0.1:4280")]
        listen: SocketAddr,
        /// Port of the machines' metrics, each on a loopback address of its own; otherwise the
        /// fleet's. 0: one that is free.
        #[arg(long)]
        metrics_port: Option<u16>,
        /// Answer however often a client asks: for scripts that call flyctl in a row.
        #[arg(long)]
        no_limits: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let width = terminal::Look::of_stdout().width.map_or(HELP_WIDTH, |width| width.min(HELP_WIDTH));
    let command = variables::named(Arguments::command(), width);
    let matches = command.clone().try_get_matches();
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => return refused::exit(&error, &command),
    };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&anyhow::Error::new(error).context("start the runtime")),
        };
    match runtime.block_on(dispatch(arguments.command)) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => fail(&error),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<i32> {
    let mut out = std::io::stdout();
    match command {
        Command::Run { config, log_format } => run::run(&config, log_format).await,
        Command::Init(init) => init::run(init, Clock::system().now(), &mut out).await,
        Command::Check { config, live: true, app, json } => {
            live::run(&config, app.as_deref(), json, &mut out).await
        }
        Command::Check { config, live: false, app: _, json } => {
            Ok(check::run(&config, json, &mut out))
        }
        Command::Doctor(doctor) => doctor::run(doctor, &mut out).await,
        Command::Status { url, watch: true, .. } => watch::run(&url, &mut out).await,
        Command::Status { app, url, watch: false, verbose, json } => {
            let asked = match app {
                Some(app) => status::Asked::One(app),
                None if verbose => status::Asked::Everything,
                None => status::Asked::Overview,
            };
            status::run(&url, &asked, json, &mut out).await
        }
        Command::History { app, url, limit, json } => {
            history::run(&url, app.as_deref(), limit, json, &mut out).await
        }
        Command::Releases { app, url, json } => releases::run(&url, &app, json, &mut out).await,
        Command::Explain { app, release, url, json } => {
            explain::run(&url, &app, release.as_deref(), json, &mut out).await
        }
        Command::Replay(what) => replay::run(*what, Clock::system().now(), &mut out).await,
        Command::Act(act) => act::run(act, &mut out).await,
        Command::Webhook(command) => webhook::run(command, &mut out).await,
        Command::Hold { app, all: _, reason, length, by, url, token, json } => {
            let wish = hold::Wish::Hold { app, reason, length, by };
            hold::run(&url, token.as_deref(), wish, json, &mut out).await
        }
        Command::Unhold { app, all: _, reason, by, url, token, json } => {
            let wish = hold::Wish::Unhold { app, reason, by };
            hold::run(&url, token.as_deref(), wish, json, &mut out).await
        }
        Command::Config(command) => configuration::run(command, &mut out).await,
        Command::Schema { file } => schema::run(file, &mut out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "waveoff", &mut script);
            out.write_all(&script)?;
            Ok(0)
        }
        Command::Demo(demo) => demo::run(demo).await,
        Command::Sim { command: SimCommand::Serve { fleet, listen, metrics_port, no_limits } } => {
            let options = Options { limits: !no_limits };
            sim::serve(fleet.as_deref(), listen, metrics_port, options).await
        }
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let io = error.root_cause().downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        // Whoever reads has read enough.
        return ExitCode::SUCCESS;
    }
    // Nothing is left to do about a standard error that cannot be written.
    let _unwritable = text::complain(&format!("waveoff: {error:#}")).is_err();
    ExitCode::from(u8::try_from(code_of(error)).unwrap_or(1))
}

/// The exit code of an error: whose fault it is.
fn code_of(error: &anyhow::Error) -> i32 {
    if error.is::<client::Wrong>() {
        EXIT_WRONG
    } else if error.is::<client::Refused>() {
        EXIT_REFUSED
    } else {
        EXIT_FAILED
    }
}
