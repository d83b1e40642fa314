//! Selectors: a metric name and conditions on labels, in Prometheus' own syntax.
//!
//! The grammar is that of a real Prometheus parser, so that nothing means something else here than
//! there; whatever is more than a selector is refused with what to write instead.

use promql_parser::{
    label::{MatchOp, Matcher as Parsed},
    parser::{self, Expr},
};

use super::problem::Wrong;
use crate::model::{LabelMatch, Matcher, Selector};

/// Longest selector: a page of conditions is a slip.
const LENGTH_MAX: usize = 1000;

const EXAMPLE: &str =
    "write a metric name with conditions, such as http_requests_total{status=~\"5..\"}";

/// A selector of series of one metric.
pub(super) fn selector(text: &str) -> Result<Selector, Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::but("is empty", EXAMPLE));
    }
    if text.len() > LENGTH_MAX {
        return Err(Wrong::new(format!("is longer than {LENGTH_MAX} bytes")));
    }
    let expression = parser::parse(text).map_err(|message| unparsable(text, &message))?;
    let Expr::VectorSelector(vector) = expression else {
        return Err(no_selector(text, &expression));
    };
    if vector.offset.is_some() || vector.at.is_some() {
        return Err(Wrong::but(
            format!("`{text}` asks for another time"),
            "leave out `offset` and `@`: pages are read live, and hold only the present",
        ));
    }
    if !vector.matchers.or_matchers.is_empty() {
        return Err(Wrong::but(
            format!("`{text}` has conditions joined by `or`"),
            "join the values of one label instead, such as status=~\"500|503\"",
        ));
    }
    let Some(metric) = vector.name else {
        let named = vector.matchers.matchers.iter().find(|matcher| matcher.name == "__name__");
        return Err(Wrong::but(
            format!("`{text}` begins with no metric name"),
            match named {
                Some(matcher) if matches!(matcher.op, MatchOp::Equal) => {
                    format!("write the name in front: {}{{…}}", matcher.value)
                }
                Some(_) => "a threshold reads one metric: write its name in front".to_owned(),
                None => EXAMPLE.to_owned(),
            },
        ));
    };
    if vector.matchers.matchers.iter().any(|matcher| matcher.name == "__name__") {
        return Err(Wrong::but(
            format!("`{text}` has a condition on `__name__`"),
            "leave it out: the name in front is the only metric that is read",
        ));
    }
    let matchers = vector.matchers.matchers.into_iter().map(matcher).collect();
    Ok(Selector { metric, matchers, text: text.trim().to_owned() })
}

fn matcher(parsed: Parsed) -> Matcher {
    let is = match parsed.op {
        MatchOp::Equal => LabelMatch::Equal(parsed.value),
        MatchOp::NotEqual => LabelMatch::NotEqual(parsed.value),
        // The parser has anchored them at both ends.
        MatchOp::Re(regex) => LabelMatch::Regex(regex),
        MatchOp::NotRe(regex) => LabelMatch::NotRegex(regex),
    };
    Matcher { label: parsed.name, is }
}

/// A histogram by its base name; its buckets are chosen by the threshold.
pub(super) fn histogram(text: &str) -> Result<Selector, Wrong> {
    let selector = selector(text)?;
    for suffix in ["_bucket", "_sum", "_count"] {
        if let Some(base) = selector.metric.strip_suffix(suffix) {
            return Err(Wrong::but(
                format!("`{}` is a part of a histogram", selector.metric),
                format!(
                    "write the histogram's own name: \"{}\"",
                    text.replacen(&selector.metric, base, 1)
                ),
            ));
        }
    }
    if selector.matchers.iter().any(|matcher| matcher.label == "le") {
        return Err(Wrong::but(
            format!("`{text}` has a condition on `le`"),
            "leave it out: the bucket is chosen by `max`",
        ));
    }
    Ok(selector)
}

/// Whether both read the same series, however they are written.
pub(super) fn same(one: &Selector, other: &Selector) -> bool {
    one.metric == other.metric && conditions(one) == conditions(other)
}

