//! Which region is rolled back first, and which at all.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::state::Watch;
use crate::model::{
    Evidence, Policy, Region, RegionOrder, RegionReport, RegionStage, Tally, Verdict,
};

/// A share of bad events from which on there is nothing left to protect.
const TOTAL_OUTAGE: f64 = 0.9;

/// The regions of a watch in the order in which they would be rolled back.
pub(super) fn order(policy: &Policy, watch: &Watch, now: Timestamp) -> Vec<Region> {
    let badness = |region: &Region| -> f64 {
        let breaching = watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
        breaching
            .filter_map(|e| watch.tally(e, region, now))
            // One bad request of one is no proof: the count weighs in.
            .filter_map(|tally| Some(tally.share()? * (tally.n / (tally.n + 10.0))))
            .fold(0.0, f64::max)
    };
    let mut regions: Vec<Region> = watch.regions.iter().cloned().collect();
    regions.sort_by(|a, b| badness(b).total_cmp(&badness(a)).then_with(|| a.cmp(b)));
    let RegionOrder::Listed(list) = &policy.rollback.order else { return regions };
    let named = |region: &Region| list.iter().any(|entry| entry.as_ref() == Some(region));
    let mut ordered: Vec<Region> = Vec::new();
    for entry in list {
        match entry {
            Some(region) if regions.contains(region) => ordered.push(region.clone()),
            Some(_) => {}
            None => ordered.extend(regions.iter().filter(|r| !named(r)).cloned()),
        }
    }
    let rest: Vec<Region> = regions.into_iter().filter(|r| !ordered.contains(r)).collect();
    ordered.extend(rest);
    ordered
}

/// The plan, for `rollback.planned`.
pub(in crate::decide) fn preview(
    policy: &Policy,
    watch: &Watch,
    now: Timestamp,
) -> Vec<RegionReport> {
    order(policy, watch, now)
        .into_iter()
        .map(|region| RegionReport {
            region,
            phase: RegionStage::Waiting,
            machines: BTreeMap::new(),
        })
        .collect()
}

/// Whether a region shows the breach itself.
pub(super) fn is_breaching(watch: &Watch, region: &Region, now: Timestamp) -> bool {
    let mut from_counts = false;
    for evidence in watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach) {
        if !evidence.kind.counts_events() || evidence.series().is_some() {
            // Checks, crashes and gauges are told by machine, one series not by region: no region is
            // ruled out by them.
            return true;
        }
        let share = watch.tally(evidence, region, now).and_then(Tally::share);
        from_counts |= share.is_some_and(|share| share > evidence.limit);
    }
    from_counts
}

pub(super) fn is_total_outage(evidence: &[Evidence]) -> bool {
    evidence.iter().filter(|e| e.verdict == Verdict::Breach).any(|e| {
        e.kind.tells_outages()
            && e.series().is_none()
            // One machine of one, early in a deploy, is no outage yet.
            && e.total >= 2.0
            && e.share_lately().is_some_and(|share| share >= TOTAL_OUTAGE)
    })
}
