//! Times and tables for a terminal.

use std::io::Write as _;

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING};
use jiff::Timestamp;

pub(super) use super::terminal::{clean, clean_lines};
use super::terminal::{columns, width_of_stderr};

/// Between two words that stay on one line.
const JOINT: char = '\u{a0}';
/// Stand behind a number and say of what.
const UNITS: [&str; 12] = ["%", "ms", "s", "min", "h", "d", "B", "bytes", "kB", "MB", "GB", "TB"];
/// Spaces between the columns of a table.
const GAP: usize = 2;
/// A column of so many can still be read, whatever is broken in it.
const READABLE: usize = 16;

/// Rows with their columns aligned, each line starting with `indent` spaces and ending in its text.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> String {
    table_in(rows, indent, None)
}

/// The same in `width` columns, if that is given: cells that do not fit are broken between words, and
/// inside of one only where there is no room for it on any line.
pub(super) fn table_in(rows: &[Vec<String>], indent: usize, width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if let Some(width) = width {
        let columns = u16::try_from(width.saturating_sub(indent)).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let is_used = |column: &usize| {
        rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()))
    };
    // A column in which nothing stands takes no room.
    let used: Vec<usize> = (0..count).filter(is_used).collect();
    // A line break in a name would be a line of its own.
    let cell = |row: &Vec<String>, column: usize| {
        let text = clean(row.get(column).map_or("", String::as_str));
        if width.is_some() { joined(&text) } else { text }
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| used.iter().map(|column| cell(row, *column)).collect()).collect();
    let mut words = vec![0; used.len()];
    for row in &cells {
        for (longest, cell) in words.iter_mut().zip(row) {
            *longest = cell.split(' ').map(columns).fold(*longest, usize::max);
        }
    }
    let rooms = width.map(|width| within(&words, width.saturating_sub(indent)));
    for row in cells {
        match &rooms {
            Some(rooms) => {
                table.add_row(row.iter().zip(rooms).map(|(cell, room)| parted(cell, *room)))
            }
            None => table.add_row(row),
        };
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, u16::try_from(GAP).unwrap_or_default()));
        if let Some(room) = rooms.as_ref().and_then(|rooms| rooms.get(index)) {
            let least = u16::try_from(room + GAP).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    let line = |line: String| format!("{}{}\n", " ".repeat(indent), line.trim_end());
    table.lines().map(line).collect::<String>().replace(JOINT, " ")
}

/// How many columns each column of a table has to have for its longest word, or as much of it as there
/// is room for: the longest give way, so that the others stay whole.
fn within(words: &[usize], room: usize) -> Vec<usize> {
    let mut left = room.saturating_sub(GAP * words.len());
    let mut order: Vec<(usize, usize)> = words.iter().copied().enumerate().collect();
    order.sort_unstable_by_key(|(_, longest)| *longest);
    let mut given = vec![0; words.len()];
    for (nth, (index, longest)) in order.iter().enumerate() {
        let others = order.len() - nth - 1;
        let is_spare = left >= longest + others * READABLE;
        let takes = if is_spare { *longest } else { (*longest).min(left / (others + 1)) };
        left = left.saturating_sub(takes);
        if let Some(given) = given.get_mut(*index) {
            *given = takes;
        }
    }
    given
}

