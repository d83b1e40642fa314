//! Reads a metrics page as strictly as the format's own checker does.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

/// Every series of the page with its value; panics at whatever the format does not allow.
pub fn series(page: &str) -> BTreeMap<String, f64> {
    let sample = Regex::new(
        r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$"#,
    )
    .unwrap();
    assert!(page.ends_with('\n'), "the last line has no end");
    let (mut kinds, mut done) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut found) = (String::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (keyword, rest) = comment.split_once(' ').expect(line);
            let (name, text) = rest.split_once(' ').expect(line);
            match keyword {
                "HELP" => {
                    assert!(done.insert(name.to_owned()), "{name} comes twice");
                    assert!(!text.trim().is_empty(), "{name} has no help");
                    name.clone_into(&mut family);
                }
                "TYPE" => {
                    assert_eq!(name, family, "TYPE follows HELP");
                    assert!(["counter", "gauge"].contains(&text), "{line}");
                    assert_eq!(text == "counter", name.ends_with("_total"), "{line}");
                    kinds.insert(name.to_owned(), text.to_owned());
                }
                _ => panic!("no comment that the format knows: {line}"),
            }
            continue;
        }
        let parts = sample.captures(line).unwrap_or_else(|| panic!("no sample: {line}"));
        assert_eq!(&parts[1], family, "a sample stands with its family");
        assert!(kinds.contains_key(&family), "{family} has a type");
        let value: f64 = parts[3].parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let name = format!("{}{}", &parts[1], parts.get(2).map_or("", |labels| labels.as_str()));
        assert!(found.insert(name, value).is_none(), "twice: {line}");
    }
    let lines = page.lines().map(|line| Ok(line.to_owned()));
    let parsed =
        prometheus_parse::Scrape::parse(lines).expect("a parser that is not ours reads it");
    assert_eq!(parsed.samples.len(), found.len());
    found
}
