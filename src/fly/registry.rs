//! Whether an image can still be pulled: the registry is asked for its manifest, by digest.
//!
//! Our token goes to the platform's own registry and nowhere else. Other registries are asked
//! without a name, through the anonymous tokens that most of them want even for public images.

use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Answer, Fly, below,
    http::{self, Call, Patience},
    limits::Action,
    settings::registry_base,
    wire::lenient,
};
use crate::{
    model::{Digest, ImageRef},
    ports::{ImagePresence, PlatformError},
};

/// The registry as images name it, wherever it is looked up.
const OWN_REGISTRY: &str = "registry.fly.io";
/// What may stand behind a digest: manifests and lists of them, of either kind.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Statuses that say something about the manifest or about how to ask.
const ANSWERS: &[u16] = &[400, 401, 403, 404, 405, 410, 501];

/// One question for a manifest.
struct Question {
    repository: String,
    digest: Digest,
    url: Url,
    /// Whether the registry is the platform's, and gets our token.
    own: bool,
}

/// Looks an image up by its digest.
pub(super) async fn presence(fly: &Fly, image: &ImageRef) -> Answer<ImagePresence> {
    let question = question(fly, image)?;
    let own_token = fly.caller.tokens().registry().filter(|_| question.own);
    let mut call = Call {
        method: Method::HEAD,
        authorization: own_token,
        accept: MANIFESTS,
        answers: ANSWERS,
        patience: Patience::seconds(10, 25),
        ..Call::get(Action::Manifest, question.repository.as_str(), question.url.clone())
    };
    let mut answer = fly.caller.call(&call).await?;
    if answer.status == 401
        && let Some(bearer) = bearer(fly, &question, &answer).await?
    {
        call.authorization = Some(bearer);
        answer = fly.caller.call(&call).await?;
    }
    if matches!(answer.status, 405 | 501) {
        call.method = Method::GET;
        answer = fly.caller.call(&call).await?;
    }
    judge(fly, &question, &answer)
}

fn question(fly: &Fly, image: &ImageRef) -> Answer<Question> {
    let refused =
        |what: &str| PlatformError::Refused(format!("image {}: {what}", image.reference()));
    let Some(digest) = image.digest.clone() else {
        return Err(refused("it has no digest to be looked up by"));
    };
    let (base, own, repository) = if image.registry == OWN_REGISTRY
        || Some(image.registry.as_str()) == authority(&fly.bases.registry).as_deref()
    {
        (fly.bases.registry.clone(), true, image.repository.clone())
    } else {
        let (host, repository) = foreign(image);
        let base =
            registry_base(&host).map_err(|error| refused(&format!("its registry {error}")))?;
        (base, false, repository)
    };
    let name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    let fine =
        |part: &str| part.chars().all(name) && part.chars().any(|c| c.is_ascii_alphanumeric());
    if !repository.split('/').all(fine) {
        return Err(refused("its repository is not a name"));
    }
    let mut path = vec!["v2"];
    path.extend(repository.split('/'));
    path.extend(["manifests", digest.as_str()]);
    let url = below(&base, &path);
    Ok(Question { url, repository, digest, own })
}

/// Docker Hub goes by several names, and official images there have no owner.
fn foreign(image: &ImageRef) -> (String, String) {
    let hub = matches!(
        image.registry.as_str(),
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io"
    );
    if !hub {
        return (image.registry.clone(), image.repository.clone());
    }
    let repository = if image.repository.contains('/') {
        image.repository.clone()
    } else {
        format!("library/{}", image.repository)
    };
    ("registry-1.docker.io".to_owned(), repository)
}

/// Host and port, as an image names its registry.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// What the registry's last answer says. Only "no such manifest" is a no.
fn judge(fly: &Fly, question: &Question, answer: &http::Answer) -> Answer<ImagePresence> {
    if answer.is_success() {
        let digest = answer.header("docker-content-digest");
        return match digest {
            Some(digest) if digest != question.digest.as_str() => {
                Err(answer.unreadable("a manifest with another digest"))
            }
            Some(_) | None => Ok(ImagePresence::Present),
        };
    }
    let unknown =
        codes(&answer.body).iter().any(|code| code == "MANIFEST_UNKNOWN" || code == "NAME_UNKNOWN");
    if answer.status == 404 || unknown {
        return Ok(ImagePresence::Missing);
    }
    Err(fly.caller.scrub(answer.failure().error))
}

