//! Whole histories of an app without tokio and `SQLite`: `step`, the writer's rules and the platform
//! model, driven by one seeded queue of events in simulated time.
//!
//! Each history is one app with a trusted release, a release after it that is bad (or good), and a
//! few disturbances at moments that the seed chooses. `truth` looks at the platform itself, at
//! every instant, and never at what the daemon believes. `WAVEOFF_HISTORIES=first..last` plays
//! others than the usual, both included; docs/testing.md says more.

mod errands;
mod mishaps;
mod stage;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::Instant;
use world::World;

/// What an ordinary run plays: as many as fit into the time.
const ORDINARY: (u64, u64) = (1, 450);
const ORDINARY_S: u64 = 40;

/// The seeds to play, and whether all of them whatever it takes.
fn seeds() -> ((u64, u64), bool) {
    let Ok(text) = std::env::var("WAVEOFF_HISTORIES") else { return (ORDINARY, false) };
    let (first, last) = text.split_once("..").expect("WAVEOFF_HISTORIES=first..last");
    let number = |text: &str| text.parse().expect("WAVEOFF_HISTORIES=first..last");
    ((number(first), number(last)), true)
}

/// Plays one history; what is wrong with it, if anything.
fn play(seed: u64, tells: bool) -> Result<(), String> {
    let mut world = World::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    let problem = match played {
        Ok(()) => world.truth.problem(),
        Err(_) => Some("it panicked".to_owned()),
    };
    let timeline = world.timeline();
    match problem {
        Some(problem) => Err(format!(
            "{timeline}\nhistory {seed}: {problem}\nplay it again: \
             WAVEOFF_HISTORIES={seed}..{seed} cargo test --lib histories:: -- --nocapture"
        )),
        None => {
            if tells {
                println!("{timeline}");
            }
            Ok(())
        }
    }
}

#[test]
fn whatever_happens_in_a_history_the_promises_hold() {
    let ((first, last), all) = seeds();
    let began = Instant::now();
    let mut played = 0_u32;
    let mut broken = Vec::new();
    for seed in first..=last {
        if !all && began.elapsed().as_secs() >= ORDINARY_S {
            break;
        }
        played += 1;
        if let Err(text) = play(seed, first == last) {
            broken.push((seed, text));
        }
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!("{played} histories, {:.0} a minute", f64::from(played) / minutes);
    if let Some((_, text)) = broken.first() {
        let seeds: Vec<u64> = broken.iter().map(|(seed, _)| *seed).collect();
        let short = |text: &str| text.lines().rev().nth(1).map(str::to_owned).unwrap_or_default();
        let all: Vec<String> = broken.iter().map(|(_, text)| short(text)).take(40).collect();
        panic!("{text}\n{} broken: {seeds:?}\n{}", seeds.len(), all.join("\n"));
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let timeline = |seed| {
        let mut world = World::new(seed);
        world.play();
        world.timeline()
    };
    assert_eq!(timeline(3), timeline(3));
    assert_ne!(timeline(3), timeline(4));
}
