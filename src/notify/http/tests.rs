//! Receivers that behave, and receivers that do not, on real sockets.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};

use super::*;

const SECRET_PATH: &str = "/services/T024/B091/verysecret";

/// Serves one request: reads it, writes `answer`, and keeps the connection open. Gives the URL
/// and what was received.
async fn receiver(answer: &str) -> (String, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{SECRET_PATH}?token=hidden", listener.local_addr().unwrap());
    let (sender, received) = oneshot::channel();
    let answer = answer.to_owned();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"{\"a\":1}") {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _gone = sender.send(String::from_utf8(request).unwrap());
        std::future::pending::<()>().await;
    });
    (url, received)
}

async fn send(url: &str) -> DeliveryOutcome {
    let clock = Clock::starting_at("2026-03-01T00:00:00Z".parse().unwrap());
    let notifier = HttpNotifier::with_deadline(clock, Duration::from_millis(1500)).unwrap();
    let headers = vec![("webhook-id".to_owned(), "m-1".to_owned())];
    notifier.send(&Delivery { url: url.to_owned(), headers, body: "{\"a\":1}".to_owned() }).await
}

/// The outcome of an answer.
async fn outcome_of(answer: &str) -> DeliveryOutcome {
    let (url, received) = receiver(answer).await;
    let outcome = send(&url).await;
    received.await.unwrap();
    outcome
}

fn retry(reason: &str, after: Option<u64>) -> DeliveryOutcome {
    DeliveryOutcome::Retry { reason: reason.to_owned(), after: after.map(Duration::from_secs) }
}

#[tokio::test]
async fn a_message_arrives_as_json_with_its_headers() {
    let (url, received) = receiver("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(send(&url).await, DeliveryOutcome::Accepted);
    let request = received.await.unwrap();
    assert!(request.starts_with(&format!("POST {SECRET_PATH}?token=hidden HTTP/1.1\r\n")));
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.contains("webhook-id: m-1\r\n"), "{request}");
}

#[tokio::test]
async fn an_accepted_message_needs_no_body_to_its_answer() {
    let endless =
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nstart of a body that never ends";
    assert_eq!(outcome_of(endless).await, DeliveryOutcome::Accepted);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome_of(answer).await, retry("answered 302: redirects are not followed", None));
}

#[tokio::test]
async fn a_busy_receiver_says_when_to_come_back() {
    let answer = "HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome_of(answer).await, retry("answered 429", Some(30)));
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_the_message() {
    let answer = "HTTP/1.1 410 Gone\r\nContent-Length: 10\r\n\r\nno_service";
    let gone = DeliveryOutcome::Refused { reason: "answered 410 (no_service)".to_owned() };
    assert_eq!(outcome_of(answer).await, gone);
}

#[tokio::test]
async fn a_misconfigured_receiver_is_tried_again_and_its_answer_leaks_nothing() {
    for echo in [SECRET_PATH, "verysecret", "no such thing verysecret", "<html>Cannot POST"] {
        let length = echo.len();
        let answer = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {length}\r\n\r\n{echo}");
        assert_eq!(outcome_of(&answer).await, retry("answered 404", None), "{echo}");
    }
}

#[tokio::test]
async fn a_refusal_with_a_huge_body_is_read_only_a_little() {
    let answer =
        format!("HTTP/1.1 500 Oops\r\nContent-Length: 9000000\r\n\r\n{}", "x".repeat(9000));
    assert_eq!(outcome_of(&answer).await, retry("answered 500", None));
}

#[tokio::test]
async fn receivers_that_do_not_answer_are_described_without_their_url() {
    let (silent, _received) = receiver("").await;
    assert_eq!(send(&silent).await, retry("no answer in time", None));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}{SECRET_PATH}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        send(&closed).await,
        retry("no connection: it was refused, nobody listens there", None)
    );

    let nonsense = send("not a url/verysecret").await;
    assert_eq!(nonsense, retry("the URL is not one that a request can be sent to", None));
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
    let now = "2026-03-01T00:00:00Z".parse().unwrap();
    let after = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&headers, now).map(|wait| wait.as_secs())
    };
    assert_eq!(after("120"), Some(120));
    assert_eq!(after("86400"), Some(3600));
    assert_eq!(after("Sun, 01 Mar 2026 00:02:00 GMT"), Some(120));
    assert_eq!(after("Sun, 01 Mar 2026 09:00:00 GMT"), Some(3600));
    assert_eq!(after("Sat, 28 Feb 2026 23:00:00 GMT"), Some(0));
    assert_eq!(after("soon"), None);
    assert_eq!(after("-5"), None);
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn only_gone_ends_a_message_at_once_and_only_answers_about_its_body_end_it_soon() {
    let outcomes = |statuses: &[u16]| -> Vec<DeliveryOutcome> {
        statuses.iter().map(|status| outcome(*status, None, "")).collect()
    };
    let gone = outcomes(&[410]);
    assert!(matches!(gone[..], [DeliveryOutcome::Refused { .. }]), "{gone:?}");
    for unfit in outcomes(&[400, 413, 415, 422]) {
        assert!(matches!(unfit, DeliveryOutcome::Unfit { .. }), "{unfit:?}");
    }
    for later in outcomes(&[401, 403, 404, 408, 409, 425, 429, 500, 502, 503]) {
        assert!(matches!(later, DeliveryOutcome::Retry { .. }), "{later:?}");
    }
}

#[tokio::test]
async fn slack_says_which_part_of_a_message_it_will_not_have() {
    let answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 14\r\n\r\ninvalid_blocks";
    let unfit = DeliveryOutcome::Unfit { reason: "answered 400 (invalid_blocks)".to_owned() };
    assert_eq!(outcome_of(answer).await, unfit);
}
