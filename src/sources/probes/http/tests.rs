//! Requests over real sockets.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::model::Statuses;

fn request() -> ProbeRequest {
    ProbeRequest {
        path: "/healthz?deep=1".to_owned(),
        port: None,
        https: false,
        method: ProbeMethod::Get,
        timeout: Duration::from_secs(5),
        expect: vec![Statuses::SUCCESS],
        body: None,
        grace: Duration::ZERO,
    }
}

fn target(address: SocketAddr) -> ProbeTarget {
    ProbeTarget {
        app: "api".into(),
        machine: "m1".into(),
        address: address.ip(),
        port: address.port(),
    }
}

/// A machine that reads one request and says `answer`; what it was asked. `None`: it says nothing.
async fn machine(answer: Option<&'static str>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            request.push(byte);
        }
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
        String::from_utf8_lossy(&request).into_owned()
    });
    (address, asked)
}

async fn probe(answer: Option<&'static str>, request: &ProbeRequest) -> Probed {
    let (address, _asked) = machine(answer).await;
    HttpProbes::default().probe(&target(address), request).await
}

#[tokio::test]
async fn an_answer_has_a_status_and_the_text_that_is_looked_for() {
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nall is well\n";
    let (address, asked) = machine(Some(page)).await;
    let wants = ProbeRequest { body: Some("is well".to_owned()), ..request() };
    let probed = HttpProbes::default().probe(&target(address), &wants).await;
    assert_eq!(probed, Probed::Answered { status: 200, has_text: true });
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("waveoff-probe/"), "{asked}");
    let wants = ProbeRequest { body: Some("is ill".to_owned()), ..request() };
    assert_eq!(probe(Some(page), &wants).await, Probed::Answered { status: 200, has_text: false });
}

#[tokio::test]
async fn a_redirection_is_an_answer_and_not_followed() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(
        probe(Some(moved), &request()).await,
        Probed::Answered { status: 302, has_text: true }
    );
}

#[tokio::test]
async fn an_endless_answer_is_read_to_its_bound() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4096];
        let _asked = stream.read(&mut asked).await;
        let _head = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let probed = HttpProbes::default().probe(&target(address), &request()).await;
    assert_eq!(probed, Probed::Answered { status: 200, has_text: true });
}

#[tokio::test]
async fn who_takes_a_request_and_says_nothing_is_told_from_who_is_not_there() {
    let hasty = ProbeRequest { timeout: Duration::from_millis(100), ..request() };
    assert_eq!(probe(None, &hasty).await, Probed::TimedOut);
    let half = Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    assert_eq!(probe(half, &request()).await, Probed::Broken);
    assert_eq!(probe(Some("what?\r\n"), &request()).await, Probed::Broken);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let probed = HttpProbes::default().probe(&target(nobody), &request()).await;
    assert_eq!(probed, Probed::Refused);
}

#[tokio::test]
async fn who_cannot_speak_tls_was_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _said = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let mut rest = Vec::new();
        let _rest = stream.read_to_end(&mut rest).await;
    });
    let https = ProbeRequest { https: true, ..request() };
    let probed = HttpProbes::default().probe(&target(address), &https).await;
    assert_eq!(probed, Probed::Broken);
}
