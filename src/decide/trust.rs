//! Where trust is decided. It is earned by what was seen, in two steps.
//!
//! *Baked*: seen healthy for the whole bake by every threshold that can be fed, wherever machines are
//! started. Time in which something could not be seen (the daemon was away, pages that cannot be
//! read) earns nothing. *Trusted*: baked, and the requests say so as well; where no threshold that decides
//! can count any (a worker), there is nothing to ask, and what is baked is trusted. After a failure of
//! everything the newest of either is gone back to, after a partial one only a trusted release.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    Context, Round, dispersion, floor, groups, images, late, later, setup, sight, signed,
    state::{Phase, Trusted, Watch},
    verdict,
    watch::is_on,
};
use crate::model::{
    EventKind, Machine, MachineSample, MachineState, NoData, Obstacle, OnBreach, Policy,
    ProcessGroup, Reason, Region, SourceName, Threshold, Unknown, Verdict,
};
use crate::threshold::{Applies, Proof};

/// Two looks further apart than this, and than three rounds of the pace, did not see what was between
/// them.
const CONTIGUOUS: SignedDuration = SignedDuration::from_secs(15);
const CONTIGUOUS_ROUNDS: u32 = 3;
/// A baked release is told of when its requests have not made it a trusted one by then.
const BAKED_TOLD_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// One part in so many of the started machines may be unread.
const UNREAD_PART: u32 = 3;
/// After so many bakes without a release to go back to, people are told why there is none.
const BAKES_UNTIL_TOLD: u32 = 3;

/// Adds what this round saw to what the release has earned, and lets it rise.
pub(super) fn earn(mut watch: Box<Watch>, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    add_round(cx, &mut watch, round);
    if watch.seen_s >= cx.policy.watch.bake.as_secs_f64() {
        watch.baked_at.get_or_insert(cx.now);
        if requests_agree(cx, &watch) {
            return trusted(watch, cx, round);
        }
        note_baked(&mut watch, cx, round);
    }
    tell_if_nothing_protects(&mut watch, cx);
    Phase::Watching(watch)
}

/// When the release will have been seen for its whole bake if nothing comes between; `None`: its
/// time does not run.
pub fn bake_ends(policy: &Policy, watch: &Watch, now: Timestamp) -> Option<Timestamp> {
    if watch.obstacle.is_some() {
        return None;
    }
    let left = (policy.watch.bake.as_secs_f64() - watch.seen_s).max(0.0);
    let seen = later(now, std::time::Duration::from_secs_f64(left));
    Some(verdict::bake_ends(policy, watch).map_or(seen, |end| end.max(seen)))
}

/// Time counts when it lies between two looks that both saw the release well.
fn add_round(cx: &Context<'_>, watch: &mut Watch, round: &Round<'_>) {
    note_fed_groups(cx.policy, watch, round);
    let before = watch.earned_to.replace(cx.now);
    let was_well = watch.obstacle.is_none();
    watch.obstacle = obstacle(cx.policy, watch, round, cx.now);
    let Some(before) = before else { return };
    let passed = cx.now.duration_since(before);
    let closely = watch.is_close(cx.now);
    let pace =
        if closely { cx.policy.watch.scrape_every } else { cx.policy.watch.idle_scrape_every };
    let contiguous = signed(pace * CONTIGUOUS_ROUNDS).max(CONTIGUOUS);
    if was_well && watch.obstacle.is_none() && passed <= contiguous {
        watch.seen_s += passed.as_secs_f64().max(0.0);
    }
}

/// A round saw nothing: the time around it earns nothing, however short it was.
pub(super) fn interrupted(watch: &mut Watch) {
    watch.earned_to = None;
}

/// Groups whose pages are to be had: asked for by the policy or the machines, or read once.
fn note_fed_groups(policy: &Policy, watch: &mut Watch, round: &Round<'_>) {
    let is_read = |machine: &Machine| {
        let mut samples = round.observation.samples.iter();
        samples.any(|sample| is_page_of(sample, machine) && sample.readings.is_ok())
    };
    let on: Vec<&&Machine> = round.machines.iter().filter(|m| is_on(watch, m)).collect();
    for machine in on {
        let asked = machine.metrics.is_some() || policy.metrics_port.is_some();
        if asked || is_read(machine) {
            watch.fed_groups.insert(machine.group.clone());
        }
    }
}

