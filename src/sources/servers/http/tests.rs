//! Answers as servers give them, and what goes over the wire.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Uri},
    response::{IntoResponse, Response},
};

use super::*;

/// What `VictoriaMetrics` answers: a matrix with its own samples' times.
const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","app":"api"},"values":[[1732600000.25,"7"],[1732600015,"1.5e3"]]},{"metric":{},"values":[[1732600000,"NaN"],[1732600001,"+Inf"]]}]},"stats":{"seriesFetched":"2"}}"#;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap()
}

#[test]
fn samples_keep_the_times_at_which_they_were_taken() {
    let series = read(MATRIX.as_bytes()).unwrap();
    assert_eq!(series[0].labels["app"], "api");
    assert_eq!(series[0].samples, [(at(1_732_600_000_250), 7.0), (at(1_732_600_015_000), 1500.0)]);
    assert!(series[1].samples[0].1.is_nan() && series[1].samples[1].1.is_infinite());
}

#[test]
fn a_vector_and_a_single_number_are_series_too() {
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"instance":"m1"},"value":[1732600000,"3"]}]}}"#;
    assert_eq!(read(vector.as_bytes()).unwrap()[0].samples, [(at(1_732_600_000_000), 3.0)]);
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1732600000,"4"]}}"#;
    let series = read(scalar.as_bytes()).unwrap();
    assert_eq!((series[0].labels.len(), series[0].samples[0].1), (0, 4.0));
}

