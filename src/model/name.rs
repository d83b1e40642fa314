//! What a person calls a release, and which one it is.
//!
//! `v41` or `41`, a tag, a digest or a unique beginning of one, or a whole reference as the platform
//! prints it. Whatever fits counts: where two images fit, nobody guesses, and the digest tells them
//! apart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{event::ReleaseInfo, ids::ReleaseVersion, machine::ImageRef};

/// Fewest hex digits that may stand for a digest.
pub const DIGITS_MIN: usize = 6;
/// Most releases listed in an answer.
pub const LISTED_MAX: usize = 20;

/// A release of an app that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub release: ReleaseInfo,
    /// Where its image is; `None`: a digest that is known from long ago.
    pub image: Option<ImageRef>,
}

/// Why a name is no release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Unresolved {
    /// Nothing was written.
    Empty,
    /// Nothing known is called so. `known`: what is, the newest first.
    Unknown { known: Vec<ReleaseInfo> },
    /// The same, and it may be meant as the beginning of a digest, and is too little of one.
    TooShort { least: usize, known: Vec<ReleaseInfo> },
    /// Several images are called so.
    Ambiguous { candidates: Vec<ReleaseInfo> },
}

/// Which of the releases `text` names. Of several releases of one image it is the newest.
pub fn resolve<'a>(text: &str, releases: &'a [Named]) -> Result<&'a Named, Unresolved> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Unresolved::Empty);
    }
    let fitting: Vec<&Named> = releases.iter().filter(|one| is_called(one, text)).collect();
    let images: BTreeSet<_> = fitting.iter().map(|one| &one.release.digest).collect();
    match fitting.iter().max_by_key(|one| (one.release.version, one.image.is_some())) {
        Some(newest) if images.len() == 1 => Ok(newest),
        Some(_) => Err(Unresolved::Ambiguous { candidates: listed(fitting.into_iter()) }),
        None => {
            let known = listed(releases.iter());
            Err(match digits(text) {
                Some(hex) if hex.len() < DIGITS_MIN => {
                    Unresolved::TooShort { least: DIGITS_MIN, known }
                }
                _ => Unresolved::Unknown { known },
            })
        }
    }
}

impl Named {
    /// Whether `text` names it.
    pub fn is_called(&self, text: &str) -> bool {
        is_called(self, text.trim())
    }
}

fn listed<'a>(releases: impl Iterator<Item = &'a Named>) -> Vec<ReleaseInfo> {
    // Events about a release bring it each time.
    let mut seen = BTreeSet::new();
    let mut listed: Vec<ReleaseInfo> = Vec::new();
    for Named { release, .. } in releases {
        if listed.len() < LISTED_MAX && seen.insert((release.version, &release.digest)) {
            listed.push(release.clone());
        }
    }
    listed
}

fn is_called(one: &Named, text: &str) -> bool {
    let release = &one.release;
    release.tag.as_deref() == Some(text)
        || number(text).is_some_and(|number| release.version == Some(number))
        || digits(text)
            .is_some_and(|hex| hex.len() >= DIGITS_MIN && begins(release.digest.as_str(), &hex))
        || one.image.as_ref().is_some_and(|image| is_reference(image, text))
}

/// `v41` or `41`.
fn number(text: &str) -> Option<ReleaseVersion> {
    let digits = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain).map(ReleaseVersion)
}

/// The hex digits of what may be a digest or its beginning: with `sha256:` whatever is hex, without
/// it what is no number.
fn digits(text: &str) -> Option<String> {
    let (hex, is_said) = match text.strip_prefix("sha256:") {
        Some(hex) => (hex, true),
        None => (text, false),
    };
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A short number is a release that is not known, not too little of a digest.
    let is_number = !is_said && hex.len() < DIGITS_MIN && number(hex).is_some();
    (is_hex && !is_number).then(|| hex.to_ascii_lowercase())
}

fn begins(digest: &str, hex: &str) -> bool {
    digest.strip_prefix("sha256:").unwrap_or(digest).starts_with(hex)
}

