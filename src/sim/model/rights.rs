//! What a token may do: the platform refuses the rest with 401 or 403.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{machine::later, org::Org, refusal::Refusal};

/// A kind of call that a token may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Apps, machines, the change feed, the ledger, logs.
    Read,
    /// Leases, and everything that changes a machine.
    Write,
    /// Writing releases.
    Ledger,
    /// Looking images up.
    Registry,
}

impl Right {
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Ledger, Self::Registry];
}

/// One refusal, as a fleet has it from the beginning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// Whose calls, as leases and releases name them; everybody's when left out.
    pub owner: Option<String>,
    /// The same by the token.
    pub token: Option<String>,
    pub right: Right,
    /// 401 or 403.
    #[serde(default = "forbidden")]
    pub status: u16,
    /// Seconds for which it lasts; for ever when left out.
    pub for_s: Option<f64>,
}

impl Denial {
    /// What is wrong with it.
    pub(in crate::sim) fn problem(&self) -> Option<String> {
        let fits = [401, 403].contains(&self.status);
        (!fits).then(|| format!("status = {}: must be 401 or 403", self.status))
    }

    /// Whose calls; `None`: everybody's.
    pub(in crate::sim) fn whose(&self) -> Option<String> {
        self.owner.clone().or_else(|| self.token.as_deref().map(owner_of))
    }
}

fn forbidden() -> u16 {
    403
}

/// Refusals in force: whose (`None`: everybody's) and of what, with the status and until when.
pub(in crate::sim) type Denials = BTreeMap<(Option<String>, Right), (u16, Option<Timestamp>)>;

impl Org {
    /// Refuses calls of a kind, to one owner's tokens or to everybody's, for a time or for ever.
    pub fn deny(&mut self, owner: Option<&str>, right: Right, status: u16, time: Option<Duration>) {
        let until = time.map(|time| later(self.now, time));
        self.denials.insert((owner.map(str::to_owned), right), (status, until));
    }

    /// Everybody may do everything again.
    pub fn allow_all(&mut self) {
        self.denials.clear();
    }

    /// The status with which a call is refused; `None`: it is not.
    pub fn denied(&self, owner: &str, right: Right) -> Option<u16> {
        let of = |whose: Option<&str>| {
            let (status, until) = self.denials.get(&(whose.map(str::to_owned), right))?;
            until.is_none_or(|until| until > self.now).then_some(*status)
        };
        of(Some(owner)).or_else(|| of(None))
    }

    /// # Errors
    /// When the owner's tokens may not do this.
    pub(in crate::sim) fn allow(&self, owner: &str, right: Right) -> Result<(), Refusal> {
        self.denied(owner, right).map_or(Ok(()), |status| Err(Refusal::Denied { status, right }))
    }
}

/// Whom a token belongs to, as leases and releases show it. Different tokens are different people,
/// and a token must not be shown.
pub fn owner_of(token: &str) -> String {
    let sum =
        token.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("{sum:08x}@tokens.fly.io")
}
