//! Copying images to a mirror costs time, and no memory.

use serde_json::json;

use crate::{
    platform::FLEET,
    registry::{Registry, TOKEN, digest_of},
    stage::{POLICY, Stage},
    wait::{s, until},
};

/// A layer as they are, and a machine has less memory than that to spare.
const LAYER: usize = 192 << 20;
/// What passes through the daemon at a time is a few pieces of a connection each.
const GROWTH_MAX: u64 = 12 << 20;

/// Bytes that no compression makes less.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn an_image_much_larger_than_the_memory_to_spare_is_copied_in_pieces() {
    // Given an app whose image has a layer of 192 MiB, and a mirror for it
    let (source, mirror) = (Registry::open().await, Registry::start().await);
    let digest = source.push_image("api", r#"{"app":"api"}"#, &[&noise(LAYER)]).await;
    let runs = "reference = \"registry.fly.io/api:v41\"\n";
    let fleet = FLEET.replace(runs, &format!("{runs}digest = \"{digest}\"\n"));
    let mut stage = Stage::with_fleet(&fleet).await;
    stage.variable("FLY_REGISTRY_HOST", &source.name());
    let there = format!("[rollback]\nmirror = \"{}/acme/{{app}}\"\n", mirror.name());
    stage.variable("WAVEOFF_MIRROR_USER", "x");
    stage.variable("WAVEOFF_MIRROR_TOKEN", TOKEN);
    stage.write("thresholds/all.toml", &POLICY.replace("[rollback]\n", &there));
    stage.variable("WAVEOFF_LOG", "info");
    stage.start().await;
    until("the first round is over", s(20), async || stage.view("api").await).await;
    let before = stage.daemon().most_resident();

    // When it is trusted and copied
    until("the mirror has the image", s(60), async || {
        let view = stage.view("api").await?;
        (view["mirror"][0]["state"] == json!("copied")).then_some(())
    })
    .await;

    // Then the mirror has all of it
    let (status, manifest) = mirror.get("acme/api", &format!("manifests/{digest}")).await;
    assert_eq!((status.as_u16(), digest_of(manifest)), (200, digest));
    // and the daemon never held more than a small part
    let most = stage.daemon().most_resident();
    assert!(most - before < GROWTH_MAX, "from {before} to {most} bytes");
    stage.end().await;
}