/// The codes in a registry's list of errors.
fn codes(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = body.get("errors").and_then(Value::as_array);
    let codes = errors.into_iter().flatten().filter_map(|error| error.get("code")?.as_str());
    codes.map(str::to_owned).collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireToken {
    #[serde(deserialize_with = "lenient::text")]
    token: String,
    #[serde(deserialize_with = "lenient::text")]
    access_token: String,
}

/// Fetches the token that a registry's challenge asks for; `None` when it asks for something else.
/// Our own token goes along only to the platform's registry itself.
async fn bearer(
    fly: &Fly,
    question: &Question,
    answer: &http::Answer,
) -> Answer<Option<reqwest::header::HeaderValue>> {
    let Some(challenge) = answer.header("www-authenticate").and_then(challenge) else {
        return Ok(None);
    };
    // In the clear only to the host that the question itself went to in the clear.
    let plain_here = |realm: &Url| {
        question.url.scheme() == "http" && realm.host_str() == question.url.host_str()
    };
    let realm = Url::parse(&challenge.realm).ok().filter(Url::has_host).filter(|realm| {
        realm.scheme() == "https" || (realm.scheme() == "http" && plain_here(realm))
    });
    let Some(mut url) = realm else {
        return Err(answer.unreadable("its tokens come from no https URL"));
    };
    let scope = match challenge.scope.as_str() {
        "" => format!("repository:{}:pull", question.repository),
        scope => scope.to_owned(),
    };
    if !challenge.service.is_empty() {
        url.query_pairs_mut().append_pair("service", &challenge.service);
    }
    url.query_pairs_mut().append_pair("scope", &scope);
    let same_registry = url.origin() == question.url.origin();
    let own_token = fly.caller.tokens().registry().filter(|_| question.own && same_registry);
    let call = Call {
        authorization: own_token,
        ..Call::get(Action::Manifest, question.repository.as_str(), url)
    };
    let answer = fly.caller.call(&call).await?;
    let token: WireToken = fly.caller.decode(&answer)?;
    let token = if token.token.is_empty() { token.access_token } else { token.token };
    let mut header = reqwest::header::HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| !token.is_empty())
        .ok_or_else(|| answer.unreadable("no token in it"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// What a `Bearer` challenge asks for.
#[derive(Debug, Default, PartialEq)]
struct Challenge {
    realm: String,
    service: String,
    scope: String,
}

fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, mut rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = Challenge::default();
    // `name="value"` or `name=value`, joined by commas; a quoted value may hold commas.
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => value.clone_into(&mut challenge.realm),
            "service" => value.clone_into(&mut challenge.service),
            "scope" => value.clone_into(&mut challenge.scope),
            _ => {}
        }
        rest = after;
    }
    (!challenge.realm.is_empty()).then_some(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_its_quotes_and_commas() {
        let want = Challenge {
            realm: "https://auth.docker.io/token".to_owned(),
            service: "registry.docker.io".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        };
        let quoted = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io", scope="repository:a/b:pull,push",error="x""#;
        assert_eq!(challenge(quoted), Some(want));
        let bare = challenge("bearer realm=https://x/token,service=s").unwrap();
        assert_eq!((bare.realm.as_str(), bare.service.as_str()), ("https://x/token", "s"));
        assert_eq!(challenge(r#"Basic realm="x""#), None);
        assert_eq!(challenge(r#"Bearer realm="x"#), None, "no end");
        assert_eq!(challenge("Bearer"), None);
    }

    #[test]
    fn docker_hub_has_many_names() {
        let image = |registry: &str, repository: &str| ImageRef {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: None,
            digest: None,
        };
        let hub = "registry-1.docker.io".to_owned();
        assert_eq!(foreign(&image("docker.io", "nginx")), (hub.clone(), "library/nginx".into()));
        assert_eq!(foreign(&image("", "a/b")), (hub, "a/b".into()));
        assert_eq!(foreign(&image("ghcr.io", "nginx")), ("ghcr.io".into(), "nginx".into()));
    }
}
