//! What is decided before anything is drawn.

use super::{list, part};
use crate::{
    model::{Mode, OperatorHold, ReleaseVersion, Verdict, event::ReleaseInfo},
    web::{
        Phase,
        tests::{noon, view},
        view::AppView,
    },
};

fn well(phase: Phase) -> AppView {
    let mut view = view("api", phase);
    view.evidence.iter_mut().for_each(|one| one.verdict = Verdict::Pass);
    view
}

#[test]
fn who_needs_somebody_stands_before_who_is_helped_and_the_steady_are_last() {
    let blind = AppView { blind: Some("the platform".to_owned()), ..well(Phase::Steady) };
    let hold = OperatorHold { by: "d".into(), reason: "x".into(), since: noon(), until: None };
    let braked = AppView { operator_hold: Some(hold), ..well(Phase::Steady) };
    let worst_first = [
        well(Phase::Held),
        well(Phase::RollingBack),
        view("api", Phase::Baking),
        blind,
        well(Phase::RolledBack),
        braked,
        well(Phase::Deploying),
        well(Phase::Learning),
        well(Phase::Steady),
    ];
    let ranks: Vec<_> = worst_first.iter().map(AppView::rank).collect();
    assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    assert_eq!(well(Phase::AwaitingApproval).rank(), ranks[0]);
}

#[test]
fn a_bar_is_half_full_at_the_limit_and_never_more_than_full() {
    let mut evidence = view("api", Phase::Baking).evidence.remove(0);
    for (value, limit, filled) in [
        (Some(0.02), Some(0.02), 50.0),
        (Some(0.09), Some(0.02), 100.0),
        (Some(0.0), Some(0.02), 0.0),
        (Some(0.5), Some(0.0), 100.0),
        (None, Some(0.02), 0.0),
        (Some(0.5), None, 0.0),
    ] {
        (evidence.value, evidence.limit) = (value, limit);
        assert!((part::filled(&evidence) - filled).abs() < 1e-9, "{value:?} {limit:?}");
    }
}

#[test]
fn the_most_urgent_reason_stands_in_the_row() {
    let row = |view: &AppView| list::row(view).0;
    let mut app = AppView { mode: Mode::Observe, ..well(Phase::Held) };
    assert!(row(&app).contains("observes only"));
    app.blind = Some("the platform".to_owned());
    assert!(row(&app).contains("blind: the platform") && !row(&app).contains("observes"));
    app.hold = Some("migrations".to_owned());
    assert!(row(&app).contains("migrations") && !row(&app).contains("blind"));
    app.hold = Some("x".repeat(1000));
    assert!(row(&app).len() < 1000, "a row is short whatever is said");
}

#[test]
fn what_an_undone_release_showed_is_told_of_then_and_draws_no_bar() {
    let mut app = view("api", Phase::RolledBack);
    app.release = Some(ReleaseInfo {
        version: Some(ReleaseVersion(42)),
        tag: None,
        digest: "sha256:42".into(),
        author: None,
        created_at: None,
    });
    let row = list::row(&app).0;
    assert!(row.contains("v42 then: 5xx 9.0 %") && !row.contains("<svg"), "{row}");
    app.phase = Phase::Baking;
    assert!(list::row(&app).0.contains("<svg"));
}

#[test]
fn a_name_is_a_path_whatever_is_in_it() {
    assert_eq!(super::shell::app_path("api-1"), "/apps/api-1");
    assert_eq!(super::shell::app_path("a/../b ?#\"ü"), "/apps/a%2F..%2Fb%20%3F%23%22%C3%BC");
}