#[test]
fn what_is_no_answer_is_refused_with_its_beginning() {
    for (text, want) in [
        ("<html>Sign in</html>", "begins with \"<html>"),
        (r#"{"status":"success"}"#, "holds no data"),
        (r#"{"status":"error","error":"parse error"}"#, "parse error"),
        (r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#, "is a string"),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"x"]}}"#,
            "x is no number",
        ),
        (r#"{"status":"success","data":{"resultType":"scalar","result":[1e300,"1"]}}"#, "no time"),
    ] {
        let said = read(text.as_bytes()).unwrap_err();
        assert!(said.contains(want), "{text}: {said}");
    }
}

type Seen = Arc<Mutex<Vec<(Method, Uri, Option<String>, String)>>>;

/// A server that answers everything alike, and what it was asked.
async fn server(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (String, Seen) {
    let seen = Seen::default();
    let answer = move |State(seen): State<Seen>,
                       method: Method,
                       uri: Uri,
                       headers_in: HeaderMap,
                       text: Bytes| async move {
        let token = headers_in.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let text = String::from_utf8(text.to_vec()).unwrap();
        seen.lock().unwrap().push((method, uri, token, text));
        let mut response: Response =
            (axum::http::StatusCode::from_u16(status).unwrap(), body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    };
    let router = Router::new().fallback(answer).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn client(url: &str) -> HttpServers {
    let authorization = Secret::new("FlyV1 fm2_secret");
    HttpServers::new(PlatformServer { url: format!("{url}/prometheus/acme"), authorization })
        .unwrap()
}

fn query<'a>(url: Option<&'a str>, token: Option<&'a str>, query: &'a str) -> ServerQuery<'a> {
    ServerQuery { server: if url.is_some() { "own" } else { FLY }, url, token, query, at: None }
}

#[tokio::test]
async fn the_platforms_token_goes_to_the_platform_alone() {
    let (url, seen) = server(200, &[], MATRIX).await;
    let client = client(&url);
    client.ask(query(None, None, "up{a=\"b c\"}[90s]")).await.unwrap();
    client.ask(query(Some(&url), None, "up")).await.unwrap();
    client.ask(query(Some(&url), Some("abc"), "up")).await.unwrap();
    client.ask(query(Some(&url), Some("fm2_abc"), "up")).await.unwrap();
    let seen = seen.lock().unwrap();
    let tokens: Vec<_> = seen.iter().map(|(_, _, token, _)| token.as_deref()).collect();
    assert_eq!(tokens, [Some("FlyV1 fm2_secret"), None, Some("Bearer abc"), Some("FlyV1 fm2_abc")]);
    let first = seen[0].1.to_string();
    assert_eq!(first, "/prometheus/acme/api/v1/query?query=up%7Ba%3D%22b%20c%22%7D%5B90s%5D");
    assert_eq!(seen[1].1.path(), "/api/v1/query");
}

#[tokio::test]
async fn a_long_query_is_posted() {
    let (url, seen) = server(200, &[], MATRIX).await;
    let long = "x".repeat(3000);
    client(&url).ask(query(None, None, &long)).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((&seen[0].0, seen[0].3.len()), (&Method::POST, 3006));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_cause_and_what_helps() {
    let error = r#"{"status":"error","errorType":"bad_data","error":"unexpected end"}"#;
    for (status, fly, body, want) in [
        (
            401,
            true,
            "",
            "refuses the token (401): it wants a token of the organization, such as `fly tokens create org`",
        ),
        (403, false, "", "refuses the token (403): set the variable that `token_env` names"),
        (404, false, "", "does not exist (404): look at the `url`"),
        (400, false, error, "does not take the query (400): unexpected end"),
        (422, false, error, "does not take the query (422): unexpected end"),
        (503, false, "", "answered 503"),
        (302, false, "", "answered 302"),
    ] {
        let (url, _) = server(status, &[], body).await;
        let own = Some(url.as_str()).filter(|_| !fly);
        let error = client(&url).ask(query(own, None, "up")).await.unwrap_err();
        assert!(error.detail.contains(want), "{status}: {error}");
        assert_eq!(error.whole_server, matches!(status, 401 | 403), "{status}");
    }
}

#[tokio::test]
async fn a_token_that_a_server_repeats_is_not_repeated() {
    let error = r#"{"status":"error","error":"no such token: FlyV1 fm2_secret"}"#;
    let (url, _) = server(400, &[], error).await;
    let said = client(&url).ask(query(None, None, "up")).await.unwrap_err().to_string();
    assert!(said.contains("no such token: FlyV1 ***"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_asked_too_often_says_for_how_long_it_wants_to_be_left_alone() {
    let (url, _) = server(429, &[("retry-after", "30")], "").await;
    let error = client(&url).ask(query(None, None, "up")).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(30)));
    assert!(error.detail.contains("asked too often (429)") && error.whole_server, "{error}");
}

#[tokio::test]
async fn silence_and_endless_answers_end() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let platform = PlatformServer { url, authorization: Secret::new("Bearer x") };
    let client = HttpServers::with_deadline(platform, Duration::from_millis(200)).unwrap();
    let said = client.ask(query(None, None, "up")).await.unwrap_err();
    assert!(said.detail.ends_with("did not answer in time") && !said.whole_server, "{said}");

    let huge: &'static str = Box::leak("x".repeat(ANSWER_MAX + 1).into_boxed_str());
    let (url, _) = server(200, &[], huge).await;
    let said = self::client(&url).ask(query(None, None, "up")).await.unwrap_err().to_string();
    assert!(said.contains("more than 32 MiB"), "{said}");

    let said = self::client("http://127.0.0.1:1").ask(query(None, None, "up")).await.unwrap_err();
    assert!(said.detail.contains("cannot be reached") && said.whole_server, "{said}");
}

/// Of some series a part answered: errors without the successes beside them would seem all there is.
#[test]
fn an_answer_that_holds_a_part_of_what_there_is_is_none_and_other_warnings_are_harmless() {
    let with = |more: &str| {
        let text =
            MATRIX.replace("{\"status\":\"success\"", &format!("{{\"status\":\"success\",{more}"));
        read(text.as_bytes())
    };
    for (more, want) in [
        ("\"isPartial\":true", "some of its storage"),
        ("\"warnings\":[\"No StoreAPIs matched for this query\"]", "No StoreAPIs matched"),
        (
            "\"warnings\":[\"receive series from Addr: store-2: rpc error: code = Unavailable\"]",
            "rpc error",
        ),
        ("\"warnings\":[\"remote read: server returned HTTP status 503\"]", "remote read"),
        ("\"warnings\":[\"the result is a partial response\"]", "partial response"),
    ] {
        let said = with(more).unwrap_err();
        assert!(said.contains("a part of") && said.contains(want), "{more}: {said}");
    }
    for more in [
        "\"isPartial\":false",
        "\"isPartial\":false,\"warnings\":[]",
        "\"warnings\":null",
        "\"infos\":[\"PromQL info: metric might not be a counter: partial\"]",
        "\"warnings\":[\"PromQL info: metric might not be a counter, name does not end in _total\"]",
        "\"warnings\":[\"PromQL warning: encountered a mix of histograms and floats: timeout\"]",
    ] {
        assert_eq!(with(more).map(|series| series.len()), Ok(2), "{more}");
    }
}
