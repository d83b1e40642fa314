//! The board: where the daemon puts what it knows, and requests read it.
//!
//! Locks are held for a copy and never across an await. A poisoned lock is used all the same:
//! what is on the board is whole after every write, and a status page is no reason to stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{
    changes::{Changes, News},
    configuration::VersionView,
    explain::Explained,
    listing::{Entry, Listing, Posted},
    outcomes::{CallOutcome, RollbackOutcome},
    receivers::Health,
    view::{AppView, FeedView, MirrorState, OrgView, ReleaseView},
};
use crate::{
    model::{AppName, Digest, OperatorHold, Region},
    ports::CopyProgress,
};

/// Whether every watched app had its first round; what is missing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Empty when ready.
    pub reasons: Vec<String>,
}

/// Counters since the start; a restart begins anew, as Prometheus expects.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub rollbacks: BTreeMap<RollbackOutcome, u64>,
    /// App-seconds in which an app could not be seen.
    pub blind: Duration,
    /// The files hold a configuration that was refused.
    pub config_refused: bool,
    pub journal_failing: bool,
    /// Whether the last heartbeat was withheld or not taken; `None`: nobody wants one.
    pub heartbeat_failing: Option<bool>,
    /// How long ago the app that was looked at least recently was looked at.
    pub oldest_round: Option<Duration>,
    /// The action is a name in the source, so the set is bounded.
    pub calls: BTreeMap<(&'static str, CallOutcome), u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Shared with those who show them; the same as long as nothing changes.
    apps: BTreeMap<AppName, Arc<Posted>>,
    /// Which configuration is in force.
    configuration: Option<VersionView>,
    /// How receivers took what was sent to them.
    receivers: BTreeMap<String, Health>,
    /// How many events of each app were recorded since the start.
    told: BTreeMap<AppName, u64>,
    /// What is known of each app's releases.
    releases: BTreeMap<AppName, Vec<ReleaseView>>,
    /// What is held of the release that each app is dealing with.
    explained: BTreeMap<AppName, Explained>,
    /// What should be watched; `None` before the organization was listed.
    expected: Option<BTreeSet<AppName>>,
    /// Why the organization could not be listed, the last time that was so.
    unlisted: Option<String>,
    /// Stays true: an app that is added later makes a running daemon no less ready.
    was_ready: bool,
    feed_read_at: Option<Timestamp>,
    error_regions: Vec<Region>,
    counters: Counters,
    /// Why the journal cannot be written, while that is so, by whose writing failed.
    journal: BTreeMap<Option<AppName>, String>,
    /// When each app had its last round.
    rounds: BTreeMap<AppName, Instant>,
    /// That the platform refuses the token, and what helps.
    token_refused: Option<String>,
    /// An operator's hold of every app.
    held: Option<OperatorHold>,
    /// The copy to the mirror that is under way for an app, and how far it is.
    copying: BTreeMap<AppName, (Digest, CopyProgress)>,
    /// What changed, and when.
    changes: Changes,
}

impl State {
    fn waiting(&self) -> Vec<&AppName> {
        let expected = self.expected.iter().flatten();
        // One that is remembered from before was not looked at.
        expected.filter(|app| !self.rounds.contains_key(*app)).collect()
    }

    /// An app's view, with how far its copy is by now.
    fn with_progress(&self, view: &AppView) -> AppView {
        let mut view = view.clone();
        let copying = self.copying.get(&view.app);
        for mirror in &mut view.mirror {
            if let Some((_, progress)) =
                copying.filter(|(image, _)| *image == mirror.release.digest)
                && mirror.state != MirrorState::Copied
            {
                mirror.state = MirrorState::Copying;
                // How much there is shows when its manifests are read.
                let known = Some(progress).filter(|progress| progress.of > 0);
                (mirror.done, mirror.of) = (known.map(|p| p.done), known.map(|p| p.of));
            }
        }
        view
    }

    fn note_readiness(&mut self) {
        // Once is for good; and it is asked after every round of every app.
        if !self.was_ready && self.expected.is_some() && self.waiting().is_empty() {
            self.was_ready = true;
            self.changes.organization();
        }
    }
}

