//! The heartbeat: somebody outside hears each minute that all is well.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{Router, extract::State, routing::get};
use tokio::net::TcpListener;

use crate::{
    stage::{Stage, URL_SECRET, receiver},
    wait::{s, until},
};

#[tokio::test]
async fn the_heartbeat_is_called_and_its_url_is_never_said() {
    // Given somebody who counts heartbeats, at a secret URL
    let beats = Arc::new(AtomicU32::new(0));
    let count = async |State(beats): State<Arc<AtomicU32>>| {
        beats.fetch_add(1, Ordering::Relaxed);
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/{*path}", get(count)).with_state(beats.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    // When the daemon runs
    let mut stage = Stage::set().await;
    let key = "heartbeat_url_env = \"BEAT_URL\"\n";
    stage.write("waveoff.toml", &format!("organization = \"acme\"\n{key}{}", receiver("ops")));
    stage.variable("BEAT_URL", &format!("http://{address}/{URL_SECRET}"));
    stage.start().await;

    // Then it is called; `end` searches everything for the URL's secret
    until("a heartbeat", s(80), async || (beats.load(Ordering::Relaxed) > 0).then_some(())).await;
    let metrics = stage.get("/metrics").await.1;
    assert!(metrics.contains("\nwaveoff_heartbeat_failing 0\n"), "{metrics}");
    stage.end().await;
}