/// Why this round earns the release nothing; `None`: it was seen, and well.
fn obstacle(policy: &Policy, watch: &Watch, round: &Round<'_>, now: Timestamp) -> Option<Obstacle> {
    if watch.settled_at.is_none() {
        return Some(Obstacle::NotSettled);
    }
    let on = || round.machines.iter().filter(|machine| is_on(watch, machine));
    let started = || on().filter(|machine| machine.state == MachineState::Started);
    if started().next().is_none() {
        return Some(Obstacle::NothingUp);
    }
    if decides(policy, &SourceName::Pages)
        && let Some(unread) = unread(&watch.fed_groups, started(), round)
    {
        return Some(unread);
    }
    if let Some(source) = silent(policy, round) {
        return Some(Obstacle::SourceSilent { source: source.clone() });
    }
    if let Some((region, threshold)) = verdict::sick_region(watch, now) {
        return Some(Obstacle::SickRegion { region, threshold });
    }
    let deciding =
        watch.evidence.iter().filter(|evidence| evidence.may_roll_back && evidence.applies);
    deciding.into_iter().find_map(|evidence| {
        let threshold = evidence.threshold.clone();
        match evidence.verdict {
            Verdict::Pass => None,
            Verdict::Breach => Some(Obstacle::Breaches { threshold }),
            // What counts requests has nothing to say without any; the rest can be fed. While they
            // lean against the release it is not seen to be well, proved or not; nor is it while nothing of
            // them can be seen.
            Verdict::Inconclusive
                if evidence.kind.counts_events()
                    && !evidence.unseen
                    && !verdict::leans_against(std::slice::from_ref(evidence)) =>
            {
                None
            }
            Verdict::Inconclusive => Some(Obstacle::Undecided { threshold }),
        }
    })
}

fn is_page_of(sample: &MachineSample, machine: &Machine) -> bool {
    sample.source == SourceName::Pages && sample.machine == machine.id
}

/// Started machines of groups that can be read, and were not in this round: more than a third of
/// them, or all that a group has in a region. What has no address cannot be read by anybody.
fn unread<'a>(
    fed: &BTreeSet<ProcessGroup>,
    started: impl Iterator<Item = &'a &'a Machine>,
    round: &Round<'_>,
) -> Option<Obstacle> {
    // A policy that wants nothing of pages reads none.
    let of_pages = |sample: &MachineSample| sample.source == SourceName::Pages;
    if !round.observation.samples.iter().any(of_pages) {
        return None;
    }
    let (mut all, mut missing) = (0, 0);
    let mut regions: BTreeMap<(&ProcessGroup, &Region), bool> = BTreeMap::new();
    let can_be_read =
        |machine: &&&Machine| fed.contains(&machine.group) && machine.private_ip.is_some();
    for machine in started.filter(can_be_read) {
        all += 1;
        let read = round
            .observation
            .samples
            .iter()
            .any(|sample| is_page_of(sample, machine) && sample.readings.is_ok());
        missing += u32::from(!read);
        *regions.entry((&machine.group, &machine.region)).or_default() |= read;
    }
    let blind = missing * UNREAD_PART > all || regions.values().any(|read| !read);
    blind.then_some(Obstacle::Unread { machines: missing, of: all })
}

/// A metrics server that told nothing in this round, and that something rests on.
fn silent<'a>(policy: &Policy, round: &'a Round<'_>) -> Option<&'a SourceName> {
    let mut blind = round.observation.blind.keys();
    blind.find(|source| **source != SourceName::Pages && decides(policy, source))
}

/// Whether a source has something to tell without which nothing is trusted.
fn decides(policy: &Policy, source: &SourceName) -> bool {
    let needed =
        |one: &Threshold| one.on_breach == OnBreach::Rollback && one.no_data != NoData::Ignore;
    policy.thresholds.iter().any(|one| one.source() == Some(source) && needed(one))
}

/// Whether the requests say that the release is well: they came to the end of the bake, in several
/// blocks, and do not lean against it.
fn requests_agree(cx: &Context<'_>, watch: &Watch) -> bool {
    verdict::overall(&watch.evidence) == Verdict::Pass
        && !cx.memory.blind.keys().any(|source| decides(cx.policy, source))
        && verdict::bake_ends(cx.policy, watch).is_some_and(|end| cx.now >= end)
        && verdict::is_exercised(cx.policy, watch, cx.now)
        && !verdict::leans_against(&watch.evidence)
        && proofs(cx, watch).all(|(_, proof)| proof.is_enough())
}

/// What requests say for the release, where they have to.
fn proofs<'a>(cx: &'a Context<'_>, watch: &'a Watch) -> impl Iterator<Item = (&'a str, Proof)> {
    let has_to = |one: &&Threshold| {
        let applies = verdict::applies(cx.policy, watch, &one.name) == Applies::Yes;
        one.room().kind().proves()
            && applies
            && one.on_breach == OnBreach::Rollback
            && one.no_data != NoData::Ignore
    };
    let needed = cx.policy.thresholds.iter().filter(has_to);
    needed.filter_map(|one| Some((one.name.as_str(), watch.thresholds.get(&one.name)?.proof()?)))
}

