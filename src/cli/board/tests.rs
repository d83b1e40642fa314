//! Frames are what is expected, at every size.

use super::{Cell, Meter, Other, Panel, Rate, Region, Scene, Told, frame};
use crate::cli::terminal::{Look, Tone, columns};

fn region(name: &str, machines: &[Cell], words: &str) -> Region {
    Region { name: name.to_owned(), machines: machines.to_vec(), words: words.to_owned() }
}

fn meter(name: &str, value: &str, has: Option<f64>, words: &str, counts: &str) -> Meter {
    let odds = has.map(|has| (has, 2000_f64.ln()));
    Meter {
        name: name.to_owned(),
        value: value.to_owned(),
        tone: if odds.is_some_and(|(has, needs)| has >= needs) { Tone::Bad } else { Tone::Good },
        odds,
        words: words.to_owned(),
        needs: if has.is_some() { " of 2000:1".to_owned() } else { String::new() },
        counts: counts.to_owned(),
    }
}

fn told(when: &str, tone: Tone, text: &str) -> Told {
    Told { when: when.to_owned(), tone, text: text.to_owned() }
}

/// A rollback half-way through.
fn scene() -> Scene {
    let panel = Panel {
        name: "api".to_owned(),
        state: (Tone::Bad, "rolling back".to_owned()),
        facts: "for 6 s, 24 s left".to_owned(),
        releases: "v43 (errors) → v42 (good)".to_owned(),
        remarks: Vec::new(),
        commands: Vec::new(),
        regions: vec![
            region("iad", &[Cell::Good, Cell::Good], "2 of 2 on v42, confirmed"),
            region("lhr", &[Cell::Good, Cell::Changing], "1 of 2 on v42, rolling back"),
            region("syd", &[Cell::Bad, Cell::Bad], "0 of 2 on v42, waiting"),
        ],
        meters: vec![
            meter("5xx", "30.0 % of 2 %", Some(9.15), "9400:1", "144 of 480"),
            meter("p95", "0 % of 5 %", Some(-1.0), "1:1", "0 of 480"),
            meter("checks", "0 % of 30 %", None, "pass", "0 of 6"),
        ],
        rate: Some(Rate {
            what: "failed/s".to_owned(),
            history: vec![0.0, 0.0, 6.0, 12.0, 24.0, 36.0, 36.0, 30.0, 18.0, 9.5],
        }),
    };
    Scene {
        head: "acme · waveoff 0.1.0".to_owned(),
        right: "14:02:09 UTC".to_owned(),
        notices: Vec::new(),
        panels: vec![panel],
        others: vec![
            Other {
                name: "web".to_owned(),
                state: (Tone::Good, "steady".to_owned()),
                words: "v12 for 3 d 2 h".to_owned(),
            },
            Other {
                name: "worker".to_owned(),
                state: (Tone::Busy, "learning".to_owned()),
                words: "v7 for 4 min".to_owned(),
            },
        ],
        told: vec![
            told(
                "21.0 s",
                Tone::Bad,
                "api v43 (errors): degraded after 6 s: 5xx 30.0 % (144 of 480 requests), limit 2 %, odds 9400:1; v42 at the same time 0 % (0 of 236).",
            ),
            told("21.1 s", Tone::Busy, "rollback planned: v43 → v42, in the order iad, lhr, syd"),
            told("27.1 s", Tone::Good, "iad healthy on v42 after 6 s; lhr, syd next"),
        ],
        foot: vec!["http://localhost:8080 · Ctrl-C ends it".to_owned()],
    }
}

fn drawn(width: usize, height: Option<usize>) -> String {
    let lines = frame(&scene(), width, height);
    assert!(lines.iter().all(|line| columns(line) <= width), "{lines:#?}");
    assert!(height.is_none_or(|height| lines.len() <= height), "{}", lines.len());
    Look::plain(Some(width)).paint(&lines.join("\n"))
}

