//! The image registry: whether a manifest is there, by tag or digest.

use serde_json::json;

use super::{
    call::Call,
    reply::{Answer, Reply},
    route::Operation,
};
use crate::sim::handle::Sim;

/// Answers a registry request.
pub fn answer(sim: &Sim, call: &Call) -> Answer {
    if call.route.action == Operation::RegistryPing {
        return Ok(Reply::ok(json!({})));
    }
    let (repository, reference) = (&call.route.app, &call.route.key);
    let separator = if reference.starts_with("sha256:") { '@' } else { ':' };
    let full = format!("registry.fly.io/{repository}{separator}{reference}");
    let Some(digest) = sim.digest(&full) else {
        return Err(Reply::with(
            404,
            json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}),
        ));
    };
    let mut reply = Reply::ok(json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
                   "digest": digest},
        "layers": [],
    }));
    reply.headers.push(("docker-content-digest", digest));
    Ok(reply)
}
