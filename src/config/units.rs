//! Numbers with units, as people write them: `"500ms"`, `"2%"`, `"400MB"`, `"1 in 1000"`.
//!
//! A unit is never guessed. What is nearly right is refused with the text that was probably meant,
//! because a limit that is off by a thousand is worse than a file that does not load.

use std::time::Duration;

use super::problem::Wrong;

/// Longest duration: what is longer is a slip.
const DURATION_MAX_S: f64 = 10.0 * 365.0 * 86_400.0;

const DURATION_UNITS: [(&str, f64); 5] =
    [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// What people write for those units.
const DURATION_WORDS: [(&str, &[&str]); 5] = [
    ("ms", &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
];

const SIZE_UNITS: [(&str, f64); 10] = [
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

/// `500ms`, `30s`, `1h30m`: numbers with ms, s, m, h or d.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    if let Some(seconds) = seconds(text) {
        return Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|_| seconds <= DURATION_MAX_S)
            .ok_or_else(|| Wrong::new(format!("`{text}` is longer than ten years")));
    }
    let accepted = "write a number with ms, s, m, h or d, such as \"500ms\", \"30s\" or \"1h30m\"";
    let plain = tidied(text);
    if plain.parse::<f64>().is_ok_and(f64::is_finite) && !plain.starts_with('-') {
        let message = format!("`{text}` has no unit");
        let guess = format!("say \"{plain}s\" for seconds, \"{plain}ms\" for milliseconds");
        return Err(Wrong::but(message, guess));
    }
    if seconds(&plain).is_some() {
        return Err(Wrong::but(
            format!("`{text}` is not how a duration is written"),
            format!("write \"{plain}\""),
        ));
    }
    if ["us", "µs", "μs", "ns"].iter().any(|unit| plain.ends_with(unit)) {
        let message = format!("`{text}`: the smallest unit is ms");
        return Err(Wrong::but(message, "write \"1ms\" or more"));
    }
    Err(Wrong::but(format!("`{text}` is not a duration"), accepted))
}

fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, scale) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        total += number * scale;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// The number that `text` begins with: digits with at most one point inside.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(end)?;
    if number.starts_with('.') || number.ends_with('.') {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

/// Without spaces and capitals, and with unit words shortened: what was probably meant.
fn tidied(text: &str) -> String {
    let lower = text.to_lowercase().replace([' ', '_', ','], "");
    let mut plain = String::new();
    let mut word = String::new();
    for char in lower.chars().chain(['0']) {
        if char.is_alphabetic() {
            word.push(char);
            continue;
        }
        if !word.is_empty() {
            let known = DURATION_WORDS.iter().find(|(_, words)| words.contains(&word.as_str()));
            plain.push_str(known.map_or(word.as_str(), |(unit, _)| unit));
            word.clear();
        }
        plain.push(char);
    }
    plain.pop();
    plain
}

/// `2%` or `0.02`, as 0.02; at most everything.
pub(super) fn share(text: &str) -> Result<f64, Wrong> {
    let trimmed = text.trim();
    let number = |text: &str| text.trim_end().parse::<f64>().ok().filter(|n| n.is_finite());
    let share = match trimmed.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => match number(trimmed) {
            Some(number) => return share_number(number, trimmed),
            None => None,
        },
    };
    let Some(share) = share else {
        return Err(Wrong::but(
            format!("`{text}` is not a share"),
            "write per cent such as \"2%\", or a number such as 0.02",
        ));
    };
    if share > 1.0 {
        return Err(Wrong::but(format!("`{text}` is more than everything"), "100% is the most"));
    }
    at_least_nothing(share, trimmed)
}

/// A share written as a bare number.
pub(super) fn share_number(number: f64, text: &str) -> Result<f64, Wrong> {
    if (1.0..=100.0).contains(&number) {
        let message = format!("`{text}` would be {} %", number * 100.0);
        return Err(Wrong::but(message, format!("did you mean \"{text}%\"?")));
    }
    if number > 100.0 {
        let message = format!("`{text}` is more than everything");
        return Err(Wrong::but(message, "write per cent such as \"2%\""));
    }
    at_least_nothing(number, text)
}

fn at_least_nothing(share: f64, text: &str) -> Result<f64, Wrong> {
    if share < 0.0 {
        return Err(Wrong::new(format!("`{text}` is less than nothing")));
    }
    Ok(share)
}

/// A gauge's bound: `400MB`, `1GiB`, `30s` (in seconds), `80%` (as 0.8).
pub(super) fn quantity(text: &str) -> Result<f64, Wrong> {
    let trimmed = text.trim();
    if let Some(percent) = trimmed.strip_suffix('%')
        && let Some(number) = percent.trim().parse::<f64>().ok().filter(|n| n.is_finite())
    {
        return Ok(number / 100.0);
    }
    if let Some(seconds) = seconds(trimmed) {
        return Ok(seconds);
    }
    let sized = split_number(trimmed).and_then(|(number, unit)| {
        let unit = unit.trim_start();
        SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| number * scale)
    });
    if let Some(bytes) = sized {
        return Ok(bytes);
    }
    let message = format!("`{text}` is not a value for a gauge");
    if trimmed.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(Wrong::but(message, format!("write a bare number without quotes: {trimmed}")));
    }
    let near = split_number(trimmed).and_then(|(_, unit)| {
        let digits = trimmed.strip_suffix(unit)?;
        let unit = unit.trim();
        let unit = match unit.to_ascii_lowercase().as_str() {
            "k" => "KB",
            "m" | "mb" => "MB",
            "g" | "gb" => "GB",
            "t" | "tb" => "TB",
            "ki" | "kib" => "KiB",
            "mi" | "mib" => "MiB",
            "gi" | "gib" => "GiB",
            "ti" | "tib" => "TiB",
            "b" | "bytes" | "byte" => "B",
            _ => return None,
        };
        Some(format!("did you mean \"{digits}{unit}\"?"))
    });
    Err(Wrong::but(
        message,
        near.unwrap_or_else(|| {
            "write a bare number in the gauge's own unit, a size such as \"400MB\" or \"400MiB\", \
             a time such as \"30s\", or \"80%\" for 0.8"
                .to_owned()
        }),
    ))
}

