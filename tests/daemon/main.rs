//! The shipped binary as its users run it: `waveoff run` and `waveoff sim serve` as processes of
//! their own, over real sockets, in real time.
//!
//! Given, when, then, as in the scenarios on simulated time; here the subject is everything those
//! leave out: arguments, environment, signals, sockets, files, logs. Nothing is shared between
//! tests, and nothing sleeps: whatever is awaited is looked for until it is there ([`wait`]).
//! Every test ends with [`stage::Stage::end`], which searches all that was said for secrets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

#[expect(dead_code, reason = "shared with the tests of the page, which use all of it")]
#[path = "../support/browser.rs"]
mod browser;
mod copying;
mod description;
mod doctor;
mod documented_api;
mod endings;
mod heartbeat;
mod hook;
mod init;
mod input;
mod live;
mod monitoring;
mod operator;
mod page;
mod platform;
mod probes;
mod process;
mod pushing;
mod reading;
mod receivers;
#[path = "../support/registry.rs"]
mod registry;
mod reload;
mod rollback;
mod servers;
mod stage;
mod start;
mod status_page;
mod terminal;
mod wait;
mod walk;
