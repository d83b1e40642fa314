//! What comes new: a release by somebody else starts a watch, and ends what was under way.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    Context, Round, fleet, late, rollback,
    state::{Before, LeftOver, Phase, Revision, Watch},
    voucher, watch,
};
use crate::{
    model::{EventKind, InstanceId, MachineId, Reason, ReleaseStatus},
    threshold::{ThresholdState, silent::Answered},
};

/// How long the same machines may go on serving an image that was rolled back, while nobody's
/// deploy is under way, before they are dealt with.
const LEFT_OVER_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// By when people know that such an image serves, whatever else goes on.
const LEFT_OVER_TOLD_AFTER: SignedDuration = SignedDuration::from_secs(40);
/// How long a deploy that the ledger says is running is waited for.
const DEPLOY_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Takes in what the ledger and the machines show that is new.
pub(super) fn take_in(mut phase: Phase, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    let ledger = round.observation.ledger.as_deref();
    if let Some(ledger) = ledger {
        fleet::learn_from_ledger(&mut phase, &mut cx.memory, ledger);
    }
    let phase = rollback::mind_rivals(phase, cx, round.machines, ledger);
    let newest = fleet::newest_change(&cx.memory, &phase, round.machines);
    let Some(mut newest) = newest else {
        return look_for_left_overs(phase, cx, round);
    };
    let learning = cx.memory.current.is_none();
    let quarantined = cx.memory.quarantined.iter().any(|old| old.digest == newest.digest);
    let numbered = learning || quarantined || fleet::is_numbered(&cx.memory, &newest);
    if !numbered && is_occupied(&phase) {
        // An image put on a machine by hand waits until the release under way is done with.
        return phase;
    }
    fleet::complete(&mut newest, ledger, fleet::Came::of(numbered, quarantined));
    let past = voucher::past(&phase, &cx.memory, cx.now);
    let usual = usual(&phase, cx);
    let ran = ran(&phase, cx);
    let before = late::before(&phase, &cx.memory);
    leave(phase, cx, &newest);
    if fleet::was_recreated(&cx.memory, round.machines) {
        fleet::count_anew(&mut cx.memory);
    }
    let how = Beginning { learning, quarantined, numbered, past, usual, ran, before };
    begin_watch(cx, round, newest, how)
}

/// How a watch begins.
struct Beginning {
    learning: bool,
    quarantined: bool,
    numbered: bool,
    past: BTreeSet<String>,
    /// What each machine answered until now, by threshold.
    usual: BTreeMap<String, BTreeMap<MachineId, Answered>>,
    /// What each machine ran of the known-good release, and when it was seen last.
    ran: BTreeMap<MachineId, (InstanceId, Timestamp)>,
    /// What ran until now was degraded.
    before: Option<Before>,
}

/// What is kept of what ran until now.
fn until_now<'a>(phase: &'a Phase, cx: &'a Context<'_>) -> Option<&'a Watch> {
    match phase {
        Phase::Steady => cx.memory.vigil.watch(),
        Phase::Watching(watch) => Some(&**watch),
        Phase::Unseen
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. } => None,
    }
}

/// What each machine answered under what ran until now.
fn usual(phase: &Phase, cx: &Context<'_>) -> BTreeMap<String, BTreeMap<MachineId, Answered>> {
    let states = until_now(phase, cx).into_iter().flat_map(|watch| &watch.thresholds);
    states.map(|(name, state)| (name.clone(), state.usual(cx.now))).collect()
}

/// Which instances ran until now, where that was the known-good release.
fn ran(phase: &Phase, cx: &Context<'_>) -> BTreeMap<MachineId, (InstanceId, Timestamp)> {
    let good = cx.memory.known_good().map(|good| &good.revision.digest);
    let watch = until_now(phase, cx).filter(|watch| good == Some(&watch.revision.digest));
    let machines = watch.into_iter().flat_map(|watch| {
        let seen = watch.looked_at.unwrap_or(watch.since);
        watch.machines.iter().map(move |(id, was)| (id.clone(), (was.instance().clone(), seen)))
    });
    machines.collect()
}