/// A threshold of which nothing is counted, and for how many seconds if anything was before.
fn without_requests(cx: &Context<'_>, watch: &Watch, name: &str) -> Option<(String, Option<u64>)> {
    let unknown = sight::unknown(cx.policy, &cx.memory, watch, cx.now);
    let (name, unknown) = unknown.into_iter().find(|(one, _)| one == name)?;
    match unknown {
        Unknown::NeverExercised => Some((name, None)),
        Unknown::NoTraffic { since } => {
            Some((name, u64::try_from(cx.now.duration_since(since).as_secs()).ok()))
        }
        _ => None,
    }
}

/// Why a release is only baked.
fn why_only_baked(cx: &Context<'_>, watch: &Watch) -> Reason {
    let mut needed = proofs(cx, watch);
    if let Some((threshold, seconds)) =
        needed.find_map(|(name, _)| without_requests(cx, watch, name))
    {
        return Reason::NoRequests { threshold, seconds };
    }
    let missing = proofs(cx, watch).filter_map(|(name, proof)| Some((name, proof.missing?)));
    let most = missing.filter(|(_, missing)| *missing > 0.0).max_by(|a, b| a.1.total_cmp(&b.1));
    match most {
        Some((name, missing)) => Reason::RequestsMissing { threshold: name.to_owned(), missing },
        None => Reason::OnlyBaked,
    }
}

fn credentials(watch: &Watch, cx: &Context<'_>, round: &Round<'_>) -> Trusted {
    Trusted {
        revision: watch.revision.clone(),
        at: cx.now,
        image_checked_at: None,
        image_missing: false,
        crashes_per_machine: verdict::crashes_per_machine(watch),
        failing: verdict::failing_checks(watch, round.machines),
        stayed_up: verdict::groups_that_stay_up(watch, round.machines),
        vouched: None,
        mirror: None,
        setup: Some(setup::of_trusted(cx, round.machines, |machine| is_on(watch, machine))),
        dispersions: dispersion::of(cx, watch),
        revoked: None,
        ran: groups::ran(&cx.memory, &watch.revision, round.machines),
    }
}

fn trusted(watch: Box<Watch>, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    let again = watch.late.is_some().then_some(Reason::TrustedAgain);
    cx.tell(EventKind::ReleaseTrusted, &watch, again);
    let credentials = credentials(&watch, cx, round);
    cx.trust(credentials);
    // Whatever was baked is older now.
    cx.memory.baked = None;
    images::check(cx, watch.revision.image.clone(), false);
    floor::trusted(cx, &watch);
    late::go_on_with(cx, watch);
    Phase::Steady
}

/// Notes a release that was seen well and whose requests do not say so (yet).
fn note_baked(watch: &mut Watch, cx: &mut Context<'_>, round: &Round<'_>) {
    let digest = &watch.revision.digest;
    let is_noted = cx.memory.baked.as_ref().is_some_and(|baked| baked.revision.digest == *digest);
    let is_trusted = cx.is_trusted(&watch.revision);
    if !is_noted && !is_trusted {
        let credentials = credentials(watch, cx, round);
        cx.memory.baked = Some(credentials);
        images::check(cx, watch.revision.image.clone(), false);
    }
    let lasts = watch.baked_at.is_some_and(|at| cx.now.duration_since(at) >= BAKED_TOLD_AFTER);
    if lasts && !watch.baked_told && !is_trusted {
        watch.baked_told = true;
        let why = why_only_baked(cx, watch);
        cx.tell(EventKind::ReleaseBaked, watch, why);
    }
}

/// An app without anything to go back to is not protected: said once, with the cause.
fn tell_if_nothing_protects(watch: &mut Watch, cx: &mut Context<'_>) {
    let unprotected = cx.memory.trusted.is_empty() && cx.memory.baked.is_none();
    let long = signed(cx.policy.watch.bake * BAKES_UNTIL_TOLD);
    if watch.untrusted_told || !unprotected || cx.now.duration_since(watch.since) < long {
        return;
    }
    watch.untrusted_told = true;
    let obstacle = watch.obstacle.clone().unwrap_or(Obstacle::NotSeenLongEnough {
        seen_s: watch.seen_s,
        bake_s: cx.policy.watch.bake.as_secs_f64(),
    });
    cx.tell(EventKind::ReleaseUntrusted, watch, Reason::NothingProtects { obstacle });
}