/// Whether the text is this image's reference, with its digest, its tag, or both.
fn is_reference(image: &ImageRef, text: &str) -> bool {
    let tagged = ImageRef { digest: None, ..image.clone() };
    let pinned = ImageRef { tag: None, ..image.clone() };
    (image.digest.is_some() && (text == image.reference() || text == pinned.reference()))
        || (image.tag.is_some() && text == tagged.reference())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn hex(start: &str) -> String {
        format!("sha256:{start:0<64}")
    }

    fn release(version: u64, tag: &str, digest: &str) -> Named {
        let digest = Digest::new(hex(digest));
        let tag = Some(tag.to_owned()).filter(|tag| !tag.is_empty());
        let image = ImageRef {
            registry: "registry.fly.io".to_owned(),
            repository: "api".to_owned(),
            tag: tag.clone(),
            digest: Some(digest.clone()),
        };
        let version = Some(ReleaseVersion(version)).filter(|version| version.0 > 0);
        let release = ReleaseInfo { version, tag, digest, author: None, created_at: None };
        Named { release, image: Some(image) }
    }

    fn three() -> Vec<Named> {
        vec![
            release(43, "spring", "bad0c0ffee"),
            release(42, "2026-11-04", "abcdef42"),
            release(41, "", "abcdef41"),
        ]
    }

    fn version(text: &str, releases: &[Named]) -> Option<u64> {
        resolve(text, releases).unwrap().release.version.map(|version| version.0)
    }

    #[test]
    fn a_release_goes_by_its_number_its_tag_its_digest_and_its_reference() {
        let known = three();
        for text in ["v42", "42", " V42 ", "2026-11-04", "abcdef42", "ABCDEF42", "sha256:abcdef42"]
        {
            assert_eq!(version(text, &known), Some(42), "{text}");
        }
        assert_eq!(version(&hex("abcdef42"), &known), Some(42));
        let pinned = format!("registry.fly.io/api@{}", hex("abcdef42"));
        assert_eq!(version(&pinned, &known), Some(42));
        assert_eq!(version("registry.fly.io/api:2026-11-04", &known), Some(42));
        let whole = format!("registry.fly.io/api:2026-11-04@{}", hex("abcdef42"));
        assert_eq!(version(&whole, &known), Some(42));
        assert_eq!(version("spring", &known), Some(43));
    }

    #[test]
    fn the_reference_of_another_repository_is_not_this_image() {
        let known = three();
        for text in ["registry.fly.io/web:spring", "registry.fly.io/api", "api:spring"] {
            assert!(matches!(resolve(text, &known), Err(Unresolved::Unknown { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_lists_what_is_known() {
        let known: Vec<ReleaseInfo> = three().iter().map(|one| one.release.clone()).collect();
        for text in ["v44", "44", "summer", "99999", "abcdef43", "sha256:999999"] {
            let unknown = Unresolved::Unknown { known: known.clone() };
            assert_eq!(resolve(text, &three()), Err(unknown), "{text}");
        }
        assert_eq!(resolve("v1", &[]), Err(Unresolved::Unknown { known: Vec::new() }));
        assert_eq!(resolve("  ", &three()), Err(Unresolved::Empty));
    }

    #[test]
    fn the_beginning_of_a_digest_has_six_digits_and_names_one_image() {
        assert_eq!(version("bad0c0", &three()), Some(43));
        for text in ["bad0c", "sha256:bad0c", "sha256:"] {
            let known = three().iter().map(|one| one.release.clone()).collect();
            let short = Err(Unresolved::TooShort { least: 6, known });
            assert_eq!(resolve(text, &three()), short, "{text}");
        }
        let both = vec![three()[1].release.clone(), three()[2].release.clone()];
        let ambiguous = Err(Unresolved::Ambiguous { candidates: both });
        assert_eq!(resolve("abcdef4", &three()), ambiguous);
    }

    #[test]
    fn a_tag_that_is_another_releases_number_or_digest_is_not_guessed_at() {
        let mut known = three();
        known.push(release(40, "v43", "40"));
        known.push(release(39, "bad0c0", "39"));
        for text in ["v43", "bad0c0"] {
            assert!(matches!(resolve(text, &known), Err(Unresolved::Ambiguous { .. })), "{text}");
        }
        // The number without its letter is nobody's tag.
        assert_eq!(version("43", &known), Some(43));
    }

    #[test]
    fn a_number_of_six_digits_is_a_release_and_may_be_a_digest() {
        let known = [release(123_456, "", "f"), release(7, "", "99999999")];
        assert_eq!(version("123456", &known), Some(123_456));
        assert_eq!(version("999999", &known), Some(7));
    }

    #[test]
    fn one_image_under_two_numbers_is_no_question_and_the_newest_is_meant() {
        let known =
            [release(41, "spring", "41"), release(43, "spring", "41"), release(0, "", "41")];
        assert_eq!(version("spring", &known), Some(43));
        assert_eq!(version(&hex("41"), &known), Some(43));
        assert_eq!(version("v41", &known), Some(41), "that release, if its number is said");
    }

    #[test]
    fn a_release_of_which_much_was_told_is_listed_once() {
        let known = [release(41, "v41", "41"), release(41, "v41", "41"), release(40, "", "40")];
        let Err(Unresolved::Unknown { known }) = resolve("nothing", &known) else { panic!() };
        let versions: Vec<_> = known.iter().filter_map(|one| one.version).collect();
        assert_eq!(versions, [ReleaseVersion(41), ReleaseVersion(40)]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let known: Vec<Named> = (1..=30).map(|v| release(v, "", &format!("{v:x}0"))).collect();
        let Err(Unresolved::Unknown { known }) = resolve("nothing", &known) else { panic!() };
        assert_eq!(known.len(), LISTED_MAX);
    }
}
