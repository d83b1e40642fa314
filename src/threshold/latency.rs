//! A latency quantile: the share of requests slower than a bound, from a histogram.

use jiff::Timestamp;

use super::{
    Case, Confirming, Finding, Own, Room, Round, Took,
    counted::{self, Counted},
    speak,
};
use crate::model::{Evidence, Kind, Latency, Selection, Unit, Want};

impl Latency {
    fn share(&self) -> (f64, bool) {
        // Rounded, so that 0.95 allows 0.05 and not 0.050000000000000044.
        (((1.0 - self.quantile) * 1e9).round() / 1e9, self.strict)
    }
}

impl Room for Latency {
    fn kind(&self) -> Kind {
        Kind::Latency
    }

    fn want(&self) -> Want {
        Want::Pages(Selection::Slow { histogram: self.histogram.clone(), bound_s: self.bound_s })
    }

    fn allowed_share(&self) -> Option<(f64, bool)> {
        Some(self.share())
    }

    fn begin(&self, now: Timestamp) -> Own {
        Own::Counted(Box::new(Counted::new(self.share(), now)))
    }

    fn fits(&self, own: &Own) -> bool {
        counted::fits(own, self.share())
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        counted::absorb(name, own, round)
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        counted::judge(own, case, evidence);
    }

    fn terms(&self) -> (f64, Unit, String) {
        let source = format!("{} slower than {} ms", self.histogram, self.bound_s * 1000.0);
        (self.share().0, Unit::SlowerThan(self.bound_s), source)
    }

    fn describe(&self) -> String {
        format!(
            "at most {} of {} slower than {}{}",
            speak::written(self.share().0),
            self.histogram,
            speak::seconds(self.bound_s),
            speak::strictly(self.strict)
        )
    }

    fn confirm(&self, confirming: &Confirming) -> Finding {
        counted::confirm(confirming, self.share().0)
    }
}

pub(super) fn says(evidence: &Evidence, share: f64) -> String {
    let slow = match evidence.unit {
        Unit::SlowerThan(bound) => format!("slower than {}", speak::seconds(bound)),
        _ => "too slow".to_owned(),
    };
    format!("{} {slow} ({} requests)", speak::share(share), speak::counts(evidence))
}
