//! How a registry wants to be asked: its challenge, and the token that answers it.

use reqwest::{Url, header::HeaderValue};
use serde::Deserialize;

use super::{
    Login, Place,
    talk::{REDIRECTS, follow},
};
use crate::fly::{
    Answer, Fly,
    http::{self, Call},
    limits::Action,
    wire::lenient,
};

/// What a challenge asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Challenge {
    /// Name and password.
    Basic,
    /// A token of this service.
    Bearer(Service),
}

/// Where tokens are issued, and for what.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Service {
    realm: String,
    service: String,
    scope: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireToken {
    #[serde(deserialize_with = "lenient::text")]
    token: String,
    #[serde(deserialize_with = "lenient::text")]
    access_token: String,
}

/// What answers a registry's challenge; `None` when there is no answer to it. `scopes`: what a token
/// has to allow, where that is more than what the registry asks for.
pub(super) async fn answer(
    fly: &Fly,
    place: &Place,
    scopes: &[String],
    challenged: &http::Answer,
) -> Answer<Option<HeaderValue>> {
    match challenged.header("www-authenticate").and_then(read) {
        Some(Challenge::Basic) => Ok(place.credentials(fly)),
        Some(Challenge::Bearer(service)) => {
            token(fly, place, scopes, &service, challenged).await.map(Some)
        }
        None => Ok(None),
    }
}

/// Fetches a token. Who we are goes along only to the registry itself and to its kin.
async fn token(
    fly: &Fly,
    place: &Place,
    scopes: &[String],
    service: &Service,
    challenged: &http::Answer,
) -> Answer<HeaderValue> {
    // In the clear only to the host that was itself asked in the clear.
    let plain_here =
        |realm: &Url| place.base.scheme() == "http" && realm.host_str() == place.base.host_str();
    let realm = Url::parse(&service.realm).ok().filter(Url::has_host).filter(|realm| {
        realm.scheme() == "https" || (realm.scheme() == "http" && plain_here(realm))
    });
    let Some(mut url) = realm else {
        return Err(challenged.unreadable("its tokens come from no https URL"));
    };
    if !service.service.is_empty() {
        url.query_pairs_mut().append_pair("service", &service.service);
    }
    let asked = match service.scope.as_str() {
        "" => format!("repository:{}:pull", place.repository),
        scope => scope.to_owned(),
    };
    let scopes = if scopes.is_empty() { std::slice::from_ref(&asked) } else { scopes };
    for scope in scopes {
        url.query_pairs_mut().append_pair("scope", scope);
    }
    let trusts = match place.login {
        Login::Platform => url.origin() == place.base.origin(),
        Login::Mirror => is_kin(&url, &place.base),
        Login::Nobody => false,
    };
    let call = Call {
        authorization: place.credentials(fly).filter(|_| trusts),
        answers: REDIRECTS,
        ..Call::get(Action::Manifest, place.repository.as_str(), url)
    };
    let answer = follow(fly, call).await?.answer;
    let token: WireToken = fly.caller.decode(&answer)?;
    let token = if token.token.is_empty() { token.access_token } else { token.token };
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .ok()
        .filter(|_| !token.is_empty())
        .ok_or_else(|| answer.unreadable("no token in it"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Whether tokens of a registry are rightly bought there: on its own host, or under its own domain,
/// as with `auth.docker.io` and `registry-1.docker.io`.
fn is_kin(realm: &Url, registry: &Url) -> bool {
    let (Some(realm_host), Some(host)) = (realm.host_str(), registry.host_str()) else {
        return false;
    };
    if realm_host == host {
        return realm.scheme() == registry.scheme();
    }
    let domain = |host: &str| {
        let labels: Vec<&str> = host.rsplitn(3, '.').take(2).collect();
        let is_name = host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[');
        (is_name && labels.len() == 2).then(|| labels.join("."))
    };
    realm.scheme() == "https"
        && registry.scheme() == "https"
        && domain(realm_host).is_some_and(|realm| Some(realm) == domain(host))
}

fn read(header: &str) -> Option<Challenge> {
    let header = header.trim();
    let (scheme, mut rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut service = Service::default();
    // `name="value"` or `name=value`, joined by commas; a quoted value may hold commas.
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim_matches([' ', ',']).to_ascii_lowercase().as_str() {
            "realm" => value.clone_into(&mut service.realm),
            "service" => value.clone_into(&mut service.service),
            "scope" => value.clone_into(&mut service.scope),
            _ => {}
        }
        rest = after;
    }
    (!service.realm.is_empty()).then_some(Challenge::Bearer(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_its_quotes_and_commas() {
        let want = Service {
            realm: "https://auth.docker.io/token".to_owned(),
            service: "registry.docker.io".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        };
        let quoted = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io", scope="repository:a/b:pull,push",error="x""#;
        assert_eq!(read(quoted), Some(Challenge::Bearer(want)));
        let bare = Service {
            realm: "https://x/token".to_owned(),
            service: "s".to_owned(),
            scope: String::new(),
        };
        let read_bare = read("bearer realm=https://x/token,service=s");
        assert_eq!(read_bare, Some(Challenge::Bearer(bare)));
        assert_eq!(read(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(read(r#"Bearer realm="x"#), None, "no end");
        assert_eq!(read("Bearer"), None);
        assert_eq!(read("Negotiate x"), None);
    }

    #[test]
    fn credentials_go_to_a_registrys_own_domain() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (realm, registry, want) in [
            ("https://auth.docker.io/token", "https://registry-1.docker.io/", true),
            ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com/", true),
            ("https://ghcr.io/token", "https://ghcr.io/", true),
            ("http://127.0.0.1:7000/token", "http://127.0.0.1:5000/", true),
            ("https://evil.test/token", "https://ghcr.io/", false),
            ("https://docker.io.evil.test/token", "https://registry-1.docker.io/", false),
            ("http://ghcr.io/token", "https://ghcr.io/", false),
            ("https://10.0.0.2/token", "https://10.9.0.2/", false),
            ("https://io/token", "https://ghcr.io/", false),
        ] {
            assert_eq!(is_kin(&url(realm), &url(registry)), want, "{realm} of {registry}");
        }
    }
}
