//! Images in the platform's registry and in others. `tests/platform` asks a real one.

use super::*;
use crate::model::Digest;

fn image(registry: &str, repository: &str) -> ImageRef {
    ImageRef {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: Some("v41".to_owned()),
        digest: Some(Digest::new("sha256:41aa")),
    }
}

fn own() -> ImageRef {
    image("registry.fly.io", "web")
}

#[tokio::test]
async fn the_platforms_registry_is_asked_with_our_token() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (fly, script) =
        platform([reply(200, "").with("docker-content-digest", "sha256:41aa")]).await;
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    let asked = script.asked();
    assert_eq!(asked[0].line, "HEAD /v2/web/manifests/sha256:41aa");
    let basic = format!("Basic {}", STANDARD.encode(format!("x:{TOKEN}")));
    assert_eq!(asked[0].header("authorization"), basic);
    for kind in ["oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "manifest.v2"] {
        assert!(asked[0].header("accept").contains(kind), "{kind}");
    }
}

#[tokio::test]
async fn only_a_registrys_no_means_that_the_image_is_gone() {
    let unknown = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"m"}}]}}"#);
    for answers in [
        vec![reply(404, "")],
        vec![reply(405, ""), reply(404, unknown("MANIFEST_UNKNOWN"))],
        vec![reply(405, ""), reply(400, unknown("NAME_UNKNOWN"))],
    ] {
        let (fly, _script) = platform(answers).await;
        assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Missing));
    }
    for (answers, transient) in [
        (vec![reply(401, "")], false),
        (vec![reply(403, unknown("DENIED"))], false),
        (vec![reply(400, "")], false),
        (vec![reply(503, ""), reply(503, ""), reply(503, "")], true),
        (vec![reply(302, "")], false),
        (vec![reply(200, "").with("docker-content-digest", "sha256:42bb")], false),
    ] {
        let (fly, _script) = platform(answers).await;
        let error = fly.presence(&own()).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
    }
}

#[tokio::test]
async fn a_registry_without_head_is_asked_with_get() {
    let (fly, script) = platform([reply(405, ""), reply(200, "{}")]).await;
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    assert_eq!(script.lines()[1], "GET /v2/web/manifests/sha256:41aa");
}

#[tokio::test]
async fn an_image_that_cannot_be_asked_for_is_refused() {
    let (fly, script) = platform([]).await;
    let nameless = ImageRef { digest: None, ..own() };
    let odd = ["", "../web", "a//b", "a b", "a/..", "a?b"].map(|name| image("ghcr.io", name));
    let hosts = ["evil/host", "user@host", "a b"].map(|host| image(host, "web"));
    for image in [nameless].into_iter().chain(odd).chain(hosts) {
        let error = fly.presence(&image).await.unwrap_err();
        assert!(matches!(error, PlatformError::Refused(_)), "{image:?}: {error:?}");
    }
    assert_eq!(script.asked().len(), 0);
}

/// Host and port of a client's server.
fn host(fly: &Fly) -> String {
    let base = &fly.bases.registry;
    format!("{}:{}", base.host_str().unwrap(), base.port().unwrap())
}

#[tokio::test]
async fn a_foreign_registry_never_sees_our_token() {
    let (elsewhere, foreign) = platform([reply(401, ""), reply(200, "")]).await;
    let (fly, home) = platform([]).await;
    let image = image(&host(&elsewhere), "acme/web");
    assert!(matches!(fly.presence(&image).await, Err(PlatformError::Denied(_))));
    assert_eq!(fly.presence(&image).await, Ok(ImagePresence::Present));
    for asked in foreign.asked() {
        assert_eq!(asked.line, "HEAD /v2/acme/web/manifests/sha256:41aa");
        assert_eq!(asked.header("authorization"), "");
    }
    assert_eq!(home.asked().len(), 0);
}

#[tokio::test]
async fn a_foreign_registrys_anonymous_token_is_fetched() {
    let (tokens, issuer) = platform([reply(200, r#"{"access_token":"anonymous"}"#)]).await;
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service="ghcr.io",scope="repository:acme/web:pull""#,
        host(&tokens)
    );
    let (elsewhere, foreign) =
        platform([reply(401, "").with("www-authenticate", challenge), reply(404, "")]).await;
    let (fly, _home) = platform([]).await;
    let image = image(&host(&elsewhere), "acme/web");
    assert_eq!(fly.presence(&image).await, Ok(ImagePresence::Missing));
    let asked = issuer.asked();
    let line = "GET /token?service=ghcr.io&scope=repository%3Aacme%2Fweb%3Apull";
    assert_eq!((asked[0].line.as_str(), asked[0].header("authorization")), (line, ""));
    assert_eq!(foreign.asked()[1].header("authorization"), "Bearer anonymous");
}

#[tokio::test]
async fn our_token_buys_tokens_of_the_platforms_own_registry_alone() {
    let (tokens, issuer) = platform([reply(200, r#"{"token":"anonymous"}"#)]).await;
    let elsewhere = format!(r#"Bearer realm="http://{}/token""#, host(&tokens));
    let (fly, script) = platform([]).await;
    let here = format!(r#"Bearer realm="http://{}/token",service="fly""#, host(&fly));
    script.replies.lock().unwrap().extend([
        reply(401, "").with("www-authenticate", here),
        reply(200, r#"{"token":"bought"}"#),
        reply(200, ""),
        reply(401, "").with("www-authenticate", elsewhere),
        reply(200, ""),
    ]);
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    let asked = script.asked();
    assert_eq!(asked[1].line, "GET /token?service=fly&scope=repository%3Aweb%3Apull");
    assert!(asked[1].header("authorization").starts_with("Basic "));
    assert_eq!(asked[2].header("authorization"), "Bearer bought");
    assert_eq!(issuer.asked()[0].header("authorization"), "", "another place than the registry");
    assert_eq!(asked[4].header("authorization"), "Bearer anonymous");
}

#[tokio::test]
async fn odd_challenges_lead_nowhere() {
    for challenge in [
        r#"Bearer realm="http://example.test/token""#.to_owned(),
        r#"Bearer realm="file:///etc/passwd""#.to_owned(),
        r#"Basic realm="x""#.to_owned(),
        "x".repeat(5000),
    ] {
        let (elsewhere, foreign) =
            platform([reply(401, "").with("www-authenticate", challenge.as_str())]).await;
        let (fly, _home) = platform([]).await;
        fly.presence(&image(&host(&elsewhere), "web")).await.unwrap_err();
        assert_eq!(foreign.asked().len(), 1, "{challenge}");
    }
    // A token that is none.
    let (elsewhere, foreign) = platform([]).await;
    let realm = format!(r#"Bearer realm="http://{}/token""#, host(&elsewhere));
    for answer in ["{}", "<html>", r#"{"token":"line\nbreak"}"#] {
        let challenged = reply(401, "").with("www-authenticate", realm.as_str());
        foreign.replies.lock().unwrap().extend([challenged, reply(200, answer)]);
    }
    let (fly, _home) = platform([]).await;
    for _ in 0..3 {
        let error = fly.presence(&image(&host(&elsewhere), "web")).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unreadable(_)), "{error:?}");
    }
}
