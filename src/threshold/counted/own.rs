//! What a kind that counts does with the state it was given: it may be another kind's, or another question's.

use crate::{
    model::{Evidence, Origin, ProbeFailure},
    threshold::{
        Case, Onset, Own, Round, Took, detect::ratio::RatioDetector, places::Found, series,
    },
};

/// Whether a counting threshold's state was made for this question, share and mode.
pub(in crate::threshold) fn fits(own: &Own, question: &str, (share, strict): (f64, bool)) -> bool {
    matches!(own, Own::Counted(counted)
        if counted.detector.judges(counted.limit(share), strict) && counted.question == question)
}

pub(in crate::threshold) fn absorb(
    name: &str,
    own: &mut Own,
    round: &Round<'_>,
    from: (&Origin, &[String]),
) -> Took {
    match own {
        Own::Counted(counted) => counted.absorb(name, round, from),
        Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => Took::default(),
    }
}

/// Why probes failed.
pub(in crate::threshold) fn failures(own: &Own) -> &[(ProbeFailure, u32)] {
    match own {
        Own::Counted(counted) => counted.failures.all(),
        Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => &[],
    }
}

pub(in crate::threshold) fn onset(own: &Own) -> Onset {
    match own {
        Own::Counted(counted) => counted.onset(),
        Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => Onset::Own,
    }
}

pub(in crate::threshold) fn judge(
    own: &Own,
    case: &Case<'_>,
    by: &[String],
    evidence: &mut Evidence,
) {
    let mut settings = case.policy.settings(case.span);
    if let Own::Counted(counted) = own {
        counted.judge(evidence);
        if matches!(counted.found, Some(Found::Alone(_))) {
            settings = series::of_each(&settings);
        } else if !by.is_empty() {
            settings = series::of_whole(&settings);
        }
    }
    evidence.ln_odds_needed = Some(RatioDetector::needed(settings.alpha));
}