fn conditions(selector: &Selector) -> Vec<String> {
    let mut texts: Vec<String> = selector
        .matchers
        .iter()
        .map(|matcher| {
            let label = &matcher.label;
            match &matcher.is {
                LabelMatch::Equal(value) => format!("{label}={value}"),
                LabelMatch::NotEqual(value) => format!("{label}!={value}"),
                LabelMatch::Regex(regex) => format!("{label}=~{regex}"),
                LabelMatch::NotRegex(regex) => format!("{label}!~{regex}"),
            }
        })
        .collect();
    texts.sort();
    texts.dedup();
    texts
}

/// A condition that compares literally with what looks like a pattern, such as `status="5.."`.
pub(super) fn literal_pattern(selector: &Selector) -> Option<String> {
    selector.matchers.iter().find_map(|matcher| match &matcher.is {
        LabelMatch::Equal(value)
            if [".*", ".+", "..", "|", "[0-9]"].iter().any(|p| value.contains(p)) =>
        {
            Some(format!("{}=~\"{value}\"", matcher.label))
        }
        _ => None,
    })
}

fn unparsable(text: &str, message: &str) -> Wrong {
    let suggestion = if message.contains("illegal regex") {
        "a pattern after =~ is a regular expression, such as \"5..\" or \"500|503\""
    } else if message.contains("expected string") || message.contains("inside braces: '") {
        "compare a label with a value in quotes: =\"500\", !=\"500\", =~\"5..\" or !~\"5..\""
    } else if message.contains("unknown escape sequence") {
        "in a pattern a backslash is written twice, \"5\\\\d\\\\d\"; or do without: \"5..\", \"[0-9]\""
    } else if message.contains("end of input") {
        "close every brace and quote"
    } else if message.contains("set twice") {
        "leave `__name__` out: the name in front is the only metric that is read"
    } else {
        EXAMPLE
    };
    let place = match stumble(text, message).and_then(|at| text.split_at_checked(at)) {
        Some((good, rest)) => {
            format!("at character {}: `{good}⟨here⟩{rest}`", good.chars().count() + 1)
        }
        None => format!("in `{text}`"),
    };
    Wrong::but(format!("is not a selector: {message}, {place}"), suggestion)
}

/// Where the parser stopped, which it does not say. `None`: it cannot be told.
fn stumble(text: &str, message: &str) -> Option<usize> {
    if message.contains("end of input") {
        return Some(text.len());
    }
    // Before the last character of the shortest beginning that fails in the same way.
    let (at, _) = text.char_indices().find(|(start, char)| {
        let beginning = text.get(..start + char.len_utf8()).unwrap_or(text);
        parser::parse(beginning).is_err_and(|error| error == message)
    })?;
    // The message may quote what it stumbled over; then that must be what is there.
    let Some(quoted) = message.split('\'').nth(1).filter(|quoted| !quoted.is_empty()) else {
        return Some(at);
    };
    if text.get(at..)?.starts_with(quoted) {
        return Some(at);
    }
    let mut places = text.match_indices(quoted);
    places.next().filter(|_| places.next().is_none()).map(|(at, _)| at)
}

