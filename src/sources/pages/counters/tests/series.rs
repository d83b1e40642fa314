//! Counts told apart by labels.

use super::*;

fn by(mut wanted: Wanted, labels: &[&str]) -> Wanted {
    wanted.by = labels.iter().map(|&label| label.to_owned()).collect();
    wanted
}

/// What a page adds, series by series.
fn parts(rounds: &mut Rounds, page: &str) -> Vec<(String, f64, f64)> {
    let name = rounds.thresholds[0].threshold.clone();
    let mut reading = rounds.page(page);
    let parts = reading.readings.series.remove(&name).unwrap_or_default();
    parts.into_iter().map(|(name, part)| (name, part.n, part.k)).collect()
}

#[test]
fn each_series_has_its_own_events_and_its_own_bad_ones() {
    let mut rounds = Rounds::of(by(errors(), &["path"]));
    let page = |a: u32, a_bad: u32, b_bad: u32| {
        format!(
            "http_requests_total{{path=\"/a\",code=\"200\"}} {a}\n\
             http_requests_total{{path=\"/a\",code=\"500\"}} {a_bad}\n\
             http_requests_total{{path=\"/b\",code=\"500\"}} {b_bad}\n"
        )
    };
    rounds.page(&page(10, 1, 1));
    let told = parts(&mut rounds, &page(30, 3, 6));
    assert_eq!(told, [("path=\"/a\"".to_owned(), 22.0, 2.0), ("path=\"/b\"".to_owned(), 5.0, 5.0)]);
    assert!(parts(&mut rounds, &page(30, 3, 6)).is_empty(), "nothing happened");
}

#[test]
fn slow_events_are_those_of_their_own_histogram() {
    let mut rounds = Rounds::of(by(slow(0.5), &["path", "method"]));
    let page = |a: (u32, u32), b: (u32, u32)| {
        let one = |path: &str, (all, within): (u32, u32)| {
            let labels = format!("path=\"{path}\",method=\"GET\"");
            format!(
                "d_bucket{{{labels},le=\"0.5\"}} {within}\nd_bucket{{{labels},le=\"+Inf\"}} {all}\n\
                 d_count{{{labels}}} {all}\nd_sum{{{labels}}} 1\n"
            )
        };
        one("/a", a) + &one("/b", b)
    };
    rounds.page(&page((10, 10), (0, 0)));
    let told = parts(&mut rounds, &page((20, 20), (8, 2)));
    let name = |path: &str| format!("path=\"{path}\", method=\"GET\"");
    assert_eq!(told, [(name("/a"), 10.0, 0.0), (name("/b"), 8.0, 6.0)]);
}

#[test]
fn a_label_that_no_series_has_is_told() {
    let mut rounds = Rounds::of(by(errors(), &["route"]));
    let reading = rounds.page(&http(10, 1));
    let oddity = reading.readings.oddities.get("5xx").cloned();
    let seen = vec!["code".to_owned()];
    assert_eq!(oddity, Some(Oddity::NotBy { label: "route".to_owned(), seen }));
}

#[test]
fn of_very_many_series_the_busiest_are_told() {
    let mut rounds = Rounds::of(by(errors(), &["path"]));
    let page = |times: u32| -> String {
        let line = |path: u32| {
            format!("http_requests_total{{path=\"/{path}\",code=\"200\"}} {}\n", path * times)
        };
        (1..=500).map(line).collect()
    };
    rounds.page(&page(1));
    let told = parts(&mut rounds, &page(2));
    assert_eq!(told.len(), 200);
    assert!(told.iter().all(|(_, n, _)| *n > 300.0), "{told:?}");
}