/// A cheap handle; clones share the same board.
#[derive(Clone, Debug)]
pub struct Board {
    organization: Arc<str>,
    started_at: Timestamp,
    state: Arc<Mutex<State>>,
    /// One image is copied at a time.
    copies: Arc<Semaphore>,
}

impl Board {
    pub fn new(organization: &str, started_at: Timestamp) -> Self {
        let (state, copies) = (Arc::default(), Arc::new(Semaphore::new(1)));
        Self { organization: organization.into(), started_at, state, copies }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which apps are watched, whenever that was found out. Views of other apps go.
    pub fn expect(&self, apps: impl IntoIterator<Item = AppName>) {
        let apps: BTreeSet<_> = apps.into_iter().collect();
        let mut state = self.state();
        if state.expected.as_ref() != Some(&apps) {
            let gone: Vec<AppName> =
                state.apps.keys().filter(|app| !apps.contains(*app)).cloned().collect();
            gone.iter().for_each(|app| state.changes.gone(app));
            state.changes.organization();
        }
        state.apps.retain(|app, _| apps.contains(app));
        state.explained.retain(|app, _| apps.contains(app));
        state.releases.retain(|app, _| apps.contains(app));
        state.rounds.retain(|app, _| apps.contains(app));
        state.told.retain(|app, _| apps.contains(app));
        state.journal.retain(|app, _| app.as_ref().is_none_or(|app| apps.contains(app)));
        state.expected = Some(apps);
        state.note_readiness();
    }

    /// Notes that the journal cannot be written, by the task of an app, or by the daemon itself.
    pub fn journal_fails(&self, writer: Option<&AppName>, why: &str) {
        let mut state = self.state();
        state.journal.insert(writer.cloned(), why.to_owned());
        state.counters.journal_failing = true;
    }

    /// Notes that the journal was written, by whom.
    pub fn journal_works(&self, writer: Option<&AppName>) {
        let mut state = self.state();
        state.journal.remove(&writer.cloned());
        state.counters.journal_failing = !state.journal.is_empty();
    }

    /// Why the journal cannot be written; `None`: it can.
    pub fn journal_trouble(&self) -> Option<String> {
        self.state().journal.values().next().cloned()
    }

    /// How long ago each watched app had its last round.
    pub fn rounds(&self) -> BTreeMap<AppName, Duration> {
        let state = self.state();
        state.rounds.iter().map(|(app, at)| (app.clone(), at.elapsed())).collect()
    }

    /// Notes whether the heartbeat was taken; `None`: nobody wants one.
    pub fn heart_beats(&self, taken: Option<bool>) {
        self.state().counters.heartbeat_failing = taken.map(|taken| !taken);
    }

    /// Says whether the changed configuration was refused.
    pub fn config_refused(&self, refused: bool) {
        let mut state = self.state();
        if std::mem::replace(&mut state.counters.config_refused, refused) != refused {
            state.changes.organization();
        }
    }

    /// Shows which configuration is in force.
    pub fn configured(&self, version: VersionView) {
        let mut state = self.state();
        state.configuration = Some(version);
        state.changes.organization();
    }

    /// Notes that a receiver took a message, or why it did not.
    pub fn sent(&self, receiver: &str, at: Timestamp, outcome: Result<(), &str>) {
        let mut state = self.state();
        let health = state.receivers.entry(receiver.to_owned()).or_default();
        let before = health.clone();
        match outcome {
            Ok(()) => health.takes(at),
            Err(why) => health.fails(at, why),
        }
        // That it took one more is no news.
        if (before.failing_since, before.why) != (health.failing_since, health.why.clone()) {
            state.changes.organization();
        }
    }

    /// Forgets how receivers are that are not among these any more.
    pub fn keep_receivers(&self, is_configured: impl Fn(&str) -> bool) {
        self.state().receivers.retain(|name, _| is_configured(name));
    }

    pub(super) fn receivers(&self) -> BTreeMap<String, Health> {
        self.state().receivers.clone()
    }

    /// Shows an operator's hold of every app, or that there is none.
    pub fn held(&self, hold: Option<OperatorHold>) {
        let mut state = self.state();
        if state.held != hold {
            state.held = hold;
            state.changes.organization();
        }
    }

    /// Shows that the platform refuses the token, and what helps, or that it does not.
    pub fn token_refused(&self, why: Option<String>) {
        let mut state = self.state();
        if state.token_refused != why {
            state.token_refused = why;
            state.changes.organization();
        }
    }

    /// Says why the organization's apps could not be listed.
    pub fn not_listed(&self, reason: &str) {
        self.state().unlisted = Some(reason.to_owned());
    }

    /// Shows an app as of the round that just ended.
    pub fn publish(&self, view: AppView) {
        let mut state = self.state();
        state.rounds.insert(view.app.clone(), Instant::now());
        if state.apps.get(&view.app).is_none_or(|known| *known.view != view) {
            state.changes.app(&view.app);
            state.apps.insert(view.app.clone(), Arc::new(Posted::new(view)));
        }
        state.note_readiness();
    }

    /// Shows an app as the daemon before left it, which no round has looked at yet.
    pub fn remember(&self, view: AppView) {
        let mut state = self.state();
        if !state.rounds.contains_key(&view.app) {
            state.changes.app(&view.app);
            state.apps.insert(view.app.clone(), Arc::new(Posted::new(view)));
        }
    }

    /// Whether something new is out, or is being undone, in any app.
    pub fn is_anything_at_stake(&self) -> bool {
        self.state().apps.values().any(|posted| posted.view.phase.is_at_stake())
    }

    /// Notes that events of an app were recorded: what was read of its history is old.
    pub fn recorded(&self, app: &AppName) {
        let mut state = self.state();
        let told = state.told.entry(app.clone()).or_default();
        *told = told.wrapping_add(1);
    }

    /// Changes whenever events of an app were recorded.
    pub(super) fn told(&self, app: &AppName) -> u64 {
        self.state().told.get(app).copied().unwrap_or_default()
    }

    /// Wakes with each change of what is shown.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.state().changes.subscribe()
    }

