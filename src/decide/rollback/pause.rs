//! A rollback that comes no further waits under its id: it says for what, once, looks again, and
//! goes on by itself. Before it touches another machine, everything that forbids a rollback is
//! asked again; after a long pause the release has to show its breach again as well.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Context, Round, door,
        phases::look_again,
        sight,
        state::{LedgerEntry, MachinePhase, Rollback, Watch},
        verdict, watch,
    },
    event, ledger,
};
use crate::model::{EventKind, HoldReason, Reason, Verdict, Wait};

/// What passes sooner is told to nobody.
const TOLD_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// A pause after which the evidence from before is too old to act on.
const EVIDENCE_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How long a release that does not show its breach again is waited for before people are told
/// that nothing will be done.
const FRESH_BREACH_WITHIN: SignedDuration = SignedDuration::from_mins(3);
/// How long machines may be half way, some of them back and others not, before that is an error.
const HALF_WAY_FOR: SignedDuration = SignedDuration::from_mins(3);
/// A pause after which the entry in the ledger is closed: other tools wait for an open one.
const LEDGER_FOR: SignedDuration = SignedDuration::from_mins(15);
/// Without any progress for this long people have to look.
const STALLED_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// The time in which a rollback comes no further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// What it waits for now, and since when.
    pub wait: Wait,
    pub wait_since: Timestamp,
    /// Since when it comes no further at all.
    pub since: Timestamp,
    /// What people were told of.
    pub told: Vec<Wait>,
    /// The release, watched anew after a long pause.
    pub fresh: Option<Box<Watch>>,
    /// Whether people know that nothing is done for want of a breach.
    pub held: bool,
    /// Whether they know that it leaves machines half way.
    #[serde(default)]
    pub half_way_told: bool,
}

impl Pause {
    fn new(wait: Wait, since: Timestamp, now: Timestamp) -> Self {
        Self {
            wait,
            wait_since: now,
            since,
            told: Vec::new(),
            fresh: None,
            held: false,
            half_way_told: false,
        }
    }
}

/// Notes that nobody looked for a while: a daemon that was away, a platform that could not be read.
pub(super) fn note_absence(rollback: &mut Rollback, now: Timestamp) {
    let before = std::mem::replace(&mut rollback.looked_at, now);
    if now.duration_since(before) < EVIDENCE_FOR {
        return;
    }
    if rollback.pause.is_none() {
        rollback.pause = Some(Pause::new(Wait::FreshBreach, before, now));
    }
    // Nothing could come further meanwhile.
    rollback.awake_since = now;
    if let Some(pause) = &mut rollback.pause {
        pause.since = pause.since.min(before);
    }
}

