//! The house rules as tests: who may import whom, what pure modules may not touch, and how files
//! look. `rules` judges sources, `source` reads them; here they are let loose on this repository,
//! and on small fake sources that break each rule, so that no rule can rot into always passing.

mod rules;
mod source;

use std::{collections::BTreeSet, fs, io, path::Path};

use source::Source;

/// Every Rust file of the repository, with its path from the root.
fn repository() -> io::Result<Vec<Source>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let directories = ["src", "tests", "benches", "examples"];
    let mut pending: Vec<_> = directories.iter().map(|directory| root.join(directory)).collect();
    while let Some(directory) = pending.pop() {
        if !directory.is_dir() {
            continue;
        }
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                sources.push(Source::new(&name, &fs::read_to_string(&path)?));
            }
        }
    }
    let for_tests: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let is_for_tests = |path: &str| {
        let rest = for_tests.iter().find_map(|module| path.strip_prefix(module.as_str()));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    };
    for source in sources.iter_mut().filter(|source| is_for_tests(&source.path)) {
        source.only_tests();
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// Judges one made-up file.
fn judged(path: &str, text: &str) -> Vec<String> {
    rules::problems(&Source::new(path, text))
}

#[track_caller]
fn breaks(path: &str, text: &str, rule: &str) {
    let found = judged(path, text);
    assert!(found.iter().any(|problem| problem.contains(rule)), "{path}: no `{rule}` in {found:?}");
}

#[track_caller]
fn is_clean(path: &str, text: &str) {
    let found = judged(path, text);
    assert!(found.is_empty(), "{path}: {found:?}");
}

#[test]
fn the_repository_keeps_the_house_rules() {
    let sources = repository().expect("the sources can be read");
    assert!(sources.len() > 20, "only {} files found: looking in the wrong place", sources.len());
    let problems: Vec<_> = sources.iter().flat_map(rules::problems).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn an_import_against_the_layers_is_found_however_it_is_written() {
    let rule = "may not import";
    breaks("src/decide/step.rs", "//! d\nuse crate::ports::Clock;", rule);
    breaks("src/model/event.rs", "//! d\nuse crate::config::Secret;", rule);
    breaks("src/fly/api.rs", "//! d\nuse crate::{model::AppName, store::Journal};", rule);
    breaks("src/sources/mod.rs", "//! d\nfn f() { crate::decide::step(); }", rule);
    breaks("src/notify/send.rs", "//! d\nuse crate::{\n    fly,\n    model,\n};", rule);
    breaks("src/store/mod.rs", "//! d\nuse super::notify::text;", rule);
    breaks("src/store/sqlite/mod.rs", "//! d\nuse super::super::fly;", rule);
    breaks("src/sim/world.rs", "//! d\nuse crate::fly::wire::Machine;", rule);
    breaks("src/web/mod.rs", "//! d\nuse crate::daemon::Daemon;", rule);
    breaks("src/daemon/mod.rs", "//! d\nuse crate::cli::run;", rule);
    breaks("src/ports.rs", "//! d\nuse crate::store::Journal;", rule);
}

#[test]
fn nothing_but_the_door_begins_a_rollback() {
    let begins = "//! d\nfn f() { rollback::begin(&watch, &target, cx) }";
    breaks("src/decide/phases/held.rs", begins, "the door's alone");
    is_clean("src/decide/door.rs", begins);
    let sources = repository().expect("the sources can be read");
    let begun = sources.iter().map(|one| one.shipped.matches("rollback::begin(").count());
    assert_eq!(begun.sum::<usize>(), 1, "one call, behind all guards");
}

#[test]
fn a_kind_of_threshold_is_named_in_its_room_and_where_the_kinds_are_listed() {
    let sources = repository().expect("the sources can be read");
    let found: BTreeSet<_> = sources.iter().flat_map(rules::kinds_told_apart).collect();
    let (rooms, outside): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|place| place.starts_with("src/threshold/"));
    assert_eq!(
        outside,
        ["src/model/policy.rs: enum Kind", "src/model/policy.rs: enum ThresholdKind"],
        "outside src/threshold/ nothing tells the kinds apart; ask the room (`Threshold::room`)"
    );
    let files: BTreeSet<_> = rooms.iter().filter_map(|place| place.split(':').next()).collect();
    let one_each = ["checks", "crashes", "gauge", "latency", "probe", "promql", "ratio"];
    let of_all = ["counted/own", "keys", "mod", "speak", "state"];
    let want = one_each.iter().chain(&of_all).map(|name| format!("src/threshold/{name}.rs"));
    assert_eq!(files.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), want.collect());
}

#[test]
fn a_kind_of_threshold_named_elsewhere_is_found_however_it_is_written() {
    let found = |text: &str| rules::kinds_told_apart(&Source::new("src/web/x.rs", text)).len();
    for text in [
        "fn f() { if kind == Kind::Ratio {} }",
        "fn f() { matches!(kind, model::ThresholdKind::Gauge(_)) }",
        "fn f() { match own { Own::Crashes(crashes) => crashes, _ => return } }",
        "use crate::model::Kind::{Checks, Ratio};",
        "use crate::model::Kind::*;",
        "use crate::model::Kind as Measure;",
        "impl Kind { fn f(self) -> bool { matches!(self, Self::Ratio) } }",
        "impl Display for Kind {}",
    ] {
        assert_eq!(found(text), 1, "{text}");
    }
    for text in [
        "fn f(kind: Kind) -> &str { kind.as_str() }",
        "fn f() { for kind in Kind::ALL {} Kind::preset(kind); }",
        "fn f() { EventKind::ALL; ErrorKind::NotFound; }",
        "// Kind::Ratio\n#[cfg(test)]\nmod tests { fn f() { Kind::Ratio; } }",
    ] {
        assert_eq!(found(text), 0, "{text}");
    }
}

