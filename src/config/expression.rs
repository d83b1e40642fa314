//! Expressions that a metrics server evaluates: what cannot work is refused before it is asked.

use std::time::Duration;

use promql_parser::parser::{self, Expr};

use super::{entry::Entry, problem::Wrong};

/// What stands for the app's name.
const APP: &str = "$app";
const LENGTH_MAX: usize = 4000;

/// Reads an expression, and the longest range in it: values look back so far.
pub(super) fn expression(entry: &Entry<'_>) -> Option<(String, Duration)> {
    let text = entry.text()?.trim();
    if text.is_empty() || text.len() > LENGTH_MAX {
        entry.wrong(Wrong::new(format!("must have 1 to {LENGTH_MAX} bytes")));
        return None;
    }
    if !text.contains(APP) {
        entry.wrong(Wrong::but(
            "names no app: every app would be judged by all of them",
            "write app=\"$app\" in its selectors",
        ));
        return None;
    }
    match parser::parse(&text.replace(APP, "app")) {
        Ok(Expr::Binary(binary)) if binary.op.is_comparison_operator() && !binary.return_bool() => {
            entry.wrong(Wrong::but(
                "compares, and is empty while all is well",
                "write what is compared alone: `max` is the limit",
            ));
            return None;
        }
        Ok(Expr::MatrixSelector(_) | Expr::StringLiteral(_)) => {
            entry.wrong(Wrong::but(
                "is no number at one moment",
                "write a function over the range, such as rate(…[1m])",
            ));
            return None;
        }
        Ok(_) => {}
        Err(message) => entry.warn(Wrong::but(
            format!("is not PromQL ({message})"),
            "it is taken for MetricsQL, which only the server can check",
        )),
    }
    Some((text.to_owned(), longest_range(text)))
}

/// The longest `[5m]`, a subquery's `[1h:1m]` included; ranges in ranges are added up by nobody. A
/// range with an `offset` is meant to tell of before.
fn longest_range(text: &str) -> Duration {
    let is_of_now = |rest: &&str| {
        let after = rest.split_once(']').map_or("", |(_, after)| after.trim_start());
        !after.starts_with("offset")
    };
    let ranges = text.split('[').skip(1).filter(is_of_now);
    let ranges = ranges.filter_map(|rest| rest.split([']', ':']).next());
    let spans = ranges.filter_map(|range| promql_parser::util::parse_duration(range.trim()).ok());
    spans.max().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_is_how_far_a_value_looks_back() {
        for (text, seconds) in [
            ("a", 0),
            ("rate(a[90s])", 90),
            ("rate(a[1m]) / rate(b[5m])", 300),
            ("max_over_time(rate(a[1m])[1h:1m])", 3600),
            ("rate(a[1m]) / rate(a[10m] offset 10m)", 60),
        ] {
            assert_eq!(longest_range(text), Duration::from_secs(seconds), "{text}");
        }
    }
}
