//! What came of an order, for the person who gave it.

use super::{report, unresolved};
use crate::{
    model::{
        AppName, Effect, OperatorHold, Plan, PlannedRegion, Refusal, Region, Strategy, Verdict,
        event::ReleaseInfo, reply::Undone,
    },
    numbers::moment,
    threshold::phrase,
};

/// Most machines and releases named in one line.
const NAMED_MAX: usize = 20;

/// What was done.
pub fn effect(app: &AppName, effect: &Effect) -> String {
    match effect {
        Effect::Held => format!("{app} is held"),
        Effect::Unheld => format!("{app} is no longer held"),
        Effect::Approved { release } => {
            format!("{app}: the rollback of {} is approved, and begins", release.name())
        }
        Effect::Vetoed { release } => format!(
            "{app}: {} is not rolled back by itself any more; `waveoff resume {app}` allows it again",
            release.name()
        ),
        Effect::Resumed { release } => {
            format!("{app}: the rollback of {} may go on", release.name())
        }
        Effect::Begun { plan } => format!("{app}: {}", self::plan(plan)),
        Effect::Planned { plan } => {
            format!("{app}: {}\nnothing was done (dry run)", self::plan(plan))
        }
        Effect::Pinned { release } => format!(
            "{app}: {} is what is gone back to, whatever is trusted later; `waveoff unpin {app}` \
             ends it",
            release.name()
        ),
        Effect::Unpinned { release } => match release {
            Some(release) => format!("{app}: {} is no longer pinned", release.name()),
            None => format!("{app}: nothing is pinned any more"),
        },
        Effect::Quarantined { release } => format!(
            "{app}: a redeploy of {} is watched without a warm-up, and it is never gone back to",
            release.name()
        ),
        Effect::Unquarantined { release } => {
            format!("{app}: {} is no longer quarantined", release.name())
        }
        Effect::Trusted { release, undone } => {
            let undone = undone.as_ref().map(|undone| self::undone(app, release, undone));
            let undone = undone.unwrap_or_default();
            format!("{app}: {} is trusted, and gone back to{undone}", release.name())
        }
    }
}

/// What was vouched for in spite of its past: when it was undone, for what, and the way back.
fn undone(app: &AppName, release: &ReleaseInfo, undone: &Undone) -> String {
    let Undone { at, evidence, by } = undone;
    let breaches = evidence.iter().filter(|one| one.verdict == Verdict::Breach);
    let breaches: Vec<String> = breaches.map(|one| phrase(one, "the rest")).collect();
    let by = by.as_ref().map_or_else(String::new, |by| format!(" by {}", by.by));
    let what =
        if breaches.is_empty() { String::new() } else { format!(", {}", breaches.join("; ")) };
    format!(
        ", although it was rolled back or quarantined{by} at {}{what}; `waveoff quarantine {app} \
         {}` takes that back",
        moment(*at),
        release.label()
    )
}

/// The plan, region by region.
fn plan(plan: &Plan) -> String {
    let mut lines = vec![format!(
        "{} → {} ({}), {}",
        plan.from.name(),
        plan.to.name(),
        plan.image,
        match plan.strategy {
            Strategy::Rolling => "rolling",
            Strategy::Immediate => "immediate",
        }
    )];
    lines.extend(plan.regions.iter().map(region));
    if let Some(version) = plan.migration {
        lines.push(format!("  {version} ran a release_command (migrations): its schema stays"));
    }
    let drift = plan.drift.as_ref().map(|drift| super::drift::sentence(drift, true));
    lines.extend(drift.filter(|line| !line.is_empty()).map(|line| format!("  {line}")));
    if !plan.was_healthy {
        lines.push(format!("  {} is neither trusted nor baked", plan.to.name()));
    }
    lines.join("\n")
}

fn region(region: &PlannedRegion) -> String {
    let hidden = region.machines.len().saturating_sub(NAMED_MAX);
    let mut names: Vec<String> =
        region.machines.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if hidden > 0 {
        names.push(format!("{hidden} more"));
    }
    let at_rest = match region.at_rest {
        0 => String::new(),
        some => format!(" ({some} at rest, and left so)"),
    };
    format!("  {}  {}{at_rest}", region.region, names.join(", "))
}