fn begin_watch(cx: &mut Context<'_>, round: &Round<'_>, newest: Revision, how: Beginning) -> Phase {
    let mut watch = watch::begin(newest.clone(), cx.now, how.learning);
    watch.no_mercy = how.quarantined;
    watch.numbered = how.numbered;
    watch.past = how.past;
    watch.before = how.before;
    watch::remember_replaced(&mut watch, &how.ran, round.machines);
    let on = round.machines.iter().filter(|machine| watch::is_on(&watch, machine));
    let groups = on.map(|machine| machine.group.clone()).collect();
    watch.groups = groups;
    for threshold in &cx.policy.thresholds {
        let Some(usual) = how.usual.get(&threshold.name) else { continue };
        let mut state = ThresholdState::begin(threshold, watch.since);
        state.expect(usual);
        watch.thresholds.insert(threshold.name.clone(), state);
    }
    let reason = if how.quarantined {
        Some(Reason::RolledBackBefore)
    } else {
        how.learning.then_some(Reason::FirstSeen)
    };
    cx.tell(EventKind::ReleaseDetected, &watch, reason);
    fleet::make_current(&mut cx.memory, newest, cx.now);
    let mut phase = Phase::Watching(Box::new(watch));
    if let Some(ledger) = &round.observation.ledger {
        fleet::learn_from_ledger(&mut phase, &mut cx.memory, ledger);
    }
    phase
}

/// What machines run that was not trusted yet, when the watch of something newer ended because that is gone:
/// it is no news, and is watched again all the same. What was rolled back is dealt with as a left-over.
pub(super) fn runs_again(cx: &mut Context<'_>, round: &Round<'_>, mut runs: Revision) -> Phase {
    let memory = &cx.memory;
    let is_quarantined = memory.quarantined.iter().any(|old| old.digest == runs.digest);
    // What is news after all is taken in by the next round.
    if is_quarantined || fleet::newest_change(memory, &Phase::Steady, round.machines).is_some() {
        return Phase::Steady;
    }
    // An image that was put back by hand carries the number of what it replaced.
    let is_gone = |gone: &Revision| gone.version == runs.version && gone.digest != runs.digest;
    let numbered = !memory.current.as_ref().is_some_and(is_gone);
    let learning = memory.trusted.is_empty() && memory.baked.is_none();
    let ledger = round.observation.ledger.as_deref();
    fleet::complete(&mut runs, ledger, fleet::Came::of(numbered, false));
    let how = Beginning {
        learning,
        quarantined: false,
        numbered,
        past: BTreeSet::new(),
        usual: BTreeMap::new(),
        ran: BTreeMap::new(),
        before: None,
    };
    let phase = begin_watch(cx, round, runs, how);
    // What came and went replaced nothing, and is nothing to go back to.
    cx.memory.previous = None;
    phase
}