fn no_selector(text: &str, expression: &Expr) -> Wrong {
    let (what, suggestion) = match expression {
        Expr::Call(call) => {
            let function = call.func.name;
            let why = match function {
                "rate" | "irate" | "increase" | "delta" => "increments are taken by Waveoff itself",
                "histogram_quantile" => "use `latency = { histogram = …, quantile = … }`",
                _ => "values are used as the machine shows them",
            };
            (format!("calls the function {function}()"), format!("write the metric alone: {why}"))
        }
        Expr::Aggregate(_) => (
            "aggregates".to_owned(),
            "write the metric alone: a machine's series are added up, or, of a gauge, the largest counts"
                .to_owned(),
        ),
        Expr::MatrixSelector(_) | Expr::Subquery(_) => (
            "is a range".to_owned(),
            "leave out the [ ]: increments between scrapes are taken by Waveoff itself".to_owned(),
        ),
        Expr::Binary(_) => (
            "is a calculation".to_owned(),
            "write one metric; a share is ratio = { bad = …, total = … }, a limit is `max`"
                .to_owned(),
        ),
        Expr::Paren(_) => ("is in parentheses".to_owned(), "leave them out".to_owned()),
        // A selector itself does not get here.
        Expr::VectorSelector(_)
        | Expr::Unary(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::Extension(_) => ("is no metric".to_owned(), EXAMPLE.to_owned()),
    };
    Wrong::but(format!("`{text}` {what}"), suggestion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<Selector, Wrong>) -> String {
        let wrong = result.unwrap_err();
        format!("{}; {}", wrong.message, wrong.suggestion.unwrap_or_default())
    }

    #[test]
    fn a_selector_matches_as_prometheus_does() {
        let read =
            selector(r#" http_requests_total{status=~"5..",method!="GET",path!~'/a.*', x=""} "#)
                .unwrap();
        assert_eq!(read.metric, "http_requests_total");
        let labels = |status: &'static str, method: &'static str, path: &'static str| {
            move |name: &str| match name {
                "status" => Some(status),
                "method" => Some(method),
                "path" => Some(path),
                _ => None,
            }
        };
        assert!(read.matches(labels("503", "POST", "/b")));
        assert!(!read.matches(labels("5030", "POST", "/b")), "patterns are anchored");
        assert!(!read.matches(labels("503", "GET", "/b")));
        assert!(!read.matches(labels("503", "POST", "/ab")));
        assert_eq!(selector("job:errors:rate5m").unwrap().matchers.len(), 0);
    }

    #[test]
    fn what_is_more_than_a_selector_is_refused_with_what_to_write() {
        let cases = [
            ("rate(x[5m])", "calls the function rate(); write the metric alone"),
            ("histogram_quantile(0.9, x)", "use `latency"),
            ("sum(x)", "aggregates; write the metric alone"),
            ("x[5m]", "leave out the [ ]"),
            ("x[5m:1m]", "leave out the [ ]"),
            ("x offset 5m", "leave out `offset`"),
            ("x @ 5", "leave out `offset` and `@`"),
            ("x / y", "ratio = { bad"),
            ("x > 5", "a limit is `max`"),
            ("(x)", "leave them out"),
            ("-x", "is no metric"),
            ("5", "is no metric"),
            ("", "is empty"),
            (r#"{__name__="x"}"#, "write the name in front: x{…}"),
            (r#"{a="b"}"#, "begins with no metric name"),
            (r#"x{__name__="y"}"#, "leave `__name__` out"),
            (r#"x{__name__=~"y"}"#, "`__name__`"),
            (r#"x{a="b" or c="d"}"#, "joined by `or`"),
        ];
        for (text, want) in cases {
            let said = said(selector(text));
            assert!(said.contains(want), "{text}: {said}");
        }
    }

    #[test]
    fn a_broken_selector_is_shown_where_it_breaks() {
        let cases = [
            ("x{a=5}", "at character 5: `x{a=⟨here⟩5}`; compare a label with a value in quotes"),
            (r#"x{a=="5"}"#, r#"in `x{a=="5"}`; compare a label with a value in quotes"#),
            ("x{a=b}", "`x{a=⟨here⟩b}`; compare a label"),
            (r#"x{a="5""#, r#"`x{a="5"⟨here⟩`; close every brace"#),
            (r#"x{a=~"("}"#, "illegal regex"),
            ("x a", "`x ⟨here⟩a`"),
            ("é", "at character 1: `⟨here⟩é`"),
        ];
        for (text, want) in cases {
            let said = said(selector(text));
            assert!(said.contains(want), "{text}: {said}");
        }
    }

    #[test]
    fn a_histogram_goes_by_its_base_name() {
        assert!(histogram(r#"http_duration_seconds{path="/"}"#).is_ok());
        for suffix in ["bucket", "sum", "count"] {
            let said = said(histogram(&format!("http_duration_seconds_{suffix}{{a=\"b\"}}")));
            assert!(said.ends_with("\"http_duration_seconds{a=\"b\"}\""), "{said}");
        }
        assert!(said(histogram("x{le=\"0.5\"}")).contains("chosen by `max`"));
    }

    #[test]
    fn the_same_series_are_known_however_they_are_written() {
        let same = |a, b| same(&selector(a).unwrap(), &selector(b).unwrap());
        assert!(same("x", " x{} "));
        assert!(same(r#"x{a="1",b="2"}"#, r#"x{b='2', a='1', a="1"}"#));
        assert!(!same("x", r#"x{a="1"}"#));
        assert!(!same("x", "y"));
    }
}