/// Why nothing was done, and what can be done instead.
pub fn refusal(app: &AppName, refusal: &Refusal) -> String {
    match refusal {
        Refusal::NotLookedAt => {
            format!("no machine of {app} that belongs to a release has been listed yet: try again")
        }
        Refusal::Blind { detail } => format!("the platform cannot be read: {detail}"),
        Refusal::Held { hold } => held(app, hold),
        Refusal::NothingToApprove => format!("no rollback of {app} waits for a yes"),
        Refusal::NothingToVeto => {
            format!("{app} has no release under watch that could be rolled back by itself")
        }
        Refusal::NothingToResume => format!(
            "nothing of {app} was vetoed or came to a stop; where nobody approved in time, `waveoff \
             approve {app}` still does, and `waveoff rollback {app}` begins a rollback"
        ),
        Refusal::UnderWay => format!(
            "a rollback of {app} is under way: `waveoff hold {app} --reason …` stops it at the \
             next machine"
        ),
        Refusal::SamePlan { to } => {
            format!("a rollback of {app} to {} is under way already", to.name())
        }
        Refusal::NoSuchRelease { name, problem } => unresolved(name, problem),
        Refusal::NoImage { release } => {
            format!("of {} only the digest is known, and not where its image is", release.name())
        }
        Refusal::ImageGone { name, image } => {
            format!("{name} was {image}, which its registry has no more")
        }
        Refusal::RegistrySilent { detail } => {
            format!("the registry does not say which image that is: {detail}")
        }
        Refusal::NothingToGoBackTo { known } => format!(
            "no release of {app} other than the one that runs was seen healthy; name one with \
             --to{}",
            listed(known)
        ),
        Refusal::RunsEverywhere { release } => {
            format!("every machine concerned runs {} already", release.name())
        }
        Refusal::NoMachineIn { region, has } => format!(
            "{app} has no machine in {region}; it has some in {}",
            has.iter().map(Region::as_str).collect::<Vec<_>>().join(", ")
        ),
        Refusal::Migration { version, to } => format!(
            "{version} ran a release_command (migrations), and {} may not fit the schema any more; \
             --force goes back all the same",
            to.name()
        ),
        Refusal::NeverHealthy { release } => format!(
            "{} is neither trusted nor baked here; --force goes there all the same",
            release.name()
        ),
        Refusal::ContainersStay { containers, to } => format!(
            "{}; `fly deploy` of {} puts it right; --force goes back all the same",
            report::containers_stay(containers),
            to.name()
        ),
        Refusal::IsPinned { release } => {
            format!("{} is pinned; `waveoff unpin {app}` first", release.name())
        }
        Refusal::NothingPinned => format!("no release of {app} is pinned"),
        Refusal::NotTrusted { release } => format!(
            "{} is not trusted; vouch for it with `waveoff trust {app} {}` first",
            release.name(),
            release.label()
        ),
        Refusal::RunsNow { release } => format!(
            "{} is what {app} runs; `waveoff rollback {app}` goes back from it",
            release.name()
        ),
        Refusal::NotQuarantined { release } => format!("{} is not quarantined", release.name()),
        Refusal::IsRolledBack { release } => format!(
            "{} is just being rolled back; `waveoff hold {app} --reason …` stops that first",
            release.name()
        ),
    }
}

fn held(app: &AppName, hold: &OperatorHold) -> String {
    format!("{app} is held by {}: {}; `waveoff unhold {app}` first", hold.by, hold.reason)
}

fn listed(known: &[ReleaseInfo]) -> String {
    if known.is_empty() {
        return ", when one is known".to_owned();
    }
    let labels: Vec<String> = known.iter().take(NAMED_MAX).map(ReleaseInfo::label).collect();
    format!(": {}", labels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReleaseVersion;

    #[test]
    fn a_command_in_a_refusal_can_be_pasted_into_a_shell() {
        let release = ReleaseInfo {
            version: Some(ReleaseVersion(42)),
            tag: Some("spring".to_owned()),
            digest: "sha256:42".into(),
            author: None,
            created_at: None,
        };
        let said = refusal(&"web".into(), &Refusal::NotTrusted { release });
        assert_eq!(
            said,
            "v42 (spring) is not trusted; vouch for it with `waveoff trust web v42` first"
        );
        let said = refusal(&"web".into(), &Refusal::NothingToResume);
        assert!(said.contains("`waveoff approve web`"), "{said}");
    }
}
