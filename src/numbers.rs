//! Numbers as people write them: shares, odds, bytes, durations, grouped thousands.

/// Beyond this the odds are only called "over" it: more digits would not convince anybody more.
const ODDS_SHOWN_MAX: f64 = 1_000_000.0;

/// Digits in groups of three from 10 000 on (`12 000`, but `1250`), rounded to a whole number.
pub fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let sign = if number < 0.0 && digits != "0" { "-" } else { "" };
    if !number.is_finite() || digits.len() < 5 {
        return format!("{sign}{digits}");
    }
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// At most `places` decimals, without zeros at the end; large numbers are grouped.
pub fn plain(number: f64, places: usize) -> String {
    let text = format!("{number:.places$}");
    if !text.contains('.') {
        return whole(number);
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.contains('.') { text.to_owned() } else { whole(number) }
}

/// A measured share: `9.0 %`, `0.04 %`, `100 %`.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 || percent >= 99.95 {
        format!("{percent:.0} %")
    } else if percent < 0.1 {
        format!("{} %", plain(percent, 4))
    } else {
        format!("{percent:.1} %")
    }
}

/// A configured share, as it was written: `2 %`, `0.5 %`.
pub fn share_limit(share: f64) -> String {
    format!("{} %", plain(share * 100.0, 4))
}

/// `12 000:1` from the natural logarithm of the odds; `None` while they speak for nothing.
pub fn odds(ln_odds: f64) -> Option<String> {
    if ln_odds.is_nan() || ln_odds <= 0.0 {
        return None;
    }
    let odds = ln_odds.exp();
    if odds > ODDS_SHOWN_MAX {
        return Some(format!("over {}:1", whole(ODDS_SHOWN_MAX)));
    }
    // Two digits tell all that can be known.
    let unit = 10_f64.powf((odds.log10().floor() - 1.0).max(0.0));
    Some(format!("{}:1", whole((odds / unit).round() * unit)))
}

/// `412 MB`, `1.5 GB`: decimal units, as the configuration has them.
pub fn bytes(bytes: f64) -> String {
    let (size, unit) = match bytes.abs() {
        size if size >= 1e12 => (bytes / 1e12, "TB"),
        size if size >= 1e9 => (bytes / 1e9, "GB"),
        size if size >= 1e6 => (bytes / 1e6, "MB"),
        size if size >= 1e3 => (bytes / 1e3, "kB"),
        _ => (bytes, "bytes"),
    };
    let places = if size.abs() >= 100.0 { 0 } else { 1 };
    format!("{} {unit}", plain(size, places))
}

/// A measured time: `230 ms`, `1.5 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds.abs() < 1.0 {
        format!("{} ms", plain(seconds * 1000.0, 1))
    } else {
        format!("{} s", plain(seconds, 2))
    }
}

/// How long something took: `0.4 s`, `48 s`, `12 min`, `3.5 h`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 10.0 {
        format!("{} s", plain(seconds, 1))
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{} h", plain(seconds / 3600.0, 1))
    }
}

/// A moment in whole seconds: `2026-03-01 02:03:04 UTC`.
pub fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The text, cut to `max` characters with a sign that something is missing.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_in_whole_seconds() {
        let at = "2026-03-01T02:03:04.987654321Z".parse().unwrap();
        assert_eq!(moment(at), "2026-03-01 02:03:04 UTC");
    }

    #[test]
    fn shares_keep_the_digits_that_matter() {
        let shown = [0.0, 0.00037, 0.004, 0.0902, 0.234, 0.9991, 0.9999, 1.0].map(share);
        assert_eq!(
            shown,
            ["0 %", "0.037 %", "0.4 %", "9.0 %", "23.4 %", "99.9 %", "100 %", "100 %"]
        );
        assert_eq!([0.02, 0.005, 0.3, 1.0].map(share_limit), ["2 %", "0.5 %", "30 %", "100 %"]);
    }

    #[test]
    fn odds_are_rounded_to_what_is_known_and_end_somewhere() {
        let shown = [-3.0, 0.0, f64::NAN].map(odds);
        assert_eq!(shown, [None, None, None]);
        let shown =
            [1.0, 6.9, 9.3927, 13.8, 14.0, 4000.0, f64::INFINITY].map(|ln| odds(ln).unwrap());
        let over = "over 1 000 000:1";
        assert_eq!(shown, ["3:1", "990:1", "12 000:1", "980 000:1", over, over, over]);
    }

    #[test]
    fn sizes_and_times_have_units() {
        let shown = [12.0, 1500.0, 412_300_000.0, 1.5e9, 2e12].map(bytes);
        assert_eq!(shown, ["12 bytes", "1.5 kB", "412 MB", "1.5 GB", "2 TB"]);
        assert_eq!([0.5, 0.0025, 1.5, 90.0].map(seconds), ["500 ms", "2.5 ms", "1.5 s", "90 s"]);
        let shown = [0.44, 48.2, 119.0, 600.0, 12_600.0, -1.0].map(duration);
        assert_eq!(shown, ["0.4 s", "48 s", "119 s", "10 min", "3.5 h", "0 s"]);
    }

    #[test]
    fn thousands_are_grouped_from_five_digits_on() {
        let shown = [0.0, 410.0, 1250.0, 12_000.0, 1_234_567.0, -12_000.0].map(whole);
        assert_eq!(shown, ["0", "410", "1250", "12 000", "1 234 567", "-12 000"]);
    }

    #[test]
    fn a_cut_text_shows_that_it_was_cut() {
        assert_eq!(cut("häuser", 6), "häuser");
        assert_eq!(cut("häuser", 4), "häu…");
    }
}
