//! Scenarios: the real daemon against the simulated organization, on simulated time.
//!
//! Given, when, then; the end of each is the timeline that a person would be told. [`world`] sets
//! the stage, [`mortal`] lets calls and commits fail, [`resume`] does so at every single one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot go on fails its test"
)]

mod afterwards;
mod brake;
mod capacity;
mod changes;
mod chaos;
mod containers;
mod defaults;
mod drift;
mod endpoints;
mod files;
mod gates;
mod guards;
mod hands;
mod late;
mod left_overs;
mod life;
mod lists;
mod many;
mod mirror;
mod mortal;
mod neighbours;
mod numbers;
mod odd;
mod orders;
mod passing_causes;
mod platform_at_work;
mod probes;
mod protection;
mod races;
mod recovery;
mod refused;
mod restoring;
mod resume;
mod rivals;
mod rollback;
mod servers;
mod shell;
mod sight;
mod silence;
mod speed;
mod standing;
mod steps;
mod telling;
mod trust;
mod world;
