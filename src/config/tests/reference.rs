//! The reference of the kinds of thresholds in docs/configuration.md is what their tables say.

use super::*;
use crate::{
    config::{duration_text, share_text},
    model::Kind,
    threshold::{
        keys::{Key, Place as At, Schema, Takes, Unsaid, Value},
        relative,
    },
};

const BEGIN: &str =
    "<!-- Kinds of thresholds: made from src/threshold/, see src/config/tests/reference.rs -->\n";
const END: &str = "<!-- End of the kinds of thresholds -->\n";

/// What the reference says of all kinds.
fn reference() -> String {
    let schemas = || Kind::ALL.into_iter().map(Kind::schema);
    let mut text = "| kind | exceeded when |\n|---|---|\n".to_owned();
    for schema in schemas() {
        text.push_str(&format!("| `{}` | {} |\n", form(schema), schema.exceeded));
    }
    text.push_str("\nTheir keys, those in the braces with the kind's word in front:\n\n");
    text.push_str("| key | of | value | default | |\n|---|---|---|---|---|\n");
    // A key that several kinds share is said once.
    let mut rows: Vec<(String, &Key, Vec<String>)> = Vec::new();
    for schema in schemas() {
        let word = schema.kind.as_str();
        for key in schema.keys {
            let name = match key.place {
                At::Braces => format!("{word}.{}", key.name),
                At::Beside | At::Word => key.name.to_owned(),
            };
            let of = format!("`{word}`");
            match rows.iter_mut().find(|(known, other, _)| *known == name && *other == key) {
                Some((_, _, kinds)) => kinds.push(of),
                None => rows.push((name, key, vec![of])),
            }
        }
    }
    for (name, key, kinds) in rows {
        let default = match key.unsaid {
            Unsaid::Wrong(_) => "required".to_owned(),
            Unsaid::WrongWithout(other, _) => format!("required, or `{other}`"),
            Unsaid::Means(value) => format!("`{}`", written(value)),
            Unsaid::Nothing(then) => then.to_owned(),
        };
        let (kinds, takes) = (kinds.join(", "), takes(key.takes));
        text.push_str(&format!("| `{name}` | {kinds} | {takes} | {default} | {} |\n", key.doc));
    }
    text
}

/// How a kind is written.
fn form(schema: &Schema) -> String {
    let word = schema.kind.as_str();
    let value = |key: &Key| match (key.unsaid, key.takes) {
        (Unsaid::Means(value), _) => written(value),
        (Unsaid::Wrong(_), Takes::Quantile { .. }) => "0.95".to_owned(),
        (Unsaid::Wrong(_), Takes::Path) => "\"/healthz\"".to_owned(),
        (Unsaid::Wrong(_) | Unsaid::WrongWithout(..), _) => "SELECTOR".to_owned(),
        (Unsaid::Nothing(_), _) => "…".to_owned(),
    };
    // What may be left out besides its path is left out here.
    let is_asked = schema.keys.iter().any(|key| key.takes == Takes::Path);
    let in_braces = schema.keys.iter().filter(|key| {
        key.place == At::Braces && (!is_asked || matches!(key.unsaid, Unsaid::Wrong(_)))
    });
    let pairs: Vec<_> = in_braces.map(|key| format!("{} = {}", key.name, value(key))).collect();
    let is_evaluated = schema.keys.iter().any(|key| key.takes == Takes::Expression);
    if is_evaluated {
        format!("{word} = EXPRESSION")
    } else if pairs.is_empty() {
        format!("{word} = SELECTOR")
    } else {
        format!("{word} = {{ {} }}", pairs.join(", "))
    }
}

/// A default as a file has it.
fn written(value: Value) -> String {
    match value {
        Value::Number(share) => format!("\"{}\"", share_text(share)),
        Value::Span(span) => format!("\"{}\"", duration_text(span)),
        Value::Whole(whole) => whole.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Word(word) => format!("\"{word}\""),
    }
}

