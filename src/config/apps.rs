//! Which policy watches which app.
//!
//! The most specific pattern that matches an app's name wins: a name without wildcards beats every
//! glob, and among globs the one with more characters that stand for themselves wins. A policy
//! whose `exclude` matches the name is out of the race. What is still equal is a tie, and an app
//! that is tied is not watched: better loudly nothing than silently the wrong limits.

use std::cmp::Ordering;

use globset::{Glob, GlobMatcher};

use super::problem::Wrong;

/// A pattern for app names: `api`, `api-*`, `{api,web}-[a-z]*`.
#[derive(Clone, Debug)]
pub struct AppGlob {
    text: String,
    matcher: GlobMatcher,
    specificity: Specificity,
    /// Where it stands in its file.
    line: Option<usize>,
}

/// How specific a pattern is; greater is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Without wildcards: it names one app.
    literal: bool,
    /// Characters that stand for themselves, outside `[…]` and `{…}`.
    characters: usize,
}

impl PartialEq for AppGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl AppGlob {
    /// A pattern as written in `apps` or `exclude`.
    ///
    /// # Errors
    /// A sentence for people, when it is no glob.
    pub fn new(text: &str) -> Result<Self, String> {
        let glob = Glob::new(text).map_err(|error| error.kind().to_string())?;
        Ok(Self {
            text: text.to_owned(),
            matcher: glob.compile_matcher(),
            specificity: specificity(text),
            line: None,
        })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, app: &str) -> bool {
        if self.specificity.literal { self.text == app } else { self.matcher.is_match(app) }
    }

    pub(super) fn specificity(&self) -> Specificity {
        self.specificity
    }

    /// Where it stands in its file.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    pub(super) fn at_line(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// Whether it names one app.
    pub fn is_literal(&self) -> bool {
        self.specificity.literal
    }
}

fn specificity(text: &str) -> Specificity {
    let literal = !text.contains(['*', '?', '[', '{']);
    let mut depth = 0_usize;
    let mut characters = 0;
    for char in text.chars() {
        match char {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            '*' | '?' => {}
            _ if depth == 0 => characters += 1,
            _ => {}
        }
    }
    Specificity { literal, characters }
}

/// How specifically these patterns claim `app`; `None`: not at all.
pub(super) fn claim(apps: &[AppGlob], exclude: &[AppGlob], app: &str) -> Option<Specificity> {
    if exclude.iter().any(|glob| glob.matches(app)) {
        return None;
    }
    apps.iter().filter(|glob| glob.matches(app)).map(|glob| glob.specificity).max()
}

/// The strongest claims: one is a winner, several are a tie.
pub(super) fn strongest<T>(claims: impl Iterator<Item = (Specificity, T)>) -> Vec<T> {
    let mut best: Option<Specificity> = None;
    let mut winners = Vec::new();
    for (specificity, claimant) in claims {
        match best.map_or(Ordering::Greater, |best| specificity.cmp(&best)) {
            Ordering::Greater => {
                best = Some(specificity);
                winners = vec![claimant];
            }
            Ordering::Equal => winners.push(claimant),
            Ordering::Less => {}
        }
    }
    winners
}

/// A name that both patterns would claim equally, if one is easily found: ties can happen there.
pub(super) fn tied_name(one: &AppGlob, other: &AppGlob) -> Option<String> {
    if one.specificity != other.specificity || one.specificity.literal {
        return None;
    }
    // Between what one begins with and what the other ends with there is room for both.
    let begin = |glob: &AppGlob| glob.text.split('*').next().unwrap_or_default().to_owned();
    let end = |glob: &AppGlob| glob.text.rsplit('*').next().unwrap_or_default().to_owned();
    let names = [
        format!("{}{}", begin(one), end(other)),
        format!("{}x{}", begin(one), end(other)),
        format!("{}{}", begin(other), end(one)),
        format!("{}x{}", begin(other), end(one)),
    ];
    names.into_iter().find(|name| {
        let alien = |char: char| !(char.is_ascii_alphanumeric() || char == '-');
        !name.is_empty() && !name.contains(alien) && one.matches(name) && other.matches(name)
    })
}

