//! `waveoff explain APP [RELEASE]`: how a release came to its verdict, block by block.

mod blocks;

use std::{fmt::Write as _, io::Write};

use self::blocks::blocks;
use super::{
    client,
    history::escaped,
    terminal::Look,
    text::{clean_lines, fit, paragraph, table_in, time, time_of_day},
};
use crate::{
    model::{ReleaseVersion, event::ReleaseInfo},
    numbers::{odds, share, whole},
    web::{
        explain::{
            ExplainView, MachineView, NeighbourView, Promise, PromisedPer, RegionCounts,
            SeriesView, ThresholdView,
        },
        view::Counts,
    },
};

/// Asks the daemon at `url` and writes what it says; `json` passes its answer on unchanged.
///
/// # Errors
/// When the daemon cannot be reached or understood, knows no such app or release, or `out` cannot be
/// written.
pub(super) async fn run(
    url: &str,
    app: &str,
    release: Option<&str>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let query = release.map(|name| format!("?release={}", escaped(name))).unwrap_or_default();
    let path = format!("/api/v1/apps/{}/explain{query}", escaped(app));
    let body = client::get(url, &path).await?;
    if json {
        writeln!(out, "{}", body.trim_end())?;
    } else {
        out.write_all(page(&client::parse(url, &body)?, Look::of_stdout()).as_bytes())?;
    }
    Ok(0)
}

fn page(view: &ExplainView, look: Look) -> String {
    let width = look.width;
    let mut text = format!("{} {}", view.app, view.release.name());
    // What was trusted and is watched on is compared with nothing.
    if let Some(good) = view.known_good.as_ref().filter(|good| good.digest != view.release.digest) {
        let _ = write!(text, ", against {}", good.name());
    }
    let now = if view.live { ", as of now" } else { "" };
    let _ = writeln!(text, "  ({}{now})", time(view.at));
    let mut text = fit(&text, width);
    for told in &view.told {
        text.push_str(&paragraph(&format!("{}  {}", time(told.at), told.text), 0, width));
    }
    let control = view.known_good.as_ref().map_or_else(String::new, ReleaseInfo::label);
    for threshold in &view.thresholds {
        let said = format!("{}: {}", threshold.evidence.verdict.as_str(), threshold.text);
        text.push('\n');
        text.push_str(&paragraph(&said, 0, width));
        if let Some(missing) = threshold.missing {
            let missing = whole(missing);
            let said =
                format!("some {missing} requests are missing until they say that it is well");
            text.push_str(&paragraph(&said, 2, width));
        }
        text.push_str(&blocks(threshold, &control, width));
        if let Some(said) = bundles(threshold, &control) {
            text.push_str(&paragraph(&said, 2, width));
        }
        text.push_str(&regions(&threshold.regions, width));
        text.push_str(&series(&threshold.series, width));
    }
    if let Some(promise) = &view.promise {
        text.push('\n');
        text.push_str(&paragraph(&promised(*promise), 0, width));
    }
    if let Some(silence) = &view.silence {
        text.push_str(&paragraph(&format!("that it falls silent {}", silence.text), 0, width));
    }
    if view.thresholds.is_empty() {
        text.push_str("\nits numbers are not kept any more, or there were none\n");
    }
    if !view.machines.is_empty() {
        text.push('\n');
        text.push_str(&machines(&view.machines, width));
    }
    if !view.neighbours.is_empty() {
        text.push('\n');
        text.push_str(&neighbours(&view.neighbours, width));
    }
    look.paint(&clean_lines(&text))
}

/// How often what is told here may be a false alarm.
fn promised(promise: Promise) -> String {
    let (what, whose) = match promise.per {
        PromisedPer::Release => ("false rollback", "healthy releases"),
        PromisedPer::Month => ("false alarm", "months (30 days) of an app"),
    };
    let after = match promise.per {
        PromisedPer::Release => "",
        PromisedPer::Month => ": it had been trusted, and was watched on",
    };
    let Some(rate) = promise.false_alarms else {
        return format!("how many {what}s were promised then is not recorded{after}");
    };
    let one_in = whole((1.0 / rate).round());
    format!("promised, over all thresholds: 1 {what} in {one_in} {whose}{after}")
}

/// How many failures count as one, and why and whence that is known; `None` where it does not matter.
fn bundles(threshold: &ThresholdView, control: &str) -> Option<String> {
    let phi = threshold.phi?;
    let whence = match &threshold.dispersion {
        Some(measured) => format!("measured on {control} in {} minutes", measured.minutes),
        None => "assumed, until it is measured on the known-good release".to_owned(),
    };
    let shown = if phi < 10.0 { format!("{phi:.1}") } else { whole(phi) };
    let how = if phi < 1.05 { "one by one" } else { "several at a time" };
    Some(format!("so many failures count as one: {shown}, as they come {how} ({whence})"))
}

