//! What apps in distress mean to one another.

use super::*;
use crate::model::{Distress, Evidence, Kind, Region, Verdict};

fn regions(names: &[&str]) -> std::collections::BTreeSet<Region> {
    names.iter().copied().map(Region::new).collect()
}

/// An app in distress since so many seconds after ours, which is in iad.
fn neighbour(deployed: bool, later: i64, names: &[&str]) -> OrgContext {
    let theirs = Distress { since: at(1000 + later), regions: regions(names), deployed };
    OrgContext { neighbours: [(AppName::new("billing"), theirs)].into(), ..OrgContext::default() }
}

/// Our release looks degraded since second 1000.
fn ours() -> Watch {
    let mut watch = watch_of(2, "sha256:2");
    watch.regions = regions(&["iad", "lhr"]);
    watch.suspicion = Some(crate::decide::distress::Suspicion { since: at(1000), last: at(1010) });
    watch
}

/// How many witnesses, and how many that degrade with it.
fn seen_as(org: &OrgContext) -> (usize, usize) {
    let near = crate::decide::distress::neighbourhood(org, &ours(), at(1020));
    (near.witnesses.len(), near.together.len())
}

#[test]
fn releases_that_degrade_within_a_quarter_of_a_minute_degrade_together() {
    for (later, together) in [(0, 1), (15, 1), (-15, 1), (16, 0), (-16, 0)] {
        assert_eq!(seen_as(&neighbour(true, later, &["iad"])), (0, together), "{later} s");
    }
}

#[test]
fn an_app_that_nobody_deployed_is_a_witness_if_it_degraded_at_that_time() {
    for (later, witnesses) in [(5, 1), (6, 0), (0, 1), (-60, 1), (-61, 0)] {
        assert_eq!(seen_as(&neighbour(false, later, &["iad"])), (witnesses, 0), "{later} s");
    }
}

#[test]
fn what_happens_in_another_region_is_another_matter() {
    for deployed in [true, false] {
        assert_eq!(seen_as(&neighbour(deployed, 0, &["syd"])), (0, 0));
        // One that does not know yet where it is may be anywhere.
        let anywhere = if deployed { (0, 1) } else { (1, 0) };
        assert_eq!(seen_as(&neighbour(deployed, 0, &[])), anywhere);
    }
}

/// One witness may be anything, and what was deployed as well may be its own release's fault.
#[test]
fn it_takes_two_that_nobody_deployed_to_hold_a_release() {
    for (witnesses, together, held) in
        [(0, 0, false), (0, 5, false), (1, 0, false), (2, 0, true), (1, 1, false)]
    {
        let names = |prefix: &str, count| {
            (0..count).map(|n| AppName::new(format!("{prefix}{n}"))).collect()
        };
        let near = crate::decide::distress::Neighbourhood {
            witnesses: names("w", witnesses),
            together: names("t", together),
            region: None,
        };
        assert_eq!(near.is_incident(), held, "{witnesses} witnesses, {together} together");
    }
}

#[test]
fn the_platform_s_incident_is_told_with_the_region_that_they_share() {
    let policy = policy(Mode::Rollback);
    let answer = Outcome::ImagePresent;
    let (mut state, _) = live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &answer);
    state.memory.org = neighbour(false, 0, &["lhr", "syd"]);
    assert_eq!(refused_at(&policy, &state, &ours()), None);
    let other = Distress { since: at(1000), regions: regions(&["lhr"]), deployed: false };
    state.memory.org.neighbours.insert(AppName::new("shop"), other);
    let want = HoldReason::PlatformIncident { region: Region::new("lhr"), apps: 2 };
    assert_eq!(refused_at(&policy, &state, &ours()), Some(want));
}

fn refused_at(policy: &Policy, state: &AppState, watch: &Watch) -> Option<HoldReason> {
    let memory = &state.memory;
    crate::decide::guards::refusal(&crate::decide::guards::Asked {
        policy,
        memory,
        watch,
        now: at(1020),
    })
}

/// Suspicion goes on while it is seen, and for a while after; then it begins anew.
#[test]
fn distress_that_was_not_seen_for_three_quarters_of_a_minute_is_over() {
    let mut watch = ours();
    watch.suspicion = None;
    let mut look = |second: i64, bad: bool| {
        let verdict = if bad { Verdict::Breach } else { Verdict::Pass };
        watch.evidence = vec![Evidence { verdict, ..super::guards::breach(Kind::Checks, 100.0) }];
        crate::decide::distress::suspect(&mut watch, at(second));
        watch.suspicion.as_ref().map(|suspicion| suspicion.since)
    };
    assert_eq!(look(0, false), None);
    assert_eq!(look(10, true), Some(at(10)));
    assert_eq!(look(40, true), Some(at(10)));
    assert_eq!(look(84, false), Some(at(10)));
    assert_eq!(look(85, false), None);
    assert_eq!(look(90, true), Some(at(90)));
    watch.evidence[0].may_roll_back = false;
    crate::decide::distress::suspect(&mut watch, at(200));
    assert_eq!(watch.suspicion, None, "what only alerts is no distress");
}
