//! The parts of an app's picture.

use super::{Cell, Meter, Rate, Region};
use crate::{
    cli::{
        terminal::{Tone, columns, fitted, padded, toned},
        text::broken,
    },
    numbers::plain,
};

/// Widest picture of a region's machines, of odds, and of a rate.
const CELLS_MAX: usize = 40;
const BAR_MAX: usize = 30;
const BAR_MIN: usize = 8;
const SPARK_MAX: usize = 40;
/// Names take no more than so much.
const NAME_MAX: usize = 14;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Cell {
    pub(super) fn sign(self) -> String {
        match self {
            Self::Good => toned(Tone::Good, "●"),
            Self::New => toned(Tone::Busy, "◆"),
            Self::Changing => toned(Tone::Warn, "◌"),
            Self::Bad => toned(Tone::Bad, "✗"),
            Self::Trouble => toned(Tone::Bad, "!"),
            Self::Aside => toned(Tone::Dim, "·"),
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Good => "known good",
            Self::New => "new",
            Self::Changing => "changing",
            Self::Bad => "bad",
            Self::Trouble => "in trouble",
            Self::Aside => "left alone",
        }
    }
}

/// The text in lines of at most so many columns, broken between words; of a word that is longer the
/// beginning.
pub(in crate::cli) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    broken(&words.join(" "), width).iter().map(|line| fitted(line, width)).collect()
}

/// A line for each region.
pub(super) fn regions(regions: &[Region], width: usize) -> Vec<String> {
    let name = widest(regions.iter().map(|region| region.name.as_str()));
    let most = regions.iter().map(|region| region.machines.len()).max().unwrap_or(0);
    let room = most.min(CELLS_MAX).min((width / 3).max(4));
    regions
        .iter()
        .map(|region| {
            let cells: String =
                squeezed(&region.machines, room).into_iter().map(Cell::sign).collect();
            let (name, cells) = (padded(&region.name, name), padded(&cells, room));
            fitted(&format!("  {name}  {cells}  {}", toned(Tone::Dim, &region.words)), width)
        })
        .collect()
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(columns).max().unwrap_or(0).min(NAME_MAX)
}

/// As many cells as there is room for, in proportion, the bad ones last; none of a kind is lost.
fn squeezed(machines: &[Cell], room: usize) -> Vec<Cell> {
    let mut cells = machines.to_vec();
    cells.sort_unstable();
    if cells.len() <= room {
        return cells;
    }
    let all = cells.len();
    let kinds: Vec<(Cell, usize)> = cells
        .chunk_by(|a, b| a == b)
        .filter_map(|chunk| Some((*chunk.first()?, chunk.len())))
        .collect();
    let mut shares: Vec<(Cell, usize)> =
        kinds.iter().map(|(cell, count)| (*cell, (count * room / all).max(1))).collect();
    let taken: usize = shares.iter().map(|(_, share)| share).sum();
    if let Some((_, most)) = shares.iter_mut().max_by_key(|(_, share)| *share) {
        *most = (*most + room).saturating_sub(taken).max(1);
    }
    shares.into_iter().flat_map(|(cell, share)| std::iter::repeat_n(cell, share)).collect()
}

/// How wide the names of thresholds are, and of the rate below them.
pub(super) fn names(meters: &[Meter], rate: Option<&Rate>) -> usize {
    let rate = rate.map_or(0, |rate| columns(&rate.what));
    widest(meters.iter().map(|meter| meter.name.as_str())).max(rate)
}

/// A line for each threshold: what is seen against what may be, and the odds on their way to the line.
pub(super) fn meters(meters: &[Meter], name: usize, width: usize) -> Vec<String> {
    let value = meters.iter().map(|meter| columns(&meter.value)).max().unwrap_or(0);
    let left = 2 + name + 2 + value + 2;
    let whole = |meter: &Meter| format!("{}{}", meter.words, meter.needs);
    let longest = meters.iter().map(|meter| columns(&whole(meter))).max().unwrap_or(0);
    let is_narrow = left + longest > width;
    let said = |meter: &Meter| if is_narrow { meter.words.clone() } else { whole(meter) };
    let words = meters.iter().map(|meter| columns(&said(meter))).max().unwrap_or(0);
    let bar = width.saturating_sub(left + words + 2).min(BAR_MAX);
    let bar = if bar < BAR_MIN || meters.iter().all(|one| one.odds.is_none()) { 0 } else { bar };
    meters
        .iter()
        .map(|meter| {
            let mut line = format!(
                "  {}  {}  ",
                padded(&meter.name, name),
                padded(&toned(meter.tone, &meter.value), value)
            );
            if bar > 0 {
                let drawn = meter.odds.map_or_else(String::new, |odds| line_of(odds, bar));
                line.push_str(&format!("{}  ", padded(&drawn, bar)));
            }
            line.push_str(&padded(&toned(meter.tone, &said(meter)), words));
            if columns(&line) + 2 + columns(&meter.counts) <= width {
                line.push_str(&format!("  {}", toned(Tone::Dim, &meter.counts)));
            }
            fitted(&line, width)
        })
        .collect()
}

