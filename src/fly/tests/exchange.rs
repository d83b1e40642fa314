//! Headers, retries, and answers that are too long, too short, too late or something else.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A server that reads a request and writes these bytes, on each connection anew; then it either
/// ends the connection or keeps it open.
async fn raw(answers: Vec<&'static str>, stays_open: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the request ended early");
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if stays_open {
                open.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    url
}

#[tokio::test]
async fn a_call_says_who_asks() {
    let (fly, script) = platform([reply(200, r#"{"apps":[{"name":"web"},{"name":"api"}]}"#)]).await;
    assert_eq!(fly.apps().await.unwrap(), [web(), AppName::new("api")]);
    let asked = script.asked();
    assert_eq!(asked[0].line, "GET /v1/apps?org_slug=acme");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {TOKEN}"));
    assert_eq!(asked[0].header("user-agent"), format!("waveoff/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(asked[0].header("accept"), "application/json");
}

#[tokio::test]
async fn an_affinity_cookie_is_sent_back() {
    let (fly, script) = platform([
        reply(200, "[]").with("set-cookie", "fly_flaps_affinity=host-7; Path=/"),
        reply(200, "[]"),
    ])
    .await;
    fly.machines(&web()).await.unwrap();
    fly.machines(&web()).await.unwrap();
    let asked = script.asked();
    assert_eq!(asked[0].header("cookie"), "");
    assert_eq!(asked[1].header("cookie"), "fly_flaps_affinity=host-7");
}

#[tokio::test]
async fn readings_are_repeated_until_they_succeed() {
    for failure in [408, 429, 500, 502, 503, 504] {
        let failing = reply(failure, "{}").with("retry-after", "0.001");
        let (fly, script) = platform([failing, reply(200, "[]")]).await;
        assert_eq!(fly.machines(&web()).await.unwrap(), [], "{failure}");
        assert_eq!(script.asked().len(), 2);
    }
}

#[tokio::test]
async fn readings_are_not_repeated_for_ever() {
    let failing =
        || reply(503, r#"{"error":"internal: down"}"#).with("fly-request-id", "01HREQ-fra");
    let (fly, script) = platform([failing(), failing(), failing(), failing()]).await;
    let error = fly.machines(&web()).await.unwrap_err();
    let text = "GET /v1/apps/web/machines answered 503: internal: down (request 01HREQ-fra)";
    assert_eq!(error, PlatformError::Unavailable(text.to_owned()));
    assert_eq!(script.asked().len(), 3, "as the schedule says");
}

#[tokio::test]
async fn what_is_refused_is_not_repeated() {
    for (status, transient) in [(400, false), (401, false), (404, false), (409, true), (422, false)]
    {
        let (fly, script) = platform([reply(status, "{}"), reply(200, "[]")]).await;
        let error = fly.machines(&web()).await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn being_turned_away_is_waited_out() {
    let (fly, _script) =
        platform([reply(429, "{}").with("retry-after", "0.15"), reply(200, "[]")]).await;
    let start = tokio::time::Instant::now();
    fly.machines(&web()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_wait_beyond_the_calls_deadline_is_not_begun() {
    let (fly, script) = platform([reply(429, "{}").with("retry-after", "3600")]).await;
    let start = tokio::time::Instant::now();
    let error = fly.machines(&web()).await.unwrap_err();
    assert!(error.to_string().contains("answered 429"), "{error}");
    // And nobody asks again meanwhile.
    let error = fly.machines(&web()).await.unwrap_err();
    assert!(error.to_string().contains("not sent, the rate limit"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn something_else_than_json_is_unreadable() {
    let cases = [
        ("<html>welcome</html>", "the body begins with: <html>welcome</html>"),
        ("", "the body is empty"),
        (r#"[{"id":"m1","config":{"env":{"KEY":"hidden"#, "EOF"),
        (r#"{"machines":[]}"#, "invalid type"),
        (r#"[{"id":""}]"#, "a machine without an id"),
    ];
    for (body, want) in cases {
        let (fly, script) =
            platform([reply(200, body).with("fly-request-id", "01HREQ"), reply(200, "[]")]).await;
        let error = fly.machines(&web()).await.unwrap_err();
        assert!(matches!(error, PlatformError::Unreadable(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("GET /v1/apps/web/machines answered 200, "), "{text}");
        assert!(text.contains(want) && text.contains("(request 01HREQ)"), "{text}");
        assert!(!text.contains("hidden"), "a configuration is not shown: {text}");
        assert_eq!(script.asked().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_cut_off_on_the_way_is_asked_for_again() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"id\":";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]";
    let fly = client(&raw(vec![cut, whole], false).await);
    assert_eq!(fly.machines(&web()).await.unwrap(), []);
    let fly = client(&raw(vec![cut, cut, cut], false).await);
    let error = fly.machines(&web()).await.unwrap_err();
    assert!(matches!(error, PlatformError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("the connection broke"), "{error}");
}

#[tokio::test]
async fn an_answer_that_never_ends_is_not_waited_for() {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[";
    let url = raw(vec![start, start, start], true).await;
    let tuning = Tuning { attempt_max: Duration::from_millis(50), ..quick() };
    let fly = Fly::tuned(settings(&url), tuning).unwrap();
    let error = fly.machines(&web()).await.unwrap_err();
    let text = "GET /v1/apps/web/machines: no whole answer in time";
    assert_eq!(error, PlatformError::Unavailable(text.to_owned()));
}

#[tokio::test]
async fn an_answer_without_bounds_is_not_read_to_its_end() {
    let endless = Router::new().fallback(|| async {
        let chunk = || Some((Ok::<_, std::io::Error>(vec![b' '; 8192]), ()));
        Body::from_stream(futures_util::stream::unfold((), move |()| async move { chunk() }))
    });
    let url = start(endless).await;
    let fly = Fly::tuned(settings(&url), Tuning { answer_max: 100_000, ..quick() }).unwrap();
    let error = fly.machines(&web()).await.unwrap_err();
    let text = "GET /v1/apps/web/machines answered more than 100000 bytes";
    assert_eq!(error, PlatformError::Unreadable(text.to_owned()));
}

#[tokio::test]
async fn an_answer_of_just_the_bound_is_read() {
    let body = format!("[{}]", " ".repeat(998));
    let (fly, _script) = platform([reply(200, &body), reply(200, format!("{body} "))]).await;
    let url = fly.bases.flaps.to_string();
    let fly = Fly::tuned(settings(&url), Tuning { answer_max: 1000, ..quick() }).unwrap();
    assert_eq!(fly.machines(&web()).await.unwrap(), []);
    assert!(matches!(fly.machines(&web()).await, Err(PlatformError::Unreadable(_))));
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).machines(&web()).await.unwrap_err();
    assert!(matches!(error, PlatformError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("no connection"), "{error}");
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let (elsewhere, other) = platform([reply(200, "[]")]).await;
    let target = format!("{}v1/apps/web/machines", elsewhere.bases.flaps);
    let (fly, _script) = platform([reply(302, "").with("location", target)]).await;
    let error = fly.machines(&web()).await.unwrap_err();
    assert!(error.to_string().contains("redirects are not followed"), "{error}");
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn the_token_is_in_no_error_and_no_debug_text() {
    let echo = format!(r#"{{"error":"bad token {TOKEN}"}}"#);
    let (fly, _script) = platform([reply(401, &echo), reply(200, format!("token {TOKEN}"))]).await;
    let denied = fly.machines(&web()).await.unwrap_err();
    assert!(matches!(&denied, PlatformError::Denied(text) if text.ends_with("bad token ***")));
    let unreadable = fly.machines(&web()).await.unwrap_err();
    for text in [denied.to_string(), unreadable.to_string(), format!("{fly:?} {:?}", settings("x"))]
    {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn a_client_needs_a_token_and_urls() {
    let broken = FlySettings { token: Secret::new(" "), ..settings("http://127.0.0.1:1") };
    assert_eq!(Fly::new(broken).unwrap_err().to_string(), "the token is set, but empty");
    let error = Fly::new(settings("nowhere")).unwrap_err().to_string();
    assert!(error.starts_with("base URL of the Machines API: is not a URL"), "{error}");
}

#[tokio::test]
async fn the_platforms_clock_is_known_by_the_date_of_its_answers() {
    let now = crate::ports::Clock::system().now();
    let ahead = now + jiff::SignedDuration::from_secs(300);
    let date = ahead.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let (fly, _script) = platform([reply(200, "[]").with("date", date)]).await;
    assert_eq!(fly.clock_offset(), None, "nothing was answered yet");
    fly.machines(&web()).await.unwrap();
    let offset = fly.clock_offset().unwrap();
    assert!((298..=302).contains(&offset.as_secs()), "{offset}");
}

#[tokio::test]
async fn what_a_token_reaches_is_what_the_platform_says() {
    let (fly, script) = platform([
        reply(
            200,
            r#"{"tokens":[{"org_slug":"acme","apps":["api"],"restricted_to_machine":"148e"},
                {"org_slug":null,"apps":null}]}"#,
        ),
        reply(401, "{}"),
        reply(404, "{}"),
    ])
    .await;
    let scope = fly.token_scope().await.unwrap();
    assert_eq!(script.asked()[0].line, "GET /v1/tokens/current");
    assert!(scope.organizations.contains("acme") && scope.apps.contains("api"), "{scope:?}");
    assert_eq!(scope.only_machine.as_deref(), Some("148e"));
    assert!(matches!(fly.token_scope().await, Err(PlatformError::Denied(_))));
    assert!(matches!(fly.token_scope().await, Err(PlatformError::NotFound(_))));
}