/// `1 in 1000`, as 0.001.
pub(super) fn odds(text: &str) -> Result<f64, Wrong> {
    let shown = "write it as \"1 in 1000\": how many healthy releases there are per false rollback";
    let mut words = text.split_whitespace();
    let (one, word, number) = (words.next(), words.next(), words.next());
    let (Some("1"), Some("in"), Some(number), None) = (one, word, number, words.next()) else {
        return Err(Wrong::but(format!("`{text}` is not a chance"), shown));
    };
    let Ok(releases) = number.replace(['_', ','], "").parse::<u32>() else {
        return Err(Wrong::but(format!("`{text}` is not a chance"), shown));
    };
    if releases < 10 {
        let message = format!("`{text}` would roll back healthy releases all the time");
        return Err(Wrong::but(
            message,
            "write \"1 in 10\" or rarer; \"1 in 1000\" is the default",
        ));
    }
    Ok(1.0 / f64::from(releases))
}

/// A duration in the form in which it is configured: `1h30m`, `500ms`.
pub fn duration_text(duration: Duration) -> String {
    let mut ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= length {
            text.push_str(&format!("{}{unit}", ms / length));
            ms %= length;
        }
    }
    if ms > 0 {
        text.push_str(&format!("{ms}ms"));
    }
    text
}

/// A share in the form in which it is configured: `2%`, `0.25%`.
pub fn share_text(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: std::fmt::Debug>(result: Result<T, Wrong>) -> String {
        let wrong = result.unwrap_err();
        format!("{}; {}", wrong.message, wrong.suggestion.unwrap_or_default())
    }

    #[test]
    fn durations_are_read_exactly() {
        for (text, ms) in [
            ("500ms", 500),
            ("0.5s", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1m5s", 65_000),
            ("0s", 0),
            ("90d", 7_776_000_000),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_duration_nearly_right_is_refused_with_the_right_one() {
        for (text, want) in [
            ("5 sec", "write \"5s\""),
            ("10 minutes", "write \"10m\""),
            ("5S", "write \"5s\""),
            ("1 hour 30 min", "write \"1h30m\""),
            ("500", "say \"500s\" for seconds, \"500ms\" for milliseconds"),
            ("500us", "write \"1ms\" or more"),
            ("5µs", "write \"1ms\" or more"),
            ("soon", "such as \"500ms\""),
            ("", "such as \"500ms\""),
            ("-5s", "such as \"500ms\""),
            ("5.s", "such as \"500ms\""),
            ("1e3s", "such as \"500ms\""),
            ("99999d", "longer than ten years"),
        ] {
            let said = said(duration(text));
            assert!(said.contains(want), "{text}: {said}");
        }
    }

    #[test]
    fn shares_are_per_cent_or_small_numbers() {
        for (text, want) in [("2%", 0.02), ("0.5 %", 0.005), ("0.02", 0.02), ("100%", 1.0)] {
            assert!((share(text).unwrap() - want).abs() < 1e-12, "{text}");
        }
        for (text, want) in [
            ("2", "did you mean \"2%\"?"),
            ("1", "did you mean \"1%\"?"),
            ("120%", "more than everything"),
            ("500", "more than everything"),
            ("-1%", "less than nothing"),
            ("2 percent", "such as \"2%\""),
            ("NaN%", "such as \"2%\""),
        ] {
            let said = said(share(text));
            assert!(said.contains(want), "{text}: {said}");
        }
    }

    #[test]
    fn a_gauges_bound_knows_sizes_times_and_per_cent() {
        for (text, want) in [
            ("400MB", 4e8),
            ("400MiB", 419_430_400.0),
            ("1.5 GB", 1.5e9),
            ("30s", 30.0),
            ("250ms", 0.25),
            ("80%", 0.8),
            ("7B", 7.0),
        ] {
            assert!((quantity(text).unwrap() - want).abs() < 1e-9 * want, "{text}");
        }
        for (text, want) in [
            ("400", "without quotes: 400"),
            ("400M", "did you mean \"400MB\"?"),
            ("400mb", "did you mean \"400MB\"?"),
            ("2Gi", "did you mean \"2GiB\"?"),
            ("much", "such as \"400MB\""),
        ] {
            let said = said(quantity(text));
            assert!(said.contains(want), "{text}: {said}");
        }
    }

    #[test]
    fn odds_are_one_in_many() {
        assert_eq!(odds("1 in 1000"), Ok(0.001));
        assert_eq!(odds("1 in 1_000_000"), Ok(0.000_001));
        for text in ["0.001", "2 in 1000", "1 in 1000 releases", "1 in", "1:1000", "1 in many"] {
            assert!(said(odds(text)).contains("\"1 in 1000\""), "{text}");
        }
        assert!(said(odds("1 in 2")).contains("all the time"));
    }

    #[test]
    fn what_is_printed_can_be_configured_again() {
        for text in ["0s", "500ms", "1h30m", "10m", "1d2h3m4s5ms"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        for text in ["2%", "0.25%", "33%", "100%"] {
            assert_eq!(share_text(share(text).unwrap()), text);
        }
    }
}
