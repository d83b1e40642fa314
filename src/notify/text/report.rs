//! How far a rollback is, in words: its machines, and what it waits for.

use super::reason::{hold, unseen};
use crate::{
    model::{
        HoldReason, MachineFailure, MachineId, MachineReport, RegionReport, RegionStage, Shown,
        Unwell, Wait,
    },
    numbers,
};

/// Why the ledger is waited for no longer.
pub(super) const NO_COMMAND_SEEN: &str = "the release ledger still does not tell whether the release \
    ran a release_command (migrations); none was seen at work, and the releases before it had none";

/// Why nothing may be done, after it is over.
pub(super) fn over(was: &HoldReason) -> String {
    match was {
        HoldReason::Operator { .. } => format!("it was {}", hold(was)),
        _ => format!("the reason was: {}", hold(was)),
    }
}

/// How far a rollback came; `None`: there was none.
pub fn done(regions: &[RegionReport]) -> Option<String> {
    let ours = regions.iter().filter(|region| region.phase != RegionStage::Skipped);
    let machines = || ours.clone().flat_map(|region| region.machines.values());
    let (done, all) = (machines().filter(|one| one.is_on_target()).count(), machines().count());
    (all > 0).then(|| format!("after {done} of {all} machines"))
}

/// The containers that a rollback would not come to, at most three of them by name.
pub(super) fn containers_stay(containers: &[String]) -> String {
    let named = containers.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    let more = containers.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "container {}{more} has an image of its own, and not the app's: what is put on the machine would \
         not come to it",
        named.join(", ")
    )
}

/// Where a machine stands.
pub fn machine(report: &MachineReport) -> String {
    match report {
        MachineReport::OnTarget { at_rest: false } => "on target".to_owned(),
        MachineReport::OnTarget { at_rest: true } => "on target, at rest".to_owned(),
        MachineReport::Waiting => "waiting".to_owned(),
        MachineReport::Updating => "being updated".to_owned(),
        MachineReport::LeasedBy { owner } => format!("leased by {owner}"),
        MachineReport::OfDeploy { by } => format!("part of a running deploy{}", of(by.as_deref())),
        MachineReport::JobAtWork => "a job at work, let finish for up to a minute".to_owned(),
        MachineReport::HostUnreachable => "host unreachable".to_owned(),
        MachineReport::Gone => "gone".to_owned(),
        MachineReport::SetByHand { digest } => {
            format!("set by hand, left as it is: runs {}", digest.short())
        }
        MachineReport::Runs { digest: Some(digest) } => format!("runs {}", digest.short()),
        MachineReport::Runs { digest: None } => "runs an image without digest".to_owned(),
        MachineReport::Told { text } => text.clone(),
        MachineReport::RegionLeftAlone => "its region was left alone".to_owned(),
        MachineReport::Failed { failure } => format!("failed: {}", self::failure(failure)),
    }
}

/// What does not work on a machine.
pub(super) fn failure(failure: &MachineFailure) -> String {
    match failure {
        MachineFailure::Reverted { runs } => {
            format!("the platform reverted the update: it runs {runs}")
        }
        MachineFailure::Refused { detail } => format!("refused: {detail}"),
        MachineFailure::Unhealthy { crashed: true, .. } => {
            "its process ends on the known-good image".to_owned()
        }
        MachineFailure::Unhealthy { failing, crashed: false } => {
            format!("its checks do not pass on the known-good image: {}", failing.join(", "))
        }
        MachineFailure::NotReady { state } => format!("not ready in time: {state}"),
        MachineFailure::GoesBack => "it keeps going back to the bad image".to_owned(),
        MachineFailure::StaysDown => {
            "the rollback took it down, and it does not start: start it by hand".to_owned()
        }
    }
}

/// What was counted on the known-good release.
pub(super) fn shown(shown: &Shown) -> String {
    let Shown { threshold, tally, ln_odds } = shown;
    let share = tally.share().map_or_else(|| "no traffic".to_owned(), numbers::share);
    let (k, n) = (numbers::whole(tally.k), numbers::whole(tally.n));
    let odds = numbers::odds(*ln_odds).map_or_else(String::new, |odds| format!(", odds {odds}"));
    format!("{threshold} {share} ({k} of {n}){odds}")
}

/// What is wrong with a region on the known-good release.
pub(super) fn unwell(detail: &Unwell) -> String {
    match detail {
        Unwell::NoBetter { threshold, tally } => {
            let share = tally.share().map_or_else(|| "no traffic".to_owned(), numbers::share);
            let (k, n) = (numbers::whole(tally.k), numbers::whole(tally.n));
            format!("{threshold} {share} ({k} of {n})")
        }
        Unwell::Down { machines } => {
            let ids: Vec<&str> = machines.iter().map(MachineId::as_str).collect();
            format!("{} down or failing checks", ids.join(", "))
        }
        Unwell::Crashes { exits: 1 } => "1 crash since".to_owned(),
        Unwell::Crashes { exits } => format!("{exits} crashes since"),
        Unwell::Told(text) => text.clone(),
    }
}

/// What a rollback waits for.
pub(super) fn wait(wait: &Wait) -> String {
    match wait {
        Wait::Lease { machine, owner } => format!("{machine} is leased by {owner}"),
        Wait::DeployOfSomebody { version, by } => {
            let what = version.map_or_else(String::new, |version| format!(" {version}"));
            format!("the deploy{what}{} is still running", of(by.as_deref()))
        }
        Wait::Announced { version } => {
            format!("{version} is in the ledger and on no machine yet")
        }
        Wait::Denied { detail } => format!("the token is not allowed to do this: {detail}"),
        Wait::Unreadable { detail } => {
            format!("the platform's answer cannot be understood: {detail}")
        }
        Wait::Unanswered { detail } => format!("the platform does not answer: {detail}"),
        Wait::NotReady { machine, state } => {
            format!("{machine} is not ready on the known-good image yet: {state}")
        }
        Wait::Failing { machines } => {
            let parts: Vec<String> =
                machines.iter().map(|(id, why)| format!("{id}: {}", failure(why))).collect();
            format!("machines cannot be put right and are tried again: {}", parts.join("; "))
        }
        Wait::NotSeen { region: Some(region), what } => {
            format!("{region} cannot be confirmed: {}", unseen(*what))
        }
        Wait::NotSeen { region: None, what } => unseen(*what).to_owned(),
        Wait::Unlisted { region } => format!("the platform lists no machine in {region}"),
        Wait::NoPlace { down } => {
            let down: Vec<&str> = down.iter().map(MachineId::as_str).collect();
            format!(
                "no other machine may be taken down before {} is up again, and it cannot be reached",
                down.join(", ")
            )
        }
        Wait::NoEvidence { region, threshold: Some(threshold) } => {
            format!("{region} cannot be confirmed: {threshold} has no traffic")
        }
        Wait::NoEvidence { region, threshold: None } => {
            format!("{region} cannot be confirmed: there is too little to tell")
        }
        Wait::Unhealthy { region, detail } => {
            format!("{region} is not well on the known-good release: {}", unwell(detail))
        }
        Wait::Held { hold: reason } => hold(reason),
        Wait::FreshBreach => {
            "it was paused for long: the release has to show its breach again".to_owned()
        }
    }
}

fn of(by: Option<&str>) -> String {
    by.map_or_else(String::new, |by| format!(" of {by}"))
}