#[test]
fn a_rollback_fits_eighty_columns_and_the_usual_height() {
    insta::assert_snapshot!(drawn(80, Some(24)), @r"
    acme · waveoff 0.1.0                                                14:02:09 UTC

    api  rolling back for 6 s, 24 s left
      v43 (errors) → v42 (good)
      iad  ●●  2 of 2 on v42, confirmed
      lhr  ●◌  1 of 2 on v42, rolling back
      syd  ✗✗  0 of 2 on v42, waiting
      5xx       30.0 % of 2 %  ━━━━━━━━━━━━━━━━━━━━━━━━┃━━━    9400:1 of 2000:1
      p95       0 % of 5 %     ╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┃       1:1 of 2000:1
      checks    0 % of 30 %                                    pass
      failed/s  ▁▁▂▃▆██▇▄▃  9.5 now, 36 at the worst
      ● known good  ◌ changing  ✗ bad

    web     steady    v12 for 3 d 2 h
    worker  learning  v7 for 4 min

    21.0 s  api v43 (errors): degraded after 6 s: 5xx 30.0 % (144 of 480 requests),
            limit 2 %, odds 9400:1; v42 at the same time 0 % (0 of 236).
    21.1 s  rollback planned: v43 → v42, in the order iad, lhr, syd
    27.1 s  iad healthy on v42 after 6 s; lhr, syd next

    http://localhost:8080 · Ctrl-C ends it
    ");
}

#[test]
fn in_sixty_columns_counts_are_left_out_and_bars_are_shorter() {
    insta::assert_snapshot!(drawn(60, None), @r"
    acme · waveoff 0.1.0                            14:02:09 UTC

    api  rolling back for 6 s, 24 s left
      v43 (errors) → v42 (good)
      iad  ●●  2 of 2 on v42, confirmed
      lhr  ●◌  1 of 2 on v42, rolling back
      syd  ✗✗  0 of 2 on v42, waiting
      5xx       30.0 % of 2 %  ━━━━━━━━━━━━┃━   9400:1 of 2000:1
      p95       0 % of 5 %     ╌╌╌╌╌╌╌╌╌╌╌╌┃    1:1 of 2000:1
      checks    0 % of 30 %                     pass
      failed/s  ▁▁▂▃▆██▇▄▃  9.5 now, 36 at the worst
      ● known good  ◌ changing  ✗ bad

    web     steady    v12 for 3 d 2 h
    worker  learning  v7 for 4 min

    21.0 s  api v43 (errors): degraded after 6 s: 5xx 30.0 %
            (144 of 480 requests), limit 2 %, odds 9400:1; v42 …
    21.1 s  rollback planned: v43 → v42, in the order iad, lhr,
            syd
    27.1 s  iad healthy on v42 after 6 s; lhr, syd next

    http://localhost:8080 · Ctrl-C ends it
    ");
}

#[test]
fn in_forty_columns_what_matters_is_left() {
    insta::assert_snapshot!(drawn(40, Some(20)), @r"
    acme · waveoff 0.1.0        14:02:09 UTC

    api  rolling back for 6 s, 24 s left
      v43 (errors) → v42 (good)
      iad  ●●  2 of 2 on v42, confirmed
      lhr  ●◌  1 of 2 on v42, rolling back
      syd  ✗✗  0 of 2 on v42, waiting
      5xx       30.0 % of 2 %  9400:1
      p95       0 % of 5 %     1:1
      checks    0 % of 30 %    pass
      failed/s  ▄▃  9.5 now, 36 at the worst
      ● known good  ◌ changing  ✗ bad

    web     steady    v12 for 3 d 2 h
    worker  learning  v7 for 4 min

    27.1 s  iad healthy on v42 after 6 s;
            lhr, syd next

    http://localhost:8080 · Ctrl-C ends it
    ");
}

#[test]
fn every_size_is_kept_to() {
    for width in 20..130 {
        for height in [4, 10, 24, 60] {
            drawn(width, Some(height));
        }
    }
}

#[test]
fn what_is_bad_is_red_and_what_is_good_is_green_where_colours_are_wanted() {
    let lines = frame(&scene(), 80, None);
    let painted = Look { width: Some(80), colours: true }.paint(&lines.join("\n"));
    assert!(painted.contains("\u{1b}[1;31m✗\u{1b}[0m"), "{painted:?}");
    assert!(painted.contains("\u{1b}[32m●\u{1b}[0m"), "{painted:?}");
    assert!(!drawn(80, None).contains('\u{1b}'));
}

#[test]
fn what_comes_from_apps_cannot_steer_the_terminal() {
    let mut scene = scene();
    for text in [&mut scene.panels[0].name, &mut scene.told[0].text, &mut scene.others[0].words] {
        text.insert_str(1, "\u{1b}[2J\n\u{9b}31m\u{202e}");
    }
    scene.panels[0].regions[0].name = "\u{1b}]0;x\u{7}".to_owned();
    let painted = Look::plain(Some(80)).paint(&frame(&scene, 80, None).join("\n"));
    assert!(!painted.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{7}']), "{painted:?}");
}

/// Somebody copies them: nothing of a command is lost.
#[test]
fn what_a_person_can_run_stands_below_the_app_in_whole_words() {
    let mut scene = scene();
    let named = |purpose: &str, command: &str| (purpose.to_owned(), command.to_owned());
    scene.panels[0].commands = vec![
        named("stop", "waveoff hold api --reason \"…\""),
        named("go on", "waveoff rollback billing-and-invoicing-worker --to v41 --force"),
    ];
    let drawn = |width| -> String {
        let lines = frame(&scene, width, None);
        assert!(lines.iter().all(|line| columns(line) <= width), "{lines:#?}");
        let shown: Vec<_> = lines.iter().skip(2).take(6).cloned().collect();
        Look::plain(Some(width)).paint(&shown.join("\n"))
    };
    insta::assert_snapshot!(drawn(80), @r#"
    api  rolling back for 6 s, 24 s left
      v43 (errors) → v42 (good)
      stop   waveoff hold api --reason "…"
      go on  waveoff rollback billing-and-invoicing-worker --to v41 --force
      iad  ●●  2 of 2 on v42, confirmed
      lhr  ●◌  1 of 2 on v42, rolling back
    "#);
    insta::assert_snapshot!(drawn(60), @r#"
    api  rolling back for 6 s, 24 s left
      v43 (errors) → v42 (good)
      stop   waveoff hold api --reason "…"
      go on  waveoff rollback billing-and-invoicing-worker --to
             v41 --force
      iad  ●●  2 of 2 on v42, confirmed
    "#);
}

#[test]
fn each_app_that_is_dealt_with_is_named_in_a_window_that_has_no_room_to_draw_all() {
    let mut all = scene();
    for name in ["web", "blog"] {
        let panel = Panel { name: name.to_owned(), ..all.panels[0].clone() };
        all.panels.push(panel);
    }
    for height in [12, 20, 24, 30, 60] {
        let lines = frame(&all, 80, Some(height));
        assert!(lines.len() <= height, "{lines:#?}");
        let text = lines.join("\n");
        for name in ["api", "web", "blog"] {
            let begins = |line: &&String| columns(line) > 0 && line.contains(name);
            let line = lines.iter().find(begins).unwrap_or_else(|| panic!("no {name} in\n{text}"));
            assert!(line.contains("rolling back"), "{line}");
        }
    }
    // With room, all of them are drawn.
    assert_eq!(frame(&all, 80, None).join("\n").matches("2 of 2 on v42").count(), 3);
}
