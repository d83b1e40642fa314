//! Who else wants something of an app or a machine: "a newer release wins" and "is this machine
//! still ours to write" are decided here and nowhere else. The decision asks before it orders a
//! machine, the writer asks again under the lease, just before it writes.
//!
//! Machines are the truth: a release number on a machine that is not one of ours is somebody's
//! release. The ledger only tells of what has not reached a machine yet, and adds names.
//!
//! Times are the platform's: `now` is to be read from its clock.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::{
    Digest, ImageRef, InstanceId, Machine, ProcessGroup, PutBack, Release, ReleaseStatus,
    ReleaseVersion,
};

/// The metadata key that names the rollback which wrote a machine's configuration last.
pub const ROLLBACK_MARK: &str = "waveoff_rollback";
/// How long a release that no machine runs is waited for.
const ANNOUNCED_MAX: SignedDuration = SignedDuration::from_mins(10);
/// The same once its deploy is over: lists lag, and then it has reached all that it ever will.
const FINISHED_MAX: SignedDuration = SignedDuration::from_mins(1);
/// How long a canary or green machine belongs to its deploy: a client that was killed leaves the
/// ledger's entry running for ever.
const DEPLOY_MAX: SignedDuration = SignedDuration::from_mins(15);
/// The ledger's clock and ours may differ by this much.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// What a rollback wants of an app's machines, and what it knows to be its own.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// Images that are to be replaced: that of the bad release, and quarantined ones.
    pub bad: Vec<&'a Digest>,
    /// The image that is to run instead.
    pub target: &'a ImageRef,
    /// What is to be put back besides the image, by process group.
    pub put_back: &'a PutBack,
    /// Process groups of which another image is known to be good.
    pub leaves: &'a BTreeSet<ProcessGroup>,
    /// The number that machines of the bad release carry.
    pub bad_release: Option<ReleaseVersion>,
    /// Number of the bad release: above it, every number that is not ours is a newer release.
    pub after: ReleaseVersion,
    /// Ledger entries that are known to be ours, those of earlier attempts included.
    pub own: &'a [ReleaseVersion],
    /// When the rollback began: entries that it made without hearing of it are not older.
    pub since: Timestamp,
}

/// How a machine was when we last verified the target on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The version of the machine that we saw running the target.
    pub instance: InstanceId,
    /// The version that our update replaced, when it was we who made it: a machine that is back on
    /// this one was reverted by the platform, not by a hand.
    pub replaced: Option<InstanceId>,
}

/// How somebody's deploy brings machines of its own up beside the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeployKind {
    /// One extra machine goes first.
    Canary,
    /// A whole second set of machines, which takes over at once.
    Bluegreen,
}

/// Whose a machine, or an app, is just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It runs a bad image and nobody wants anything else: ours to write. Of an app: nobody else
    /// is at work on it.
    Ours,
    /// It runs the target already, and is configured as it is to be.
    OnTarget,
    /// Machines carry somebody's newer release: it wins, and the rollback ends.
    NewerRelease { version: ReleaseVersion, by: Option<String> },
    /// We had verified the target on it, and somebody put the bad image back, without a release:
    /// the machine is left as it is and named.
    SetByHand { digest: Digest },
    /// It runs an image that is neither bad nor the target (`None`: the platform does not say
    /// which), or is of a process group that the target is not for: left as it is.
    OtherImage { digest: Option<Digest> },
    /// The ledger has somebody's newer release that is on no machine yet: waited for, bounded.
    Announced { version: ReleaseVersion, by: Option<String> },
    /// It is a canary or green machine of a deploy that is still going on, whose own gate must see
    /// the truth: waited for, bounded.
    Deploying { version: Option<ReleaseVersion>, by: Option<String>, kind: DeployKind },
    /// Somebody holds its lease: waited for.
    LeasedBy { owner: String, description: String, until: Timestamp },
}

impl Standing {
    /// Whether a rollback may write now.
    pub fn is_ours(&self) -> bool {
        *self == Self::Ours
    }

    /// Whether it ends by itself, and is worth waiting for.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Announced { .. } | Self::Deploying { .. } | Self::LeasedBy { .. } => true,
            Self::Ours
            | Self::OnTarget
            | Self::NewerRelease { .. }
            | Self::SetByHand { .. }
            | Self::OtherImage { .. } => false,
        }
    }
}

