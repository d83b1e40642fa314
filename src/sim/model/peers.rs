//! Peers of the private network: who may build a tunnel into it. Nothing goes through one here.

use super::{org::Org, refusal::Refusal};

/// Peers at most.
const PEERS_MAX: usize = 1000;

/// A peer, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Peer {
    pub(in crate::sim) name: String,
    pub(in crate::sim) pubkey: String,
    pub(in crate::sim) region: String,
    pub(in crate::sim) address: String,
}

impl Peer {
    /// The public key of the gateway at the other end.
    pub(in crate::sim) const GATEWAY_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
}

impl Org {
    pub(in crate::sim) fn peers(&self) -> Vec<Peer> {
        self.peers.clone()
    }

    pub(in crate::sim) fn add_peer(
        &mut self,
        name: &str,
        pubkey: &str,
        region: &str,
    ) -> Result<Peer, Refusal> {
        if name.is_empty() || pubkey.is_empty() {
            return Err(Refusal::Unprocessable("name and pubkey are required".to_owned()));
        }
        if self.peers.iter().any(|peer| peer.name == name) {
            return Err(Refusal::Unprocessable("Name has already been taken".to_owned()));
        }
        if self.peers.len() >= PEERS_MAX {
            return Err(Refusal::Unprocessable("too many peers".to_owned()));
        }
        self.peers_made += 1;
        let peer = Peer {
            name: name.to_owned(),
            pubkey: pubkey.to_owned(),
            region: region.to_owned(),
            address: format!("fdaa:0:1:a7b:1::{:x}", self.peers_made),
        };
        self.peers.push(peer.clone());
        Ok(peer)
    }

    pub(in crate::sim) fn remove_peer(&mut self, name: &str) -> Result<(), Refusal> {
        let count = self.peers.len();
        self.peers.retain(|peer| peer.name != name);
        if self.peers.len() == count { Err(Refusal::no("peer", name)) } else { Ok(()) }
    }
}
