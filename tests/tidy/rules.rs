//! The rules themselves. Each takes one source and says in words what is wrong with it.

use std::collections::BTreeSet;

use crate::source::{Source, is_word};

/// Who may import whom: `model ← threshold ← decide, config ← notify` and `model ← ports ← fly,
/// sources, store, notify ← web, daemon ← cli`. Adapters do not know each other, and none of them knows `decide`.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("numbers", &[]),
    ("threshold", &["model", "numbers"]),
    ("decide", &["model", "threshold"]),
    ("config", &["model", "threshold"]),
    ("ports", &["model"]),
    ("fly", &["model", "config", "ports"]),
    ("sources", &["model", "config", "ports"]),
    ("store", &["model", "config", "ports"]),
    ("notify", &["model", "numbers", "threshold", "config", "ports"]),
    ("sim", &["model", "config", "ports"]),
    ("web", &["model", "numbers", "threshold", "config", "ports", "decide", "store", "notify"]),
    (
        "daemon",
        &[
            "model",
            "numbers",
            "threshold",
            "config",
            "ports",
            "decide",
            "fly",
            "sources",
            "store",
            "notify",
            "web",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "numbers",
            "threshold",
            "config",
            "ports",
            "decide",
            "fly",
            "sources",
            "store",
            "notify",
            "web",
            "daemon",
            "sim",
        ],
    ),
];

/// Pure modules compute from what they are given.
const PURE: &[&str] = &[
    "src/model/",
    "src/numbers.rs",
    "src/threshold/",
    "src/decide/",
    "src/sim/model/",
    "src/daemon/writer/rules/",
    "src/notify/text.rs",
    "src/notify/text/",
    "src/notify/payload.rs",
    "src/notify/signing.rs",
];

/// What a pure module may not mention, as whole words.
const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "tracing",
    "rand",
    "reqwest",
    "rusqlite",
    "std::fs",
    "std::env",
    "std::thread",
];

const MAX_LINES: usize = 500;

/// Everything that is wrong with one source.
pub fn problems(source: &Source) -> Vec<String> {
    [layers(source), purity(source), looks(source), habits(source)]
        .into_iter()
        .flatten()
        .map(|problem| format!("{}: {problem}", source.path))
        .collect()
}

fn allowed(module: &str) -> Option<&'static [&'static str]> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

fn layers(source: &Source) -> Vec<String> {
    let modules = source.modules();
    let Some(own) = modules.first() else { return Vec::new() };
    let Some(allowed_here) = allowed(own) else {
        return vec![format!("`{own}` has no place in the layers; give it one in tests/tidy")];
    };
    imports(&source.shipped, modules.len())
        .into_iter()
        .filter(|import| import != own && !allowed_here.contains(&import.as_str()))
        .map(|import| match allowed(&import) {
            Some(_) => format!("{own} may not import {import}"),
            None => format!("imports `{import}`, which has no place in the layers"),
        })
        .collect()
}

/// The crate's top-level modules that code at this depth names, through `crate::` or `super::`.
fn imports(code: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let to_the_root = "super::".repeat(depth);
    for prefix in ["crate::", &to_the_root] {
        for (start, _) in code.match_indices(prefix) {
            let after_word = code[..start].chars().next_back().is_some_and(is_word);
            // A longer chain of `super::` is found by its own end.
            if after_word || (prefix != "crate::" && code[..start].ends_with("super::")) {
                continue;
            }
            found.extend(first_names(&code[start + prefix.len()..]));
        }
    }
    // Items of the crate's root are not modules; nothing there but modules is named in lower case.
    found.retain(|name| name.chars().all(|char| char.is_lowercase() || char == '_'));
    found.remove("super");
    found
}

/// The first name of a path, or of every path of a `{…}` group.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = vec![name(group)];
    let mut depth = 0_usize;
    for (index, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[index + 1..])),
            _ => {}
        }
    }
    names.retain(|name: &String| !name.is_empty());
    names
}