    /// What changed after so many changes.
    pub(super) fn changed_since(&self, count: u64) -> News {
        self.state().changes.since(count)
    }

    /// Every app as of its last round, in order. What did not change is the same.
    pub(super) fn views(&self) -> Vec<Arc<AppView>> {
        self.state().apps.values().map(|posted| Arc::clone(&posted.view)).collect()
    }

    /// Keeps what is known of an app's releases.
    pub fn know(&self, app: &AppName, releases: Vec<ReleaseView>) {
        self.state().releases.insert(app.clone(), releases);
    }

    /// What is known of an app's releases; `None`: it is not watched.
    pub fn releases(&self, app: &AppName) -> Option<Vec<ReleaseView>> {
        self.state().releases.get(app).cloned()
    }

    /// Keeps what is held of the release that an app is dealing with, or that there is none.
    pub fn explain(&self, app: &AppName, explained: Option<Explained>) {
        let mut state = self.state();
        if state.explained.get(app) == explained.as_ref() {
            return;
        }
        state.changes.app(app);
        match explained {
            Some(explained) => state.explained.insert(app.clone(), explained),
            None => state.explained.remove(app),
        };
    }

    /// What is held of the release that an app is dealing with.
    pub(super) fn explained(&self, app: &AppName) -> Option<Explained> {
        self.state().explained.get(app).cloned()
    }

    /// Waits for the turn to copy an image; it is over when what this gives is dropped.
    pub async fn turn_to_copy(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        self.copies.clone().acquire_owned().await.ok()
    }

    /// Shows how far the copy of an app's image to the mirror is.
    pub fn copying(&self, app: &AppName, image: Option<&Digest>, progress: CopyProgress) {
        if let Some(image) = image {
            let mut state = self.state();
            state.changes.app(app);
            state.copying.insert(app.clone(), (image.clone(), progress));
        }
    }

    /// No image of the app is being copied.
    pub fn not_copying(&self, app: &AppName) {
        self.state().copying.remove(app);
    }

    /// Takes down an app that is no longer watched.
    pub fn remove(&self, app: &AppName) {
        let mut state = self.state();
        state.apps.remove(app);
        state.releases.remove(app);
        state.told.remove(app);
        state.explained.remove(app);
        state.rounds.remove(app);
        state.changes.gone(app);
        if let Some(expected) = &mut state.expected {
            expected.remove(app);
        }
        state.note_readiness();
    }

