//! Detectors: from counts to "this is not chance".
//!
//! `ratio` judges shares of bad events with a bound on false alarms; `runs` judges what is simply
//! down or above a bound. Both are pure: the caller brings the time and the numbers.

pub mod ratio;
pub mod runs;

pub use ratio::{RatioDetector, RatioSettings};
pub use runs::{Sustained, consecutive_failures, quorum};
