//! Where the platform is and who asks: tokens and base URLs, read as flyctl reads them.
//!
//! The same variables work for both, so that what an operator tried by hand is what the daemon
//! does, and one set of base URLs points both at the simulated platform.

use std::net::IpAddr;

use reqwest::{Url, header::HeaderValue};

use crate::config::Secret;

/// Where the platform is, and who asks.
#[derive(Clone, Debug)]
pub struct FlySettings {
    pub organization: String,
    /// One token, or several joined by commas.
    pub token: Secret,
    /// GraphQL (`/graphql` is appended).
    pub api_url: String,
    /// Machines API (`/v1` is appended).
    pub flaps_url: String,
    /// Release endpoints (`/api/v1` is appended).
    pub uiex_url: String,
    /// Base URL at which images of `registry.fly.io` are looked up.
    pub registry_url: String,
    /// Who we are in the registry that images are mirrored to; `None`: nobody.
    pub mirror_login: Option<MirrorLogin>,
}

/// Name and password, or token, for the registry that images are mirrored to.
#[derive(Clone, Debug)]
pub struct MirrorLogin {
    pub user: String,
    pub token: Secret,
}

impl MirrorLogin {
    /// From `WAVEOFF_MIRROR_USER` and `WAVEOFF_MIRROR_TOKEN`.
    ///
    /// # Errors
    /// When one is set and the other is not, or one cannot be sent.
    fn from_env(environment: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, FlyError> {
        let read = |name| environment(name).map(|text: String| text.trim().to_owned());
        let [user, token] =
            [MIRROR_USER, MIRROR_TOKEN].map(|name| read(name).filter(|text| !text.is_empty()));
        let login = match (user, token) {
            (None, None) => return Ok(None),
            (Some(user), Some(token)) => Self { user, token: Secret::new(token) },
            (Some(_), None) => {
                return Err(FlyError(format!("{MIRROR_USER} is set and {MIRROR_TOKEN} is not")));
            }
            (None, Some(_)) => {
                return Err(FlyError(format!("{MIRROR_TOKEN} is set and {MIRROR_USER} is not")));
            }
        };
        if login.user.contains(':') {
            return Err(FlyError(format!("{MIRROR_USER}: a name has no colon")));
        }
        Ok(Some(login))
    }

    pub(super) fn basic(&self) -> Option<HeaderValue> {
        basic(&self.user, self.token.expose())
    }
}

/// Why the client cannot be set up. Names variables, never their secrets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FlyError(pub(super) String);

const API_URL: &str = "https://api.fly.io";
const FLAPS_URL: &str = "https://api.machines.dev";
const REGISTRY_HOST: &str = "registry.fly.io";
const MIRROR_USER: &str = "WAVEOFF_MIRROR_USER";
const MIRROR_TOKEN: &str = "WAVEOFF_MIRROR_TOKEN";

impl FlySettings {
    /// Reads tokens and base URLs as flyctl does.
    ///
    /// `FLY_ACCESS_TOKEN` hides `FLY_API_TOKEN` by being present, even when it is empty.
    ///
    /// # Errors
    /// When there is no token, or a base URL is none.
    pub fn from_env(
        organization: String,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, FlyError> {
        if organization.trim().is_empty() {
            return Err(FlyError("the organization's slug is empty".to_owned()));
        }
        let (name, token) = ["FLY_ACCESS_TOKEN", "FLY_API_TOKEN"]
            .into_iter()
            .find_map(|name| environment(name).map(|token| (name, token)))
            .ok_or_else(|| {
                FlyError(
                    "no token: set FLY_API_TOKEN, for example to that of `fly tokens create org`"
                        .to_owned(),
                )
            })?;
        Tokens::parse(&token).map_err(|error| FlyError(format!("{name}: {error}")))?;
        let base = |name: &'static str, default: &str| {
            let text = environment(name).filter(|text| !text.trim().is_empty());
            let url = parse_base(text.as_deref().unwrap_or(default))
                .map_err(|error| FlyError(format!("{name}: {error}")))?;
            Ok(text_of(&url))
        };
        let registry = environment("FLY_REGISTRY_HOST").filter(|text| !text.trim().is_empty());
        let registry_url = registry_base(registry.as_deref().unwrap_or(REGISTRY_HOST).trim())
            .map_err(|error| FlyError(format!("FLY_REGISTRY_HOST: {error}")))?;
        Ok(Self {
            organization,
            token: Secret::new(token),
            api_url: base("FLY_API_BASE_URL", API_URL)?,
            flaps_url: base("FLY_FLAPS_BASE_URL", FLAPS_URL)?,
            uiex_url: base("FLY_UIEX_BASE_URL", API_URL)?,
            registry_url: text_of(&registry_url),
            mirror_login: MirrorLogin::from_env(&environment)?,
        })
    }
}

impl FlySettings {
    /// Where the Machines API is, and the header that it wants.
    ///
    /// # Errors
    /// When the token is none.
    pub fn machines(&self) -> Result<(String, Secret), FlyError> {
        let (_, authorization) = self.prometheus()?;
        Ok((self.flaps_url.clone(), authorization))
    }

