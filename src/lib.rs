//! Waveoff watches every release of a Fly.io organization's apps and puts the last known-good
//! image back, region by region, when one degrades.
//!
//! Observe → decide → record → act: `decide` is pure and decides everything; the other modules
//! fetch facts for it or carry out what it wrote down. ARCHITECTURE.md walks through one release.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod fly;
pub mod model;
pub mod notify;
pub mod numbers;
pub mod ports;
pub mod sim;
pub mod sources;
pub mod store;
pub mod threshold;
pub mod web;