    /// Notes a complete reading of the change feed.
    pub fn feed_read(&self, at: Timestamp, error_regions: Vec<Region>) {
        let mut state = self.state();
        state.feed_read_at = Some(at);
        state.error_regions = error_regions;
    }

    pub fn rollback_ended(&self, outcome: RollbackOutcome) {
        let mut state = self.state();
        let count = state.counters.rollbacks.entry(outcome).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds time in which an app could not be seen.
    pub fn blind_for(&self, time: Duration) {
        let mut state = self.state();
        state.counters.blind = state.counters.blind.saturating_add(time);
    }

    pub fn platform_call(&self, action: &'static str, outcome: CallOutcome) {
        let mut state = self.state();
        let count = state.counters.calls.entry((action, outcome)).or_default();
        *count = count.saturating_add(1);
    }

    /// Calls to the platform since the start.
    pub fn platform_calls(&self) -> u64 {
        self.state().counters.calls.values().sum()
    }

    pub fn readiness(&self) -> Readiness {
        let state = self.state();
        if state.was_ready {
            return Readiness { ready: true, reasons: Vec::new() };
        }
        let reasons = match &state.expected {
            None => {
                let why = state.unlisted.as_deref().unwrap_or("not asked for yet");
                let organization = &self.organization;
                vec![format!("the list of the apps of {organization}: {why}")]
            }
            Some(_) => {
                state.waiting().into_iter().map(|app| format!("the first round of {app}")).collect()
            }
        };
        Readiness { ready: false, reasons }
    }

    pub fn app(&self, app: &AppName) -> Option<AppView> {
        let state = self.state();
        state.apps.get(app).map(|posted| state.with_progress(&posted.view))
    }

    /// Everything that is known of the organization and its apps.
    pub fn status(&self, now: Timestamp) -> OrgView {
        let mut view = self.headline(now);
        let state = self.state();
        view.apps = state.apps.values().map(|posted| state.with_progress(&posted.view)).collect();
        view
    }

    /// So many apps that come after a name, for `GET /api/v1/status`.
    pub(super) fn listing(&self, now: Timestamp, after: Option<&str>, most: usize) -> Listing {
        let mut head = self.headline(now);
        let state = self.state();
        let begin = after.map_or(Bound::Unbounded, |name| Bound::Excluded(AppName::new(name)));
        let mut apps = state.apps.range((begin, Bound::Unbounded));
        let listed: Vec<_> = apps.by_ref().take(most).collect();
        let last = listed.last().map(|(app, _)| (*app).clone());
        head.next_after = last.filter(|_| apps.next().is_some());
        let entry = |(app, posted): (&AppName, &Arc<Posted>)| {
            if state.copying.contains_key(app) {
                Entry::Fresh(Box::new(state.with_progress(&posted.view)))
            } else {
                Entry::Posted(Arc::clone(posted))
            }
        };
        let apps = listed.into_iter().map(entry).collect();
        Listing { head, apps }
    }

    /// The same without the apps.
    pub(super) fn headline(&self, now: Timestamp) -> OrgView {
        let Readiness { ready, reasons } = self.readiness();
        let state = self.state();
        OrgView {
            organization: self.organization.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            at: now,
            ready,
            waiting_for: reasons,
            apps_watched: state.expected.as_ref().map_or(state.apps.len(), BTreeSet::len),
            feed: FeedView {
                read_at: state.feed_read_at,
                // Never negative: two clocks of one machine may still be read out of order.
                lag_s: state
                    .feed_read_at
                    .map(|read_at| now.duration_since(read_at).as_secs_f64().max(0.0)),
                error_regions: state.error_regions.clone(),
            },
            token_refused: state.token_refused.clone(),
            hold: state.held.clone().filter(|hold| hold.is_on(now)),
            config: state.configuration.clone(),
            config_refused: state.counters.config_refused,
            receivers: super::receivers::views(Vec::new(), None, &state.receivers),
            apps: Vec::new(),
            next_after: None,
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let state = self.state();
        let oldest = state.rounds.values().map(Instant::elapsed).max();
        Counters { oldest_round: oldest, ..state.counters.clone() }
    }
}