    /// The platform's managed Prometheus of the organization, and the header that it wants.
    ///
    /// # Errors
    /// When the token is none.
    pub fn prometheus(&self) -> Result<(String, Secret), FlyError> {
        let tokens = Tokens::parse(self.token.expose()).map_err(|why| FlyError(why.to_owned()))?;
        let url = format!("{}/prometheus/{}", self.api_url, self.organization);
        let scheme = if tokens.macaroons.is_empty() { "Bearer" } else { "FlyV1" };
        let list = if tokens.macaroons.is_empty() { &tokens.others } else { &tokens.macaroons };
        Ok((url, Secret::new(format!("{scheme} {}", list.join(",")))))
    }
}

/// The base URLs, checked.
#[derive(Clone, Debug)]
pub(super) struct Bases {
    pub(super) api: Url,
    /// Without a path: flyctl drops one that is given for the Machines API.
    pub(super) flaps: Url,
    pub(super) uiex: Url,
    pub(super) registry: Url,
}

impl Bases {
    pub(super) fn parse(settings: &FlySettings) -> Result<Self, FlyError> {
        let parse = |what: &str, text: &str| {
            parse_base(text).map_err(|error| FlyError(format!("base URL of {what}: {error}")))
        };
        let mut flaps = parse("the Machines API", &settings.flaps_url)?;
        flaps.set_path("");
        Ok(Self {
            api: parse("GraphQL", &settings.api_url)?,
            flaps,
            uiex: parse("the release endpoints", &settings.uiex_url)?,
            registry: parse("the registry", &settings.registry_url)?,
        })
    }
}

/// A URL that paths can be appended to. The error does not repeat the text: it can hold a
/// password.
fn parse_base(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text.trim()).map_err(|_| "is not a URL such as https://api.fly.io")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is not an http or https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("may not hold a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("may not have a query or a fragment");
    }
    Ok(url)
}

fn text_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The base URL of a registry host: TLS, except on this very machine.
pub(super) fn registry_base(host: &str) -> Result<Url, &'static str> {
    let problem = "is not a host such as registry.fly.io or 127.0.0.1:5000";
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\\']) || host.contains("..") {
        return Err(problem);
    }
    let secure = parse_base(&format!("https://{host}")).map_err(|_| problem)?;
    if is_loopback(&secure) {
        return parse_base(&format!("http://{host}")).map_err(|_| problem);
    }
    Ok(secure)
}

pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The tokens, ready to be sent. Macaroons and others travel differently.
#[derive(Clone)]
pub(super) struct Tokens {
    /// Macaroons: the permission token and its discharges.
    macaroons: Vec<String>,
    others: Vec<String>,
    /// Other secrets that are kept out of texts.
    hidden: Vec<String>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({} and {})", self.macaroons.len(), self.others.len())
    }
}

