//! Machines that serve pages, and machines that serve trouble, on real sockets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};

use super::*;
use crate::sources::pages::{FamilySelector, Limits, parse::parse};

/// For machines that never finish.
const SHORT: Duration = Duration::from_millis(100);

/// For all others, so that a busy machine under the tests makes no difference.
const LONG: Duration = Duration::from_secs(10);

const PAGE: &str = "up{a=\"b\"} 1\n";

/// Serves one connection with `serve`, after its request was read; gives the request too.
async fn machine<F, S>(serve: F) -> (ScrapeTarget, oneshot::Receiver<String>)
where
    F: FnOnce(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // The test may not care for the request.
        let _unread = sender.send(String::from_utf8(request).unwrap());
        serve(stream).await;
    });
    (at(address, "/metrics"), received)
}

/// A machine that says `answer` and closes the connection.
async fn answering(answer: impl Into<String>) -> ScrapeTarget {
    let answer = answer.into();
    let serve =
        async move |mut stream: TcpStream| stream.write_all(answer.as_bytes()).await.unwrap();
    machine(serve).await.0
}

fn at(address: SocketAddr, path: &str) -> ScrapeTarget {
    ScrapeTarget {
        app: "api".into(),
        machine: "m1".into(),
        address: address.ip(),
        port: address.port(),
        path: path.to_owned(),
        https: false,
    }
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}")
}

fn sized(body: &str) -> String {
    ok(&format!("content-length: {}\r\n", body.len()), body)
}

/// Reads `up` from the page: its value, or the message.
async fn up(target: &ScrapeTarget) -> Result<f64, String> {
    up_within(LONG, target).await
}

async fn up_within(deadline: Duration, target: &ScrapeTarget) -> Result<f64, String> {
    let limits = Limits { page: 1 << 20, ..Limits::default() };
    let mut page = FamilySelector::new(["up".to_owned()], limits);
    let pages = HttpPages::with_deadlines(deadline, deadline).unwrap();
    let read = timeout(2 * LONG, pages.read(target, &mut page)).await.expect("the deadline holds");
    read.map_err(|error| error.to_string())?;
    let series =
        page.finish().and_then(|lines| parse(&lines)).map_err(|error| error.to_string())?;
    Ok(series.first().expect("up is on the page").value)
}

#[track_caller]
fn says(result: Result<f64, String>, target: &ScrapeTarget, what: &str) {
    let message = result.unwrap_err();
    let url = format!("http://127.0.0.1:{}/", target.port);
    assert!(message.starts_with(&url), "{message} does not begin with {url}");
    assert!(message.contains(what), "{message} does not say {what}");
}

#[tokio::test]
async fn a_page_is_asked_for_plainly_and_read() {
    let serve =
        async |mut stream: TcpStream| stream.write_all(sized(PAGE).as_bytes()).await.unwrap();
    let (target, request) = machine(serve).await;
    assert_eq!(up(&target).await, Ok(1.0));
    let request = request.await.unwrap().to_lowercase();
    assert!(request.starts_with("get /metrics http/1.1\r\n"), "{request}");
    assert!(request.contains("accept: text/plain"), "{request}");
    assert!(!request.contains("accept-encoding"), "compression is not asked for: {request}");
}

#[tokio::test]
async fn a_path_needs_no_slash_and_may_have_a_query() {
    let serve =
        async |mut stream: TcpStream| stream.write_all(sized(PAGE).as_bytes()).await.unwrap();
    let (mut target, request) = machine(serve).await;
    "stats?format=prometheus".clone_into(&mut target.path);
    assert_eq!(up(&target).await, Ok(1.0));
    assert!(request.await.unwrap().starts_with("GET /stats?format=prometheus HTTP/1.1\r\n"));
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    let mut target = at((Ipv4Addr::LOCALHOST, 9091).into(), "/metrics");
    target.address = "fdaa:0:1::3".parse().unwrap();
    assert_eq!(url(&target), "http://[fdaa:0:1::3]:9091/metrics");
    target.https = true;
    assert_eq!(url(&target), "https://[fdaa:0:1::3]:9091/metrics");
}

#[tokio::test]
async fn an_empty_or_unfinished_but_complete_page_is_fine() {
    let openmetrics = "content-type: application/openmetrics-text; version=1.0.0\r\n";
    for answer in [
        sized("up 1"),
        sized("\n\nup 1\r\n"),
        ok("", "up 1\n"),
        ok(openmetrics, "up 1\n# EOF\n"),
        ok(openmetrics, "up 1\n# EOF"),
        ok("transfer-encoding: chunked\r\n", "3\r\nup \r\n1\r\n1\r\n0\r\n\r\n"),
    ] {
        assert_eq!(up(&answering(answer.clone()).await).await, Ok(1.0), "{answer}");
    }
}

