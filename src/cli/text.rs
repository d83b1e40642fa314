//! Numbers, times and tables for a terminal. Whatever came from outside is cleaned first.

use jiff::Timestamp;

/// Text without control characters: names, tags and log lines come from apps, and a terminal obeys
/// what it is sent.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Rows with their columns aligned, each line starting with `indent` spaces and ending in its text.
pub(super) fn table(rows: &[Vec<String>], indent: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = (*widest).max(width),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
    fn nothing_from_outside_can_steer_the_terminal() {
        assert_eq!(clean("v1\u{1b}[2J\n\u{9b}x"), "v1 [2J  x");
    }
}
