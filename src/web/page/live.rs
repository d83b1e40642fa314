//! All apps as rows, worst first: made when somebody looks, kept while nothing changes, and shared by
//! everybody who looks. There is no queue: who comes late gets what is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::list;
use crate::{
    model::AppName,
    web::{
        Board, Phase,
        rank::Rank,
        view::{AppView, OrgView},
    },
};

/// How old an overview may be that is shown.
const FRESH: Duration = Duration::from_millis(500);
/// Readers of changes at once: more than a team has, and less than a daemon notices.
const READERS_MAX: usize = 64;

/// One app's line.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) view: Arc<AppView>,
    /// The overview in which it became so.
    pub(super) revision: u64,
    pub(super) rank: Rank,
    pub(super) html: String,
}

/// Everything that the list shows.
#[derive(Debug)]
pub(super) struct Overview {
    /// Which process this is, and how often the list changed in it.
    pub(super) epoch: u64,
    pub(super) revision: u64,
    made: Instant,
    /// Without the apps.
    pub(super) headline: OrgView,
    /// How many apps are in each phase.
    pub(super) phases: BTreeMap<Phase, usize>,
    /// The worst first.
    pub(super) rows: Vec<Arc<Row>>,
}

impl Overview {
    /// What a reader has who has this one.
    pub(super) fn mark(&self) -> String {
        format!("{:x}.{}", self.epoch, self.revision)
    }
}

/// What pages and streams are made from, and who reads.
#[derive(Clone, Debug)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    overview: Mutex<Option<Arc<Overview>>>,
    revisions: AtomicU64,
    readers: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Default for Live {
    fn default() -> Self {
        Self(Arc::new(Inner {
            overview: Mutex::default(),
            revisions: AtomicU64::new(0),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            closing: watch::Sender::new(false),
        }))
    }
}

impl Live {
    /// A place for a reader of changes; `None`: all are taken.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.readers).try_acquire_owned().ok()
    }

    /// Ends all streams.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// All apps as they are on the board, at most [`FRESH`] old.
    pub(super) fn overview(&self, board: &Board, now: Timestamp) -> Arc<Overview> {
        // Held while rows are made, so that they are made once for all.
        let mut kept = self.0.overview.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(overview) = kept.as_ref().filter(|kept| kept.made.elapsed() < FRESH) {
            return Arc::clone(overview);
        }
        let overview = Arc::new(self.renew(kept.as_deref(), board, now));
        *kept = Some(Arc::clone(&overview));
        overview
    }

    fn renew(&self, old: Option<&Overview>, board: &Board, now: Timestamp) -> Overview {
        let revision = self.0.revisions.fetch_add(1, Ordering::Relaxed) + 1;
        let mut known: BTreeMap<&AppName, &Arc<Row>> =
            old.iter().flat_map(|old| &old.rows).map(|row| (&row.view.app, row)).collect();
        let mut phases: BTreeMap<Phase, usize> = BTreeMap::new();
        let mut changed = old.is_none();
        let mut rows = Vec::new();
        for view in board.views() {
            *phases.entry(view.phase).or_default() += 1;
            let before = known.remove(&view.app);
            let row = match before.filter(|row| Arc::ptr_eq(&row.view, &view)) {
                Some(row) => Arc::clone(row),
                None => {
                    let html = list::row(&view).0;
                    let same = before.filter(|row| row.html == html);
                    changed |= same.is_none();
                    let revision = same.map_or(revision, |row| row.revision);
                    Arc::new(Row { rank: view.rank(), view, revision, html })
                }
            };
            rows.push(row);
        }
        changed |= !known.is_empty();
        rows.sort_by(|a, b| (a.rank, &a.view.app).cmp(&(b.rank, &b.view.app)));
        let headline = board.headline(now);
        let started = headline.started_at.as_nanosecond();
        Overview {
            epoch: u64::try_from(started.rem_euclid(i128::from(u64::MAX))).unwrap_or_default(),
            revision: match old {
                Some(old) if !changed => old.revision,
                Some(_) | None => revision,
            },
            made: Instant::now(),
            headline,
            phases,
            rows,
        }
    }
}