impl Claim<'_> {
    /// Whether a number on a machine is somebody else's newer release. Only numbers that we know
    /// to be ours are ever written by us, so every other one is somebody's.
    fn is_newer(&self, version: ReleaseVersion) -> bool {
        version > self.after && !self.own.contains(&version)
    }

    /// Whether a machine is still configured by the bad release, and not as it is to be. What
    /// carries another number was configured by somebody else, and is left.
    fn is_configured_badly(&self, machine: &Machine) -> bool {
        machine.release.is_some()
            && machine.release == self.bad_release
            && self.put_back.get(&machine.group).is_some_and(|texts| {
                machine.config.as_ref().is_none_or(|config| !texts.is_in(config))
            })
    }

    /// Whether a ledger entry was made by this rollback: its number is known to be ours, or it is
    /// one of which we never heard (the answer was lost, or came late, or it was made twice).
    fn made(&self, entry: &Release, ledger: &[Release]) -> bool {
        if self.own.contains(&entry.version) {
            return true;
        }
        // Once an entry of ours is known, its author is: a `fly secrets set` names our image too.
        let ours = ledger.iter().find(|release| self.own.contains(&release.version));
        let same_author = ours.is_none_or(|ours| ours.author == entry.author);
        same_author && is_own_entry(entry, &self.target.reference(), self.after, self.since)
    }
}

/// Whether a ledger entry of `image` is one that we made after the release `after`, at or after
/// `since`: how one is recognized of which we did not hear.
pub fn is_own_entry(entry: &Release, image: &str, after: ReleaseVersion, since: Timestamp) -> bool {
    let earliest = since.checked_sub(CLOCK_SLACK).unwrap_or(since);
    entry.version > after && entry.image == image && entry.created_at >= earliest
}

/// Whose a machine is. `verified`: what was last verified on this very machine, if anything.
/// `ledger`: the newest entries, `None` when it could not be read.
///
/// Answers with everything but [`Standing::Announced`] and [`Standing::LeasedBy`].
pub fn of_machine(
    claim: &Claim<'_>,
    machine: &Machine,
    verified: Option<&Verified>,
    ledger: Option<&[Release]>,
    now: Timestamp,
) -> Standing {
    if let Some(version) = machine.release.filter(|version| claim.is_newer(*version)) {
        return Standing::NewerRelease { version, by: author(ledger, version) };
    }
    let Some(digest) = machine.digest() else { return Standing::OtherImage { digest: None } };
    let has_image = Some(digest) == claim.target.digest.as_ref();
    if has_image && !claim.is_configured_badly(machine) {
        return Standing::OnTarget;
    }
    // What is good elsewhere was never seen in its group, however bad what it runs is.
    let is_left = claim.leaves.contains(&machine.group);
    if !has_image && (is_left || !claim.bad.contains(&digest)) {
        return Standing::OtherImage { digest: Some(digest.clone()) };
    }
    if verified.is_some_and(|verified| was_set_by_hand(verified, machine)) {
        return Standing::SetByHand { digest: digest.clone() };
    }
    match deploying(machine, ledger, now) {
        Some(kind) => Standing::Deploying {
            version: machine.release,
            by: machine.release.and_then(|version| author(ledger, version)),
            kind,
        },
        None => Standing::Ours,
    }
}

/// The same with what stands in the ledger alone: the question before a write.
pub fn before_writing(
    claim: &Claim<'_>,
    machine: &Machine,
    verified: Option<&Verified>,
    ledger: Option<&[Release]>,
    now: Timestamp,
) -> Standing {
    match of_machine(claim, machine, verified, ledger, now) {
        Standing::Ours => announced(claim, ledger.unwrap_or_default(), now),
        other => other,
    }
}

