//! What is read from a metrics server, beside the machines' own pages or without them.

use super::{
    stage::{Stage, put_on, ratio},
    *,
};
use crate::{
    model::{ConfirmTime, Evidence, Obstacle, Origin, Region, RegionOrder, SourceName, Verdict},
    threshold::{Span, ThresholdState},
};

fn fly() -> SourceName {
    SourceName::Server("fly".to_owned())
}

/// At most 2 % of the requests may fail, as Fly's server counts them.
pub(super) fn from_fly() -> Threshold {
    let mut threshold = ratio();
    if let ThresholdKind::Ratio(ratio) = &mut threshold.kind {
        ratio.from = Origin::server("fly", Duration::from_secs(15));
    }
    threshold
}

/// v2 was just shipped to machines without a page, and the requests that Fly's server counts decide.
fn by_fly(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.policy.thresholds = vec![from_fly()];
    stage.source = fly();
    for machine in &mut stage.machines {
        machine.has_services = true;
        machine.metrics = None;
    }
    stage.ship(2, "sha256:2");
    stage
}

fn watch(stage: &Stage) -> &state::Watch {
    match &stage.state.phase {
        Phase::Watching(watch) => watch,
        other => panic!("{other:?}"),
    }
}

fn evidence(stage: &Stage) -> &Evidence {
    &watch(stage).evidence[0]
}

fn blind(stage: &Stage) -> Vec<String> {
    let told = stage.told(EventKind::MonitorBlind).into_iter();
    told.map(crate::notify::text::sentence).collect()
}

#[test]
fn a_bad_release_of_an_app_without_a_page_is_undone_by_what_the_server_counts() {
    let mut stage = by_fly(&["m1"]);
    stage.serves = vec![("m1", 10.0, 5.0)];
    assert_eq!(put_on(&stage.pass(90)), ["m1"]);
    let breach = &stage.told(EventKind::ReleaseDegraded)[0].evidence[0];
    assert_eq!(breach.source, "bad / requests from fly");
}

/// One moment is in the readings of all machines, one after the other, for as long as the server takes
/// to read them all.
#[test]
fn a_block_is_as_long_as_the_server_takes_to_read_every_machine() {
    let origin = |seconds| Origin::server("fly", Duration::from_secs(seconds));
    let policy = Stage::trusted(&["m1"]).policy;
    assert_eq!(policy.settings_for(Span::Release, &origin(15)).block, Duration::from_secs(15));
    assert_eq!(
        policy.settings_for(Span::Release, &origin(1)).block,
        policy.settings(Span::Release).block
    );
    let mut stage = by_fly(&["m1"]);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(46);
    let blocks = evidence(&stage).blocks;
    assert!((2..=3).contains(&blocks), "{blocks} blocks in 46 s");
}

#[test]
fn a_threshold_is_fed_by_its_own_source_alone() {
    let mut stage = by_fly(&["m1"]);
    stage.source = SourceName::Pages;
    stage.serves = vec![("m1", 10.0, 5.0)];
    stage.pass(90);
    assert!(stage.told(EventKind::ReleaseDegraded).is_empty());
    assert_eq!(evidence(&stage).value, None, "nothing was counted");
}

#[test]
fn a_page_that_cannot_be_read_keeps_nothing_of_a_server_from_being_judged() {
    let mut stage = by_fly(&["m1"]);
    let mut own = ratio();
    own.name = "own".to_owned();
    stage.policy.thresholds.push(own);
    stage.policy.metrics_port = Some(9091);
    stage.no_page = Some("refused".to_owned());
    stage.serves = vec![("m1", 10.0, 5.0)];
    assert_eq!(put_on(&stage.pass(90)), ["m1"], "{:?}", stage.events);
    // And the page's threshold does not pass for one without series.
    let own = stage.rollback().evidence.iter().find(|one| one.threshold == "own").unwrap();
    assert!(own.applies && own.verdict == Verdict::Inconclusive, "{own:?}");
}

#[test]
fn while_the_server_tells_nothing_nothing_is_earned_and_people_are_told_with_the_cause() {
    let mut stage = by_fly(&["m1"]);
    stage.silent = Some("refuses the token (401)".to_owned());
    stage.pass(14);
    assert!(blind(&stage).is_empty());
    stage.pass(300);
    let told = blind(&stage);
    assert_eq!(told.len(), 1, "{told:?}");
    let want = "nothing can be read from Fly's managed Prometheus (`fly`): refuses the token (401)";
    assert!(told[0].contains(want), "{told:?}");
    assert_eq!(watch(&stage).obstacle, Some(Obstacle::SourceSilent { source: fly() }));
    stage.silent = None;
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(20);
    let told = stage.told(EventKind::MonitorRecovered);
    assert_eq!(crate::notify::text::sentence(told[0]).matches("can be read again").count(), 1);
    stage.pass(90);
    assert!(matches!(stage.state.phase, Phase::Steady), "{:?}", stage.state.phase);
}

