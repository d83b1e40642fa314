//! Worse than the known-good release: a share that is fine by itself may be three times what it was.
//!
//! What ran before is known minute by minute. The most that its share may be, so many times and so
//! much more, is the limit in force, where that is below the written one. It is set when a release
//! comes, and holds for as long as that runs.

use super::keys::{Key, Place, Takes, Unsaid};
use crate::model::{Evidence, Note, Raised, Relative};

/// What may be written.
pub const TIMES_MAX: f64 = 100.0;
/// What holds where only one of the two is written.
pub const USUAL: Relative = Relative { times: 1.5, plus: 0.002 };

/// Its key, beside a share.
pub(super) const RELATIVE: Key = Key {
    name: "relative",
    place: Place::Beside,
    takes: Takes::Relative,
    unsaid: Unsaid::Nothing("none"),
    doc: "how much worse than [the known-good release](#worse-than-the-known-good-release) it may be: \
          so many times its share, and so much more. The lower of this and the written limit counts",
};

/// The most that a release's share may be, where that of what ran before is at most `at_most`, and
/// `cap` is allowed anyway.
pub fn limit(relative: Relative, at_most: f64, cap: f64) -> f64 {
    relative.times.mul_add(at_most, relative.plus).min(cap)
}

/// The same, so many times as lenient.
pub(super) fn scaled(relative: Relative, by: f64) -> Relative {
    Relative { times: relative.times * by, plus: relative.plus * by }
}

/// Says so where there is nothing to compare with.
pub(super) fn note(relative: Option<Relative>, evidence: &mut Evidence) {
    let compares = |raised: &Raised| raised.relative.is_some();
    let is_compared = evidence.raised.as_ref().is_some_and(compares);
    let is_free = matches!(evidence.note, None | Some(Note::Undecided));
    if relative.is_some() && !is_compared && is_free && evidence.total > 0.0 {
        evidence.note = Some(Note::NothingBefore);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Unit, Verdict};

    const TWICE: Relative = Relative { times: 2.0, plus: 0.01 };

    #[test]
    fn a_ladder_of_limits_scales_both_of_its_numbers() {
        let half = scaled(TWICE, 0.5);
        assert_eq!(
            (half.times.to_bits(), half.plus.to_bits()),
            (1.0_f64.to_bits(), 0.005_f64.to_bits())
        );
    }

    fn evidence(total: f64, note: Option<Note>, compared: bool) -> Evidence {
        let raised = Raised {
            from: 0.02,
            to: 0.01,
            by: "v1".to_owned(),
            share: 0.003,
            relative: compared.then_some(TWICE),
        };
        Evidence {
            threshold: "5xx".to_owned(),
            kind: Kind::Ratio,
            verdict: Verdict::Pass,
            value: None,
            limit: 0.02,
            unit: Unit::Requests,
            source: "requests".to_owned(),
            bad: 0.0,
            total,
            lately: None,
            ln_odds: None,
            ln_odds_needed: None,
            blocks: 0,
            last_blocks: Vec::new(),
            control: None,
            note,
            may_roll_back: true,
            applies: true,
            raised: Some(raised),
            unseen: false,
        }
    }

    #[test]
    fn that_nothing_ran_before_is_said_where_it_matters_and_nothing_else_is() {
        let said = |relative, mut evidence: Evidence| {
            note(relative, &mut evidence);
            evidence.note
        };
        let nothing = Some(Note::NothingBefore);
        assert_eq!(said(Some(TWICE), evidence(10.0, None, false)), nothing);
        assert_eq!(said(Some(TWICE), evidence(10.0, Some(Note::Undecided), false)), nothing);
        assert_eq!(said(None, evidence(10.0, None, false)), None, "it is not compared");
        assert_eq!(said(Some(TWICE), evidence(10.0, None, true)), None, "there is something");
        assert_eq!(said(Some(TWICE), evidence(0.0, None, false)), None, "it has no traffic");
        let other = Some(Note::NoChecks);
        assert_eq!(said(Some(TWICE), evidence(10.0, other.clone(), false)), other);
    }
}