/// A cell in which a selector that is too long can be broken before its labels.
fn parted(cell: &str, room: usize) -> String {
    let part = |word: &str| match word.find('{').filter(|at| *at > 0 && columns(word) > room) {
        Some(at) => {
            let (name, labels) = word.split_at(at);
            format!("{name} {labels}")
        }
        None => word.to_owned(),
    };
    cell.split(' ').map(part).collect::<Vec<_>>().join(" ")
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

/// Text of many lines, of which those that are longer than `width` are broken between words; what
/// follows of an indented one stands further in. What is short enough stays as it is.
pub(super) fn fit(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let fitted = |line: &str| {
        let inner = line.trim_start_matches(' ');
        let indent = line.len() - inner.len();
        if columns(line) <= width || inner.is_empty() {
            return line.to_owned();
        }
        let further = if indent > 0 { indent + 2 } else { 0 };
        let lines = broken(inner, width.saturating_sub(further).max(10));
        let mut text = " ".repeat(indent);
        text.push_str(&lines.join(&format!("\n{}", " ".repeat(further))));
        text
    };
    text.split('\n').map(fitted).collect::<Vec<_>>().join("\n")
}

/// The same on standard error, with a line's end.
///
/// # Errors
/// When it cannot be written.
pub(super) fn complain(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{}", fit(text, width_of_stderr()))
}

/// Text in lines of at most `width` columns, broken between words; a number stays with its unit. A
/// word that is longer stays whole: it may be an address that somebody copies.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut gap = 0;
    for word in joined(&clean(text)).split(' ') {
        gap += 1;
        let Some(line) = lines.last_mut().filter(|_| !word.is_empty()) else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if columns(line) + gap + columns(word) <= width {
            line.push_str(&" ".repeat(gap));
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
        gap = 0;
    }
    lines.iter().map(|line| line.replace(JOINT, " ")).collect()
}

/// The text with its numbers joined to their units, and thousands to thousands.
fn joined(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut before = None;
    for word in text.split(' ') {
        if let Some(before) = before {
            joined.push(if go_together(before, word) { JOINT } else { ' ' });
        }
        joined.push_str(word);
        before = Some(word);
    }
    joined
}

/// `9.0` and `%,`, `1` and `000`, `000` and `000:1`.
fn go_together(before: &str, after: &str) -> bool {
    let number = before.trim_start_matches(|char: char| !char.is_ascii_digit());
    let sign = before.strip_suffix(number).unwrap_or_default();
    let has_word = sign.contains(char::is_alphabetic);
    let is_number = number.ends_with(|char: char| char.is_ascii_digit())
        && number.chars().all(|char| char.is_ascii_digit() || char == '.');
    if has_word || !is_number {
        return false;
    }
    let digits = after.chars().take_while(char::is_ascii_digit).count();
    let rest = after.get(digits..).unwrap_or_default();
    let is_group = digits == 3
        && number.len() <= 3
        && !number.contains('.')
        && !rest.starts_with(char::is_alphanumeric);
    is_group || UNITS.contains(&after.trim_end_matches([',', '.', ';', ':', ')', '?', '!', '"']))
}

/// A time such as `2h`, as an argument that is handed on.
///
/// # Errors
/// When it is none.
pub(super) fn period(text: &str) -> Result<String, String> {
    crate::config::duration(text).map(|_| text.to_owned())
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

    #[test]
    fn a_word_of_a_table_is_broken_only_where_no_line_has_room_for_it() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["rollback.only_breaching_regions", "default", "false"]),
            row([
                "threshold",
                "web.toml:5, by a preset",
                "at most 2 % fly_app_http_responses_count{status=~\"5..\"} of \
                 fly_app_http_responses_count",
            ]),
        ];
        let text = table_in(&rows, 0, Some(80));
        for word in [
            "rollback.only_breaching_regions",
            "fly_app_http_responses_count",
            "{status=~\"5..\"}",
            "2 %",
        ] {
            assert!(text.contains(word), "{word} is broken:\n{text}");
        }
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        // And where there is none, nothing is wider than the terminal.
        let text = table_in(&rows, 0, Some(40));
        assert!(text.lines().all(|line| columns(line) <= 40), "{text}");
    }

    #[test]
    fn a_number_stays_with_its_unit_and_thousands_with_thousands() {
        for (text, width, lines) in [
            ("about 9.0 %, or more", 9, vec!["about", "9.0 %, or", "more"]),
            ("odds 1 000 000:1 and", 8, vec!["odds", "1 000 000:1", "and"]),
            ("takes (12 min) at least", 12, vec!["takes", "(12 min) at", "least"]),
            ("of v42 100 requests", 7, vec!["of v42", "100", "requests"]),
        ] {
            assert_eq!(broken(text, width), lines);
        }
    }

    #[test]
    fn lines_that_are_too_long_are_broken_and_all_others_stay_as_they_are() {
        let text =
            "waveoff: one two three\n  a  b\n  12:00:05  one two three\nhttp://a.very.long.name\n";
        let fitted = "waveoff: one two\nthree\n  a  b\n  12:00:05  one\n    two three\n\
                      http://a.very.long.name\n";
        assert_eq!(fit(text, Some(20)), fitted);
        assert_eq!(fit(text, None), text);
    }
}
