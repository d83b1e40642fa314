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
