//! Expressions, as far as the managed Prometheus evaluates them here: sums and averages by labels, rates and
//! averages over time, bounds, and calculations with them.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use promql_parser::parser::{
    AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, Offset,
    VectorMatchCardinality, VectorSelector,
};

use super::managed::{Labels, Samples};

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Vector(Vec<(Labels, f64)>),
}

/// The samples of a selector between two times, the first of them left out.
pub(super) type Find<'f> =
    dyn Fn(&VectorSelector, Timestamp, Timestamp) -> BTreeMap<Labels, Samples> + 'f;

/// A selector without a range finds samples of so long ago.
const LOOK_BACK: Duration = Duration::from_secs(300);

/// Evaluates an expression as of `at`.
///
/// # Errors
/// The name of what is not evaluated here.
pub(super) fn evaluate(expr: &Expr, at: Timestamp, find: &Find<'_>) -> Result<Value, String> {
    match expr {
        Expr::NumberLiteral(number) => Ok(Value::Number(number.val)),
        Expr::Paren(inner) => evaluate(&inner.expr, at, find),
        Expr::VectorSelector(selector) => {
            let found = over(selector, LOOK_BACK, at, find)?;
            let last = |(labels, samples): (Labels, Samples)| Some((labels, samples.last()?.1));
            Ok(Value::Vector(found.into_iter().filter_map(last).collect()))
        }
        Expr::Call(call) => called(call, at, find),
        Expr::Aggregate(aggregate) => aggregated(aggregate, at, find),
        Expr::Binary(binary) => calculated(binary, at, find),
        Expr::MatrixSelector(_) => Err("a range by itself".to_owned()),
        Expr::Unary(_) => Err("a sign".to_owned()),
        Expr::Subquery(_) => Err("subqueries".to_owned()),
        Expr::StringLiteral(_) | Expr::Extension(_) => Err("texts".to_owned()),
    }
}

fn over(
    selector: &VectorSelector,
    range: Duration,
    at: Timestamp,
    find: &Find<'_>,
) -> Result<BTreeMap<Labels, Samples>, String> {
    let offset = match &selector.offset {
        None => Duration::ZERO,
        Some(Offset::Pos(offset)) => *offset,
        Some(Offset::Neg(_)) => return Err("the future".to_owned()),
    };
    let back = |from: Timestamp, by: Duration| {
        from.checked_sub(SignedDuration::try_from(by).unwrap_or_default()).unwrap_or(from)
    };
    let until = back(at, offset);
    Ok(find(selector, back(until, range), until))
}

fn called(call: &Call, at: Timestamp, find: &Find<'_>) -> Result<Value, String> {
    let name = call.func.name;
    let arguments: Vec<&Expr> = call.args.args.iter().map(|expr| &**expr).collect();
    match (name, arguments.as_slice()) {
        ("rate", [Expr::MatrixSelector(matrix)]) => over_time(matrix, at, find, rate),
        ("avg_over_time", [Expr::MatrixSelector(matrix)]) => over_time(matrix, at, find, average),
        ("clamp_min", [vector, least]) => {
            let Value::Number(least) = evaluate(least, at, find)? else {
                return Err("clamp_min() by a vector".to_owned());
            };
            let clamp = |value: f64| value.max(least);
            Ok(match evaluate(vector, at, find)? {
                Value::Number(number) => Value::Number(clamp(number)),
                Value::Vector(all) => {
                    let unnamed = all.into_iter().map(|(labels, value)| (bare(labels), value));
                    Value::Vector(unnamed.map(|(labels, value)| (labels, clamp(value))).collect())
                }
            })
        }
        ("label_replace", [vector, label, value, from, pattern]) => {
            let texts = [label, value, from, pattern].map(|argument| match argument {
                Expr::StringLiteral(text) => Some(text.val.as_str()),
                _ => None,
            });
            // Whatever the label was, it is the value now.
            let [Some(label), Some(value), Some(_), Some(".*")] = texts else {
                return Err("label_replace() by a pattern".to_owned());
            };
            match evaluate(vector, at, find)? {
                Value::Number(_) => Err("label_replace() of a number".to_owned()),
                Value::Vector(mut all) => {
                    for (labels, _) in &mut all {
                        labels.insert(label.to_owned(), value.to_owned());
                    }
                    Ok(Value::Vector(all))
                }
            }
        }
        _ => Err(format!("{name}()")),
    }
}

fn over_time(
    matrix: &MatrixSelector,
    at: Timestamp,
    find: &Find<'_>,
    fold: impl Fn(&Samples) -> Option<f64>,
) -> Result<Value, String> {
    let found = over(&matrix.vs, matrix.range, at, find)?;
    let one = |(labels, samples): (Labels, Samples)| Some((bare(labels), fold(&samples)?));
    Ok(Value::Vector(found.into_iter().filter_map(one).collect()))
}

