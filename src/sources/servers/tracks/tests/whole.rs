//! Answers that hold a part of what a machine counted.

use super::*;

/// One second each, from `from` on: so many good ones and bad ones a second since second 0.
fn second_by_second(seconds: std::ops::RangeInclusive<i64>, each: f64) -> Vec<(i64, f64)> {
    seconds.map(|second| (second, 1000.0 + each * second as f64)).collect()
}

#[tokio::test]
async fn errors_without_the_successes_beside_them_wait_for_these() {
    // Given a machine of which one request in 200 fails
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &second_by_second(0..=20, 199.0)),
        responses("m1", "503", &second_by_second(0..=20, 1.0)),
    ]);
    assert_eq!(told.count("m1"), Some((4000.0, 20.0)));
    // When the server has the errors alone for a while
    for second in 21..=70 {
        told.hears(&[responses("m1", "503", &second_by_second(20..=second, 1.0))]);
        // Then nothing is judged by them
        let counted = told.count("m1");
        assert!(counted.is_none_or(|(n, _)| n == 0.0), "second {second}: {counted:?}");
    }
    assert_eq!(told.count("m1"), None, "it is not known to be silent either");
    // and nothing is lost when it has both again
    told.hears(&[
        responses("m1", "200", &second_by_second(20..=71, 199.0)),
        responses("m1", "503", &second_by_second(20..=71, 1.0)),
    ]);
    assert_eq!(told.count("m1"), Some((10_200.0, 51.0)));
}

#[tokio::test]
async fn errors_whose_successes_stay_away_are_nobodys_and_counted_anew_from_then_on() {
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &second_by_second(0..=20, 199.0)),
        responses("m1", "503", &second_by_second(0..=20, 1.0)),
    ]);
    told.count("m1");
    // What there was before is gone after ten minutes
    for second in (50..=680).step_by(30) {
        told.hears(&[responses("m1", "503", &second_by_second(second - 30..=second, 1.0))]);
        if second < 620 {
            assert!(told.count("m1").is_none_or(|(n, _)| n == 0.0), "second {second}");
        }
    }
    let (n, k) = told.count("m1").unwrap();
    assert!(k <= 60.0 && (n - k).abs() < 1e-9, "{k} of {n}: what waited is nobody's");
    told.hears(&[responses("m1", "503", &second_by_second(680..=690, 1.0))]);
    assert_eq!(told.count("m1"), Some((10.0, 10.0)));
}

#[tokio::test]
async fn a_kind_of_answer_that_is_rare_may_vanish() {
    // Given a series that did not move for some minutes
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &second_by_second(0..=200, 10.0)),
        responses("m1", "404", &second_by_second(0..=200, 0.0)),
    ]);
    told.count("m1");
    // When the server has it no more, then the others count at once
    told.hears(&[
        responses("m1", "200", &second_by_second(200..=210, 10.0)),
        responses("m1", "503", &[(210, 5.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((105.0, 5.0)));
}

#[tokio::test]
async fn what_a_process_counted_before_it_began_anew_is_not_waited_for() {
    let mut told = Told::of(failures());
    let before = || {
        [
            responses("m1", "200", &second_by_second(0..=20, 100.0)),
            responses("m1", "404", &second_by_second(0..=20, 10.0)),
        ]
    };
    // Given a process in its place, which the counter that shrank shows
    told.hears(&before());
    told.count("m1");
    told.hears(&[
        responses("m1", "200", &[(20, 3000.0), (21, 50.0), (22, 100.0)]),
        responses("m1", "503", &[(21, 50.0), (22, 90.0)]),
    ]);
    // Then it is counted although it has not had a 404 yet
    assert_eq!(told.count("m1"), Some((190.0, 90.0)));
    // Given another instance, whose list says when it began
    let mut told = Told::of(failures());
    told.hears(&before());
    told.count("m1");
    told.hears(&[responses("m1", "503", &[(22, 50.0), (23, 120.0)])]);
    let (n, k) = told.count_of("m1", at(21), at(60)).unwrap();
    assert_eq!((n, k), (70.0, 70.0), "it fails everything, and has no other series");
}

#[tokio::test]
async fn bad_events_of_another_metric_wait_for_all_events_as_well() {
    let (bad, total) = (Selector::metric("bad"), Selector::metric("all"));
    let mut told = Told::of(Selection::Share { bad, total });
    let all = |samples: &[(i64, f64)]| series("m1", "all", &[("path", "/")], samples);
    let bad = |samples: &[(i64, f64)]| series("m1", "bad", &[("reason", "db")], samples);
    told.hears(&[
        all(&[(-30, 0.0), (-15, 500.0), (0, 1000.0), (15, 2000.0)]),
        bad(&[(-30, 0.0), (-15, 2.0), (0, 5.0), (15, 10.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((2000.0, 10.0)));
    told.hears(&[bad(&[(15, 10.0), (30, 15.0)])]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
    told.hears(&[all(&[(15, 2000.0), (30, 3000.0)]), bad(&[(15, 10.0), (30, 15.0)])]);
    assert_eq!(told.count("m1"), Some((1000.0, 5.0)));
}

#[tokio::test]
async fn a_server_that_is_told_only_what_moved_is_not_waited_for() {
    // Given a series that has a sample now and then, and one that has all
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &second_by_second(0..=20, 10.0)),
        responses("m1", "404", &[(0, 1.0), (7, 2.0), (18, 3.0), (19, 4.0)]),
    ]);
    // Then what is added to the other counts at once
    assert_eq!(told.count("m1"), Some((203.0, 0.0)));
    told.hears(&[responses("m1", "200", &second_by_second(20..=30, 10.0))]);
    assert_eq!(told.count("m1"), Some((100.0, 0.0)));
}
