//! What forbids a rollback, in the order in which it is said.

use jiff::{SignedDuration, Timestamp};

use super::{
    distress::neighbourhood,
    groups, late, setup,
    state::{Memory, Revision, Watch},
    voucher,
};
use crate::model::{
    Digest, Drift, Evidence, HoldReason, Mode, Policy, Verdict, event::ReleaseInfo, freeze,
};

/// What a guard is asked about: to begin undoing a release.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) memory: &'a Memory,
    pub(super) watch: &'a Watch,
    pub(super) now: Timestamp,
}

/// When a guard is asked.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// Before a rollback begins, and before one that was paused goes on.
    Always,
    /// Only before one begins: once it has begun it is counted, and its release quarantined.
    Beginning,
}

/// How long the ledger is waited for that does not tell of a release.
const LEDGER_WAITED_FOR: SignedDuration = SignedDuration::from_mins(2);
/// A release command is at work before its release comes: at most for so long.
const COMMAND_TAKES_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How much worse than what ran before it a release must be to be blamed where that was degraded.
const WORSE: f64 = 1.5;

type Guard = fn(&Asked<'_>) -> Option<HoldReason>;

/// The guards in the order in which they are asked; the first that refuses is the reason.
const GUARDS: [(When, Guard); 16] = [
    (When::Always, |asked| held_by_an_operator(asked.memory, asked.now)),
    (When::Always, is_vetoed),
    (When::Beginning, stays_as_it_is),
    (When::Always, has_no_target),
    (When::Always, is_the_same_image),
    (When::Always, does_not_reach_its_containers),
    (When::Always, ran_migrations),
    (When::Beginning, was_rolled_back_already),
    (When::Beginning, is_over_budget),
    (When::Beginning, is_over_the_organizations_budget),
    (When::Beginning, is_frozen),
    (When::Always, |asked| only_observes(asked.policy)),
    (When::Beginning, was_not_approved),
    (When::Always, platform_incident),
    (When::Always, control_too),
    (When::Always, was_degraded_before),
];

/// Why the watched release may not be rolled back now; `None`: it may.
pub(super) fn refusal(asked: &Asked<'_>) -> Option<HoldReason> {
    GUARDS.iter().find_map(|(_, guard)| guard(asked))
}

/// Why a rollback that was begun may not go on.
pub(super) fn refusal_to_go_on(asked: &Asked<'_>) -> Option<HoldReason> {
    let open = GUARDS.iter().filter(|(when, _)| *when == When::Always);
    open.map(|(_, guard)| guard).find_map(|guard| guard(asked))
}

/// Why a rollback that was begun may not take its next step now; `None`: it may. What was asked of
/// the release when it began is answered; these are what people may change at any moment.
/// `by_hand`: a person wants it, whatever the policy would do by itself.
pub(super) fn brake(
    policy: &Policy,
    memory: &Memory,
    by_hand: bool,
    now: Timestamp,
) -> Option<HoldReason> {
    held_by_an_operator(memory, now).or_else(|| only_observes(policy).filter(|_| !by_hand))
}

pub(super) fn held_by_an_operator(memory: &Memory, now: Timestamp) -> Option<HoldReason> {
    let hold = memory.operator_hold.as_ref().filter(|hold| hold.is_on(now))?;
    Some(HoldReason::Operator { hold: hold.clone() })
}

fn is_vetoed(asked: &Asked<'_>) -> Option<HoldReason> {
    let by = asked.watch.vetoed.clone()?;
    let put_back = asked.watch.put_by_hand;
    Some(if put_back { HoldReason::PutByHand { by } } else { HoldReason::Vetoed { by } })
}

/// What degraded after it was trusted, where it is not to be undone for that.
fn stays_as_it_is(asked: &Asked<'_>) -> Option<HoldReason> {
    let stays = late::stays(asked.policy, asked.memory, asked.watch, asked.now)?;
    Some(HoldReason::Late { stays })
}

/// What ran before it failed as much, without anybody having deployed it: whatever the cause is, it was there
/// before this release.
fn was_degraded_before(asked: &Asked<'_>) -> Option<HoldReason> {
    let before = asked.watch.before.as_ref()?;
    let breaching = asked.watch.evidence.iter();
    let mut breaching =
        breaching.filter(|one| one.may_roll_back && one.verdict == Verdict::Breach).peekable();
    let first = breaching.peek()?.threshold.clone();
    let as_before = |one: &Evidence| match before.breached.get(&one.threshold) {
        Some(Some(then)) => one.share_lately().is_some_and(|share| share <= WORSE * then),
        Some(None) => true,
        None => false,
    };
    if !breaching.all(as_before) {
        return None;
    }
    let share = before.breached.get(&first).copied().flatten();
    Some(HoldReason::DegradedBefore { threshold: first, by: before.label.clone(), share })
}

/// A yes that was waited for and did not come.
fn was_not_approved(asked: &Asked<'_>) -> Option<HoldReason> {
    let asks = asked.policy.mode == Mode::Approve && asked.watch.approved.is_none();
    (asks && asked.watch.lapsed).then_some(HoldReason::NotApproved)
}

fn has_no_target(asked: &Asked<'_>) -> Option<HoldReason> {
    if target(asked.policy, asked.memory, asked.watch).is_some() {
        return None;
    }
    if let Some(reason) = groups::refusal(asked.memory, asked.watch) {
        return Some(reason);
    }
    if asked
        .memory
        .newest_baked()
        .is_some_and(|baked| !is_quarantined(asked.memory, &baked.revision))
    {
        return Some(HoldReason::OnlyBaked);
    }
    let missing = asked.memory.trusted.iter().any(|trusted| trusted.image_missing);
    Some(if missing { HoldReason::ImagesMissing } else { HoldReason::NothingTrusted })
}

fn is_the_same_image(asked: &Asked<'_>) -> Option<HoldReason> {
    let target = target(asked.policy, asked.memory, asked.watch)?;
    if target.digest != asked.watch.revision.digest {
        return None;
    }
    let drift = setup::drift(asked.policy, asked.memory, &target, asked.watch);
    // A release whose configuration is put back needs no other image.
    if drift.as_ref().is_some_and(Drift::is_put_back) {
        return None;
    }
    Some(HoldReason::SameImage { drift })
}

/// What is put on a machine comes to those of its containers that have its image.
fn does_not_reach_its_containers(asked: &Asked<'_>) -> Option<HoldReason> {
    let target = target(asked.policy, asked.memory, asked.watch)?;
    let containers = setup::out_of_reach(asked.memory, &target, asked.watch);
    (!containers.is_empty()).then_some(HoldReason::ContainersStay { containers })
}

fn ran_migrations(asked: &Asked<'_>) -> Option<HoldReason> {
    if asked.policy.rollback.despite_migrations {
        return None;
    }
    let watch = asked.watch;
    let target = target(asked.policy, asked.memory, watch).and_then(|target| target.version);
    // What was set by hand carries the number of a release whose migrations are none of its own, or
    // none at all: they lie between the two all the same.
    let bad = watch.revision.version.unwrap_or(asked.memory.seen_version);
    let deployed = watch.numbered && !watch.no_mercy;
    let own = deployed || watch.revision.has_release_command == Some(true);
    let between = |after| {
        let mut ran = asked.memory.migrated.iter();
        ran.find(|v| **v > after && (**v < bad || (**v == bad && !own)))
    };
    if let Some(version) = target.and_then(between) {
        // The schema moved on between the two, whatever the bad release did itself.
        return Some(HoldReason::MigrationsSince { version: *version });
    }
    match watch.revision.has_release_command {
        Some(true) => Some(HoldReason::Migrations),
        // What was put on machines by hand has no entry of its own to be read.
        None if watch.numbered && !watch.learning && !watch.in_ledger => {
            let is_likely = !most_likely_ran_none(asked);
            is_likely.then_some(HoldReason::MigrationsUnknown)
        }
        Some(false) | None => None,
    }
}

/// Whether a release of which the ledger tells nothing for long can be taken for one without a
/// command: none was seen at work, and what ran before it, and what is gone back to, had none.
fn most_likely_ran_none(asked: &Asked<'_>) -> bool {
    let (memory, watch) = (asked.memory, asked.watch);
    if asked.now.duration_since(watch.since) < LEDGER_WAITED_FOR {
        return false;
    }
    let lately = watch.since.checked_sub(COMMAND_TAKES_MAX).unwrap_or(Timestamp::MIN);
    let seen = memory.release_command_at.is_some_and(|at| at >= lately);
    let had_none = |before: &Revision| before.has_release_command == Some(false);
    let target = target(asked.policy, memory, watch);
    !seen
        && target.as_ref().is_some_and(had_none)
        && memory.previous.as_ref().is_none_or(|previous| {
            had_none(previous) || target.is_some_and(|target| target.digest == previous.digest)
        })
}

fn was_rolled_back_already(asked: &Asked<'_>) -> Option<HoldReason> {
    let revision = &asked.watch.revision;
    // Nobody deploys under a number of our own: whoever put it there again did so by hand.
    let is_ours = revision.version.is_some_and(|own| asked.memory.own_releases.contains(&own));
    let mut quarantined = asked.memory.quarantined.iter();
    let mut undone = asked.memory.undone.iter();
    (undone.any(|version| Some(*version) == revision.version)
        || quarantined.any(|old| {
            !old.unfinished
                && old.digest == revision.digest
                && (old.version == revision.version || is_ours)
        }))
    .then_some(HoldReason::AlreadyRolledBack)
}

fn of_the_last_day<'a>(asked: &Asked<'a>) -> impl Iterator<Item = &'a Timestamp> {
    let day_ago = asked.now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(asked.now);
    asked.memory.rollbacks.iter().filter(move |at| **at > day_ago)
}

