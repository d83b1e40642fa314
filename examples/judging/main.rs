//! How well Waveoff judges: the decision code that ships, driven through whole lives of releases in
//! simulated time, beside the usual rules on the same traffic.
//!
//! `cargo run --release --example judging -- [--family NAME]… [--runs N] [--seed N] [--list] [--json]`

#![expect(
    clippy::indexing_slicing,
    reason = "an experiment: numbers of machines and rules are its own"
)]

mod bad;
mod bars;
mod dice;
mod families;
mod healthy;
mod host;
mod life;
mod picture;
mod policy;
mod rules;
mod run;
mod scene;
mod story;
mod table;
mod world;

use std::process::ExitCode;

use clap::Parser;

use self::{bars::Bars, families::Family};

/// Judges simulated releases, healthy and bad ones, and counts what comes of it.
#[derive(Parser)]
struct Arguments {
    /// Only the family of this name, or those whose names begin so; may be given several times.
    #[arg(long)]
    family: Vec<String>,
    /// Lives per family.
    #[arg(long, default_value_t = 200)]
    runs: u32,
    /// Another seed is other traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Name the families and end.
    #[arg(long)]
    list: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Tell what happened in this life of each family (`wrong` of --json names those that were judged wrongly), and end.
    #[arg(long, value_name = "NUMBER")]
    life: Option<u32>,
    /// Draw the odds of one life of each of these families, as SVG, and end.
    #[arg(long)]
    picture: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let all = families::all();
    // A whole name is that family alone.
    let is_whole = |name: &str| all.iter().any(|family| family.name == name);
    let is_called = |family: &Family, name: &str| {
        family.name == name || (!is_whole(name) && family.name.starts_with(name))
    };
    let wanted = |family: &&Family| {
        let mut names = arguments.family.iter();
        arguments.family.is_empty() || names.any(|name| is_called(family, name))
    };
    let families: Vec<Family> = all.iter().filter(wanted).copied().collect();
    if families.is_empty() {
        eprintln!("no family has such a name; --list names them");
        return ExitCode::from(2);
    }
    if arguments.list {
        print!("{}", table::list(&families));
        return ExitCode::SUCCESS;
    }
    if arguments.picture {
        print!("{}", picture::draw(&families, arguments.seed));
        return ExitCode::SUCCESS;
    }
    if let Some(number) = arguments.life {
        for family in &families {
            println!("{}", story::tell(family, arguments.seed, number));
        }
        return ExitCode::SUCCESS;
    }
    let bars = Bars::new(families.len(), arguments.runs);
    let results: Vec<_> = families
        .iter()
        .map(|family| {
            let bar = bars.family(family.name);
            let result = run::family(family, arguments.runs, arguments.seed, &bar);
            bars.done(&bar, family.name);
            result
        })
        .collect();
    bars.end();
    if arguments.json {
        println!("{}", table::json(&results, arguments.runs, arguments.seed));
    } else {
        print!("{}", table::text(&results));
    }
    ExitCode::SUCCESS
}
