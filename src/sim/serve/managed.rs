//! The query API of the managed Prometheus, as far as it is simulated.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    call::Call,
    reply::{Answer, Reply},
};
use crate::sim::handle::Sim;

/// Answers `/prometheus/<organization>/api/v1/query`.
pub fn answer(sim: &Sim, call: &Call) -> Answer {
    sim.ask(|org| org.check_slug(&call.route.app))?;
    if call.route.key != "query" {
        let what = format!("/api/v1/{} of the managed Prometheus", call.route.key);
        return Err(Reply::not_simulated(&what));
    }
    let query = call.parameter("query").ok_or_else(|| refused("the query is missing"))?;
    let at = call.parameter("time").map(time).transpose()?;
    let answered = sim
        .with(|org| org.query_metrics(query, at))
        .map_err(|why| Reply { unknown: Some(why.clone()), ..refused(&why) })?;
    let kind = if answered.is_range { "matrix" } else { "vector" };
    let series = answered.series.iter();
    let result: Vec<Value> =
        series.map(|(labels, samples)| shown(labels, samples, answered.is_range)).collect();
    Ok(Reply::ok(json!({
        "status": "success", "data": {"resultType": kind, "result": result},
    })))
}

/// Seconds since 1970, or a time as RFC 3339 has it.
fn time(text: &str) -> Result<Timestamp, Reply> {
    let seconds = text.parse().ok().and_then(|seconds: f64| {
        let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
        Timestamp::UNIX_EPOCH.checked_add(since).ok()
    });
    seconds.map_or_else(|| text.parse().map_err(|_| refused("the time is none")), Ok)
}

fn refused(why: &str) -> Reply {
    Reply::with(422, json!({"status": "error", "errorType": "422", "error": why}))
}

fn shown(labels: &BTreeMap<String, String>, samples: &[(Timestamp, f64)], is_range: bool) -> Value {
    let sample =
        |(at, value): &(Timestamp, f64)| json!([at.as_duration().as_secs_f64(), value.to_string()]);
    if is_range {
        let values: Vec<Value> = samples.iter().map(sample).collect();
        json!({"metric": labels, "values": values})
    } else {
        json!({"metric": labels, "value": samples.last().map(sample)})
    }
}