/// Why no machine may be begun in this round; `None`: machines may be.
pub(super) fn gate(
    rollback: &mut Rollback,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Option<Wait> {
    if let Some(hold) = cx.memory.operator_hold.as_ref().filter(|hold| hold.is_on(cx.now)) {
        return Some(Wait::Held { hold: HoldReason::Operator { hold: hold.clone() } });
    }
    if let Some(version) = rollback.waits_for {
        return Some(Wait::Announced { version });
    }
    let mut pause = rollback.pause.take()?;
    let wait = if has_work(rollback) { may_go_on(&mut pause, rollback, cx, round) } else { None };
    rollback.pause = Some(pause);
    wait
}

/// Whether machines are left that would be written to.
fn has_work(rollback: &Rollback) -> bool {
    let ours = rollback.regions.iter().filter(|work| !work.is_left_alone());
    ours.flat_map(|work| work.machines.values())
        .any(|machine| matches!(machine.phase, MachinePhase::Todo | MachinePhase::Failed { .. }))
}

fn may_go_on(
    pause: &mut Pause,
    rollback: &Rollback,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Option<Wait> {
    let now = cx.now;
    if rollback.is_wanted_by_hand() {
        // Whoever wants it was asked already, and needs no breach.
        return None;
    }
    let is_long = now.duration_since(pause.since) >= EVIDENCE_FOR;
    if !is_long {
        let watch = as_it_was(rollback, now);
        return door::refusal_to_go_on(cx, &watch).map(|hold| Wait::Held { hold });
    }
    if let Some(what) = sight::unseen(cx, &rollback.evidence) {
        pause.fresh = None;
        return Some(Wait::NotSeen { region: None, what });
    }
    let watch = pause.fresh.get_or_insert_with(|| {
        let mut watch = anew(rollback, now);
        watch.no_mercy = true;
        Box::new(watch)
    });
    // Also of one that was begun by an older version.
    watch.in_ledger = true;
    look_again(watch, cx, round);
    if verdict::overall(&watch.evidence) == Verdict::Breach {
        return door::refusal_to_go_on(cx, watch).map(|hold| Wait::Held { hold });
    }
    Some(Wait::FreshBreach)
}

/// A watch of what is undone. What the ledger says of it was asked when the rollback began.
pub(super) fn anew(rollback: &Rollback, now: Timestamp) -> Watch {
    let mut watch = watch::begin(rollback.bad.clone(), now, false);
    watch.in_ledger = true;
    watch.numbered = rollback.bad.version.is_some();
    // With the known-good image, its number is what tells a machine of it.
    watch.any_number = !rollback.keeps_the_image();
    watch.setup.clone_from(&rollback.setup);
    watch
}

/// The release as it was judged when the rollback began.
fn as_it_was(rollback: &Rollback, now: Timestamp) -> Watch {
    let mut watch = anew(rollback, now);
    watch.evidence.clone_from(&rollback.evidence);
    for work in &rollback.regions {
        watch.regions.insert(work.region.clone());
    }
    watch
}

/// Takes in what this round waits for: told after a moment, once; and what follows from a pause
/// that lasts, or that is over.
pub(super) fn note(rollback: &mut Rollback, cx: &mut Context<'_>, wait: Option<Wait>) {
    let now = cx.now;
    let came_further =
        rollback.pause.as_ref().is_some_and(|pause| rollback.progress_at > pause.since);
    match wait {
        Some(wait) if rollback.pause.is_none() => {
            rollback.pause = Some(Pause::new(wait, now, now));
        }
        Some(wait) if !came_further => {
            if let Some(pause) = &mut rollback.pause {
                if !pause.wait.is_same_kind(&wait) {
                    pause.wait_since = now;
                }
                pause.wait = wait;
            }
        }
        Some(_) | None => resume(rollback, cx),
    }
    lasts(rollback, cx);
}

/// The pause is over.
fn resume(rollback: &mut Rollback, cx: &mut Context<'_>) {
    let Some(pause) = rollback.pause.take() else { return };
    if pause.held {
        let was = HoldReason::NoFreshBreach;
        let mut event = event(cx, EventKind::HoldCleared, rollback);
        event.reason = Some(Reason::HoldOver { was });
        cx.events.push(event);
    }
    if !pause.told.is_empty() {
        let mut event = event(cx, EventKind::RollbackResumed, rollback);
        event.reason = Some(Reason::WaitOver { was: pause.wait });
        event.after_s = Some(cx.now.duration_since(pause.since).as_secs_f64());
        cx.events.push(event);
    }
    rollback.stall_told = false;
    ledger::reopen(rollback, cx);
}

/// What a pause that lasts brings with it.
pub(super) fn lasts(rollback: &mut Rollback, cx: &mut Context<'_>) {
    let now = cx.now;
    let Some(mut pause) = rollback.pause.take() else { return };
    let is_told = pause.told.iter().any(|told| told.is_same_kind(&pause.wait));
    let at_once = matches!(&pause.wait, Wait::Held { .. });
    if !is_told && (at_once || now.duration_since(pause.wait_since) >= TOLD_AFTER) {
        pause.told.push(pause.wait.clone());
        let mut event = event(cx, EventKind::RollbackPaused, rollback);
        event.reason = Some(Reason::Waits { wait: pause.wait.clone() });
        cx.events.push(event);
    }
    half_way(&mut pause, rollback, cx);
    let well = pause.wait == Wait::FreshBreach
        && pause
            .fresh
            .as_ref()
            .is_some_and(|fresh| now.duration_since(fresh.since) >= FRESH_BREACH_WITHIN);
    if well && !pause.held {
        pause.held = true;
        let mut event = event(cx, EventKind::HoldPlaced, rollback);
        event.reason = Some(HoldReason::NoFreshBreach.into());
        cx.events.push(event);
    }
    if now.duration_since(pause.since) >= LEDGER_FOR
        && let LedgerEntry::Open { version, .. } = rollback.ledger
    {
        ledger::close(cx, rollback, false);
        rollback.ledger = LedgerEntry::Closed { version };
    }
    let since = rollback.progress_at.max(rollback.awake_since);
    if !rollback.stall_told && now.duration_since(since) >= STALLED_AFTER {
        rollback.stall_told = true;
        let mut event = event(cx, EventKind::RollbackFailed, rollback);
        let minutes = u64::try_from(STALLED_AFTER.as_mins()).unwrap_or(0);
        event.reason = Some(Reason::NoProgress { minutes, wait: pause.wait.clone() });
        cx.events.push(event);
    }
    rollback.pause = Some(pause);
}

/// Tells, once a pause, that it leaves some machines back and others not for longer than what passes.
fn half_way(pause: &mut Pause, rollback: &Rollback, cx: &mut Context<'_>) {
    let since = pause.since.max(rollback.awake_since);
    let lasts = cx.now.duration_since(since) >= HALF_WAY_FOR;
    // Who holds it knows.
    let by_a_person = matches!(
        &pause.wait,
        Wait::Held { hold: HoldReason::Operator { .. } | HoldReason::Vetoed { .. } }
    );
    if pause.half_way_told || !lasts || by_a_person || !is_half_way(rollback) {
        return;
    }
    pause.half_way_told = true;
    let mut event = event(cx, EventKind::RollbackPaused, rollback);
    let minutes = u64::try_from(HALF_WAY_FOR.as_mins()).unwrap_or(0);
    event.reason = Some(Reason::NoProgress { minutes, wait: pause.wait.clone() });
    cx.events.push(event);
    if !pause.told.iter().any(|told| told.is_same_kind(&pause.wait)) {
        pause.told.push(pause.wait.clone());
    }
}

/// Whether machines are back, and others are left: also one that is being tried just now.
fn is_half_way(rollback: &Rollback) -> bool {
    let ours = rollback.regions.iter().filter(|work| !work.is_left_alone());
    let mut left = ours.flat_map(|work| work.machines.values());
    let mut all = rollback.regions.iter().flat_map(|work| work.machines.values());
    all.any(|machine| machine.verified.is_some())
        && left.any(|one| one.is_open() || matches!(one.phase, MachinePhase::Failed { .. }))
}

/// What keeps machines from being put right that came back after the rollback, when that lasts and
/// people do not know of it yet: the lease of somebody whose deploy goes on, say.
pub(super) fn news_of_waiting(rollback: &mut Rollback, now: Timestamp) -> Option<Wait> {
    let ours = rollback.regions.iter().filter(|work| !work.is_left_alone());
    let mut open = ours.flat_map(|work| work.machines.values()).filter(|one| one.is_open());
    let Some(wait) = open.find_map(|machine| machine.waits.clone()) else {
        rollback.pause = None;
        return None;
    };
    let pause = rollback.pause.get_or_insert_with(|| Pause::new(wait.clone(), now, now));
    if !pause.wait.is_same_kind(&wait) {
        pause.wait_since = now;
    }
    pause.wait = wait.clone();
    let is_told = pause.told.iter().any(|told| told.is_same_kind(&wait));
    if is_told || now.duration_since(pause.wait_since) < TOLD_AFTER {
        return None;
    }
    pause.told.push(wait.clone());
    Some(wait)
}

/// The platform cannot be read at all: nothing is done, and the pause goes on.
pub(in crate::decide) fn not_seen(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
) -> Box<Rollback> {
    let wait = Wait::NotSeen { region: None, what: crate::model::reason::Unseen::Platform };
    if rollback.ledger == LedgerEntry::Opening {
        return rollback;
    }
    note(&mut rollback, cx, Some(wait));
    rollback
}
