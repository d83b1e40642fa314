//! What a daemon answers is drawn as it is.

use std::collections::BTreeMap;

use super::{is_drawn, panel, scene};
use crate::{
    cli::{
        board::frame,
        status::tests::{at, evidence, organization, release, rolling_back},
        terminal::Look,
    },
    model::{EventKind, Kind, Unit},
    web::{
        Phase,
        explain::{BlockView, ExplainView, MachineView, ThresholdView, ToldView},
        view::{AppView, CommandView, Counts},
    },
};

fn baking() -> AppView {
    let mut errors = evidence("5xx", Kind::Ratio, Unit::Requests);
    errors.value = Some(0.015);
    errors.limit = Some(0.02);
    errors.counts = Counts { bad: 6.0, total: 400.0 };
    errors.ln_odds = Some(2.0);
    errors.ln_odds_needed = Some(7.6);
    AppView {
        app: "web".into(),
        phase: Phase::Baking,
        release: Some(release(42, "deployment-42")),
        evidence: vec![errors],
        regions: Vec::new(),
        blind: None,
        ..rolling_back()
    }
}

fn explained(view: &AppView) -> ExplainView {
    let machine = |id: &str, region: &str, state: &str, on| MachineView {
        machine: id.into(),
        region: region.into(),
        state: state.to_owned(),
        on,
        version: None,
        exits: 0,
        failing: Vec::new(),
    };
    let block = |second, bad| BlockView {
        at: at(second),
        counts: Counts { bad, total: 100.0 },
        ln_odds: None,
        control: None,
    };
    let release = view.release.clone().unwrap();
    ExplainView {
        app: view.app.clone(),
        known_good: view.known_good.clone(),
        silence: None,
        at: at(40),
        live: true,
        told: vec![ToldView {
            at: at(0),
            event: EventKind::ReleaseDetected,
            text: "web v42: new release\u{1b}[2J by ada@example.com".to_owned(),
        }],
        thresholds: vec![ThresholdView {
            evidence: view.evidence[0].clone(),
            text: String::new(),
            blocks: vec![block(0, 0.0), block(5, 10.0), block(10, 5.0)],
            regions: Vec::new(),
            phi: None,
            dispersion: None,
            series: Vec::new(),
            missing: None,
        }],
        promise: None,
        machines: vec![
            machine("m1", "iad", "started", true),
            machine("m2", "iad", "replacing", false),
            machine("m3", "lhr", "started", false),
        ],
        neighbours: Vec::new(),
        release,
    }
}

#[test]
fn apps_are_drawn_the_most_urgent_first_with_machines_evidence_and_what_was_told() {
    let (bakes, mut steady) = (baking(), baking());
    (steady.app, steady.phase) = ("billing".into(), Phase::Steady);
    let rolls = rolling_back();
    let known =
        BTreeMap::from([(bakes.app.clone(), explained(&bakes)), ("api".into(), explained(&rolls))]);
    let status = organization(vec![bakes, steady, rolls]);
    let lines = frame(&scene(&status, &known), 80, None);
    insta::assert_snapshot!(Look::plain(Some(80)).paint(&lines.join("\n")), @r"
    acme · waveoff 0.1.0                                                12:00:48 UTC

    api  rolling back for 48 s, 30 s left
      v42 (deploy- [31m42) → v41 (deploy-41)
      blind: metrics of 2 machines
      iad  ●●  2 of 2 on v41, confirmed
      syd  ●✗  1 of 2 on v41, rolling back
      5xx     9.0 % of 2 %    ━━━━━━━━━━━━━━━━━━━━━━━━┃━      12 000:1 of 5000:1
      checks  25.0 % of 30 %                                  pass
      memory  - of 0.3                                        inconclusive

    web  baking for 48 s, 30 s left
      v42 by ada@example.com, judged against v41 (deploy-41)
      iad  ◆◌  1 of 2 on v42
      lhr  ●   0 of 1 on v42
      5xx    1.5 % of 2 %  ━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┃       7:1 of 2000:1  6 of 400
      bad/s  █▄  1 now, 2 at the worst
      ● known good  ◆ new  ◌ changing  ✗ bad

    billing  steady  v42 for 48 s

    12:00:00  web v42: new release [2J by ada@example.com
    12:00:00  web v42: new release [2J by ada@example.com
    ");
}

#[test]
fn what_is_over_is_drawn_for_a_while_and_what_is_steady_is_not() {
    let mut app = rolling_back();
    app.phase = Phase::RolledBack;
    assert!(is_drawn(&app, at(599)));
    assert!(!is_drawn(&app, at(601)));
    app.phase = Phase::Steady;
    assert!(!is_drawn(&app, at(1)));
}

#[test]
fn the_commands_that_the_daemon_names_are_drawn_with_what_they_are_for() {
    let mut app = rolling_back();
    let named = |purpose: &str, command: &str| CommandView {
        purpose: purpose.to_owned(),
        command: command.to_owned(),
    };
    app.commands = vec![
        named("stop", "waveoff hold api\u{1b}[2J"),
        named("go_on", "waveoff rollback api --to v41"),
    ];
    let shown = panel(&app, None, at(10)).commands;
    let shown: Vec<(&str, &str)> =
        shown.iter().map(|(purpose, command)| (purpose.as_str(), command.as_str())).collect();
    let wanted = [("stop", "waveoff hold api [2J"), ("go on", "waveoff rollback api --to v41")];
    assert_eq!(shown, wanted);
}