fn is_over_budget(asked: &Asked<'_>) -> Option<HoldReason> {
    let recent = of_the_last_day(asked).count();
    let max = asked.policy.rollback.per_day_max;
    (recent >= usize::try_from(max).unwrap_or(usize::MAX))
        .then_some(HoldReason::DailyBudget { max })
}

fn is_over_the_organizations_budget(asked: &Asked<'_>) -> Option<HoldReason> {
    let max = asked.policy.per_organization_max;
    let ours = u32::try_from(of_the_last_day(asked).count()).unwrap_or(u32::MAX);
    let all = ours.saturating_add(asked.memory.org.rollbacks);
    (all >= max).then_some(HoldReason::OrganizationBudget { max })
}

fn is_frozen(asked: &Asked<'_>) -> Option<HoldReason> {
    let (reason, until) = freeze::on(&asked.policy.freezes, asked.now)?;
    Some(HoldReason::Frozen { reason: reason.to_owned(), until })
}

fn only_observes(policy: &Policy) -> Option<HoldReason> {
    (policy.mode == Mode::Observe).then_some(HoldReason::ObserveMode)
}

/// Whether what breaches was as bad over the same seconds on the machines that ran the known-good
/// release: they see the same platform, the same users and the same database. What they showed is
/// remembered when they are gone, for as long as the breach lasts.
fn control_too(asked: &Asked<'_>) -> Option<HoldReason> {
    let watch = asked.watch;
    let breaching = watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
    let mut alike = Vec::new();
    for evidence in breaching.filter(|e| e.may_roll_back) {
        let control = watch.thresholds.get(&evidence.threshold)?.control_alike()?;
        alike.push((evidence.threshold.clone(), control));
    }
    let (threshold, control) = alike.into_iter().next()?;
    Some(HoldReason::ControlToo { threshold, control })
}

