//! A breach that nobody vouches for: what is about to be over is waited for, and what comes again and
//! again is not.

use super::{
    stage::{Stage, ratio},
    *,
};
use crate::model::Region;

/// v2 runs on two machines in two regions, and was well for a minute and a half.
fn settled() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.machine("m2").region = Region::new("lhr");
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.bake = Duration::from_secs(3600);
    serves(&mut stage, 0.0, 0.0);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    stage
}

fn serves(stage: &mut Stage, first: f64, second: f64) {
    stage.serves = vec![("m1", 100.0, first), ("m2", 100.0, second)];
}

fn plan(stage: &mut Stage) -> u64 {
    let before = stage.told(EventKind::RollbackPlanned).len();
    for _ in 0..90 {
        stage.look();
        if let Some(event) = stage.told(EventKind::RollbackPlanned).get(before) {
            return match event.reason {
                Some(Reason::CountsDown { seconds, .. }) => seconds,
                _ => 0,
            };
        }
    }
    panic!("{:?}", stage.events);
}

fn began(stage: &Stage) -> usize {
    stage.told(EventKind::RollbackStarted).len()
}

/// Clients come again after an outage: 60 %, then less and less.
#[test]
fn a_breach_that_fades_as_its_countdown_ends_is_waited_for() {
    let mut stage = settled();
    serves(&mut stage, 60.0, 60.0);
    assert_eq!(plan(&mut stage), 30);
    stage.pass(20);
    for share in [30.0, 12.0, 6.0, 5.0, 4.0, 3.0, 2.5] {
        serves(&mut stage, share, share);
        stage.pass(4);
        assert_eq!(began(&stage), 0, "{share}");
    }
    serves(&mut stage, 0.5, 0.5);
    stage.pass(30);
    assert_eq!((began(&stage), stage.told(EventKind::RollbackStopped).len()), (0, 1));
}

#[test]
fn what_is_less_than_it_was_and_no_recovery_is_undone_after_as_long_again() {
    let mut stage = settled();
    serves(&mut stage, 60.0, 60.0);
    plan(&mut stage);
    let planned = stage.second;
    stage.pass(20);
    serves(&mut stage, 8.0, 8.0);
    stage.begin();
    let took = stage.second - planned;
    assert!((58..=64).contains(&took), "{took} s");
}

/// One region of two fails: that is as likely the platform's.
#[test]
fn what_fails_in_some_regions_only_counts_down_for_twice_as_long() {
    let mut stage = settled();
    serves(&mut stage, 0.0, 60.0);
    assert_eq!(plan(&mut stage), 60);
    stage.pass(40);
    assert_eq!(began(&stage), 0);
    serves(&mut stage, 0.0, 0.0);
    stage.pass(60);
    assert_eq!(began(&stage), 0);
}

#[test]
fn a_region_of_which_too_little_is_known_is_not_well() {
    let mut stage = settled();
    stage.serves = vec![("m1", 0.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(300);
    stage.serves = vec![("m1", 0.0, 0.0), ("m2", 100.0, 60.0)];
    assert_eq!(plan(&mut stage), 30);
}

/// Bad for twenty seconds of each minute.
#[test]
fn a_release_that_breaches_for_the_third_time_is_to_blame() {
    let mut stage = settled();
    for time in 0..3 {
        assert_eq!(began(&stage), 0);
        serves(&mut stage, 60.0, 60.0);
        assert_eq!(plan(&mut stage), if time < 2 { 30 } else { 0 }, "{time}");
        serves(&mut stage, 0.0, 0.0);
        stage.pass(40);
    }
    assert_eq!(began(&stage), 1);
}

#[test]
fn outages_far_apart_are_not_counted_together() {
    let mut stage = settled();
    for _ in 0..4 {
        serves(&mut stage, 60.0, 60.0);
        assert_eq!(plan(&mut stage), 30);
        serves(&mut stage, 0.0, 0.0);
        stage.pass(320);
    }
    assert_eq!(began(&stage), 0);
}

/// What a neighbour shows is of the regions in which it fails.
#[test]
fn an_app_bears_witness_for_the_regions_in_which_it_fails() {
    let mut stage = settled();
    serves(&mut stage, 0.0, 60.0);
    stage.pass(20);
    let told = crate::decide::distress::of(&stage.state).unwrap();
    assert_eq!(told.regions, [Region::new("lhr")].into());
}
