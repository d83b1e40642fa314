//! The blocks of a detector, as a table with a chart: as much of it as a terminal has room for.

use super::{of, shown_share};
use crate::{
    cli::{
        terminal::columns,
        text::{paragraph, table, time_of_day},
    },
    numbers::{odds, whole},
    web::{
        explain::{BlockView, ThresholdView},
        view::Counts,
    },
};

/// How wide the chart is where there is room; a fifth of it lies beyond the line: odds that are much more
/// than needed.
const CHART: usize = 40;
/// What is shown of a block, the most first: the first that a terminal has room for is taken.
const BREADTHS: [Breadth; 7] = [
    Breadth { chart: CHART, logarithm: true, counts: true },
    Breadth { chart: 30, logarithm: true, counts: true },
    Breadth { chart: 30, logarithm: false, counts: true },
    Breadth { chart: 20, logarithm: false, counts: true },
    Breadth { chart: 30, logarithm: false, counts: false },
    Breadth { chart: 20, logarithm: false, counts: false },
    Breadth { chart: 0, logarithm: false, counts: false },
];

/// How much of a block is shown.
#[derive(Clone, Copy)]
struct Breadth {
    /// Columns of the chart; 0: none.
    chart: usize,
    /// The logarithm of the odds, which the odds say as well.
    logarithm: bool,
    /// Not only the known-good release's share, also of how many.
    counts: bool,
}

/// A line per block: what was counted, the odds after it, and how far that is from the line; as much of
/// it as there is room for.
pub(super) fn blocks(threshold: &ThresholdView, control: &str, width: Option<usize>) -> String {
    if threshold.blocks.is_empty() {
        return String::new();
    }
    let has_room =
        |text: &String| width.is_none_or(|width| text.lines().all(|line| columns(line) <= width));
    let mut drawn =
        BREADTHS.iter().map(|breadth| (breadth, block_table(threshold, control, *breadth)));
    let found = drawn.find(|(_, text)| has_room(text));
    let last = || BREADTHS.last().map(|last| (last, block_table(threshold, control, *last)));
    let Some((breadth, mut text)) = found.or_else(last) else { return String::new() };
    if breadth.logarithm {
        text.push_str(&paragraph(&logarithm(threshold.evidence.ln_odds_needed), 2, width));
    }
    text
}

/// What the column LN E is.
fn logarithm(needed: Option<f64>) -> String {
    let breach =
        needed.map_or_else(String::new, |needed| format!("; from {needed:.2} on a breach"));
    format!("LN E: the natural logarithm of the odds{breach}")
}

fn block_table(threshold: &ThresholdView, control: &str, breadth: Breadth) -> String {
    let needed = threshold.evidence.ln_odds_needed;
    let has_control = threshold.blocks.iter().any(|block| block.control.is_some());
    let line = needed.and_then(odds).unwrap_or_default();
    let row = |cells: [String; 5], ln_e: String, chart: String, control: String| {
        let [block, requests, bad, share, odds] = cells;
        let mut row = vec![block, requests, bad, share];
        row.extend(breadth.logarithm.then_some(ln_e));
        row.push(odds);
        row.extend((breadth.chart > 0).then_some(chart));
        row.extend(has_control.then_some(control));
        row
    };
    let scale = format!("1:1 {:>width$}", line, width = line_at(breadth.chart).saturating_sub(3));
    let head = ["BLOCK", "REQUESTS", "BAD", "SHARE", "ODDS"].map(str::to_owned);
    let meanwhile = format!("{control} MEANWHILE").trim().to_owned();
    let mut rows = vec![row(head, "LN E".to_owned(), scale, meanwhile)];
    for block in &threshold.blocks {
        let none = || "-".to_owned();
        let cells = [
            time_of_day(block.at),
            whole(block.counts.total),
            whole(block.counts.bad),
            shown_share(&block.counts),
            block.ln_odds.and_then(odds).unwrap_or_else(none),
        ];
        let ln_e = block.ln_odds.map_or_else(none, |odds| format!("{odds:.2}"));
        let counted: fn(&Counts) -> String = if breadth.counts { of } else { shown_share };
        let control = block.control.as_ref().map_or_else(none, counted);
        rows.push(row(cells, ln_e, bar(block, needed, breadth.chart), control));
    }
    table(&rows, 2)
}

/// At which column of a chart the line is.
fn line_at(chart: usize) -> usize {
    chart - chart / 5
}

/// The odds as a bar on a logarithmic scale, from one to one, with the line that they must cross.
fn bar(block: &BlockView, needed: Option<f64>, chart: usize) -> String {
    let (Some(ln_odds), Some(needed)) = (block.ln_odds, needed.filter(|needed| *needed > 0.0))
    else {
        return String::new();
    };
    let line = line_at(chart);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number of columns"
    )]
    let length = (ln_odds / needed * line as f64).clamp(0.0, chart as f64) as usize;
    (0..chart)
        .map(|column| match (column < length, column == line) {
            (true, false) => '█',
            (true, true) => '▓',
            (false, true) => '│',
            (false, false) => ' ',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::explain::tests::breach,
        model::{Block, Tally},
    };

    #[test]
    fn odds_below_one_are_no_bar_and_those_far_beyond_end_at_the_edge() {
        let evidence = breach();
        let blocks = |ln_odds| BlockView::from(&Block { ln_odds, ..evidence.last_blocks[0] });
        let filled = |ln_odds| {
            bar(&blocks(ln_odds), Some(7.0), CHART)
                .chars()
                .filter(|char| "█▓".contains(*char))
                .count()
        };
        assert_eq!([filled(-3.0), filled(3.5), filled(7.0), filled(1e6)], [0, 16, 32, CHART]);
        assert_eq!(bar(&blocks(f64::NAN), Some(7.0), CHART), "");
        assert_eq!(bar(&blocks(1.0), None, CHART), "");
    }

    #[test]
    fn on_a_narrow_terminal_every_line_has_room_and_what_matters_most_is_there() {
        let mut evidence = breach();
        for block in &mut evidence.last_blocks {
            block.tally = Tally { n: 123_456.0, k: 12_345.0 };
        }
        let threshold = ThresholdView::new(&evidence, "v41", &evidence.last_blocks);
        for width in [60, 80, 100, 120] {
            let text = blocks(&threshold, "v41", Some(width));
            assert!(text.lines().all(|line| columns(line) <= width), "{width}:\n{text}");
            assert!(text.contains("SHARE") && text.contains("ODDS"), "{text}");
        }
        let usual = breach();
        let threshold = ThresholdView::new(&usual, "v41", &usual.last_blocks);
        insta::assert_snapshot!(blocks(&threshold, "v41", Some(80)), @r"
        BLOCK     REQUESTS  BAD  SHARE   ODDS    1:1        1000:1     v41 MEANWHILE
        12:00:05  130       3    2.3 %   -                       │     0.4 %
        12:00:10  140       18   12.9 %  25:1    ███████         │     0.4 %
        12:00:15  140       20   14.3 %  2000:1  ████████████████▓     0.4 %
        ");
    }
}