fn takes(takes: Takes) -> String {
    match takes {
        Takes::Counter { part_of: None } => "selector of a counter".to_owned(),
        Takes::Counter { part_of: Some(whole) } => {
            format!("selector of a counter, a part of `{whole}`")
        }
        Takes::Gauge => "selector of a gauge".to_owned(),
        Takes::Histogram => "selector of a histogram".to_owned(),
        Takes::Share { least, below } => {
            format!("share: {} to less than {}", share_text(least), share_text(below))
        }
        Takes::Quantile { least, beyond } => format!("number: {least} to {}", 1.0 - beyond),
        Takes::Latency { least, most } | Takes::Span { least, most } => {
            format!("duration: {} to {}", duration_text(least), duration_text(most))
        }
        Takes::Amount => "number or text with a unit".to_owned(),
        Takes::Machines => "share of the machines: more than 0, to 100%".to_owned(),
        Takes::Whole { least, most } => format!("whole number: {least} to {most}"),
        Takes::Flag => "`true` or `false`".to_owned(),
        Takes::OneOf(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or ")
        }
        Takes::Labels { most } => format!("list of 1 to {most} labels"),
        Takes::Relative => format!(
            "`{{ times = 1.5, plus = \"0.2%\" }}`, one of them or both: 1 to {}, and a share",
            relative::TIMES_MAX
        ),
        Takes::Path => "path, with a slash in front".to_owned(),
        Takes::Statuses => "a class such as `\"2xx\"`, a number, or a list of them".to_owned(),
        Takes::Text { most } => format!("text of 1 to {most} characters"),
        Takes::Expression => "PromQL or MetricsQL, with `$app`".to_owned(),
        Takes::Server => "`\"fly\"` or the name of a `[[metrics_server]]`".to_owned(),
        Takes::Source => {
            "`\"machine\"`, `\"fly\"` or the name of a `[[metrics_server]]`".to_owned()
        }
    }
}

#[test]
fn the_reference_of_the_kinds_is_what_their_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = fs::read_to_string(path).unwrap();
    let said = documentation.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let want = reference();
    assert!(
        said.is_some_and(|(said, _)| said == want),
        "docs/configuration.md says something else than src/threshold/; put this between\n\
         {BEGIN}and\n{END}\n{want}"
    );
}

/// A file with one threshold of a kind: what it needs, and one key as `value`, or not written.
fn file(schema: &Schema, one: &Key, value: Option<&str>) -> String {
    let needed = |key: &Key| match key.takes {
        Takes::Counter { part_of: Some(_) } => "'m{a=\"b\"}'",
        Takes::Share { .. } => "\"2%\"",
        Takes::Quantile { .. } => "0.95",
        Takes::Latency { .. } | Takes::Amount => "\"1s\"",
        Takes::Expression => "'m{app=\"$app\"}'",
        Takes::Path => "'/healthz'",
        _ => "'m'",
    };
    let pair = |key: &Key| {
        let is_needed = matches!(key.unsaid, Unsaid::Wrong(_) | Unsaid::WrongWithout(..));
        let needed = is_needed.then(|| needed(key));
        let value = if key.name == one.name { value } else { needed };
        Some(format!("{} = {}", key.name, value?))
    };
    let at = |place| schema.keys.iter().filter(move |key| key.place == place);
    let beside: Vec<_> = at(At::Beside).chain(at(At::Word)).filter_map(pair).collect();
    let mut text =
        "apps = [\"web\"]\n[watch]\nbake = \"7d\"\n[[threshold]]\nname = \"x\"\n".to_owned();
    text.push_str(&beside.join("\n"));
    if at(At::Word).next().is_none() {
        let braces: Vec<_> = at(At::Braces).filter_map(pair).collect();
        text.push_str(&format!("\n{} = {{ {} }}", schema.kind.as_str(), braces.join(", ")));
    }
    text
}

