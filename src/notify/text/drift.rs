//! What changed besides the image, in one line.

use crate::{
    model::{Change, ChangeKind, Drift, Edit},
    numbers::cut,
};

/// Changes named in one line, and the longest name of one, in characters.
const NAMED_MAX: usize = 6;
const NAME_MAX: usize = 40;

/// `Between v41 and v42 also changed: env LOG_LEVEL, secret DB_URL, check alive; these stay`; empty
/// when nothing did. `undone`: a rollback puts back what it can.
pub fn sentence(drift: &Drift, undone: bool) -> String {
    let also = if drift.image { "also " } else { "" };
    let all: Vec<&Change> = drift.changes.iter().collect();
    if all.is_empty() {
        return String::new();
    }
    let (back, stays): (Vec<&Change>, Vec<&Change>) =
        all.iter().copied().partition(|change| change.put_back);
    let hidden = usize::try_from(drift.left_out).unwrap_or(usize::MAX);
    let head = format!("{} {also}changed", capital(&span(drift)));
    match (undone, back.is_empty(), stays.is_empty()) {
        (true, false, true) => format!("{head}, and put back: {}", list(&back, hidden)),
        (true, false, false) => {
            format!("{head}, and put back: {}; stays: {}", list(&back, 0), list(&stays, hidden))
        }
        (true, true, _) => format!("{head}, and stays: {}", list(&stays, hidden)),
        (false, ..) => format!("{head}: {}", list(&all, hidden)),
    }
}

/// What changed, when the image did not.
pub fn instead(drift: Option<&Drift>) -> String {
    let Some(drift) = drift else {
        return "configuration, secrets or scale changed".to_owned();
    };
    if drift.changes.is_empty() {
        return "nothing else of its configuration changed either, as far as can be seen"
            .to_owned();
    }
    let all: Vec<&Change> = drift.changes.iter().collect();
    let hidden = usize::try_from(drift.left_out).unwrap_or(usize::MAX);
    let remedy = if drift.could_be_put_back() {
        " (config = \"restore\" puts back environment, services, checks and init)"
    } else {
        ""
    };
    format!("{} changed {}{remedy}", span(drift), list(&all, hidden))
}

fn span(drift: &Drift) -> String {
    match (drift.from, drift.to) {
        (Some(from), Some(to)) => format!("between {from} and {to}"),
        _ => "since the known-good release".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn list(changes: &[&Change], hidden: usize) -> String {
    let more = changes.len().saturating_sub(NAMED_MAX).saturating_add(hidden);
    let mut named: Vec<String> = changes.iter().take(NAMED_MAX).map(|one| change(one)).collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

fn change(change: &Change) -> String {
    let name = cut(&change.name, NAME_MAX);
    let kind = match change.kind {
        ChangeKind::Env => "env ",
        ChangeKind::Secret => "secret ",
        ChangeKind::Service => "service ",
        ChangeKind::Check => "check ",
        ChangeKind::Init => "init ",
        ChangeKind::Mount => "mount ",
        ChangeKind::Guest | ChangeKind::Setting => "",
        ChangeKind::Group => "group ",
        ChangeKind::Scale => {
            let machines = change
                .machines
                .map_or_else(String::new, |count| format!(" from {} to {}", count.from, count.to));
            return format!("machines of {name}{machines}");
        }
    };
    let edit = match change.edit {
        Edit::Added => " (new)",
        Edit::Removed => " (gone)",
        Edit::Changed => "",
    };
    format!("{kind}{name}{edit}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{ReleaseVersion, setup::Count};

    fn change(kind: ChangeKind, name: &str, edit: Edit, put_back: bool) -> Change {
        let groups = BTreeSet::new();
        Change { kind, name: name.to_owned(), edit, groups, put_back, machines: None }
    }

    fn drift(image: bool, changes: Vec<Change>) -> Drift {
        let (from, to) = (Some(ReleaseVersion(41)), Some(ReleaseVersion(42)));
        Drift { from, to, image, changes, left_out: 0 }
    }

    #[test]
    fn the_line_says_what_changed_and_what_becomes_of_it() {
        let env = |back| change(ChangeKind::Env, "LOG_LEVEL", Edit::Changed, back);
        let secret = change(ChangeKind::Secret, "DB_URL", Edit::Added, false);
        let check = |back| change(ChangeKind::Check, "alive", Edit::Removed, back);
        let mixed = drift(true, vec![env(true), secret.clone(), check(true)]);
        assert_eq!(
            sentence(&mixed, true),
            "Between v41 and v42 also changed, and put back: env LOG_LEVEL, check alive (gone); \
             stays: secret DB_URL (new)"
        );
        assert_eq!(
            sentence(&drift(true, vec![env(false), secret.clone()]), true),
            "Between v41 and v42 also changed, and stays: env LOG_LEVEL, secret DB_URL (new)"
        );
        assert_eq!(
            sentence(&drift(false, vec![env(true)]), true),
            "Between v41 and v42 changed, and put back: env LOG_LEVEL"
        );
        assert_eq!(
            sentence(&mixed, false),
            "Between v41 and v42 also changed: env LOG_LEVEL, secret DB_URL (new), check alive \
             (gone)"
        );
        assert_eq!(sentence(&drift(true, Vec::new()), true), "");
    }

    #[test]
    fn a_hold_for_the_same_image_names_what_changed_instead_and_what_would_help() {
        let scale = Change {
            machines: Some(Count { from: 2, to: 5 }),
            ..change(ChangeKind::Scale, "app", Edit::Changed, false)
        };
        let memory = change(ChangeKind::Guest, "memory_mb", Edit::Changed, false);
        assert_eq!(
            instead(Some(&drift(false, vec![memory, scale]))),
            "between v41 and v42 changed memory_mb, machines of app from 2 to 5"
        );
        let env = change(ChangeKind::Env, "A", Edit::Changed, false);
        let unnumbered = Drift { from: None, ..drift(false, vec![env]) };
        assert_eq!(
            instead(Some(&unnumbered)),
            "since the known-good release changed env A (config = \"restore\" puts back \
             environment, services, checks and init)"
        );
        assert!(instead(Some(&drift(false, Vec::new()))).starts_with("nothing else"));
        assert_eq!(instead(None), "configuration, secrets or scale changed");
    }

    #[test]
    fn the_line_is_bounded() {
        let long = |n: usize| {
            change(ChangeKind::Env, &format!("{n}{}", "X".repeat(300)), Edit::Added, false)
        };
        let many = Drift { left_out: 7, ..drift(true, (0..50).map(long).collect()) };
        let line = sentence(&many, true);
        assert!(line.len() < 400 && line.ends_with(", 51 more"), "{line}");
    }
}