impl Tokens {
    /// Splits a comma-joined list; schemes that were copied along are stripped.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut tokens = Self { macaroons: Vec::new(), others: Vec::new(), hidden: Vec::new() };
        for token in text.split(',').map(without_scheme).filter(|token| !token.is_empty()) {
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err("holds white space or letters that no token has");
            }
            let is_macaroon = token
                .split_once('_')
                .is_some_and(|(kind, _)| matches!(kind, "fm1r" | "fm1a" | "fm2"));
            let list = if is_macaroon { &mut tokens.macaroons } else { &mut tokens.others };
            list.push(token.to_owned());
        }
        if tokens.macaroons.is_empty() && tokens.others.is_empty() {
            return Err("is set, but empty");
        }
        Ok(tokens)
    }

    /// Another secret that is never to be repeated.
    pub(super) fn hide(&mut self, secret: &str) {
        self.hidden.push(secret.to_owned());
    }

    /// For the Machines API: macaroons alone if there are any.
    pub(super) fn machines(&self) -> Option<HeaderValue> {
        if self.macaroons.is_empty() {
            return sensitive(&format!("Bearer {}", self.others.join(",")));
        }
        sensitive(&format!("FlyV1 {}", self.macaroons.join(",")))
    }

    /// For GraphQL: everything, under the scheme of macaroons if there are any.
    pub(super) fn graphql(&self) -> Option<HeaderValue> {
        let scheme = if self.macaroons.is_empty() { "Bearer" } else { "FlyV1" };
        sensitive(&format!("{scheme} {}", self.all()))
    }

    /// For the release endpoints: everything as `Bearer`, macaroons too.
    pub(super) fn releases(&self) -> Option<HeaderValue> {
        sensitive(&format!("Bearer {}", self.all()))
    }

    /// For the registry: user `x`, the token as password.
    pub(super) fn registry(&self) -> Option<HeaderValue> {
        let list = if self.macaroons.is_empty() { &self.others } else { &self.macaroons };
        basic("x", &list.join(","))
    }

    fn all(&self) -> String {
        let all: Vec<&str> =
            self.macaroons.iter().chain(&self.others).map(String::as_str).collect();
        all.join(",")
    }

    /// `text` without our tokens, whoever put them there. Short ones are placeholders, and would
    /// take pieces out of words.
    pub(super) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let all = self.macaroons.iter().chain(&self.others).chain(&self.hidden);
        for token in all.filter(|token| token.len() >= 8) {
            if text.contains(token.as_str()) {
                text = text.replace(token.as_str(), "***");
            }
        }
        text
    }
}

