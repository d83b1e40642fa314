//! A Rust file as the rules see it: its code without comments and texts, and which part is tests.

/// One file.
#[derive(Debug)]
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    /// As written.
    pub text: String,
    /// Code that ships: comments, texts and `#[cfg(test)]` items blanked out.
    pub shipped: String,
    /// Code that only tests run, likewise blanked.
    pub tests: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = blanked(text);
        let all_tests = path.starts_with("tests/")
            || path.starts_with("examples/")
            || path.ends_with("/tests.rs")
            || path.split('/').any(|part| part == "tests");
        let (shipped, tests) = if all_tests { (String::new(), code) } else { split(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), shipped, tests }
    }

    /// Files of modules that are declared here for tests only: paths without `.rs`.
    pub fn test_modules(&self) -> Vec<String> {
        let Some(directory) = self.path.strip_suffix(".rs") else { return Vec::new() };
        let directory = directory.strip_suffix("/mod").unwrap_or(directory);
        let items = self.tests.split("#[cfg(test)]").filter_map(|item| {
            item.trim_start().trim_start_matches("pub(super) ").strip_prefix("mod ")
        });
        let declared = items.filter_map(|item| item.split_once(';'));
        declared
            .filter(|(name, _)| name.chars().all(is_word))
            .map(|(name, _)| format!("{directory}/{name}"))
            .collect()
    }

    /// Nothing of it ships.
    pub fn only_tests(&mut self) {
        self.tests.push_str(&std::mem::take(&mut self.shipped));
    }

    /// The modules from the crate's root down to this file: `src/fly/api.rs` → `fly`, `api`.
    pub fn modules(&self) -> Vec<&str> {
        let Some(inner) = self.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs"))
        else {
            return Vec::new();
        };
        inner.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }
}

/// Replaces comments and the content of texts by spaces; line breaks stay.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => (index..chars.len()).find(|i| at(*i) == '\n').unwrap_or(chars.len()),
            ('/', '*') => (index + 2..chars.len())
                .find(|i| at(*i) == '*' && at(i + 1) == '/')
                .map_or(chars.len(), |i| i + 2),
            ('"', _) => end_of_text(&chars, index + 1),
            ('r', '"' | '#') if !is_word(at(index.wrapping_sub(1))) => {
                match end_of_raw_text(&chars, index + 1) {
                    Some(end) => end,
                    None => index,
                }
            }
            ('\'', '\\') => {
                (index + 3..chars.len()).find(|i| at(*i) == '\'').map_or(chars.len(), |i| i + 1)
            }
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => index,
        };
        if end == index {
            code.push(at(index));
            index += 1;
        } else {
            code.extend((index..end).map(|i| if at(i) == '\n' { '\n' } else { ' ' }));
            index = end;
        }
    }
    code
}

fn end_of_text(chars: &[char], from: usize) -> usize {
    let mut index = from;
    while let Some(char) = chars.get(index) {
        match char {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

/// The end of `#*"…"#*` that starts at `from`; `None` when it is something else.
fn end_of_raw_text(chars: &[char], from: usize) -> Option<usize> {
    let hashes = chars.get(from..)?.iter().take_while(|char| **char == '#').count();
    let open = from + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    (open + 1..chars.len())
        .find(|i| {
            chars.get(*i) == Some(&'"')
                && (1..=hashes).all(|offset| chars.get(i + offset) == Some(&'#'))
        })
        .map(|i| i + hashes + 1)
        .or(Some(chars.len()))
}

/// Splits code into what ships and the items under `#[cfg(test)]`.
fn split(code: &str) -> (String, String) {
    let (mut shipped, mut tests) = (String::new(), String::new());
    let mut rest = code;
    while let Some(start) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(start);
        let (item, after) = item.split_at(end_of_item(item));
        shipped.push_str(before);
        tests.push_str(item);
        rest = after;
    }
    shipped.push_str(rest);
    (shipped, tests)
}

/// Where the item at the start of `code` ends: at its `;`, or where its braces close.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (index, char) in code.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => return index + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return index + 1,
            _ => {}
        }
    }
    code.len()
}

pub fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[test]
fn comments_and_texts_are_blanked_and_code_is_not() {
    let text = "a /* b\n c */ d // e\n\"f \\\" g\" h r#\"i\"j\"# k '\"' l '\\'' m<'n> o";
    let words: Vec<_> = blanked(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["a", "d", "h", "k", "l", "m<'n>", "o"]);
}

#[test]
fn tests_are_told_from_what_ships() {
    let source = Source::new("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod t { fn b() {} }\nfn c() {}");
    assert!(source.shipped.contains("fn a") && source.shipped.contains("fn c"));
    assert!(source.tests.contains("fn b") && !source.shipped.contains("fn b"));
    assert!(Source::new("src/a/tests.rs", "fn a() {}").shipped.is_empty());
    let parent =
        Source::new("src/a/mod.rs", "#[cfg(test)]\nmod t;\nmod b;\n#[cfg(test)]\nmod u {}");
    assert_eq!(parent.test_modules(), ["src/a/t"]);
}
