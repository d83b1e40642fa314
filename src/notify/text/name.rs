//! Why what somebody wrote is not a release, and what could be written instead.

use crate::model::{Unresolved, event::ReleaseInfo};
use crate::numbers::cut;

/// Longest name repeated to whoever wrote it, in characters.
const NAME_MAX: usize = 100;

/// Why `name` is no release of the app, for the person who wrote it.
pub fn unresolved(name: &str, problem: &Unresolved) -> String {
    let name = cut(name.trim(), NAME_MAX);
    match problem {
        Unresolved::Empty => {
            "no release is named: write its number (v41), its tag or its digest".to_owned()
        }
        Unresolved::Unknown { known } => {
            format!("\"{name}\" is no release that is known here; {}", all(known))
        }
        Unresolved::TooShort { least, known } => format!(
            "\"{name}\" is no release that is known here, and a digest is written with at least \
             {least} of its hex digits; {}",
            all(known)
        ),
        Unresolved::Ambiguous { candidates } => {
            format!("\"{name}\" could be several releases; write the digest: {}", list(candidates))
        }
    }
}

fn all(known: &[ReleaseInfo]) -> String {
    match known {
        [] => "none is known yet".to_owned(),
        known => format!("known: {}", list(known)),
    }
}

/// `v42 spring (0c0ffee12345), v41 (abcdef123456)`.
fn list(releases: &[ReleaseInfo]) -> String {
    let one = |release: &ReleaseInfo| {
        let mut words: Vec<String> = release.version.iter().map(ToString::to_string).collect();
        // One that only repeats the number says nothing.
        let tag = release.tag.iter().filter(|tag| **tag != release.label());
        words.extend(tag.map(|tag| cut(tag, NAME_MAX)));
        words.push(format!("({})", release.digest.short()));
        words.join(" ")
    };
    releases.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, ReleaseVersion};

    fn release(version: Option<u64>, tag: Option<&str>, digest: &str) -> ReleaseInfo {
        ReleaseInfo {
            version: version.map(ReleaseVersion),
            tag: tag.map(str::to_owned),
            digest: Digest::new(format!("sha256:{digest:0<64}")),
            author: None,
            created_at: None,
        }
    }

    #[test]
    fn whoever_wrote_it_is_told_what_can_be_written() {
        let known = vec![
            release(Some(42), Some("spring"), "0c0ffee"),
            release(Some(40), Some("v40"), "40"),
            release(None, None, "41"),
        ];
        let said = |problem| unresolved(" v44 ", &problem);
        insta::assert_snapshot!(said(Unresolved::Unknown { known: known.clone() }), @r#""v44" is no release that is known here; known: v42 spring (0c0ffee00000), v40 (400000000000), (410000000000)"#);
        insta::assert_snapshot!(said(Unresolved::Ambiguous { candidates: known }), @r#""v44" could be several releases; write the digest: v42 spring (0c0ffee00000), v40 (400000000000), (410000000000)"#);
        insta::assert_snapshot!(said(Unresolved::Unknown { known: Vec::new() }), @r#""v44" is no release that is known here; none is known yet"#);
        let short = Unresolved::TooShort { least: 6, known: Vec::new() };
        insta::assert_snapshot!(said(short), @r#""v44" is no release that is known here, and a digest is written with at least 6 of its hex digits; none is known yet"#);
        insta::assert_snapshot!(said(Unresolved::Empty), @"no release is named: write its number (v41), its tag or its digest");
    }
}
