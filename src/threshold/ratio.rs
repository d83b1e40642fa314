//! The share of bad events among all, from two counters.

use jiff::Timestamp;

use super::{
    Case, Confirming, Finding, Own, Room, Round, Took,
    counted::{self, Counted},
    speak,
};
use crate::model::{Evidence, Kind, Ratio, Selection, Unit, Want};

impl Room for Ratio {
    fn kind(&self) -> Kind {
        Kind::Ratio
    }

    fn want(&self) -> Want {
        Want::Pages(Selection::Share { bad: self.bad.clone(), total: self.total.clone() })
    }

    fn allowed_share(&self) -> Option<(f64, bool)> {
        Some((self.max, self.strict))
    }

    fn begin(&self, now: Timestamp) -> Own {
        Own::Counted(Box::new(Counted::new((self.max, self.strict), now)))
    }

    fn fits(&self, own: &Own) -> bool {
        counted::fits(own, (self.max, self.strict))
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        counted::absorb(name, own, round)
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        counted::judge(own, case, evidence);
    }

    fn terms(&self) -> (f64, Unit, String) {
        let source = format!("{} / {}", self.bad, self.total);
        let of_requests = source.contains("request") || source.contains("http");
        (self.max, if of_requests { Unit::Requests } else { Unit::Events }, source)
    }

    fn describe(&self) -> String {
        let limit = speak::written(self.max);
        format!("at most {limit} {} of {}{}", self.bad, self.total, speak::strictly(self.strict))
    }

    fn confirm(&self, confirming: &Confirming) -> Finding {
        counted::confirm(confirming, self.max)
    }
}

pub(super) fn says(evidence: &Evidence, share: f64) -> String {
    let events = if evidence.unit == Unit::Requests { "requests" } else { "events" };
    format!("{} ({} {events})", speak::share(share), speak::counts(evidence))
}
