//! Wanted lines to series, exactly or not at all.
//!
//! `prometheus-parse` splits labels at every `,` and `=` and ends them at the first `}`, quoted or
//! not, and does not know names with `:`; what it cannot read it leaves out without a word. So it
//! never sees raw text: names and labels are taken apart here, it is given a stand-in for them
//! beside the value, and a line that does not come back is an error.

use std::{borrow::Cow, collections::BTreeMap};

use prometheus_parse::{Scrape, Value};

use super::select::{KeptLine, excerpt};
use crate::ports::PageError;

/// One sample of one page.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Series {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Reads every line; the first that cannot be read is the error.
pub fn parse(lines: &[KeptLine]) -> Result<Vec<Series>, PageError> {
    let mut parts = Vec::with_capacity(lines.len());
    for line in lines {
        parts.push(Parts::of(&line.text).map_err(|why| refusal(line, why))?);
    }
    let stand_ins =
        parts.iter().enumerate().map(|(index, parts)| Ok(format!("s{index} {}", parts.value)));
    let scrape =
        Scrape::parse(stand_ins).map_err(|error| PageError(format!("unreadable page: {error}")))?;
    let mut values: Vec<Option<f64>> = vec![None; lines.len()];
    for sample in &scrape.samples {
        let index: Option<usize> =
            sample.metric.strip_prefix('s').and_then(|index| index.parse().ok());
        let slot = index.and_then(|index| values.get_mut(index));
        if let (Some(slot), Value::Untyped(value)) = (slot, &sample.value) {
            *slot = Some(*value);
        }
    }
    let mut series = Vec::with_capacity(lines.len());
    for ((parts, value), line) in parts.into_iter().zip(values).zip(lines) {
        let value = value.ok_or_else(|| refusal(line, "its value is no number"))?;
        series.push(Series { name: parts.name.into_owned(), labels: parts.labels, value });
    }
    Ok(series)
}

fn refusal(line: &KeptLine, why: &str) -> PageError {
    PageError(format!(
        "line {} cannot be read ({why}): {}",
        line.number,
        excerpt(line.text.as_bytes())
    ))
}

type Labels = BTreeMap<String, String>;

/// A line taken apart.
struct Parts<'a> {
    name: Cow<'a, str>,
    labels: Labels,
    value: &'a str,
}

impl<'a> Parts<'a> {
    fn of(line: &'a str) -> Result<Self, &'static str> {
        let line = line.trim();
        let end = line.find(|c: char| !is_name(c) && c != ':').unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let rest = match rest.chars().next() {
            None => return Err("it has a name and nothing else"),
            Some('{') => rest,
            Some(c) if c.is_ascii_whitespace() => rest.trim_start(),
            Some(_) => return Err("its name does not end"),
        };
        let (inner_name, labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => inside_braces(inside)?,
            None => (None, Labels::new(), rest),
        };
        let name = match inner_name {
            Some(inner) if name.is_empty() => inner,
            Some(_) => return Err("it has two names"),
            None if name.is_empty() => return Err("it has no name"),
            None => Cow::Borrowed(name),
        };
        let (value, rest) = token(rest);
        if value.is_empty() {
            return Err("it has no value");
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its value is no number");
        }
        // A timestamp and an exemplar may follow; neither is of use here.
        if !rest.is_empty() && !rest.starts_with('#') {
            let (timestamp, rest) = token(rest);
            timestamp.parse::<f64>().map_err(|_| "its timestamp is no number")?;
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err("something follows its timestamp");
            }
        }
        Ok(Self { name, labels, value })
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The first word and what follows the white space after it.
fn token(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}

type Inside<'a> = (Option<Cow<'a, str>>, Labels, &'a str);

/// What is after a `{`: the metric's name, if it is quoted there, the labels, and what follows
/// the `}`.
fn inside_braces(mut rest: &str) -> Result<Inside<'_>, &'static str> {
    let mut metric = None;
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((metric, labels, after));
        }
        let (name, after) = match rest.strip_prefix('"') {
            Some(inside) => quoted(inside).ok_or("a quoted name does not end")?,
            None => {
                let end = rest.find(|c: char| !is_name(c)).ok_or("its labels do not end")?;
                let (name, after) = rest.split_at(end);
                (Cow::Borrowed(name), after)
            }
        };
        if name.is_empty() {
            return Err("a label has no name");
        }
        let was_quoted = rest.starts_with('"');
        let after = after.trim_start();
        let after = match after.strip_prefix('=') {
            Some(after) => {
                let inside = after.trim_start().strip_prefix('"');
                let (value, after) = quoted(inside.ok_or("a label value is not quoted")?)
                    .ok_or("a label value does not end")?;
                if labels.insert(name.into_owned(), value.into_owned()).is_some() {
                    return Err("a label is named twice");
                }
                after.trim_start()
            }
            // Only the first thing in the braces can be the metric's name.
            None if was_quoted && metric.is_none() && labels.is_empty() => {
                metric = Some(name);
                after
            }
            None => return Err("a label has no value"),
        };
        rest = match after.strip_prefix(',') {
            Some(next) => next,
            None if after.starts_with('}') => after,
            None => return Err("its labels do not end"),
        };
    }
}