/// A pattern from a file: a glob that some Fly app name could match.
pub(super) fn pattern(text: &str) -> Result<AppGlob, Wrong> {
    if text.is_empty() {
        return Err(Wrong::but(
            "an empty pattern names no app",
            "write a name or a glob such as \"api-*\"",
        ));
    }
    if text.len() > 200 {
        return Err(Wrong::new("a pattern may have 200 characters"));
    }
    if let Some(name) = text.strip_prefix('!') {
        return Err(Wrong::but(
            format!("`{text}`: a pattern cannot be turned round"),
            format!("write exclude = [\"{name}\"]"),
        ));
    }
    let alien = text.chars().find(|char| {
        !(char.is_ascii_lowercase() || char.is_ascii_digit() || "-*?[]{}!,".contains(*char))
    });
    if let Some(alien) = alien {
        let message = format!(
            "`{text}` can never match: names of Fly apps have no `{alien}`, only small letters, digits and dashes"
        );
        let meant = text.trim().to_lowercase().replace(['_', ' ', '.'], "-");
        let known = meant
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*?[]{}!,".contains(c));
        return Err(Wrong {
            message,
            suggestion: known.then(|| format!("did you mean \"{meant}\"?")),
        });
    }
    AppGlob::new(text).map_err(|error| {
        Wrong::but(
            format!("`{text}` is not a glob: {error}"),
            "use * for any characters, ? for one, [ab] for one of these, {api,web} for either",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(texts: &[&str]) -> Vec<AppGlob> {
        texts.iter().map(|text| pattern(text).unwrap()).collect()
    }

    #[test]
    fn a_name_beats_every_glob_and_more_letters_beat_fewer() {
        let order = ["*", "?", "{api,web}-*", "api-*", "api-we*", "api-{a,b}eb", "x"];
        let mut sorted = globs(&order);
        sorted.sort_by_key(|glob| glob.specificity);
        let texts: Vec<&str> = sorted.iter().map(AppGlob::as_str).collect();
        assert_eq!(texts, ["*", "?", "{api,web}-*", "api-*", "api-we*", "api-{a,b}eb", "x"]);
        assert_eq!(specificity("*"), specificity("?"));
    }

    #[test]
    fn a_name_that_two_patterns_would_claim_equally_is_found() {
        let tied = |one: &str, other: &str| {
            let both = globs(&[one, other]);
            tied_name(&both[0], &both[1])
        };
        assert_eq!(tied("api-*", "*-web").as_deref(), Some("api--web"));
        assert_eq!(tied("*-web", "api-*").as_deref(), Some("api--web"));
        assert_eq!(tied("ap*", "a*i").as_deref(), Some("api"));
        for (one, other) in [("api-*", "web-*"), ("api-*", "*"), ("api", "api"), ("api-?", "w*b-")]
        {
            assert_eq!(tied(one, other), None, "{one} {other}");
        }
    }

    #[test]
    fn an_excluded_app_is_not_claimed_however_it_is_named() {
        let (apps, exclude) = (globs(&["api-*", "api-staging"]), globs(&["*-staging"]));
        assert_eq!(claim(&apps, &exclude, "api-staging"), None);
        assert_eq!(claim(&apps, &exclude, "api-eu"), Some(specificity("api-*")));
        assert_eq!(claim(&apps, &exclude, "web"), None);
    }

    #[test]
    fn patterns_that_no_app_can_match_are_refused() {
        let cases = [
            ("", "names no app"),
            ("API", "did you mean \"api\"?"),
            ("my_app", "did you mean \"my-app\"?"),
            ("!web", "write exclude = [\"web\"]"),
            ("api-[", "not a glob"),
            ("api-{a", "not a glob"),
            ("a/b", "have no `/`"),
        ];
        for (text, want) in cases {
            let wrong = pattern(text).unwrap_err();
            let said = format!("{}; {}", wrong.message, wrong.suggestion.unwrap_or_default());
            assert!(said.contains(want), "{text}: {said}");
        }
    }
}