#[tokio::test]
async fn a_page_that_was_cut_off_is_not_taken_for_a_page() {
    let openmetrics = "content-type: application/openmetrics-text; version=1.0.0\r\n";
    let cases = [
        (ok("content-length: 100\r\n", "up 1\nup"), "cannot be read"),
        (ok("transfer-encoding: chunked\r\n", "5\r\nup 1\n\r\n"), "cannot be read"),
        // Without a length the number could have had more digits.
        (ok("", "up 1\nother 12"), "cut off: its last line has no end"),
        (ok(openmetrics, "up 1\n"), "cut off: it is OpenMetrics and does not end with `# EOF`"),
    ];
    for (answer, what) in cases {
        let target = answering(answer).await;
        says(up(&target).await, &target, what);
    }
}

#[tokio::test]
async fn what_is_no_page_is_refused_by_name() {
    let html = "<html><body>It works!</body></html>";
    let cases = [
        (ok("content-type: text/html; charset=utf-8\r\n", html), "an HTML page (text/html)"),
        (sized(&format!("{html}\n")), "HTML, not metrics; it begins with `<html>"),
        (ok("content-encoding: gzip\r\n", "\u{1f}\u{8b}"), "compressed (gzip)"),
        ("HTTP/1.1 404 Not Found\r\n\r\nup 1\n".to_owned(), "answered 404 Not Found"),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n".to_owned(), "answered 500 Internal"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), "answered 204 No Content"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "cannot be read"),
        (sized("up 1\nup{a=\"b} 2\n"), ""),
    ];
    for (answer, what) in cases {
        let target = answering(answer).await;
        let result = up(&target).await;
        if what.is_empty() {
            assert!(result.unwrap_err().starts_with("line 2 cannot be read"));
        } else {
            says(result, &target, what);
        }
    }
}

#[tokio::test]
async fn a_redirect_to_another_port_is_not_followed() {
    let elsewhere = answering(sized(PAGE)).await;
    let location = format!("location: http://127.0.0.1:{}/metrics\r\n", elsewhere.port);
    let target = answering(format!("HTTP/1.1 302 Found\r\n{location}\r\n")).await;
    says(up(&target).await, &target, "sends on to http://");
}

#[tokio::test]
async fn a_page_that_was_read_before_is_not_told_where_to_listen() {
    let pages = HttpPages::with_deadlines(LONG, LONG).unwrap();
    let target = answering(sized(PAGE)).await;
    let limits = Limits { page: 1 << 20, ..Limits::default() };
    let (mut page, url) = (FamilySelector::new(["up".to_owned()], limits), url(&target));
    pages.read(&target, &mut page).await.unwrap();
    // Its machine is being replaced.
    let refused = pages.read(&target, &mut page).await.unwrap_err().to_string();
    assert!(refused.contains("Connection refused"), "{refused}");
    assert!(refused.contains(&url) && !refused.contains("fly-local-6pn"), "{refused}");
}

#[tokio::test]
async fn a_machine_that_refuses_is_told_from_one_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = at(listener.local_addr().unwrap(), "/metrics");
    drop(listener);
    let refused = up(&target).await;
    says(refused.clone(), &target, "cannot be reached: Connection refused");
    says(refused.clone(), &target, "bind fly-local-6pn or `::`");

    let (target, _request) = machine(async |_stream| std::future::pending().await).await;
    says(up_within(SHORT, &target).await, &target, "did not finish within 100ms");
}

/// Writes `piece` again and again until the other side goes away; gives the number of bytes that
/// went out.
async fn pour(mut stream: TcpStream, piece: Vec<u8>, at_most: usize) -> usize {
    let mut written = 0;
    while written < at_most && stream.write_all(&piece).await.is_ok() {
        written += piece.len();
    }
    written
}

