//! Whether an image can still be pulled: the registry is asked for its manifest, by digest.

use reqwest::Method;
use serde_json::Value;

use super::{
    MANIFESTS, Place, digest_of,
    talk::{Heard, Talk},
};
use crate::{
    fly::{
        Answer, Fly,
        http::{self, Call, Patience},
        limits::Action,
    },
    model::Digest,
    ports::ImagePresence,
};

/// Statuses that say something about the manifest or about how to ask.
const ANSWERS: &[u16] = &[301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 501];

/// Looks a manifest up by its digest.
pub(super) async fn presence(fly: &Fly, place: &Place, digest: &Digest) -> Answer<ImagePresence> {
    let talk = Talk::new(fly, place, Vec::new());
    let head = Call { method: Method::HEAD, ..manifest(place, digest.as_str()) };
    let heard = talk.ask(head).await?;
    let heard = if is_said(&heard, digest) {
        heard
    } else {
        talk.ask(manifest(place, digest.as_str())).await?
    };
    judge(&talk, digest, &heard)
}

/// The digest behind a tag; `None`: there is no such tag.
pub(super) async fn resolve(fly: &Fly, place: &Place, tag: &str) -> Answer<Option<Digest>> {
    let talk = Talk::new(fly, place, Vec::new());
    let head = Call { method: Method::HEAD, ..manifest(place, tag) };
    let heard = talk.ask(head).await?;
    if let Some(digest) = named(&heard.answer) {
        return Ok(Some(digest));
    }
    // Not every registry knows HEAD, or says the digest there.
    let heard = talk.ask(manifest(place, tag)).await?;
    let answer = &heard.answer;
    if answer.is_success() {
        return Ok(Some(named(answer).unwrap_or_else(|| digest_of(&answer.body))));
    }
    if is_unknown(answer) || (answer.status == 404 && !heard.redirected) {
        return Ok(None);
    }
    Err(talk.failure(answer))
}

/// The digest that the registry itself says.
fn named(answer: &http::Answer) -> Option<Digest> {
    let said = answer.header("docker-content-digest").filter(|_| answer.is_success())?;
    said.starts_with("sha256:").then(|| Digest::new(said))
}

/// Asks for a manifest.
pub(super) fn manifest(place: &Place, reference: &str) -> Call {
    Call {
        accept: MANIFESTS,
        answers: ANSWERS,
        patience: Patience::seconds(10, 25),
        ..Call::get(
            Action::Manifest,
            place.repository.as_str(),
            place.url(&["manifests", reference]),
        )
    }
}

/// Whether an answer without a body says it: not every registry knows HEAD, and where we are sent
/// to, a sign-in page or a store that is asked in the wrong way answers as well.
fn is_said(heard: &Heard, digest: &Digest) -> bool {
    if matches!(heard.answer.status, 405 | 501) {
        return false;
    }
    !heard.redirected || heard.answer.header("docker-content-digest") == Some(digest.as_str())
}

/// What the registry's last answer says. Only "no such manifest" is a no.
fn judge(talk: &Talk<'_>, digest: &Digest, heard: &Heard) -> Answer<ImagePresence> {
    let answer = &heard.answer;
    if answer.is_success() {
        return match answer.header("docker-content-digest") {
            Some(other) if other != digest.as_str() => {
                Err(answer.unreadable("a manifest with another digest"))
            }
            Some(_) => Ok(ImagePresence::Present),
            None if heard.redirected && digest_of(&answer.body) != *digest => {
                Err(answer.unreadable("something else than the manifest, after a redirect"))
            }
            None => Ok(ImagePresence::Present),
        };
    }
    // Elsewhere, a store that has no such page says nothing about the registry.
    if is_unknown(answer) || (answer.status == 404 && !heard.redirected) {
        return Ok(ImagePresence::Missing);
    }
    Err(talk.failure(answer))
}

/// Whether the registry says in its own words that it has no such manifest.
pub(super) fn is_unknown(answer: &http::Answer) -> bool {
    let known_no = |code: &String| code == "MANIFEST_UNKNOWN" || code == "NAME_UNKNOWN";
    codes(&answer.body).iter().any(known_no)
}

/// The codes in a registry's list of errors.
fn codes(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = body.get("errors").and_then(Value::as_array);
    let codes = errors.into_iter().flatten().filter_map(|error| error.get("code")?.as_str());
    codes.map(str::to_owned).collect()
}