/// Whether anybody wants something newer of the app: [`Standing::NewerRelease`] when a machine
/// carries it, [`Standing::Announced`] when only the ledger has it, else [`Standing::Ours`].
pub fn of_app(
    claim: &Claim<'_>,
    machines: &[&Machine],
    ledger: Option<&[Release]>,
    now: Timestamp,
) -> Standing {
    let newest = machines
        .iter()
        .filter_map(|machine| machine.release)
        .filter(|version| claim.is_newer(*version))
        .max();
    match newest {
        Some(version) => Standing::NewerRelease { version, by: author(ledger, version) },
        None => announced(claim, ledger.unwrap_or_default(), now),
    }
}

/// Who holds the machine's lease, according to the list. One that we lost is held as well, until
/// it ends.
pub fn leased(machine: &Machine, now: Timestamp) -> Option<Standing> {
    let lease = machine.lease.as_ref().filter(|lease| lease.expires_at > now)?;
    Some(Standing::LeasedBy {
        owner: lease.owner.clone(),
        description: lease.description.clone(),
        until: lease.expires_at,
    })
}

/// Somebody's newer release that may still be on its way to the machines.
fn announced(claim: &Claim<'_>, ledger: &[Release], now: Timestamp) -> Standing {
    let newest = ledger
        .iter()
        .filter(|entry| claim.is_newer(entry.version) && !claim.made(entry, ledger))
        .filter(|entry| is_announced(entry, now))
        .max_by_key(|entry| entry.version);
    match newest {
        Some(entry) => Standing::Announced { version: entry.version, by: entry.author.clone() },
        None => Standing::Ours,
    }
}

/// Whether a release in the ledger may still be on its way to the machines. What the ledger says
/// is only believed for so long: a client that was killed, or whose filter matched no machine,
/// leaves an entry that no machine ever gets.
pub fn is_announced(release: &Release, now: Timestamp) -> bool {
    let age = now.duration_since(release.created_at);
    match release.status {
        // What failed put nothing in its place; if it reached a machine, that machine tells.
        ReleaseStatus::Failed | ReleaseStatus::Interrupted => false,
        ReleaseStatus::Complete => age < FINISHED_MAX,
        ReleaseStatus::Pending | ReleaseStatus::Running | ReleaseStatus::Other(_) => {
            age < ANNOUNCED_MAX
        }
    }
}

/// Whether the machine is a canary or green one of a deploy that is still going on.
fn deploying(machine: &Machine, ledger: Option<&[Release]>, now: Timestamp) -> Option<DeployKind> {
    let kind = own_machine_of_a_deploy(machine)?;
    let entry =
        ledger.unwrap_or_default().iter().find(|release| Some(release.version) == machine.release);
    let begun = match entry {
        Some(entry) => match entry.status {
            ReleaseStatus::Pending | ReleaseStatus::Running => entry.created_at,
            // After it, greens are production, and a canary that is left is nobody's gate.
            ReleaseStatus::Complete
            | ReleaseStatus::Failed
            | ReleaseStatus::Interrupted
            | ReleaseStatus::Other(_) => return None,
        },
        // Without an entry its own age has to do.
        None => machine.updated_at,
    };
    (now.duration_since(begun) < DEPLOY_MAX).then_some(kind)
}

/// Whether a deploy made this machine for itself, by the marks that flyctl leaves on it. Greens
/// keep theirs when they have become production.
fn own_machine_of_a_deploy(machine: &Machine) -> Option<DeployKind> {
    let mark = |key: &str| machine.metadata.get(key).map(String::as_str);
    if mark("fly_canary") == Some("true") {
        return Some(DeployKind::Canary);
    }
    // Greens carry the time of their deploy; the blues beside them a word, or a negative number.
    let green = mark("fly_bluegreen_deployment_tag")
        .is_some_and(|tag| !tag.is_empty() && tag.chars().all(|char| char.is_ascii_digit()));
    green.then_some(DeployKind::Bluegreen)
}

/// Whether a machine that runs a bad image again was put there by somebody: it is another version
/// than the one that we verified, and not the one that the platform would have gone back to.
fn was_set_by_hand(verified: &Verified, machine: &Machine) -> bool {
    machine.instance != verified.instance && verified.replaced.as_ref() != Some(&machine.instance)
}

fn author(ledger: Option<&[Release]>, version: ReleaseVersion) -> Option<String> {
    let entry = ledger?.iter().find(|release| release.version == version)?;
    entry.author.clone()
}

#[cfg(test)]
mod tests;
