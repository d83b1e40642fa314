//! Spells: minutes in which what ran before was above a limit as well, and which passed by themselves.
//!
//! An app whose share of failures wanders is above its limits now and then, whatever it runs. Where nobody
//! vouches that a breach is the release's, and the app had minutes like it before, a rollback waits for as
//! long as the longest of them lasted.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

use super::{Context, floor::ABOVE, state::Watch};
use crate::model::{Evidence, Tally, Verdict};

/// The length of what is counted together.
const MINUTE: Duration = Duration::from_secs(60);
/// What is waited for so long at most.
const LONGEST: Duration = Duration::from_secs(180);
/// What is so many times as bad as the worst of them is nothing that passed before.
const NO_LONGER_LIKE: f64 = 3.0;

/// How long all that breaches may last, as far as the app's past shows; `None`: something of it never
/// passed by itself.
pub(super) fn longest(cx: &Context<'_>, watch: &Watch) -> Option<Duration> {
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    breaching.try_fold(None, |longest, evidence| {
        let minutes = cx.memory.past.minutes(&evidence.threshold)?;
        let spell = like(minutes, evidence.limit, share(evidence)?)?;
        Some(longest.max(Some(spell)))
    })?
}

/// How bad it is now.
fn share(evidence: &Evidence) -> Option<f64> {
    let counted = evidence.lately.unwrap_or(Tally { n: evidence.total, k: evidence.bad });
    (counted.n > 0.0).then(|| counted.k / counted.n)
}

/// How long the longest spell above `limit` may have lasted, if the worst of them is like `share`.
fn like(minutes: &VecDeque<(Timestamp, Tally)>, limit: f64, share: f64) -> Option<Duration> {
    let (mut longest, mut worst) = (0_u32, 0.0_f64);
    let (mut lasts, mut bad) = (0_u32, 0.0_f64);
    let mut before: Option<Timestamp> = None;
    for (at, tally) in minutes {
        let follows =
            before.is_some_and(|before| at.duration_since(before).unsigned_abs() <= MINUTE);
        before = Some(*at);
        if is_above(*tally, limit) {
            // What nobody saw in between may have been anything.
            (lasts, bad) = if follows { (lasts + 1, bad) } else { (1, 0.0) };
            bad = bad.max(tally.k / tally.n);
        } else {
            // It passed: only then it was a spell.
            (longest, worst) = (longest.max(lasts), worst.max(bad));
            (lasts, bad) = (0, 0.0);
        }
    }
    // It began and ended somewhere within minutes.
    (longest > 0 && share < NO_LONGER_LIKE * worst).then(|| (MINUTE * (longest + 1)).min(LONGEST))
}

/// Whether a minute was above the limit at 20 to 1.
fn is_above(tally: Tally, limit: f64) -> bool {
    tally.k - ABOVE * (tally.k + 1.0).sqrt() > limit * tally.n
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes of 6000 requests with so many failures; `None`: nothing was counted.
    fn minutes(failed: &[Option<f64>]) -> VecDeque<(Timestamp, Tally)> {
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        let tally = |k: f64| Tally { n: 6000.0, k };
        (0..).zip(failed).filter_map(|(minute, k)| Some((at(minute), tally((*k)?)))).collect()
    }

    fn lasted(failed: &[Option<f64>], share: f64) -> Option<u64> {
        like(&minutes(failed), 0.02, share).map(|spell| spell.as_secs())
    }

    const WELL: Option<f64> = Some(30.0);
    const BAD: Option<f64> = Some(200.0);

    #[test]
    fn the_longest_spell_counts_and_none_is_waited_for_longer_than_three_minutes() {
        assert_eq!(lasted(&[WELL, BAD, WELL, WELL], 0.05), Some(120));
        assert_eq!(lasted(&[WELL, BAD, WELL, BAD, BAD, WELL], 0.05), Some(180));
        assert_eq!(lasted(&[BAD, BAD, BAD, BAD, WELL], 0.05), Some(180));
        assert_eq!(lasted(&[WELL; 9], 0.05), None);
    }

    #[test]
    fn what_did_not_pass_or_was_not_seen_is_no_spell() {
        assert_eq!(lasted(&[WELL, WELL, BAD], 0.05), None);
        assert_eq!(lasted(&[WELL, BAD, None, BAD, WELL], 0.05), Some(120));
        assert_eq!(lasted(&[], 0.05), None);
    }

    #[test]
    fn a_few_requests_are_no_spell() {
        let few = VecDeque::from([
            (Timestamp::UNIX_EPOCH, Tally { n: 60.0, k: 4.0 }),
            (Timestamp::from_second(60).unwrap(), Tally { n: 60.0, k: 0.0 }),
        ]);
        assert_eq!(like(&few, 0.02, 0.05), None);
    }

    #[test]
    fn what_is_far_worse_than_all_spells_is_not_like_them() {
        assert_eq!(lasted(&[WELL, BAD, WELL], 0.099), Some(120));
        assert_eq!(lasted(&[WELL, BAD, WELL], 0.101), None);
    }
}
