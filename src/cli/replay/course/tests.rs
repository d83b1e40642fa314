//! Outages of a past, at each limit.

use super::*;
use crate::{
    cli::replay::stage::{self, at, requests, threshold},
    model::{Checks, Count, Ratio, Since, ThresholdKind},
    sources::servers::unknown_machine,
};

/// At most 2 % of the requests may fail, and checks have to pass.
fn policy() -> Arc<Policy> {
    let checks = ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 });
    let checks = threshold("checks", checks, NoData::Breach);
    stage::policy(vec![requests(NoData::Breach), checks])
}

fn grid() -> Grid {
    Grid::new(&policy(), std::time::Duration::from_secs(5))
}

/// A reading each 5 s with 500 requests, of which `failed(second)` fail.
fn lived(deploys: &[i64], seconds: i64, failed: impl Fn(i64) -> f64) -> Course {
    let deploys: Vec<Timestamp> = deploys.iter().map(|second| at(*second)).collect();
    let mut course = Course::new(&policy(), &Origin::PAGES, &deploys, (Timestamp::MIN, grid()));
    let machine = unknown_machine("m1", at(-100));
    let names: Vec<String> =
        course.wants(&SourceName::Pages).into_iter().map(|one| one.threshold).collect();
    for second in (0..seconds).step_by(5) {
        let count = Count { n: 500.0, k: failed(second), since: Since::LastScrape };
        let counts = names.iter().map(|name| (name.clone(), count)).collect();
        course.round(at(second), &[(&machine, Readings { counts, ..Readings::default() })]);
    }
    course
}

fn limits(course: &Course) -> Vec<(f64, usize)> {
    course.ladders[0].rungs.iter().map(|rung| (rung.times, rung.breaches.len())).collect()
}

#[test]
fn an_outage_is_found_once_with_its_beginning_and_its_end() {
    // 10 % for five minutes
    let course = lived(&[], 3600, |second| if (600..900).contains(&second) { 50.0 } else { 1.0 });
    assert_eq!(course.left_out, ["checks"], "nobody keeps their past");
    let own = course.ladders[0].as_it_is().unwrap();
    assert_eq!(own.breaches.len(), 1);
    let breach = &own.breaches[0];
    let late = |time: Timestamp, second| time.duration_since(at(second)).as_secs();
    assert!((5..120).contains(&late(breach.at, 600)), "{breach:?}");
    assert!((5..120).contains(&late(breach.until.unwrap(), 900)), "{breach:?}");
    assert_eq!(breach.evidence.value.map(|share| share > 0.005), Some(true));
    assert_eq!(course.readings(), 720);
}

#[test]
fn what_is_only_compared_has_no_limit_to_be_chosen() {
    let mut policy = Policy::clone(&policy());
    let ThresholdKind::Ratio(ratio) = policy.thresholds[0].kind.clone() else { panic!() };
    let relative = Some(crate::model::Relative { times: 1.5, plus: 0.002 });
    let kind = ThresholdKind::Ratio(Ratio { max: SHARE_MAX, relative, ..ratio });
    policy.thresholds[0].kind = kind;
    let course = Course::new(&Arc::new(policy), &Origin::PAGES, &[], (Timestamp::MIN, grid()));
    assert_eq!((course.compared, course.ladders.len()), (vec!["5xx".to_owned()], 0));
}

#[test]
fn the_limit_that_is_proposed_is_the_lowest_from_which_on_all_is_quiet() {
    // 2.5 % always: above 2 %, below 3 %
    let course = lived(&[], 3600, |_| 12.5);
    let quiet = course.ladders[0].quiet().unwrap();
    assert_eq!(quiet.times.to_bits(), 1.5_f64.to_bits(), "{:?}", limits(&course));
    assert!(course.ladders[0].as_it_is().unwrap().breaches[0].until.is_none());
    let worst = lived(&[], 3600, |_| 250.0);
    assert!(worst.ladders[0].quiet().is_none());
    let best = lived(&[], 3600, |_| 0.0);
    assert_eq!(best.ladders[0].quiet().map(|rung| rung.times.to_bits()), Some(0.25_f64.to_bits()));
}

#[test]
fn a_deploy_begins_anew_and_is_named_by_what_follows_it() {
    let course = lived(&[900], 1800, |second| if second < 1000 { 0.0 } else { 50.0 });
    let breaches = &course.ladders[0].as_it_is().unwrap().breaches;
    assert_eq!(breaches.iter().map(|one| one.deployed).collect::<Vec<_>>(), [Some(at(900))]);
    // What was bad before the deploy says nothing of it.
    let course = lived(&[900], 1800, |second| if second < 900 { 50.0 } else { 0.0 });
    let breaches = &course.ladders[0].as_it_is().unwrap().breaches;
    assert_eq!(breaches.len(), 1);
    assert_eq!((breaches[0].deployed, breaches[0].until), (None, Some(at(900))));
}

#[test]
fn what_comes_again_within_minutes_is_one_and_after_them_another() {
    let outages = |gap: i64| {
        lived(&[], 7200, move |second| {
            let second_one = (900 + gap..1200 + gap).contains(&second);
            if (600..900).contains(&second) || second_one { 100.0 } else { 0.0 }
        })
    };
    let count = |course: Course| course.ladders[0].as_it_is().unwrap().breaches.len();
    assert_eq!(count(outages(120)), 1);
    assert_eq!(count(outages(1800)), 2);
}