fn without_scheme(token: &str) -> &str {
    let mut rest = token.trim();
    loop {
        let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
        if !first.eq_ignore_ascii_case("bearer") && !first.eq_ignore_ascii_case("flyv1") {
            return rest;
        }
        rest = after.trim_start();
    }
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<FlySettings, FlyError> {
        FlySettings::from_env("acme".to_owned(), |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        })
    }

    fn text(value: Option<HeaderValue>) -> String {
        let value = value.unwrap();
        assert!(value.is_sensitive(), "a token's header must not be shown");
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn only_a_token_is_needed() {
        let settings = read(&[("FLY_API_TOKEN", "opaque-token")]).unwrap();
        assert_eq!(settings.api_url, "https://api.fly.io");
        assert_eq!(settings.flaps_url, "https://api.machines.dev");
        assert_eq!(settings.uiex_url, "https://api.fly.io");
        assert_eq!(settings.registry_url, "https://registry.fly.io");
        assert!(!format!("{settings:?}").contains("opaque"), "{settings:?}");
    }

    #[test]
    fn the_access_token_hides_the_api_token_by_being_there() {
        let both = [("FLY_ACCESS_TOKEN", "first"), ("FLY_API_TOKEN", "second")];
        assert_eq!(read(&both).unwrap().token.expose(), "first");
        let empty = [("FLY_ACCESS_TOKEN", ""), ("FLY_API_TOKEN", "second")];
        assert_eq!(read(&empty).unwrap_err().to_string(), "FLY_ACCESS_TOKEN: is set, but empty");
        assert!(read(&[]).unwrap_err().to_string().starts_with("no token: set FLY_API_TOKEN"));
    }

    #[test]
    fn an_opaque_token_travels_as_bearer_however_it_was_pasted() {
        for pasted in ["tok", " tok\n", "Bearer tok", "FlyV1 Bearer  bearer tok", "tok,,"] {
            let tokens = Tokens::parse(pasted).unwrap();
            assert_eq!(text(tokens.machines()), "Bearer tok", "{pasted:?}");
            assert_eq!(text(tokens.graphql()), "Bearer tok");
            assert_eq!(text(tokens.releases()), "Bearer tok");
            assert_eq!(text(tokens.registry()), "Basic eDp0b2s=", "x:tok");
        }
        assert!(Tokens::parse("to ken").is_err());
        assert!(Tokens::parse("Bearer ").is_err());
    }

    #[test]
    fn macaroons_have_a_scheme_of_their_own_except_for_releases() {
        let tokens = Tokens::parse("FlyV1 fm2_one, fm1a_two,oauth,fm1r_three").unwrap();
        assert_eq!(text(tokens.machines()), "FlyV1 fm2_one,fm1a_two,fm1r_three");
        assert_eq!(text(tokens.graphql()), "FlyV1 fm2_one,fm1a_two,fm1r_three,oauth");
        assert_eq!(text(tokens.releases()), "Bearer fm2_one,fm1a_two,fm1r_three,oauth");
        assert!(!format!("{tokens:?}").contains("one"));
    }

    #[test]
    fn base_urls_are_taken_as_flyctl_takes_them() {
        let settings = read(&[
            ("FLY_API_TOKEN", "t"),
            ("FLY_API_BASE_URL", "http://127.0.0.1:7000/web/"),
            ("FLY_FLAPS_BASE_URL", "http://_api.internal:4280/v1/ignored"),
            ("FLY_UIEX_BASE_URL", " http://127.0.0.1:7001 "),
            ("FLY_REGISTRY_HOST", "127.0.0.1:5001"),
        ])
        .unwrap();
        let bases = Bases::parse(&settings).unwrap();
        assert_eq!(bases.api.as_str(), "http://127.0.0.1:7000/web");
        assert_eq!(bases.flaps.as_str(), "http://_api.internal:4280/", "its path is dropped");
        assert_eq!(bases.uiex.as_str(), "http://127.0.0.1:7001/");
        assert_eq!(bases.registry.as_str(), "http://127.0.0.1:5001/", "no TLS on loopback");
    }

    #[test]
    fn tls_is_left_out_on_this_very_machine_only() {
        let cases = [
            ("localhost:5000", "http://localhost:5000/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("127.9.9.9", "http://127.9.9.9/"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/"),
            ("ghcr.io", "https://ghcr.io/"),
        ];
        for (host, want) in cases {
            assert_eq!(registry_base(host).unwrap().as_str(), want);
        }
        for odd in ["", "a/b", "user:word@host", "https://ghcr.io", "a..b", "a b"] {
            assert!(registry_base(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_bad_base_url_is_named_without_being_repeated() {
        for odd in
            ["api.fly.io", "ftp://api.fly.io", "https://u:hunter2@x", "https://x?key=hunter2"]
        {
            let error = read(&[("FLY_API_TOKEN", "t"), ("FLY_FLAPS_BASE_URL", odd)]).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("FLY_FLAPS_BASE_URL: "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn tokens_are_scrubbed_from_foreign_text() {
        let tokens = Tokens::parse("fm2_abcdefgh,short").unwrap();
        assert_eq!(tokens.scrub("no token fm2_abcdefgh in short"), "no token *** in short");
    }
}
