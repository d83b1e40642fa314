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
        (vec![reply(303, "").with("location", "//[")], false),
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

fn moved(status: u16, to: impl Into<String>) -> Reply {
    reply(status, "").with("location", to)
}

fn found() -> Reply {
    reply(200, "").with("docker-content-digest", "sha256:41aa")
}

#[tokio::test]
async fn a_redirect_is_followed_and_only_the_same_place_is_told_who_asks() {
    for status in [301, 302, 303, 307, 308] {
        // Given a registry that sends us on inside itself, and then elsewhere.
        let (elsewhere, store) = platform([found()]).await;
        let away = format!("http://{}/blob?signature=s", host(&elsewhere));
        let (fly, script) =
            platform([moved(status, "/v2/web/manifests/moved"), moved(status, away)]).await;
        // When the image is looked up, then it is found there.
        assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present), "{status}");
        let asked = script.asked();
        assert_eq!(asked[1].line, "HEAD /v2/web/manifests/moved");
        assert!(asked[1].header("authorization").starts_with("Basic "), "the same place");
        let asked = store.asked();
        assert_eq!(asked[0].line, "HEAD /blob?signature=s");
        assert_eq!(asked[0].header("authorization"), "", "another place");
        assert!(asked[0].header("accept").contains("oci.image.index.v1"));
    }
}

#[tokio::test]
async fn whoever_comes_back_is_known_again() {
    let (elsewhere, far) = platform([]).await;
    let (fly, script) = platform([moved(307, format!("http://{}/x", host(&elsewhere)))]).await;
    script.replies.lock().unwrap().push_back(found());
    far.replies.lock().unwrap().push_back(moved(307, format!("http://{}/y", host(&fly))));
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    assert!(script.asked()[1].header("authorization").starts_with("Basic "));
}

#[tokio::test]
async fn redirects_lead_neither_in_circles_nor_into_the_open() {
    let circle: Vec<Reply> = (0..20).map(|_| moved(302, "/v2/again")).collect();
    let (fly, script) = platform(circle).await;
    let error = fly.presence(&own()).await.unwrap_err();
    assert!(error.to_string().contains("more redirects in a row"), "{error}");
    assert_eq!(script.asked().len(), 6);
    for to in ["http://example.test/x", "ftp://example.test/x", "https://me:word@127.0.0.1:1/x"] {
        let (fly, script) = platform([moved(302, to)]).await;
        let error = fly.presence(&own()).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unreadable(_)), "{to}: {error:?}");
        assert!(error.to_string().contains("is not followed"), "{to}: {error}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn what_is_found_after_a_redirect_has_to_be_the_manifest() {
    let manifest = r#"{"schemaVersion":2}"#;
    let digest =
        Digest::new("sha256:bafebd36189ad3688b7b3915ea55d461e0bfcfbc3a2b3b4b9e2c5d9c5c0d1e2f");
    let image = ImageRef { digest: Some(digest), ..own() };
    // Given a sign-in page, which answers everything with 200.
    let page = || moved(302, "/login");
    let (fly, script) =
        platform([page(), reply(200, ""), page(), reply(200, "<html>sign in</html>")]).await;
    let error = fly.presence(&image).await.unwrap_err();
    assert!(error.to_string().contains("something else than the manifest"), "{error}");
    assert_eq!(
        script.lines()[2],
        "GET /v2/web/manifests/".to_owned() + image.digest.as_ref().unwrap().as_str()
    );
    // A store without such a page is not the registry's no, the registry's word is.
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#;
    for (body, want) in [("<html>", None), (unknown, Some(ImagePresence::Missing))] {
        let (fly, _script) = platform([page(), reply(404, ""), page(), reply(404, body)]).await;
        assert_eq!(fly.presence(&image).await.ok(), want, "{body}");
    }
    // A store that is asked with HEAD what was signed for GET.
    let right =
        ImageRef { digest: Some(crate::fly::registry::digest_of(manifest.as_bytes())), ..own() };
    let (fly, _script) = platform([page(), reply(403, ""), page(), reply(200, manifest)]).await;
    assert_eq!(fly.presence(&right).await, Ok(ImagePresence::Present));
}

#[tokio::test]
async fn a_place_we_were_sent_to_gets_no_answer_to_its_challenge() {
    let (fly, script) = platform([]).await;
    let realm = format!(r#"Bearer realm="http://{}/token""#, host(&fly));
    let challenged = || reply(401, "").with("www-authenticate", realm.as_str());
    script.replies.lock().unwrap().extend([
        moved(302, "/elsewhere"),
        challenged(),
        moved(302, "/elsewhere"),
        challenged(),
    ]);
    let error = fly.presence(&own()).await.unwrap_err();
    assert!(matches!(error, PlatformError::Denied(_)), "{error:?}");
    assert!(script.lines().iter().all(|line| !line.contains("token")));
}

#[tokio::test]
async fn a_token_service_may_have_moved_too() {
    let (moved_to, new) = platform([reply(200, r#"{"token":"bought"}"#)]).await;
    let (fly, script) = platform([]).await;
    let here = format!(r#"Bearer realm="http://{}/token",service="fly""#, host(&fly));
    script.replies.lock().unwrap().extend([
        reply(401, "").with("www-authenticate", here),
        moved(307, format!("http://{}/tokens", host(&moved_to))),
        found(),
    ]);
    assert_eq!(fly.presence(&own()).await, Ok(ImagePresence::Present));
    assert_eq!(new.asked()[0].header("authorization"), "", "another place");
    let asked = script.asked();
    assert!(asked[1].header("authorization").starts_with("Basic "));
    assert_eq!(asked[2].header("authorization"), "Bearer bought");
}

#[tokio::test]
async fn the_mirror_is_asked_with_its_own_credentials_if_it_wants_any() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let (elsewhere, mirror) = platform([]).await;
    let basic = format!("Basic {}", STANDARD.encode("bot:mirror-token"));
    let (fly, home) = mirroring().await;
    let image = image(&host(&elsewhere), "acme/web");
    let service = format!(r#"Bearer realm="http://{}/token""#, host(&elsewhere));
    mirror.replies.lock().unwrap().extend([
        found(),
        reply(401, "").with("www-authenticate", r#"Basic realm="x""#),
        found(),
        reply(401, "").with("www-authenticate", service),
        reply(200, r#"{"token":"bought"}"#),
        found(),
        // As an image of anybody's, it is asked for without a name.
        reply(401, "").with("www-authenticate", r#"Basic realm="x""#),
    ]);
    for _ in 0..3 {
        assert_eq!(fly.presence_in_mirror(&image).await, Ok(ImagePresence::Present));
    }
    assert!(matches!(fly.presence(&image).await, Err(PlatformError::Denied(_))));
    let asked = mirror.asked();
    let shown: Vec<&str> = asked.iter().map(|asked| asked.header("authorization")).collect();
    assert_eq!(shown, ["", "", &basic, "", &basic, "Bearer bought", ""]);
    assert_eq!(home.asked().len(), 0);
}