/// Odds on a scale of magnitudes: they start at 1:1, and at the upright line they are a breach.
fn line_of((has, needs): (f64, f64), width: usize) -> String {
    let at = width * 4 / 5;
    let part = if needs > 0.0 { (has / needs).clamp(0.0, 1.25) } else { 0.0 };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few dozen columns"
    )]
    let filled = (part * at as f64).floor().max(0.0) as usize;
    let crossed = part >= 1.0;
    let tone = match part {
        _ if crossed => Tone::Bad,
        part if part > 0.5 => Tone::Warn,
        _ => Tone::Good,
    };
    let until = filled.min(at);
    let beyond = filled.saturating_sub(at + 1).min(width - at - 1);
    [
        toned(tone, &"━".repeat(until)),
        toned(Tone::Dim, &"╌".repeat(at - until)),
        toned(if crossed { Tone::Bad } else { Tone::Strong }, "┃"),
        toned(tone, &"━".repeat(beyond)),
    ]
    .concat()
}

/// The rate as it went, and in numbers.
pub(super) fn rate(rate: &Rate, name: usize, width: usize) -> String {
    let now = rate.history.last().copied().unwrap_or(0.0);
    let worst = rate.history.iter().copied().fold(0.0, f64::max);
    let digits = |number: f64| plain(number, if number < 10.0 { 1 } else { 0 });
    let numbers = format!("{} now, {} at the worst", digits(now), digits(worst));
    let room = width.saturating_sub(2 + name + 2 + 2 + columns(&numbers)).min(SPARK_MAX);
    let tone = if worst > 0.0 && now > worst / 10.0 { Tone::Bad } else { Tone::Good };
    let from = rate.history.len().saturating_sub(room);
    let spark: String = rate.history.iter().skip(from).map(|one| level(*one, worst)).collect();
    let name = padded(&rate.what, name);
    let spark = padded(&toned(tone, &spark), room.min(rate.history.len()));
    fitted(&format!("  {name}  {spark}  {numbers}"), width)
}

fn level(number: f64, worst: f64) -> char {
    let part = if worst > 0.0 { (number / worst).clamp(0.0, 1.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most eight")]
    let step = (part * 8.0).ceil() as usize;
    LEVELS.get(step.saturating_sub(1)).copied().unwrap_or('█')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Look;

    #[test]
    fn more_machines_than_there_is_room_for_are_shown_in_proportion_and_none_is_lost() {
        let mut machines = vec![Cell::Good; 90];
        machines.extend([Cell::Bad; 9]);
        machines.push(Cell::Trouble);
        let cells = squeezed(&machines, 20);
        let count = |kind| cells.iter().filter(|cell| **cell == kind).count();
        assert_eq!((cells.len(), count(Cell::Good)), (20, 18));
        assert_eq!((count(Cell::Bad), count(Cell::Trouble)), (1, 1));
    }

    #[test]
    fn odds_grow_to_their_line_and_beyond_it_and_no_further() {
        let drawn = |has| Look::plain(None).paint(&line_of((has, 7.6), 10));
        assert_eq!(drawn(-1.0), "╌╌╌╌╌╌╌╌┃");
        assert_eq!(drawn(3.8), "━━━━╌╌╌╌┃");
        assert_eq!(drawn(7.5), "━━━━━━━╌┃", "not there yet");
        assert_eq!(drawn(7.6), "━━━━━━━━┃");
        assert_eq!(drawn(700.0), "━━━━━━━━┃━");
    }

    #[test]
    fn a_long_word_is_cut_and_words_are_kept_whole() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        let look = Look::plain(None);
        assert_eq!(look.paint(&wrapped("abcdefgh x", 5)[0]), "abcd…");
    }
}