/// An image that was rolled back and serves on, because something newer ended its rollback and did
/// not reach every machine: people are told, and when nobody is deploying any more it is watched
/// anew, without mercy. The same image under a number that the watch does not look at (a host that
/// came back after secrets were set) joins the watch then.
fn look_for_left_overs(mut phase: Phase, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    let (watch, quiet) = match &phase {
        Phase::Steady => (None, true),
        Phase::Watching(watch) => {
            // Nor while people are dealing with what was trusted and degraded: it would be forgotten.
            let is_degraded = watch.late.as_ref().is_some_and(|late| !late.is_over);
            (Some(&**watch), !is_being_deployed(cx, watch) && !is_degraded)
        }
        Phase::Unseen
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. } => {
            cx.memory.left_over = None;
            return phase;
        }
    };
    let serving = fleet::still_quarantined(&cx.memory, watch, round.machines);
    if serving.is_empty() {
        cx.memory.left_over = None;
        return phase;
    }
    let now = cx.now;
    let left = cx.memory.left_over.get_or_insert_with(|| LeftOver {
        unchanged_since: now,
        serving: BTreeMap::new(),
        named: BTreeSet::new(),
    });
    if left.note(serving.iter().map(|machine| &machine.id), now) {
        left.unchanged_since = now;
    }
    let lasts = now.duration_since(left.unchanged_since) >= LEFT_OVER_AFTER;
    if left.is_to_be_told(now) {
        left.named = left.serving.keys().cloned().collect();
        let machines = left.named.iter().cloned().collect();
        cx.say(EventKind::ImageMixed, Reason::QuarantinedServes { machines });
    }
    if !(lasts && quiet) {
        return phase;
    }
    let ledger = round.observation.ledger.as_deref();
    let Some(revision) = fleet::left_over(&serving, ledger) else { return phase };
    cx.memory.left_over = None;
    if let Phase::Watching(watch) = &mut phase
        && watch.revision.digest == revision.digest
    {
        watch.any_number = true;
        return phase;
    }
    let past = BTreeSet::new();
    let how = Beginning {
        learning: false,
        quarantined: true,
        numbered: true,
        past,
        usual: BTreeMap::new(),
        ran: BTreeMap::new(),
        before: None,
    };
    begin_watch(cx, round, revision, how)
}

impl LeftOver {
    /// Takes in which machines serve such an image now; whether it is others than before.
    fn note<'a>(&mut self, ids: impl Iterator<Item = &'a MachineId>, now: Timestamp) -> bool {
        let ids: BTreeSet<&MachineId> = ids.collect();
        let before = self.serving.len();
        self.serving.retain(|id, _| ids.contains(id));
        self.named.retain(|id| ids.contains(id));
        let is_less = self.serving.len() < before;
        let is_more = self.serving.len() < ids.len();
        for id in ids {
            self.serving.entry(id.clone()).or_insert(now);
        }
        is_less || is_more
    }

    /// Whether one of them serves it for so long that people have to know.
    fn is_to_be_told(&self, now: Timestamp) -> bool {
        let mut unknown = self.serving.iter().filter(|(id, _)| !self.named.contains(*id));
        unknown.any(|(_, since)| now.duration_since(*since) >= LEFT_OVER_TOLD_AFTER)
    }
}

/// Whether somebody's deploy of the watched release is still going on, as far as the ledger tells.
fn is_being_deployed(cx: &Context<'_>, watch: &super::state::Watch) -> bool {
    let runs = match watch.last_ledger_status {
        Some(ReleaseStatus::Pending | ReleaseStatus::Running) => true,
        // Not read yet.
        None => watch.settled_at.is_none(),
        Some(_) => false,
    };
    runs && cx.now.duration_since(watch.since) < DEPLOY_MAX
}

/// Whether a release with a number of its own is being dealt with.
fn is_occupied(phase: &Phase) -> bool {
    match phase {
        // What was trusted is nobody's deploy, however it is.
        Phase::Watching(watch) | Phase::Held { watch, .. } => {
            watch.numbered && watch.late.is_none()
        }
        Phase::CountingDown { .. } | Phase::CheckingImage { .. } | Phase::RollingBack(_) => true,
        Phase::Unseen | Phase::Steady | Phase::RolledBack(_) | Phase::Stopped { .. } => false,
    }
}

/// Says what ends because something newer came.
fn leave(phase: Phase, cx: &mut Context<'_>, newest: &Revision) {
    let newer = Reason::NewerRelease { label: newest.info().name() };
    match phase {
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
            cx.tell(EventKind::RollbackStopped, &watch, newer);
        }
        Phase::Held { watch, .. } => cx.tell(EventKind::HoldCleared, &watch, newer),
        Phase::RollingBack(rollback) => {
            rollback::stop_for_rival(cx, &rollback, &newest.info().name());
        }
        Phase::Stopped { rollback, .. } => {
            let mut event = rollback::event(cx, EventKind::HoldCleared, &rollback);
            event.reason = Some(newer);
            cx.events.push(event);
        }
        Phase::Unseen | Phase::Watching(_) | Phase::Steady | Phase::RolledBack(_) => {}
    }
}
