//! What can be changed through GraphQL: the peers of the private network. Everything else that Fly's
//! clients change goes through other doors, or is refused by its name.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use graphql_parser::query::Field;
use serde_json::{Value, json};

use super::{Failure, Query, objects};
use crate::sim::{Refusal, Right, model::peers::Peer};

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status() {
            401 | 403 => "UNAUTHORIZED",
            404 => "NOT_FOUND",
            _ => "UNPROCESSABLE",
        };
        Self::new(refusal.text(), code)
    }
}

impl<'a> Query<'a> {
    /// Does what a mutation's root field asks for, and tells what it answers.
    pub(super) fn change(self, field: &'a Field<'a, &'a str>) -> Result<Value, Failure> {
        let input = self.argument(field, "input");
        let text = |name: &str| input[name].as_str().unwrap_or_default();
        match field.name {
            "validateWireGuardPeers" => {
                let known = self.sim.with(|org| org.peers());
                let asked = input["peerIps"].as_array().into_iter().flatten();
                let invalid: Vec<&Value> = asked
                    .filter(|asked| !known.iter().any(|peer| peer.address == **asked))
                    .collect();
                Ok(json!({"invalidPeerIps": invalid, "validPeerIps": []}))
            }
            "addWireGuardPeer" => {
                let region = Some(text("region")).filter(|region| !region.is_empty());
                let peer = self.sim.with(|org| {
                    org.allow(self.owner, Right::Write)?;
                    let region = region.map_or_else(|| org.nearest_region(), str::to_owned);
                    org.add_peer(text("name"), text("pubkey"), &region)
                })?;
                // Nothing listens there: the tunnel is built and leads nowhere.
                Ok(json!({
                    "peerip": peer.address, "endpointip": "127.0.0.1", "pubkey": Peer::GATEWAY_KEY,
                }))
            }
            "removeWireGuardPeer" => {
                self.sim.with(|org| {
                    org.allow(self.owner, Right::Write)?;
                    org.remove_peer(text("name"))
                })?;
                Ok(json!({"organization": objects::organization(self.sim, self.owner)}))
            }
            other => Err(Failure::unknown(&format!("mutation `{other}`"))),
        }
    }
}