#[test]
fn a_server_of_which_it_is_told_for_all_is_not_told_of_by_each_app() {
    let mut stage = by_fly(&["m1"]);
    stage.silent = Some("503".to_owned());
    stage.org.sources_told.insert(fly());
    stage.pass(300);
    assert!(blind(&stage).is_empty());
    assert!(stage.state.memory.blind.contains_key(&fly()));
}

#[test]
fn a_countdown_is_cancelled_when_the_server_that_it_rests_on_tells_nothing() {
    let counting_down = || {
        let mut stage = by_fly(&["m1"]);
        stage.policy.watch.countdown = Duration::from_secs(60);
        stage.serves = vec![("m1", 10.0, 5.0)];
        for _ in 0..60 {
            if matches!(stage.state.phase, Phase::CountingDown { .. }) {
                return stage;
            }
            stage.look();
        }
        panic!("{:?}", stage.events);
    };
    let mut stage = counting_down();
    stage.serves.clear();
    stage.silent = Some("503".to_owned());
    stage.pass(20);
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
    // Pages are nothing that it rests on.
    let mut stage = counting_down();
    stage.no_page = Some("refused".to_owned());
    stage.pass(20);
    assert!(stage.told(EventKind::RollbackStopped).is_empty(), "{:?}", stage.events);
}

/// A page holds what its process counted before anybody looked; a server's sample says nothing of it.
#[test]
fn what_a_server_told_first_does_not_use_up_the_past_of_a_page() {
    let mut stage = by_fly(&["m1"]);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(4);
    assert!(watch(&stage).absorbed.is_empty());
    let unread = |state: &ThresholdState| state.rounds == 0;
    assert!(!watch(&stage).thresholds.values().any(unread));
}

#[test]
fn a_server_that_only_an_alert_rests_on_keeps_nothing_from_being_trusted() {
    for (on_breach, no_data, is_trusted) in [
        (OnBreach::Rollback, NoData::Hold, false),
        (OnBreach::Alert, NoData::Hold, true),
        (OnBreach::Rollback, NoData::Ignore, true),
    ] {
        let mut stage = Stage::trusted(&["m1"]);
        stage.policy.thresholds = vec![ratio(), Threshold { on_breach, no_data, ..from_fly() }];
        stage.policy.thresholds[1].name = "fly".to_owned();
        stage.machine("m1").has_services = true;
        stage.ship(2, "sha256:2");
        stage.serves = vec![("m1", 10.0, 0.0)];
        stage.silent = Some("503".to_owned());
        stage.pass(120);
        let trusted = stage.told(EventKind::ReleaseTrusted).len() == 2;
        assert_eq!(trusted, is_trusted, "{on_breach:?} {no_data:?}");
    }
}

/// What Fly's server counts of a machine comes most of a minute after it is back.
#[test]
fn a_region_waits_for_what_the_server_will_tell_unless_somebody_says_how_long() {
    let written = ConfirmTime::at_most(Duration::from_secs(30));
    for (confirm, by_requests) in [(ConfirmTime::default(), true), (written, false)] {
        let mut stage = by_fly(&["m1", "m2", "m3"]);
        stage.machine("m3").region = Region::new("syd");
        let iad_first = vec![Some(Region::new("iad")), None];
        stage.policy.rollback.order = RegionOrder::Listed(iad_first);
        stage.policy.rollback.confirm = confirm;
        stage.serves = ["m1", "m2", "m3"].map(|id| (id, 10.0, 5.0)).to_vec();
        stage.begin();
        // Given a region that is confirmed, and another one that is back without counts
        stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0), ("m3", 0.0, 0.0)];
        for _ in 0..40 {
            stage.look();
            stage.put_right_now();
        }
        // When they come
        stage.serves[2] = ("m3", 100.0, 0.0);
        stage.pass(60);
        // Then they are waited for, or were not
        let confirmed = stage.told(EventKind::RollbackRegionConfirmed);
        let shown: Vec<(&str, bool)> = confirmed
            .iter()
            .filter_map(|event| match event.reason.as_ref()? {
                Reason::RegionWell { region, shown, .. } => {
                    Some((region.as_str(), shown.is_some()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(shown, [("iad", true), ("syd", by_requests)]);
    }
}