/// `37 of 410 (9.0 %)`.
fn of(counts: &Counts) -> String {
    format!("{} of {} ({})", whole(counts.bad), whole(counts.total), shown_share(counts))
}

fn shown_share(counts: &Counts) -> String {
    if counts.total > 0.0 { share(counts.bad / counts.total) } else { "-".to_owned() }
}

fn regions(regions: &[RegionCounts], width: Option<usize>) -> String {
    let mut rows = vec![["REGION", "BAD", "LAST TWO MINUTES"].map(str::to_owned).to_vec()];
    for region in regions {
        let lately = region.lately.as_ref().map_or_else(|| "-".to_owned(), of);
        rows.push(vec![region.region.to_string(), of(&region.counts), lately]);
    }
    if rows.len() > 1 { table_in(&rows, 2, width) } else { String::new() }
}

fn series(series: &[SeriesView], width: Option<usize>) -> String {
    let mut rows = vec![["SERIES", "BAD", "ODDS BY IT ALONE"].map(str::to_owned).to_vec()];
    for one in series {
        let odds = one.ln_odds.and_then(odds).unwrap_or_else(|| "-".to_owned());
        rows.push(vec![one.series.clone(), of(&one.counts), odds]);
    }
    if rows.len() > 1 { table_in(&rows, 2, width) } else { String::new() }
}

fn neighbours(neighbours: &[NeighbourView], width: Option<usize>) -> String {
    let mut rows = vec![["NEIGHBOUR", "STATE", "REGIONS"].map(str::to_owned).to_vec()];
    for one in neighbours {
        let state = match one.degraded_since {
            None => "well".to_owned(),
            Some(since) if one.deployed => {
                format!("degrades since {}, deployed itself", time_of_day(since))
            }
            Some(since) => format!("degrades since {}", time_of_day(since)),
        };
        let regions: Vec<String> = one.regions.iter().map(ToString::to_string).collect();
        rows.push(vec![one.app.to_string(), state, regions.join(", ")]);
    }
    table_in(&rows, 0, width)
}