/// The text up to the closing quote, with escapes undone, and what follows the quote.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let plain = text.find(['"', '\\'])?;
    let (before, rest) = text.split_at(plain);
    if let Some(after) = rest.strip_prefix('"') {
        return Some((Cow::Borrowed(before), after));
    }
    let mut value = before.to_owned();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Cow::Owned(value), chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                plain @ ('"' | '\\') => value.push(plain),
                // Not an escape: both characters are meant.
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> KeptLine {
        KeptLine { number: 7, text: text.to_owned() }
    }

    fn one(text: &str) -> Series {
        let mut series = parse(&[line(text)]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(series.len(), 1);
        series.remove(0)
    }

    #[test]
    fn every_kind_of_label_value_comes_back_exactly() {
        let cases = [
            (r#"m{path="/users/{id}",code="500"} 7"#, "path", "/users/{id}"),
            (r#"m{a="x,y=z",b="1"} 7"#, "a", "x,y=z"),
            (r#"m{a="say \"hi\""} 7"#, "a", "say \"hi\""),
            (r#"m{a="C:\\dir\\n"} 7"#, "a", r"C:\dir\n"),
            (r#"m{a="two\nlines"} 7"#, "a", "two\nlines"),
            (r#"m{a="\d+"} 7"#, "a", r"\d+"),
            (r#"m{a=" spaced  out "} 7"#, "a", " spaced  out "),
            (r#"m{a="größe 日本 🙂"} 7"#, "a", "größe 日本 🙂"),
            (r##"m{a="# {b=\"c\"} 1"} 7"##, "a", "# {b=\"c\"} 1"),
            (r#"m{a=""} 7"#, "a", ""),
            (r#"m { a = "b" , c = "d" , } 7"#, "a", "b"),
            (r#"m{a="b"}7"#, "a", "b"),
        ];
        for (text, label, want) in cases {
            let series = one(text);
            assert_eq!(series.label(label), Some(want), "{text}");
            assert_eq!((series.name.as_str(), series.value), ("m", 7.0), "{text}");
        }
        assert_eq!(one(cases[0].0).label("code"), Some("500"));
        assert_eq!(one(cases[10].0).labels.len(), 2);
    }

    #[test]
    fn names_timestamps_and_exemplars() {
        let cases = [
            ("job:errors:rate5m 0.5", "job:errors:rate5m", 0.5),
            ("job:e{a=\"b\"} 0.5", "job:e", 0.5),
            ("m{} 3", "m", 3.0),
            ("m 3 1700000000000", "m", 3.0),
            ("m 3 1700000000.123", "m", 3.0),
            ("m\t3", "m", 3.0),
            ("m 3 # {trace_id=\"x\"} 0.5", "m", 3.0),
            ("m_total{a=\"b\"} 3 1700000000.1 # {trace_id=\"x y\"} 0.5 17.0", "m_total", 3.0),
            ("m_created 1.7e9", "m_created", 1.7e9),
            ("m +Inf", "m", f64::INFINITY),
            ("m -Inf", "m", f64::NEG_INFINITY),
            ("m 4.059092e+06", "m", 4_059_092.0),
        ];
        for (text, name, value) in cases {
            let series = one(text);
            assert_eq!((series.name.as_str(), series.value), (name, value), "{text}");
        }
        assert!(one("m NaN").value.is_nan());
    }

    #[test]
    fn quoted_names_are_read_as_openmetrics_writes_them() {
        let cases = [
            (r#"{"http.requests"} 3"#, "http.requests", 0),
            (r#"{"http.requests",} 3 # {trace_id="x"} 1"#, "http.requests", 0),
            (r#"{ "größe \"x\" \\" , "a.b" = "c", d="e" } 3"#, "größe \"x\" \\", 2),
            (r#"{"up",a="b"} 3 1700000000.5"#, "up", 1),
            (r#"m{"a.b"="c"} 3"#, "m", 1),
        ];
        for (text, name, labels) in cases {
            let series = one(text);
            let parts = (series.name.as_str(), series.labels.len(), series.value);
            assert_eq!(parts, (name, labels, 3.0), "{text}");
        }
        assert_eq!(one(cases[2].0).label("a.b"), Some("c"));
        assert_eq!(one(cases[4].0).label("a.b"), Some("c"));
    }

    #[test]
    fn many_lines_keep_their_order() {
        let lines: Vec<_> = (0..50).map(|i| line(&format!("m{{i=\"{i}\"}} {i}"))).collect();
        for (index, series) in parse(&lines).unwrap().iter().enumerate() {
            let want = (Some(index.to_string()), index as f64);
            assert_eq!((series.label("i").map(str::to_owned), series.value), want);
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let cases = [
            ("m wtf", "its value is no number"),
            ("m 1,5", "its value is no number"),
            ("m", "it has a name and nothing else"),
            ("m{a=\"b\"}", "it has no value"),
            ("m{a=\"b} 1", "a label value does not end"),
            ("m{a=\"b\\", "a label value does not end"),
            ("m{a=b} 1", "a label value is not quoted"),
            ("m{a} 1", "a label has no value"),
            ("m{\"\"=\"b\"} 1", "a label has no name"),
            ("m{\"a} 1", "a quoted name does not end"),
            ("m{\"a\"} 1", "it has two names"),
            ("{\"m\",\"n\"} 1", "a label has no value"),
            ("{a=\"b\"} 1", "it has no name"),
            ("{a=\"b\",\"m\"} 1", "a label has no value"),
            ("{\"m\"}", "it has no value"),
            ("m=1 5", "its name does not end"),
            ("m\u{a0}5 5", "its name does not end"),
            ("m 1\u{a0}2", "its value is no number"),
            ("m 0x10", "its value is no number"),
            ("m{a=\"b\" c=\"d\"} 1", "its labels do not end"),
            ("m{a=\"b\",a=\"c\"} 1", "a label is named twice"),
            ("m{a", "its labels do not end"),
            ("m 1 soon", "its timestamp is no number"),
            ("m 1 2 3", "something follows its timestamp"),
            ("m # {a=\"b\"} 1", "its timestamp is no number"),
        ];
        for (text, why) in cases {
            let error = parse(&[line("m 1"), line(text)]).unwrap_err();
            assert_eq!(error.0, format!("line 7 cannot be read ({why}): `{text}`"));
        }
        let long = format!("m{{a=\"{}\"}} x", "v".repeat(500));
        assert!(parse(&[line(&long)]).unwrap_err().0.len() < 200);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(
            labels in prop::collection::btree_map("[a-z_][a-z0-9_]{0,8}", "\\PC*|[\\n\"\\\\{},=# ]*", 0..6),
            value in any::<f64>(),
        ) {
            let mut text = String::from("ns:m_total{");
            for (name, value) in &labels {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                text.push_str(&format!("{name}=\"{value}\","));
            }
            text.push_str(&format!("}} {value:e}"));
            let series = one(&text);
            prop_assert_eq!(&series.labels, &labels);
            prop_assert!(series.value.total_cmp(&value).is_eq() || value.is_nan());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}|m[{}\",=\\\\a-z0-9# ]{0,40}") {
            let _ = parse(&[line(&text)]);
        }
    }
}
