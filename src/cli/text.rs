//! Times and tables for a terminal.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;

pub(super) use super::terminal::{clean, clean_lines};

/// Rows with their columns aligned, each line starting with `indent` spaces and ending in its text.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> String {
    table_in(rows, indent, None)
}

/// The same in `width` columns, if that is given: cells that do not fit are broken between words.
pub(super) fn table_in(rows: &[Vec<String>], indent: usize, width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        let columns = u16::try_from(width.saturating_sub(indent)).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let is_used = |column: &usize| {
        rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()))
    };
    // A column in which nothing stands takes no room.
    let used: Vec<usize> = (0..columns).filter(is_used).collect();
    for row in rows {
        // A line break in a name would be a line of its own.
        table.add_row(used.iter().map(|column| clean(row.get(*column).map_or("", String::as_str))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}{}\n", " ".repeat(indent), line.trim_end())).collect()
}

/// A sentence below a heading: every line starts with `indent` spaces, and with a `width` it is broken
/// between words.
pub(super) fn paragraph(text: &str, indent: usize, width: Option<usize>) -> String {
    let lines = match width {
        Some(width) => super::board::wrapped(text, width.saturating_sub(indent).max(10)),
        None => vec![clean(text)],
    };
    lines.iter().map(|line| format!("{}{line}\n", " ".repeat(indent))).collect()
}

/// `45 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`: the two largest units.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    let signed = jiff::SignedDuration::try_from_secs_f64(seconds.round());
    let total = signed.map_or(i64::MAX, |duration| duration.as_secs());
    let (days, hours, minutes) = (total / 86_400, total / 3600 % 24, total / 60 % 60);
    let parts = match (days, hours, minutes, total % 60) {
        (0, 0, 0, seconds) => [(seconds, "s"), (0, "")],
        (0, 0, minutes, seconds) => [(minutes, "min"), (seconds, "s")],
        (0, hours, minutes, _) => [(hours, "h"), (minutes, "min")],
        (days, hours, _, _) => [(days, "d"), (hours, "h")],
    };
    let [first, second] = parts.map(|(number, unit)| format!("{number} {unit}"));
    if parts[1].0 == 0 { first } else { format!("{first} {second}") }
}

/// Seconds from `earlier` to `later`, never negative.
pub(super) fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.duration_since(earlier).as_secs_f64().max(0.0)
}

/// `2026-03-01 12:00:05`, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// `12:00:05`, in UTC.
pub(super) fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (59.6, "1 min"),
            (125.0, "2 min 5 s"),
            (11_045.0, "3 h 4 min"),
            (183_600.0, "2 d 3 h"),
            (-1.0, "?"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let rows = [vec!["a".into(), "é".into(), "x".into()], vec!["bbb".into(), "cc".into()]];
        assert_eq!(table(&rows, 2), "  a    é   x\n  bbb  cc\n");
    }

    #[test]
    fn a_line_break_in_a_cell_makes_no_line() {
        let rows = [vec!["evil\nall is well".into(), "x\u{1b}[2J".into()]];
        assert_eq!(table(&rows, 0), "evil all is well  x [2J\n");
        assert_eq!(paragraph("a\nb", 2, None), "  a b\n");
        assert_eq!(paragraph("one two three", 2, Some(12)), "  one two\n  three\n");
    }

    #[test]
    fn what_does_not_fit_is_broken_between_words_and_nothing_is_lost() {
        let long = "not copied to the mirror because it does not answer".to_owned();
        let rows = [vec!["mirror".into(), long], vec!["x".into(), "short".into()]];
        let text = table_in(&rows, 2, Some(30));
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        insta::assert_snapshot!(text, @r"
        mirror  not copied to the
                mirror because it
                does not answer
        x       short
        ");
    }
}