#[tokio::test]
async fn a_page_of_a_hundred_megabytes_is_left_after_the_first_one() {
    const SIZE: usize = 100 << 20;
    for piece in ["up 1\n".to_owned(), "other{a=\"b\"} 1\n".to_owned(), "x".repeat(100)] {
        let (count, poured) = oneshot::channel();
        let piece = piece.repeat(1000).into_bytes();
        let serve = async move |mut stream: TcpStream| {
            stream
                .write_all(ok(&format!("content-length: {SIZE}\r\n"), "").as_bytes())
                .await
                .unwrap();
            count.send(pour(stream, piece, SIZE).await).unwrap();
        };
        let (target, _request) = machine(serve).await;
        let message = up(&target).await.unwrap_err();
        let large = message.contains("larger than 1048576 bytes");
        assert!(large || message.contains("more than 20000 series"), "{message}");
        // What lies in the sockets' buffers was sent too.
        assert!(poured.await.unwrap() < SIZE / 4, "the page was read on");
    }
}

#[tokio::test]
async fn an_endless_page_is_left_by_its_size_or_its_deadline() {
    let serve = async |mut stream: TcpStream| {
        stream.write_all(ok("", "").as_bytes()).await.unwrap();
        pour(stream, vec![b'x'; 4096], usize::MAX).await;
    };
    let (target, _request) = machine(serve).await;
    says(up(&target).await, &target, "larger than 1048576 bytes");

    // Slowly, it runs into the deadline instead: bytes that trickle in do not prolong it.
    let serve = async |mut stream: TcpStream| {
        stream.write_all(ok("", "up 1\n").as_bytes()).await.unwrap();
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stream.write_all(b"#").await.is_ok() {
            ticks.tick().await;
        }
    };
    let (target, _request) = machine(serve).await;
    says(up_within(SHORT, &target).await, &target, "did not finish within 100ms");
}

#[tokio::test]
async fn endless_headers_are_an_error_too() {
    let serve = async |mut stream: TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        pour(stream, b"x-more: and more\r\n".repeat(200), usize::MAX).await;
    };
    let (target, _request) = machine(serve).await;
    says(up(&target).await, &target, "");
}

#[tokio::test]
async fn trouble_on_one_machine_costs_the_others_nothing() {
    // Given one machine that never answers, one that pours, and one that is well.
    let (hanging, _request) = machine(async |_stream| std::future::pending().await).await;
    let pouring = async |mut stream: TcpStream| {
        stream.write_all(ok("", "").as_bytes()).await.unwrap();
        pour(stream, vec![b'#'; 4096], usize::MAX).await;
    };
    let (pouring, _request) = machine(pouring).await;
    let well = answering(sized(PAGE)).await;
    // When all are read at the same time.
    let hung = up(&hanging);
    let rest = async { tokio::join!(up(&pouring), up(&well)) };
    let (poured, read) = tokio::select! {
        hung = hung => panic!("the others waited for the hanging one: {hung:?}"),
        rest = rest => rest,
    };
    // Then the well one is read, while the hanging one still hangs.
    assert_eq!(read, Ok(1.0));
    says(poured, &pouring, "larger than 1048576 bytes");
}

/// A machine that sends on, once for each of these places, and then serves the page.
async fn sending(places: Vec<String>) -> ScrapeTarget {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut answers: Vec<String> = places
            .into_iter()
            .map(|place| place.replace("HERE", &address.to_string()))
            .map(|place| {
                format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {place}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            })
            .collect();
        answers.push(ok(&format!("connection: close\r\ncontent-length: {}\r\n", PAGE.len()), PAGE));
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    at(address, "/metrics")
}

#[tokio::test]
async fn a_page_elsewhere_on_the_same_machine_and_port_is_followed() {
    let one = |place: &str| vec![place.to_owned()];
    for places in [
        one("/metrics/"),
        one("metrics/"),
        one("http://HERE/metrics/"),
        vec!["/a".to_owned(), "/b?c=d".to_owned(), "/metrics/".to_owned()],
    ] {
        let target = sending(places.clone()).await;
        assert_eq!(up(&target).await, Ok(1.0), "{places:?}");
    }
}

#[tokio::test]
async fn a_page_of_somebody_else_is_not_followed_and_nobody_is_sent_round_in_circles() {
    let circle = vec!["/metrics".to_owned(); 6];
    for (places, what) in [
        (vec!["http://127.0.0.1:1/metrics".to_owned()], "to http://127.0.0.1:1/metrics"),
        (vec!["https://HERE/metrics".to_owned()], "to https://"),
        (vec!["http://example.com/metrics".to_owned()], "to http://example.com/metrics"),
        (circle, "sends on more than 3 times"),
    ] {
        let target = sending(places).await;
        says(up(&target).await, &target, what);
    }
}
