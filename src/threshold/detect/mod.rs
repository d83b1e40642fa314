//! Detectors: from counts to "this is not chance".
//!
//! `ratio` judges shares of bad events with a bound on false alarms, `control` compares two releases
//! over the same seconds, `dispersion` measures whether failures come one by one, and `recent` says whether an alarm is over; `runs` judges what is simply down or above a bound. All are pure: the caller brings the
//! time and the numbers.

pub mod control;
pub mod dispersion;
pub mod ratio;
pub mod recent;
pub mod runs;

pub use control::{ControlDetector, ControlSettings};
pub use dispersion::Dispersion;
pub use ratio::{RatioDetector, RatioSettings};
pub use recent::Recent;
pub use runs::{Sustained, consecutive_failures, quorum};