/// Values that are inside of what a key takes, and values that are not.
fn edges(takes: Takes) -> (Vec<String>, Vec<String>) {
    match takes {
        Takes::Share { least, below } => (
            vec![least.to_string(), "\"49.9%\"".to_owned()],
            vec!["0.0".to_owned(), below.to_string()],
        ),
        Takes::Quantile { least, .. } => (
            vec![least.to_string(), "0.999".to_owned()],
            vec!["0.49".to_owned(), "0.9999999".to_owned()],
        ),
        Takes::Latency { least, most } => (
            vec![written(Value::Span(least)), written(Value::Span(most))],
            vec!["\"0.5ms\"".to_owned(), written(Value::Span(most + least))],
        ),
        Takes::Span { least, most } => (
            vec![written(Value::Span(least)), written(Value::Span(most))],
            vec![written(Value::Span(most + Duration::from_secs(1)))],
        ),
        Takes::Machines => (vec!["1".to_owned(), "\"1%\"".to_owned()], vec!["0".to_owned()]),
        Takes::Whole { least, most } => (
            vec![least.to_string(), most.to_string()],
            vec![(i64::from(least) - 1).to_string(), (most + 1).to_string()],
        ),
        Takes::OneOf(words) => (
            words.iter().map(|word| format!("\"{word}\"")).collect(),
            vec!["\"PUT\"".to_owned(), "1".to_owned()],
        ),
        Takes::Relative => (
            vec![
                "{ times = 1, plus = \"0.0001%\" }".to_owned(),
                "{ times = 100 }".to_owned(),
                "{ plus = \"49.9%\" }".to_owned(),
            ],
            vec![
                "{ times = 0.9 }".to_owned(),
                "{ times = 101 }".to_owned(),
                "{ times = 2, plus = \"0%\" }".to_owned(),
                "{ plus = \"50%\" }".to_owned(),
                "{ times = \"2\" }".to_owned(),
                "{ by = 2 }".to_owned(),
                "{}".to_owned(),
                "1.5".to_owned(),
            ],
        ),
        Takes::Labels { .. } => (
            vec!["['path']".to_owned(), "['path', 'method']".to_owned()],
            vec!["'path'".to_owned(), "[]".to_owned(), "['a b']".to_owned(), "['le']".to_owned()],
        ),
        Takes::Path => (
            vec!["'/'".to_owned(), "'/a?b=c'".to_owned()],
            vec!["'a'".to_owned(), "'http://x/y'".to_owned(), "'/a b'".to_owned()],
        ),
        Takes::Statuses => (
            vec!["204".to_owned(), "'3xx'".to_owned(), "['2xx', 404]".to_owned()],
            vec!["99".to_owned(), "'6xx'".to_owned(), "[]".to_owned(), "true".to_owned()],
        ),
        Takes::Text { most } => (
            vec!["'a'".to_owned(), format!("'{}'", "ß".repeat(most))],
            vec!["''".to_owned(), format!("'{}'", "a".repeat(most + 1)), "1".to_owned()],
        ),
        Takes::Flag => (vec!["true".to_owned()], vec!["1".to_owned()]),
        Takes::Expression => (
            vec!["'rate(m{app=\"$app\"}[1m])'".to_owned()],
            vec!["'m'".to_owned(), "'m{app=\"$app\"} > 5'".to_owned(), "1".to_owned()],
        ),
        Takes::Server => {
            (vec!["\"fly\"".to_owned()], vec!["\"machine\"".to_owned(), "\"victoria\"".to_owned()])
        }
        Takes::Source => (
            vec!["\"machine\"".to_owned(), "\"fly\"".to_owned()],
            vec!["\"victoria\"".to_owned(), "1".to_owned()],
        ),
        Takes::Amount => (vec!["-1".to_owned()], vec!["inf".to_owned()]),
        Takes::Counter { .. } | Takes::Gauge | Takes::Histogram => {
            (vec!["'n'".to_owned()], vec!["'a / b'".to_owned(), "1".to_owned()])
        }
    }
}

#[test]
fn every_default_and_limit_of_the_tables_is_in_force() {
    for (schema, key) in
        Kind::ALL.map(Kind::schema).iter().flat_map(|s| s.keys.iter().map(move |k| (*s, k)))
    {
        let read = |value: Option<&str>| {
            let config = Place::policy(&file(schema, key, value)).load().ok()?;
            Some(config.policies[0].policy.thresholds[0].kind.clone())
        };
        let name = format!("{}.{}", schema.kind.as_str(), key.name);
        match key.unsaid {
            Unsaid::Wrong(_) | Unsaid::WrongWithout(..) => {
                assert_eq!(read(None), None, "{name} is required");
            }
            Unsaid::Nothing(_) => assert!(read(None).is_some(), "{name} may be left out"),
            Unsaid::Means(value) => {
                assert!(read(None).is_some(), "{name} may be left out");
                assert_eq!(read(Some(&written(value))), read(None), "{name}: said and unsaid");
            }
        }
        let (inside, outside) = edges(key.takes);
        for value in inside {
            assert!(read(Some(&value)).is_some(), "{name} may be {value}");
        }
        for value in outside {
            assert_eq!(read(Some(&value)), None, "{name} may not be {value}");
        }
    }
}

#[test]
fn the_preset_of_flys_requests_is_what_the_documentation_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = fs::read_to_string(path).unwrap();
    let text = crate::config::presets::FLY_HTTP;
    assert!(documentation.contains(&format!("```toml\n{text}```")), "{text}");
    let hang = crate::config::presets::HANG;
    assert!(documentation.contains(&format!("```toml\n{hang}```")), "{hang}");
    let used = Place::policy("apps = [\"web\"]\nuse = [\"fly-http\", \"checks\"]\n").valid();
    let written = format!("apps = [\"web\"]\nuse = [\"checks\"]\n{text}");
    let written = Place::policy(&written).valid();
    let thresholds = |config: &Config| {
        let mut all = config.policies[0].policy.thresholds.clone();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    };
    assert_eq!(thresholds(&used), thresholds(&written));
    assert_eq!(thresholds(&used).len(), 3);
}

#[test]
fn a_threshold_with_a_presets_name_is_told_apart_from_it() {
    let text =
        format!("apps = [\"web\"]\nuse = [\"fly-http\"]\n{}", crate::config::presets::FLY_HTTP);
    let problems = Place::policy(&text).problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("give it another name, or leave the preset out of `use`"));
}