fn purity(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|pure| source.path.starts_with(pure)) {
        return Vec::new();
    }
    IMPURE
        .iter()
        .filter(|word| mentions(&source.shipped, word))
        .map(|word| format!("is pure, yet mentions `{word}`"))
        .collect()
}

fn looks(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    if !source.text.starts_with("//!") {
        problems.push("opens with something else than `//!` and what it is for".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("has {lines} lines; {MAX_LINES} is the most"));
    }
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    if words.iter().any(|word| mentions(&source.text, word))
        || ["todo!", "unimplemented!"]
            .iter()
            .any(|name| source.shipped.contains(name) || source.tests.contains(name))
    {
        problems.push("has a leftover for later: finish it or write an issue".to_owned());
    }
    problems
}

/// The enums that have a variant per kind of threshold.
const PER_KIND: [&str; 3] = ["Kind", "ThresholdKind", "Own"];

/// Where shipped code tells the kinds of thresholds apart: what defines those enums or adds to
/// them, names a variant, or takes variants in by another name.
pub fn kinds_told_apart(source: &Source) -> BTreeSet<String> {
    let code = &source.shipped;
    let mut found = BTreeSet::new();
    for name in PER_KIND {
        for (start, _) in code.match_indices(name) {
            let (before, after) = (&code[..start], &code[start + name.len()..]);
            if before.chars().next_back().is_some_and(is_word) || after.starts_with(is_word) {
                continue;
            }
            let word = before.trim_end().rsplit(|char: char| !is_word(char)).next().unwrap_or("");
            if ["enum", "impl", "for"].contains(&word) {
                found.insert(format!("{}: {word} {name}", source.path));
            }
            if after.trim_start().starts_with("as ") {
                found.insert(format!("{}: {name} as", source.path));
            }
            let Some(item) = after.trim_start().strip_prefix("::") else { continue };
            let item: String = item.trim_start().chars().take_while(|c| is_word(*c)).collect();
            // Constants are all capitals, functions begin small; `{` and `*` bring any variant.
            let is_variant =
                item.starts_with(char::is_uppercase) && item.contains(char::is_lowercase);
            if is_variant || item.is_empty() {
                found.insert(format!("{}: {name}::{item}", source.path));
            }
        }
    }
    found
}

fn habits(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    let both = [&source.shipped, &source.tests];
    let anywhere = |word: &str| both.iter().any(|code| mentions(code, word));
    if anywhere("HashMap") || anywhere("HashSet") {
        problems.push("uses a hash map or set: its iteration order differs per run".to_owned());
    }
    if anywhere("thread::sleep") {
        problems.push("sleeps a thread".to_owned());
    }
    let sleeps = ["sleep(", "sleep_until("].iter().any(|call| source.tests.contains(call));
    let paused = ["start_paused = true", "start_paused(true)", "time::pause()"];
    if sleeps && !paused.iter().any(|way| source.text.contains(way)) {
        problems.push("has tests that sleep without paused time".to_owned());
    }
    if both.iter().any(|code| uses_crate(code, "backoff")) && source.path != "src/fly/retry.rs" {
        problems.push("uses the crate backoff, which belongs in src/fly/retry.rs alone".to_owned());
    }
    // Every way to a rollback passes the guards: nothing but the door begins one.
    let begins = source.shipped.contains("rollback::begin(");
    if begins && source.path != "src/decide/door.rs" {
        problems
            .push("begins a rollback, which is the door's alone (src/decide/door.rs)".to_owned());
    }
    let may_print = source.path == "src/main.rs" || source.path.starts_with("src/cli/");
    let prints = ["println!", "eprintln!", "print!", "eprint!"];
    if !may_print && prints.iter().any(|print| source.shipped.contains(print)) {
        problems.push("prints; only commands may".to_owned());
    }
    problems
}

/// Whether `word` stands in `text` as a whole word.
fn mentions(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// Whether a path starts with this crate's name (`name::…`, not `other::name::…`).
fn uses_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        !before.is_some_and(|char| is_word(char) || char == ':')
    })
}