#[test]
fn imports_along_the_layers_are_fine() {
    is_clean("src/decide/step.rs", "//! d\nuse crate::{decide::plan, model::{Event, policy}};");
    is_clean("src/daemon/mod.rs", "//! d\nuse crate::{decide, fly, notify, sources, store, web};");
    is_clean("src/cli/demo.rs", "//! d\nuse crate::{daemon, sim};");
    is_clean("src/sim/http.rs", "//! d\nuse crate::{config::Secret, ports::Clock};");
    is_clean("src/store/sqlite.rs", "//! d\nuse super::fly_rows; // crate::fly is not imported");
    is_clean("src/fly/mod.rs", "//! d\nconst S: &str = \"crate::decide\";");
}

#[test]
fn tests_may_import_what_the_code_beside_them_may_not() {
    let tests = "//! d\n#[cfg(test)]\nmod tests {\n    use crate::sim::World;\n}\n";
    is_clean("src/fly/api.rs", tests);
    is_clean("src/decide/tests.rs", "//! d\nuse crate::sim::World;");
    breaks("src/fly/api.rs", &format!("{tests}use crate::sim::World;"), "fly may not import sim");
}

#[test]
fn a_new_top_level_module_must_be_given_its_place() {
    breaks("src/extras/mod.rs", "//! d", "has no place in the layers");
    breaks("src/cli/mod.rs", "//! d\nuse crate::extras;", "has no place in the layers");
}

#[test]
fn pure_modules_touch_nothing_of_the_world() {
    for text in [
        "async fn f() {}",
        "use tokio::sync::Mutex;",
        "use std::time::Instant;",
        "use std::time::SystemTime;",
        "fn f() { tracing::info!(\"x\"); }",
        "fn f() -> u8 { rand::random() }",
        "use std::collections::BTreeMap; fn f() { std::fs::read(\"x\"); }",
        "fn f() -> jiff::Timestamp { jiff::Timestamp::now() }",
    ] {
        for path in ["src/model/x.rs", "src/decide/detect/x.rs", "src/notify/text.rs"] {
            breaks(path, &format!("//! d\n{text}"), "is pure");
        }
        assert!(
            !judged("src/daemon/x.rs", &format!("//! d\n{text}"))
                .iter()
                .any(|p| p.contains("pure"))
        );
    }
    is_clean("src/model/x.rs", "//! no tokio here\nstruct InstanceId; // async\nfn operand() {}");
}

#[test]
fn unordered_collections_are_found_everywhere() {
    breaks("src/web/x.rs", "//! d\nuse std::collections::HashMap;", "iteration order");
    breaks("src/sim/x.rs", "//! d\nfn f(s: &HashSet<u8>) {}", "iteration order");
}

#[test]
fn a_file_opens_by_saying_what_it_is_for() {
    breaks("src/web/x.rs", "use std::fmt;", "opens with");
    breaks("tests/x/main.rs", "// not a doc comment", "opens with");
    breaks("src/web/x.rs", "", "opens with");
}

#[test]
fn a_file_can_be_read_in_one_sitting() {
    let lines = |count: usize| format!("//! d\n{}", "fn f() {}\n".repeat(count - 1));
    is_clean("src/web/x.rs", &lines(500));
    breaks("src/web/x.rs", &lines(501), "501 lines");
}

#[test]
fn nothing_is_left_for_later() {
    for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        breaks("src/web/x.rs", &format!("//! d\n// {word}: later"), "leftover");
    }
    breaks("src/web/x.rs", "//! d\nfn f() { todo!() }", "leftover");
    breaks("src/web/x.rs", "//! d\nfn f() { unimplemented!() }", "leftover");
}

#[test]
fn nothing_sleeps_in_real_time() {
    let sleeping = "//! d\nfn f() { tokio::time::sleep(d).await; }";
    breaks("src/web/x.rs", "//! d\nfn f() { std::thread::sleep(d); }", "sleeps a thread");
    breaks("tests/x/main.rs", sleeping, "paused time");
    breaks("src/web/x/tests.rs", sleeping, "paused time");
    breaks(
        "src/web/x.rs",
        "//! d\n#[cfg(test)]\nmod tests { fn f() { sleep(d); } }",
        "paused time",
    );
    is_clean("src/web/x.rs", sleeping);
    is_clean(
        "tests/x/main.rs",
        &format!("{sleeping}\n#[tokio::test(start_paused = true)]\nfn t() {{}}"),
    );
}

#[test]
fn backoff_stays_behind_its_one_name() {
    breaks("src/notify/send.rs", "//! d\nuse backoff::ExponentialBackoff;", "src/fly/retry.rs");
    is_clean("src/fly/retry.rs", "//! d\nuse backoff::ExponentialBackoff;");
    is_clean("src/fly/api.rs", "//! d\nfn f() { let backoff = retry::backoff(); }");
}

#[test]
fn only_commands_print() {
    breaks("src/daemon/x.rs", "//! d\nfn f() { println!(\"x\"); }", "prints");
    breaks("src/sim/x.rs", "//! d\nfn f() { eprintln!(\"x\"); }", "prints");
    is_clean("src/cli/x.rs", "//! d\nfn f() { println!(\"x\"); }");
    is_clean("src/main.rs", "//! d\nfn f() { eprintln!(\"x\"); }");
}