/// Apps that nobody deployed degrade with it: the platform, or something that all depend on. What ran
/// before, and is well on machines beside it over the same seconds, knows better.
fn platform_incident(asked: &Asked<'_>) -> Option<HoldReason> {
    if voucher::control_vouches(asked.watch, asked.now) {
        return None;
    }
    let near = neighbourhood(&asked.memory.org, asked.watch, asked.now);
    let region = near.region.clone().or_else(|| asked.watch.regions.first().cloned())?;
    let apps = near.witnesses.len();
    near.is_incident().then(|| HoldReason::PlatformIncident {
        region,
        apps: u32::try_from(apps).unwrap_or(u32::MAX),
    })
}

/// What to go back to: the newest trusted release with an image that is one for the process groups
/// concerned; after a failure of everything the baked one, if that is newer; or, where the policy
/// allows it and nothing was ever trusted, what ran before.
pub(super) fn target(policy: &Policy, memory: &Memory, watch: &Watch) -> Option<Revision> {
    let trusted = memory.newest_trusted_for(&watch.groups);
    let baked = memory
        .newest_baked_for(&watch.groups)
        .filter(|_| is_failure_of_everything(&watch.evidence))
        .filter(|baked| baked.revision.digest != watch.revision.digest)
        .filter(|baked| !is_quarantined(memory, &baked.revision))
        .filter(|baked| trusted.is_none_or(|trusted| trusted.at < baked.at));
    if let Some(good) = baked.or(trusted) {
        return Some(good.deployable());
    }
    if !policy.rollback.first_target_previous || !memory.trusted.is_empty() {
        return None;
    }
    memory
        .previous
        .clone()
        .filter(|previous| previous.digest != watch.revision.digest)
        .filter(|previous| !is_quarantined(memory, previous))
        .filter(|previous| !memory.suspects.contains(&previous.digest))
}

/// What ran before a release and is not known to be bad: never seen healthy, it is nothing that is gone
/// back to without a person.
pub fn ran_before(memory: &Memory, release: &Digest) -> Option<ReleaseInfo> {
    let previous = memory.previous.as_ref().filter(|previous| previous.digest != *release)?;
    let is_bad = is_quarantined(memory, previous) || memory.suspects.contains(&previous.digest);
    (!is_bad).then(|| previous.info())
}

fn is_quarantined(memory: &Memory, revision: &Revision) -> bool {
    memory.quarantined.iter().any(|old| old.digest == revision.digest)
}

/// Whether nearly nothing of the release works: half of the requests and more fail, or checks or
/// exits breach.
fn is_failure_of_everything(evidence: &[Evidence]) -> bool {
    evidence
        .iter()
        .filter(|one| one.may_roll_back && one.verdict == Verdict::Breach)
        .any(|one| one.series().is_none() && one.kind.is_total(one.share_lately()))
}
