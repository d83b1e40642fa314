//! Readers for fields that the platform sends in more than one way.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Null as if the field were missing: Go's encoder writes empty lists and maps so.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A text, or a number as text; anything else is empty.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

/// See [`time_of`].
pub(crate) fn time<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(time_of(&Value::deserialize(d)?))
}

/// A whole number, also as text; anything else is none.
pub(crate) fn whole<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// True only if it says so.
pub(crate) fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Ok(match Value::deserialize(d)? {
        Value::Bool(flag) => flag,
        Value::String(text) => text == "true",
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    })
}

/// Above this a number counts milliseconds: in seconds it would be the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A time as RFC 3339, or as seconds or milliseconds since 1970. Empty texts, and Go's zero time
/// (the year 1), mean that there is none.
pub(crate) fn time_of(value: &Value) -> Option<Timestamp> {
    let time = match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => match number.as_i64()? {
            seconds if seconds.abs() < SECONDS_MAX => Timestamp::from_second(seconds).ok(),
            milliseconds => Timestamp::from_millisecond(milliseconds).ok(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    time.filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// A duration as Go writes it (`1m30s`, `1.5h`), or in whole nanoseconds.
pub(crate) fn duration_of(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => number.as_u64().map(Duration::from_nanos),
        Value::String(text) => go_duration(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|char: char| char.is_ascii_digit() || char == '.');
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_go_texts_or_nanoseconds() {
        let cases = [
            (json!("15s"), Some(15_000)),
            (json!("1m30s"), Some(90_000)),
            (json!("1h0m0.5s"), Some(3_600_500)),
            (json!("250ms"), Some(250)),
            (json!("0"), Some(0)),
            (json!(15_000_000_000_u64), Some(15_000)),
            (json!(""), None),
            (json!("15"), None),
            (json!("s"), None),
            (json!("-3s"), None),
            (json!("1 minute"), None),
            (json!(-1), None),
            (json!(null), None),
            (json!("99999999999999999999h"), None),
        ];
        for (value, want) in cases {
            assert_eq!(duration_of(&value), want.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn times_are_texts_seconds_or_milliseconds() {
        let second = "2026-11-23T23:10:02Z";
        let cases = [
            (json!(second), Some(second)),
            (json!("2026-11-24T00:10:02+01:00"), Some(second)),
            (json!(1_795_475_402), Some(second)),
            (json!(1_795_475_402_000_i64), Some(second)),
            (json!(""), None),
            (json!("0001-01-01T00:00:00Z"), None),
            (json!(0), None),
            (json!(null), None),
            (json!("yesterday"), None),
            (json!(1.5), None),
        ];
        for (value, want) in cases {
            let want = want.map(|text| text.parse::<Timestamp>().unwrap());
            assert_eq!(time_of(&value), want, "{value}");
        }
    }
}
