//! What the schema's types look like. A field that a client asks for and that is not here is refused,
//! so what is null is here as null.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use crate::sim::{
    handle::Sim,
    model::{
        ledger::{Entry, is_over},
        machine::SimMachine,
    },
    serve::machine_json::rfc3339,
};

/// Whoever a token belongs to.
pub(super) fn user(owner: &str) -> Value {
    json!({
        "__typename": "User", "id": format!("user_{owner}"), "email": owner, "name": owner,
        "enablePaidHobby": false,
    })
}

pub(super) fn release(entry: &Entry) -> Value {
    json!({
        "__typename": "ReleaseUnprocessed", "id": entry.id, "version": entry.version,
        "description": "Release", "reason": "deploy", "status": entry.status,
        "inProgress": !is_over(&entry.status), "imageRef": entry.image,
        "stable": entry.status == "complete", "user": user(&entry.author),
        "createdAt": entry.created_at.to_string(), "updatedAt": entry.created_at.to_string(),
        "configDefinition": entry.definition, "deploymentStrategy": entry.strategy,
        "evaluationId": null, "revertedTo": null, "metadata": null, "image": null,
    })
}

/// Who asks is its one member that is known.
pub(super) fn organization(sim: &Sim, owner: &str) -> Value {
    let (slug, began) = sim.with(|org| (org.slug.clone(), rfc3339(org.began)));
    let peers = sim.with(|org| org.peers());
    let peers: Vec<Value> = peers
        .iter()
        .map(|peer| {
            json!({
                "id": format!("peer_{}", peer.name), "name": peer.name, "pubkey": peer.pubkey,
                "region": peer.region, "peerip": peer.address,
            })
        })
        .collect();
    json!({
        "__typename": "Organization", "id": "org_sim", "internalNumericId": "1", "slug": slug,
        "rawSlug": slug, "name": slug, "type": "SHARED", "paidPlan": true, "billable": true,
        "billingStatus": "CURRENT", "viewerRole": "admin", "remoteBuilderImage": "",
        "remoteBuilderApp": null, "provisionsBetaExtensions": false,
        "members": {"edges": [{
            "cursor": "1", "node": user(owner), "joinedAt": began, "role": "ADMIN",
        }]},
        "addOns": {"nodes": []}, "wireGuardPeers": {"nodes": peers},
        "delegatedWireGuardTokens": {"nodes": []},
    })
}

pub(super) fn nearest_region(sim: &Sim) -> Value {
    region(&sim.with(|org| org.nearest_region()))
}

/// The regions that there are: those in which the organization is.
pub(super) fn platform(sim: &Sim) -> Value {
    let (nearest, codes) = sim.with(|org| (org.nearest_region(), org.regions()));
    let regions: Vec<Value> = codes.iter().map(|code| region(code)).collect();
    json!({"requestRegion": nearest, "regions": regions})
}

fn region(code: &str) -> Value {
    json!({
        "code": code, "name": code, "latitude": 0.0, "longitude": 0.0, "gatewayAvailable": true,
        "requiresPaidPlan": false, "deprecated": false,
    })
}

/// `None`: there is no such app.
pub(super) fn app(sim: &Sim, owner: &str, name: &str) -> Option<Value> {
    let shown = sim.with(|org| org.show_app(name)).ok()?;
    let newest = sim.with(|org| org.releases(name)).ok()?.first().map(release);
    let definition =
        newest.as_ref().map_or(Value::Null, |newest| newest["configDefinition"].clone());
    let version = newest.as_ref().map_or(json!(0), |newest| newest["version"].clone());
    let nothing = json!({"nodes": []});
    let mut app = json!({
        "__typename": "App", "id": shown["id"], "internalNumericId": shown["internal_numeric_id"],
        "name": name, "hostname": format!("{name}.fly.dev"), "cnameTarget": null,
        "deployed": shown["status"] == "deployed", "network": shown["network"],
        "status": shown["status"], "version": version,
        "appUrl": format!("https://{name}.fly.dev/"), "platformVersion": "machines",
        "organization": organization(sim, owner), "role": null,
        "config": {"definition": definition}, "services": [], "imageDetails": null,
        "currentRelease": newest, "currentReleaseUnprocessed": newest,
        "egressIpAddresses": nothing, "ipAddresses": nothing, "sharedIpAddress": null,
        "hostIssues": nothing, "addOns": nothing,
    });
    let machines = sim.with(|org| org.living_of(name));
    let machines: Vec<Value> =
        machines.iter().map(|machine| self::machine(machine, &app)).collect();
    if let Some(app) = app.as_object_mut() {
        app.insert("machines".to_owned(), json!({"nodes": machines}));
    }
    Some(app)
}

pub(super) fn machine(machine: &SimMachine, app: &Value) -> Value {
    let nothing = json!({"nodes": []});
    json!({
        "__typename": "Machine", "id": machine.id, "name": machine.name,
        "config": machine.version.config, "state": machine.state.as_str(),
        "region": machine.region, "createdAt": rfc3339(machine.created_at), "app": app,
        "ips": nothing, "egressIpAddresses": nothing, "host": {"id": machine.zone},
    })
}
