//! The platform's managed Prometheus: it reads the proxy now and then, and what it has read is seen a
//! while later. It answers selectors, raw or over a range, and some expressions (`evaluate`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use promql_parser::{
    label::{MatchOp, Matcher},
    parser::{self, Expr, VectorSelector},
};

use super::{
    evaluate::{self, Value},
    machine::later,
    org::Org,
    proxied::ProxySeries,
};

/// How long samples are kept.
const KEPT: SignedDuration = SignedDuration::from_mins(25);
/// A selector without a range finds samples of so long ago.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(5);

/// What was read so far, by app: a query is of one app, or of some.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Managed {
    due: Timestamp,
    apps: BTreeMap<String, BTreeMap<Kept, VecDeque<(Timestamp, f64)>>>,
}

/// A series of the proxy: its name, and its labels in order.
type Kept = (&'static str, Vec<(&'static str, String)>);

/// Labels of a series, `__name__` among them.
pub type Labels = BTreeMap<String, String>;
/// Its samples, the oldest first.
pub type Samples = Vec<(Timestamp, f64)>;

/// An answer: whether it is of a range, and each series with its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub is_range: bool,
    pub series: Vec<(Labels, Samples)>,
}

impl Org {
    /// Reads the proxy from now on; before anybody asks there is no need to.
    pub fn keep_metrics(&mut self) {
        let due = self.now;
        self.managed.get_or_insert_with(|| Managed { due, apps: BTreeMap::new() });
    }

    /// Reads the proxy if it is time.
    pub(super) fn read_proxy_when_due(&mut self) {
        let now = self.now;
        if self.managed.as_ref().is_none_or(|managed| managed.due > now) {
            return;
        }
        let series = self.proxy_series();
        let every = self.timing.metrics;
        let Some(managed) = &mut self.managed else { return };
        managed.due = later(now, every);
        for ProxySeries { name, labels, value } in series {
            let app = labels.get("app").cloned().unwrap_or_default();
            let kept: Kept = (name, labels.into_iter().collect());
            managed.apps.entry(app).or_default().entry(kept).or_default().push_back((now, value));
        }
        let old = |at: &Timestamp| now.duration_since(*at) > KEPT;
        for series in managed.apps.values_mut() {
            series.retain(|_, samples| {
                while samples.front().is_some_and(|(at, _)| old(at)) {
                    samples.pop_front();
                }
                !samples.is_empty()
            });
        }
    }

    /// Answers a query as of `at`; `None`: as of now.
    ///
    /// # Errors
    /// A sentence, for what is not simulated.
    pub fn query_metrics(
        &mut self,
        query: &str,
        at: Option<Timestamp>,
    ) -> Result<Answered, String> {
        self.keep_metrics();
        let at = at.unwrap_or(self.now).min(self.now);
        let expression = parser::parse(query).map_err(|error| format!("parse error: {error}"))?;
        if !matches!(expression, Expr::VectorSelector(_) | Expr::MatrixSelector(_)) {
            return self.evaluated(&expression, at);
        }
        let (selector, range) = selector(expression)?;
        let from = later_by(at, -range.unwrap_or(LOOK_BACK));
        let mut found = self.samples(&selector, from, at);
        if range.is_none() {
            // An instant has the last sample alone, under its own time.
            for samples in found.values_mut() {
                *samples = samples.last().map(|(_, value)| (at, *value)).into_iter().collect();
            }
        }
        Ok(Answered { is_range: range.is_some(), series: found.into_iter().collect() })
    }
}

impl Org {
    /// What a selector finds between two times, the first of them left out.
    fn samples(
        &self,
        selector: &VectorSelector,
        from: Timestamp,
        until: Timestamp,
    ) -> BTreeMap<Labels, Samples> {
        let seen_until = later_by(self.now, -signed(self.timing.metrics_late)).min(until);
        let mut found: BTreeMap<Labels, Samples> = BTreeMap::new();
        let apps = self.managed.iter().flat_map(|managed| &managed.apps);
        let of_app = |matcher: &&Matcher| matcher.name == "app";
        let is_of =
            |app: &str| selector.matchers.matchers.iter().filter(of_app).all(|one| fits(one, app));
        for (kept, samples) in apps.filter(|(app, _)| is_of(app)).flat_map(|(_, series)| series) {
            if !selects(selector, kept) {
                continue;
            }
            let within = samples.iter().filter(|(at, _)| *at > from && *at <= seen_until);
            let within: Samples = within.copied().collect();
            if !within.is_empty() {
                found.insert(labels(kept), within);
            }
        }
        found
    }

    fn evaluated(&self, expression: &Expr, at: Timestamp) -> Result<Answered, String> {
        let find = |selector: &VectorSelector, from, until| self.samples(selector, from, until);
        let value = evaluate::evaluate(expression, at, &find)
            .map_err(|what| format!("the simulated platform does not evaluate {what}"))?;
        let series = match value {
            Value::Number(number) => vec![(Labels::new(), vec![(at, number)])],
            Value::Vector(all) => {
                let one = |(labels, value)| (labels, vec![(at, value)]);
                all.into_iter().map(one).collect()
            }
        };
        Ok(Answered { is_range: false, series })
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn later_by(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

fn selector(expression: Expr) -> Result<(VectorSelector, Option<SignedDuration>), String> {
    let refused = |what: &str| {
        Err(format!(
            "the simulated platform answers a selector, such as up or up{{app=\"web\"}}[90s], and not {what}"
        ))
    };
    let (selector, range) = match expression {
        Expr::VectorSelector(selector) => (selector, None),
        Expr::MatrixSelector(matrix) => (matrix.vs, Some(signed(matrix.range))),
        _ => return refused("calculations"),
    };
    if selector.offset.is_some() || selector.at.is_some() {
        return refused("other times");
    }
    if !selector.matchers.or_matchers.is_empty() {
        return refused("conditions joined by `or`");
    }
    Ok((selector, range))
}

fn selects(selector: &VectorSelector, (own, labels): &Kept) -> bool {
    let value = |name: &str| {
        let labelled = labels.iter().find(|(label, _)| *label == name);
        if name == "__name__" { own } else { labelled.map_or("", |(_, value)| value.as_str()) }
    };
    selector.name.as_ref().is_none_or(|name| name == own)
        && selector.matchers.matchers.iter().all(|matcher| fits(matcher, value(&matcher.name)))
}

fn fits(matcher: &Matcher, value: &str) -> bool {
    match &matcher.op {
        MatchOp::Equal => value == matcher.value,
        MatchOp::NotEqual => value != matcher.value,
        MatchOp::Re(pattern) => pattern.is_match(value),
        MatchOp::NotRe(pattern) => !pattern.is_match(value),
    }
}

fn labels((name, labels): &Kept) -> Labels {
    let own = std::iter::once(("__name__".to_owned(), (*name).to_owned()));
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    own.chain(labels).collect()
}
