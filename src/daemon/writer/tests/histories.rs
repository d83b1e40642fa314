//! Whole histories of apps without tokio and `SQLite`: `step`, the writer's rules and the platform
//! model, driven by one seeded queue of events in simulated time.
//!
//! Each history is one to three apps with a trusted release, a release after it that is bad (or
//! good), and a few disturbances at moments that the seed chooses. `truth` looks at the platform
//! itself, at every instant, and never at what the daemon believes.
//! `WAVEOFF_HISTORIES=first..last` plays others than the usual, both included; docs/testing.md says
//! more.

mod course;
mod errands;
mod late;
mod mishaps;
mod stage;
mod told;
mod truth;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::time::Instant;
use world::World;

/// What an ordinary run plays, all of them.
const ORDINARY: (u64, u64) = (1, 10_000);
/// Problems that are listed.
const LISTED: usize = 60;

/// The seeds to play.
fn seeds() -> (u64, u64) {
    let Ok(text) = std::env::var("WAVEOFF_HISTORIES") else { return ORDINARY };
    let (first, last) = text.split_once("..").expect("WAVEOFF_HISTORIES=first..last");
    let number = |text: &str| text.parse().expect("WAVEOFF_HISTORIES=first..last");
    (number(first), number(last))
}

/// Plays one history; what is wrong with it, if anything, and its timeline if that is wanted.
fn play(seed: u64, tells: bool) -> (Option<String>, String) {
    let mut world = World::new(seed, tells);
    let played = catch_unwind(AssertUnwindSafe(|| world.play()));
    let problem = match played {
        Ok(()) => world.problem(),
        Err(_) => Some("it panicked".to_owned()),
    };
    (problem, world.timeline())
}

/// Plays seeds on every core; the broken ones in order, each with its problem.
fn play_all(first: u64, last: u64) -> Vec<(u64, String)> {
    let next = AtomicU64::new(first);
    let broken = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    if let (Some(problem), _) = play(seed, false) {
                        eprintln!("history {seed}: {problem}");
                        broken.lock().unwrap().push((seed, problem));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    broken
}

#[test]
fn whatever_happens_in_a_history_the_promises_hold() {
    let (first, last) = seeds();
    if first == last {
        println!("{}", play(first, true).1);
    }
    let began = Instant::now();
    let broken = play_all(first, last);
    let count = f64::from(u32::try_from(last + 1 - first).unwrap());
    println!("{count} histories, {:.0} a minute", count / began.elapsed().as_secs_f64() * 60.0);
    let Some((seed, problem)) = broken.first() else { return };
    let timeline = if first == last { String::new() } else { play(*seed, true).1 };
    let all: Vec<String> =
        broken.iter().take(LISTED).map(|(seed, problem)| format!("{seed}: {problem}")).collect();
    panic!(
        "{timeline}\nhistory {seed}: {problem}\nplay it again: WAVEOFF_HISTORIES={seed}..{seed} \
         cargo test --lib histories:: -- --nocapture\n{} broken:\n{}",
        broken.len(),
        all.join("\n")
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    let timeline = |seed| play(seed, true).1;
    assert_eq!(timeline(3), timeline(3));
    assert_ne!(timeline(3), timeline(4));
}
