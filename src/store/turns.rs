//! Whose turn it is: messages go in order per receiver, and a message that keeps failing holds up
//! the others for a while and no longer.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::engine::Waiting;

/// After so long a failing message is passed by those of other apps,
const OTHERS_PASS_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// and after so long by later ones of its own app.
const ALL_PASS_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// With so many failing at once it is the receiver that is down, and nothing more is tried.
pub(super) const FAILING_MAX: u32 = 8;

/// The next message of each receiver that is due, and when there may be another.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turns {
    pub(super) due: Vec<i64>,
    pub(super) next: Option<Timestamp>,
}

impl Turns {
    /// `waiting` has each receiver's messages in their order, with at least [`FAILING_MAX`] and one
    /// more of each lane, where there are so many.
    pub(super) fn of(waiting: &[Waiting], now: Timestamp) -> Self {
        let mut turns = Self::default();
        let receivers: BTreeSet<&str> = waiting.iter().map(|one| one.receiver.as_str()).collect();
        for receiver in receivers {
            turns.one(waiting.iter().filter(|one| one.receiver == receiver), now);
        }
        turns.due.sort_unstable();
        turns
    }

    fn one<'a>(&mut self, waiting: impl Iterator<Item = &'a Waiting>, now: Timestamp) {
        let mut closed: BTreeSet<Option<&str>> = BTreeSet::new();
        let mut failing = 0;
        for one in waiting {
            let lane = one.lane.as_deref();
            if closed.contains(&lane) {
                continue;
            }
            if one.due_at <= now {
                self.due.push(one.sequence);
                return;
            }
            self.look_at(one.due_at);
            // It waits for its next attempt: who may pass?
            let Some(since) = one.failed_since else { return };
            let failed = now.duration_since(since);
            failing += 1;
            if failed < OTHERS_PASS_AFTER {
                return self.look_at(later(since, OTHERS_PASS_AFTER));
            }
            if failing >= FAILING_MAX {
                return;
            }
            if failed < ALL_PASS_AFTER {
                closed.insert(lane);
                self.look_at(later(since, ALL_PASS_AFTER));
            }
        }
    }

    fn look_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

fn later(since: Timestamp, by: SignedDuration) -> Timestamp {
    since.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + second).unwrap()
    }

    /// `sequence lane due failed_since`, all for one receiver.
    fn waiting(rows: &[(i64, &str, i64, Option<i64>)]) -> Vec<Waiting> {
        rows.iter()
            .map(|(sequence, lane, due, since)| Waiting {
                sequence: *sequence,
                receiver: "ops".to_owned(),
                lane: Some((*lane).to_owned()),
                due_at: at(*due),
                failed_since: since.map(at),
            })
            .collect()
    }

    #[test]
    fn the_oldest_goes_first_and_holds_the_others_up_for_a_minute() {
        let rows = waiting(&[(1, "api", 90, Some(10)), (2, "api", 0, None), (3, "web", 0, None)]);
        assert_eq!(Turns::of(&rows, at(95)).due, [1], "its own turn comes first");
        assert_eq!(Turns::of(&rows, at(69)), Turns { due: vec![], next: Some(at(70)) });
        assert_eq!(Turns::of(&rows, at(70)).due, [3], "of another app");
        let rows = waiting(&[(1, "api", 900, Some(10)), (2, "api", 0, None)]);
        assert_eq!(Turns::of(&rows, at(600)), Turns { due: vec![], next: Some(at(610)) });
        assert_eq!(Turns::of(&rows, at(610)).due, [2], "of the same app");
    }

    #[test]
    fn a_message_that_waits_without_having_failed_is_passed_by_none() {
        let rows = waiting(&[(1, "api", 50, None), (2, "web", 0, None)]);
        assert_eq!(Turns::of(&rows, at(0)), Turns { due: vec![], next: Some(at(50)) });
    }

    #[test]
    fn a_receiver_that_fails_everything_is_not_tried_with_everything() {
        let mut rows: Vec<_> = (0..8).map(|n| (n, "api", 5000, Some(0))).collect();
        rows.push((8, "api", 0, None));
        assert_eq!(Turns::of(&waiting(&rows), at(4000)).due, Vec::<i64>::new());
        assert_eq!(Turns::of(&waiting(&rows[1..]), at(4000)).due, [8]);
    }

    #[test]
    fn receivers_do_not_wait_for_each_other() {
        let mut rows = waiting(&[(1, "api", 90, Some(10)), (2, "api", 0, None)]);
        rows[1].receiver = "chat".to_owned();
        assert_eq!(Turns::of(&rows, at(20)).due, [2]);
    }
}
