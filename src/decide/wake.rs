//! When the next round is wanted.

use jiff::Timestamp;

use super::{
    command::Input,
    later,
    state::{Memory, Phase},
};
use crate::model::Policy;

/// The watch's pace or the idle one from the round's beginning on; sooner when something is due
/// before. A command's outcome is worth a look at once.
pub(super) fn at(
    policy: &Policy,
    phase: &Phase,
    memory: &Memory,
    input: &Input,
    now: Timestamp,
) -> Timestamp {
    let Input::Observed(observation) = input else { return now };
    let pace = if phase.is_active(memory, now) {
        policy.watch.scrape_every
    } else {
        policy.watch.idle_scrape_every
    };
    let paced = later(observation.began, pace);
    match phase {
        Phase::CountingDown { until, .. } => paced.min(*until),
        Phase::Unseen
        | Phase::Watching(_)
        | Phase::Steady
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. } => paced,
    }
}
