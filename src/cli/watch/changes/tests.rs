//! A daemon that says what changed, one that stops saying it, and one that never did.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse as _, Sse, sse::Event},
    routing::get,
};
use futures_util::stream;
use tokio::{net::TcpListener, sync::Mutex, time::timeout};

use super::*;

/// Longer than any of these tests takes.
const NEVER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon whose streams end when what they are told from is dropped.
struct Daemon {
    url: String,
    /// For the next stream; none: there is no such page.
    streams: Arc<Mutex<Vec<mpsc::Receiver<()>>>>,
    asked: Arc<AtomicUsize>,
}

impl Daemon {
    async fn start() -> Self {
        let streams: Arc<Mutex<Vec<mpsc::Receiver<()>>>> = Arc::default();
        let asked: Arc<AtomicUsize> = Arc::default();
        let (given, counted) = (streams.clone(), asked.clone());
        let events = move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
            let Some(told) = given.lock().await.pop() else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let event = |_| Ok::<_, Infallible>(Event::default().event("names").data("{}"));
            let events = stream::unfold(told, move |mut told| async move {
                told.recv().await.map(|told_now| (event(told_now), told))
            });
            Sse::new(events).into_response()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/events", get(events));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, streams, asked }
    }

    /// The next stream; what is sent is an event of it.
    async fn stream(&self) -> mpsc::Sender<()> {
        let (tell, told) = mpsc::channel(8);
        self.streams.lock().await.push(told);
        tell
    }

    /// What is heard of it, look by look.
    fn follow(&self, pace: Pace) -> mpsc::Receiver<usize> {
        let (tell, heard) = mpsc::channel(1);
        let (url, looks) = (self.url.clone(), AtomicUsize::new(0));
        tokio::spawn(async move {
            let look = || std::future::ready(looks.fetch_add(1, Ordering::Relaxed) + 1);
            follow(&url, pace, look, tell).await;
        });
        heard
    }
}

async fn next(heard: &mut mpsc::Receiver<usize>) -> usize {
    timeout(PATIENCE, heard.recv()).await.expect("it is looked again").unwrap()
}

#[tokio::test]
async fn it_is_looked_again_when_something_changed_and_not_else() {
    // Given a daemon that tells its changes, and one who would ask by himself once an hour
    let daemon = Daemon::start().await;
    let tell = daemon.stream().await;
    let pace = Pace { poll: NEVER, again: (NEVER, NEVER), silence: NEVER };
    let mut heard = daemon.follow(pace);

    // When it tells of changes, then each is looked at
    for look in 1..=3 {
        tell.send(()).await.unwrap();
        assert_eq!(next(&mut heard).await, look);
    }
    // and nothing else is
    assert!(heard.try_recv().is_err());
    assert_eq!(daemon.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_a_stream_it_is_asked_again_and_again_and_the_stream_is_found_when_it_is_there() {
    // Given a daemon that tells no changes
    let daemon = Daemon::start().await;
    let (poll, again) = (Duration::from_millis(1), Duration::from_millis(1));
    let pace = Pace { poll, again: (again, again * 8), silence: NEVER };
    let mut heard = daemon.follow(pace);

    // Then it is asked by and by
    for look in 1..20 {
        assert_eq!(next(&mut heard).await, look);
    }

    // When it tells its changes again, then those are followed: its stream is read until it is closed
    let tell = daemon.stream().await;
    tell.send(()).await.unwrap();
    let mut looks = 0;
    while tell.capacity() < tell.max_capacity() {
        looks = next(&mut heard).await;
    }
    tell.send(()).await.unwrap();
    assert!(next(&mut heard).await > looks);

    // and when that breaks, it is asked as before
    drop(tell);
    let before = next(&mut heard).await;
    for more in 1..5 {
        assert_eq!(next(&mut heard).await, before + more);
    }
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_tried_ever_more_seldom() {
    // Given a daemon that tells no changes, and hours between two tries
    let daemon = Daemon::start().await;
    let pace = Pace { poll: Duration::from_millis(1), again: (NEVER, NEVER), silence: NEVER };
    let mut heard = daemon.follow(pace);
    // When it was looked at many times, then the stream was asked for once
    while next(&mut heard).await < 20 {}
    assert_eq!(daemon.asked.load(Ordering::Relaxed), 1);
}