/// Without the series' name, as whatever is calculated.
fn bare(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

fn rate(samples: &Samples) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let seconds = last.0.duration_since(first.0).as_secs_f64();
    let pairs = samples.iter().zip(samples.iter().skip(1));
    let added = pairs.map(|((_, before), (_, now))| if now < before { *now } else { now - before });
    (seconds > 0.0).then(|| added.sum::<f64>() / seconds)
}

fn average(samples: &Samples) -> Option<f64> {
    let count = f64::from(u32::try_from(samples.len()).ok()?);
    (count > 0.0).then(|| samples.iter().map(|(_, value)| value).sum::<f64>() / count)
}

fn aggregated(of: &AggregateExpr, at: Timestamp, find: &Find<'_>) -> Result<Value, String> {
    let Value::Vector(all) = evaluate(&of.expr, at, find)? else {
        return Err("an aggregation of a number".to_owned());
    };
    let by = match &of.modifier {
        None => Vec::new(),
        Some(LabelModifier::Include(labels)) => labels.labels.clone(),
        Some(LabelModifier::Exclude(_)) => return Err("`without`".to_owned()),
    };
    let mut groups: BTreeMap<Labels, Samples> = BTreeMap::new();
    for (labels, value) in all {
        let kept = labels.into_iter().filter(|(name, _)| by.contains(name)).collect();
        groups.entry(kept).or_default().push((at, value));
    }
    let values = |samples: &Samples| samples.iter().map(|(_, value)| *value).collect::<Vec<f64>>();
    let name = of.op.to_string();
    let fold = |samples: &Samples| match name.as_str() {
        "sum" => Some(values(samples).iter().sum()),
        "avg" => average(samples),
        "max" => values(samples).into_iter().reduce(f64::max),
        "min" => values(samples).into_iter().reduce(f64::min),
        _ => None,
    };
    if !matches!(name.as_str(), "sum" | "avg" | "max" | "min") {
        return Err(name);
    }
    let one = |(labels, samples): (Labels, Samples)| Some((labels, fold(&samples)?));
    Ok(Value::Vector(groups.into_iter().filter_map(one).collect()))
}

fn calculated(of: &BinaryExpr, at: Timestamp, find: &Find<'_>) -> Result<Value, String> {
    let (left, right) = (evaluate(&of.lhs, at, find)?, evaluate(&of.rhs, at, find)?);
    let name = of.op.to_string();
    if let ("or", Value::Vector(mut left), Value::Vector(right)) =
        (name.as_str(), left.clone(), right.clone())
    {
        let more = right.into_iter().filter(|(labels, _)| {
            let bare_labels = bare(labels.clone());
            !left.iter().any(|(known, _)| bare(known.clone()) == bare_labels)
        });
        let more: Vec<_> = more.collect();
        left.extend(more);
        return Ok(Value::Vector(left));
    }
    let calculate = match name.as_str() {
        "+" => |a: f64, b: f64| a + b,
        "-" => |a: f64, b: f64| a - b,
        "*" => |a: f64, b: f64| a * b,
        "/" => |a: f64, b: f64| a / b,
        _ => return Err(format!("`{name}`")),
    };
    let each = |all: Vec<(Labels, f64)>, with: &dyn Fn(f64) -> f64| {
        Value::Vector(all.into_iter().map(|(labels, value)| (bare(labels), with(value))).collect())
    };
    Ok(match (left, right) {
        (Value::Number(a), Value::Number(b)) => Value::Number(calculate(a, b)),
        (Value::Vector(all), Value::Number(b)) => each(all, &|a| calculate(a, b)),
        (Value::Number(a), Value::Vector(all)) => each(all, &|b| calculate(a, b)),
        (Value::Vector(left), Value::Vector(right)) => {
            let whole = is_with_the_whole(of.modifier.as_ref())?;
            let pairs = left.into_iter().filter_map(|(labels, a)| {
                let labels = bare(labels);
                let fits = |known: &Labels| whole || bare(known.clone()) == labels;
                let (_, b) = right.iter().find(|(known, _)| fits(known))?;
                Some((labels, calculate(a, *b)))
            });
            Value::Vector(pairs.collect())
        }
    })
}

/// Whether every value is calculated with the one on the other side: `on() group_left()`.
fn is_with_the_whole(modifier: Option<&BinModifier>) -> Result<bool, String> {
    let Some(modifier) = modifier else { return Ok(false) };
    match (&modifier.card, &modifier.matching) {
        (VectorMatchCardinality::OneToOne, None) => Ok(false),
        (VectorMatchCardinality::ManyToOne(_), Some(LabelModifier::Include(labels)))
            if labels.labels.is_empty() =>
        {
            Ok(true)
        }
        _ => Err("matching by some labels".to_owned()),
    }
}