fn machines(machines: &[MachineView], width: Option<usize>) -> String {
    let head = ["MACHINE", "REGION", "RELEASE", "STATE", "EXITS", "CHECKS THAT FAIL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for machine in machines {
        let failing = machine.failing.join(", ");
        rows.push(vec![
            machine.machine.to_string(),
            machine.region.to_string(),
            machine.version.as_ref().map_or_else(|| "-".to_owned(), ReleaseVersion::to_string),
            machine.state.clone(),
            machine.exits.to_string(),
            if failing.is_empty() { "-".to_owned() } else { failing },
        ]);
    }
    table_in(&rows, 0, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Block, EventKind, Evidence, Kind, Tally, Unit, Verdict};
    use crate::web::{
        explain::{SilenceView, ToldView},
        view::DispersionView,
    };
    use jiff::Timestamp;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_366_400 + second).unwrap()
    }

    fn release(version: u64) -> ReleaseInfo {
        ReleaseInfo {
            version: Some(ReleaseVersion(version)),
            tag: None,
            digest: format!("sha256:{version}23456789abcdef").as_str().into(),
            author: None,
            created_at: None,
        }
    }

    pub(super) fn breach() -> Evidence {
        let block = |second, n, k, ln_odds| Block {
            at: at(second),
            tally: Tally { n, k },
            ln_odds,
            control: Tally { n: 250.0, k: 1.0 },
        };
        Evidence {
            threshold: "5xx".to_owned(),
            kind: Kind::Ratio,
            verdict: Verdict::Breach,
            value: Some(0.1),
            limit: 0.02,
            unit: Unit::Requests,
            source: "requests".to_owned(),
            bad: 41.0,
            total: 410.0,
            lately: None,
            ln_odds: Some(7.6),
            ln_odds_needed: Some(6.907_755),
            blocks: 3,
            last_blocks: vec![
                block(5, 130.0, 3.0, -0.4),
                block(10, 140.0, 18.0, 3.2),
                block(15, 140.0, 20.0, 7.6),
            ],
            control: Some((5.0, 1250.0)),
            note: None,
            may_roll_back: true,
            applies: true,
            raised: None,
            unseen: false,
        }
    }

    #[test]
    fn each_block_is_a_line_with_a_bar_towards_the_line() {
        let evidence = breach();
        let mut threshold = ThresholdView::new(&evidence, "v41", &evidence.last_blocks);
        let lately = Tally { n: 60.0, k: 30.0 };
        let all = Tally { n: 130.0, k: 35.0 };
        threshold.missing = Some(220.0);
        threshold.regions = vec![RegionCounts::new(&"iad".into(), all, Some(lately))];
        let view = ExplainView {
            app: "api".into(),
            release: release(42),
            known_good: Some(release(41)),
            at: at(20),
            live: true,
            told: vec![ToldView {
                at: at(16),
                event: EventKind::ReleaseDegraded,
                text: "v42 degrades".to_owned(),
            }],
            thresholds: vec![threshold],
            promise: Some(Promise { false_alarms: Some(0.001), per: PromisedPer::Release }),
            neighbours: Vec::new(),
            silence: Some(SilenceView {
                found_after_s: Some(450),
                text: "would be found after 8 min (its longest in the last days: 45 s)".to_owned(),
            }),
            machines: vec![MachineView {
                machine: "m1".into(),
                region: "iad".into(),
                state: "started".to_owned(),
                on: true,
                version: Some(ReleaseVersion(42)),
                exits: 0,
                failing: Vec::new(),
            }],
        };
        insta::assert_snapshot!(page(&view, Look::plain(None)), @r"
        api v42, against v41  (2026-03-01 12:00:20, as of now)
        2026-03-01 12:00:16  v42 degrades

        breach: 5xx 10.0 % (41 of 410 requests), limit 2 %, odds 2000:1; v41 at the same time 0.4 % (5 of 1250)
          some 220 requests are missing until they say that it is well
          BLOCK     REQUESTS  BAD  SHARE   LN E   ODDS    1:1                        1000:1         v41 MEANWHILE
          12:00:05  130       3    2.3 %   -0.40  -                                       │         1 of 250 (0.4 %)
          12:00:10  140       18   12.9 %  3.20   25:1    ██████████████                  │         1 of 250 (0.4 %)
          12:00:15  140       20   14.3 %  7.60   2000:1  ████████████████████████████████▓██       1 of 250 (0.4 %)
          LN E: the natural logarithm of the odds; from 6.91 on a breach
          REGION  BAD                 LAST TWO MINUTES
          iad     35 of 130 (26.9 %)  30 of 60 (50.0 %)

        promised, over all thresholds: 1 false rollback in 1000 healthy releases
        that it falls silent would be found after 8 min (its longest in the last days: 45 s)

        MACHINE  REGION  RELEASE  STATE    EXITS  CHECKS THAT FAIL
        m1       iad     v42      started  0      -
        ");
    }

    #[test]
    fn what_was_trusted_and_is_watched_on_has_a_promise_of_its_own() {
        let late = |false_alarms| promised(Promise { false_alarms, per: PromisedPer::Month });
        assert_eq!(
            late(Some(0.002)),
            "promised, over all thresholds: 1 false alarm in 500 months (30 days) of an app: \
             it had been trusted, and was watched on"
        );
        assert_eq!(
            late(None),
            "how many false alarms were promised then is not recorded: it had been trusted, and was \
             watched on"
        );
    }

    #[test]
    fn it_says_how_many_failures_count_as_one_and_whence_that_is_known() {
        let mut view = ThresholdView::new(&breach(), "v41", &[]);
        assert_eq!(bundles(&view, "v41"), None, "of another time");
        let mut says = |phi, dispersion| {
            (view.phi, view.dispersion) = (Some(phi), dispersion);
            bundles(&view, "v41").unwrap()
        };
        let measured = |phi| Some(DispersionView { phi, minutes: 58, at: at(0) });
        assert_eq!(
            says(20.0, None),
            "so many failures count as one: 20, as they come several at a time (assumed, until it is \
             measured on the known-good release)"
        );
        assert_eq!(
            says(3.46, measured(3.46)),
            "so many failures count as one: 3.5, as they come several at a time (measured on v41 in 58 \
             minutes)"
        );
        assert!(says(1.0, measured(1.0)).contains("1.0, as they come one by one (measured"));
    }

    #[test]
    fn series_and_neighbours_have_a_table_of_their_own() {
        let one = |name: &str, n, k, odds| {
            SeriesView::new((format!("path=\"{name}\""), Tally { n, k }, odds))
        };
        let shown =
            series(&[one("/pay", 20.0, 18.0, Some(12.0)), one("/", 900.0, 1.0, None)], None);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        assert_eq!(lines.len(), 3, "{shown}");
        assert!(lines[1].contains("path=\"/pay\"") && lines[1].contains("18 of 20"), "{shown}");
        assert!(lines[2].ends_with('-'), "{shown}");
        assert_eq!(series(&[], None), "");
        let beside = |app: &str, degraded_since, deployed| NeighbourView {
            app: app.into(),
            degraded_since,
            deployed,
            regions: vec!["iad".into(), "lhr".into()],
        };
        let shown =
            neighbours(&[beside("web", None, false), beside("pay", Some(at(0)), true)], None);
        assert!(shown.contains("web") && shown.contains("well"), "{shown}");
        assert!(shown.contains("degrades since 12:00:00, deployed itself"), "{shown}");
        assert!(shown.contains("iad, lhr"), "{shown}");
    }
}
