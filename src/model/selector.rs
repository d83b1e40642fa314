//! A series selector as Prometheus writes it: `http_requests_total{status=~"5.."}`.

use std::fmt;

use regex::Regex;

/// How a label's value is compared. A missing label counts as the empty string.
#[derive(Clone, Debug)]
pub enum LabelMatch {
    Equal(String),
    NotEqual(String),
    /// Anchored at both ends, as in Prometheus.
    Regex(Regex),
    NotRegex(Regex),
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub label: String,
    pub is: LabelMatch,
}

/// A metric name and the conditions on its labels.
#[derive(Clone, Debug)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
    /// As the user wrote it, for messages.
    pub text: String,
}

impl Selector {
    /// A selector for every series of one metric.
    pub fn metric(name: impl Into<String>) -> Self {
        let metric = name.into();
        Self { text: metric.clone(), metric, matchers: Vec::new() }
    }

    /// Whether a series of this metric is meant; `label` looks up its label values.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = label(&matcher.label).unwrap_or("");
            match &matcher.is {
                LabelMatch::Equal(want) => value == want,
                LabelMatch::NotEqual(unwanted) => value != unwanted,
                LabelMatch::Regex(pattern) => pattern.is_match(value),
                LabelMatch::NotRegex(pattern) => !pattern.is_match(value),
            }
        })
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
