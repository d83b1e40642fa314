//! Changes as server-sent events. A reader is asked once a second what it has, and is given what is
//! new: nothing is queued for anybody, however slow. Who wants names alone has them as things change.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tracing::debug;

use super::{
    EventsQuery, ListQuery, app, list,
    timeline::{self, Events},
};
use crate::{model::AppName, web::ApiState};

/// How often a reader is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two lists of names, at least.
const NAMES_APART: Duration = Duration::from_millis(100);
/// A sign of life where nothing changes; the listener ends a connection that takes none.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// What changed, by name.
#[derive(Serialize)]
struct Named<'n> {
    apps: &'n [AppName],
    /// Also what belongs to no single app, or which apps there are.
    organization: bool,
}

/// What changed in the list; `None`: that did not.
#[derive(Serialize)]
struct Changed<'c> {
    head: Option<&'c str>,
    foot: Option<&'c str>,
    /// Names in their order.
    order: Option<&'c [&'c str]>,
    /// New rows.
    rows: BTreeMap<&'c str, &'c str>,
}

/// What a reader of the list was sent last.
#[derive(Default)]
struct Sent {
    head: String,
    foot: String,
    /// The rows in their order, and since when they were so.
    rows: Vec<(AppName, u64)>,
}

pub(super) fn answer(state: ApiState, query: EventsQuery) -> Response {
    let Some(seat) = state.live.seat() else {
        let wait = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, wait, "too many readers\n").into_response();
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let closing = state.live.closing();
    let seen = query.seen.unwrap_or_default();
    let what = match query.app {
        _ if query.names => What::Names { seen: None, changes: state.board.changes() },
        Some(app) => What::App(Box::new(OfApp {
            app,
            before: query.before,
            sent: BTreeMap::new(),
            read: None,
        })),
        None => {
            let EventsQuery { page, q, phase, .. } = query;
            What::List { query: ListQuery { page, q, phase }, sent: None }
        }
    };
    let reader = Reader { state, seen, what, ticks, closing, _seat: seat };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response()
}

struct Reader {
    state: ApiState,
    /// What it says that it has.
    seen: String,
    what: What,
    ticks: Interval,
    closing: watch::Receiver<bool>,
    _seat: OwnedSemaphorePermit,
}

enum What {
    List {
        query: ListQuery,
        sent: Option<Sent>,
    },
    App(Box<OfApp>),
    Names {
        /// How many changes it was told of; `None`: nothing yet.
        seen: Option<u64>,
        changes: watch::Receiver<u64>,
    },
}

struct OfApp {
    app: AppName,
    before: Option<i64>,
    /// What each part was when it was sent.
    sent: BTreeMap<&'static str, Arc<str>>,
    /// What of its history was read, and when that was.
    read: Option<(u64, Events)>,
}

impl Reader {
    /// The next change; `None`: the daemon stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                // An error: the daemon is gone.
                _ = self.closing.wait_for(|closing| *closing) => return None,
                () = due(&mut self.ticks, &mut self.what) => {}
            }
            let event = match &mut self.what {
                What::List { query, sent } => of_list(&self.state, &self.seen, query, sent),
                What::App(of) => of.look(&self.state, &self.seen).await,
                What::Names { seen, .. } => of_names(&self.state, seen),
            };
            if event.is_some() {
                return event;
            }
        }
    }
}

/// Waits until there may be something to tell.
async fn due(ticks: &mut Interval, what: &mut What) {
    match what {
        What::List { .. } | What::App(_) => _ = ticks.tick().await,
        What::Names { seen: None, .. } => {}
        What::Names { changes, .. } => {
            // The board goes with the daemon, which closes the stream before.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            // What comes together is told together.
            sleep(NAMES_APART).await;
            changes.mark_unchanged();
        }
    }
}

fn of_names(state: &ApiState, seen: &mut Option<u64>) -> Option<Event> {
    let news = state.board.changed_since(seen.unwrap_or_default());
    let is_first = seen.replace(news.count).is_none();
    // Who just came may have missed anything.
    let organization = news.organization || is_first;
    if news.apps.is_empty() && !organization {
        return None;
    }
    event("names", &news.count.to_string(), &Named { apps: &news.apps, organization })
}

fn of_list(
    state: &ApiState,
    seen: &str,
    query: &ListQuery,
    sent: &mut Option<Sent>,
) -> Option<Event> {
    let overview = state.live.overview(&state.board, state.clock.now());
    let mark = overview.mark();
    let shown = list::window(&overview, query);
    let now = Sent {
        head: list::head(&overview, query).0,
        foot: list::foot(&overview, &shown, query).0,
        rows: shown.rows.iter().map(|row| (row.view.app.clone(), row.revision)).collect(),
    };
    // The page itself has the rows of its time.
    let is_first = sent.is_none();
    let has_rows = is_first && seen == mark;
    let before = sent.replace(now).unwrap_or_default();
    let now = sent.as_ref()?;
    let known: BTreeMap<&AppName, u64> =
        before.rows.iter().map(|(app, revision)| (app, *revision)).collect();
    let is_new = |app: &AppName, revision| !has_rows && known.get(app) != Some(&revision);
    let rows: BTreeMap<&str, &str> = shown
        .rows
        .iter()
        .filter(|row| is_new(&row.view.app, row.revision))
        .map(|row| (row.view.app.as_str(), row.html.as_str()))
        .collect();
    let names: Vec<&str> = now.rows.iter().map(|(app, _)| app.as_str()).collect();
    let had: Vec<&str> = before.rows.iter().map(|(app, _)| app.as_str()).collect();
    let changed = Changed {
        head: (is_first || now.head != before.head).then_some(&now.head),
        foot: (is_first || now.foot != before.foot).then_some(&now.foot),
        order: (is_first || names != had).then_some(&names),
        rows,
    };
    let is_nothing = changed.head.is_none() && changed.foot.is_none() && changed.order.is_none();
    if is_nothing && changed.rows.is_empty() {
        return None;
    }
    event("list", &mark, &changed)
}

impl OfApp {
    async fn look(&mut self, state: &ApiState, seen: &str) -> Option<Event> {
        let told = state.board.told(&self.app);
        if self.read.as_ref().is_none_or(|(read, _)| *read != told) {
            match timeline::events(state, &self.app, self.before).await {
                Ok(events) => self.read = Some((told, events)),
                // What is true now goes on being shown; the past is read again at the next look.
                Err(why) => debug!(app = %self.app, "the page cannot read the journal: {why}"),
            }
        }
        let events = self.read.as_ref().map(|(_, events)| events.clone()).unwrap_or_default();
        let shown = app::Shown::of(state, &self.app, events)?;
        let parts = shown.parts(self.before.is_none());
        let mark = app::mark(&parts);
        let has_all = self.sent.is_empty() && seen == mark;
        let new: BTreeMap<&str, &str> = parts
            .iter()
            .filter(|(id, html)| !has_all && self.sent.get(id).is_none_or(|sent| **sent != **html))
            .map(|(id, html)| (*id, html.as_str()))
            .collect();
        let event = if new.is_empty() { None } else { event("app", &mark, &new) };
        self.sent = parts.into_iter().map(|(id, html)| (id, html.into())).collect();
        event
    }
}

fn event(name: &str, mark: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(name).id(mark).json_data(data).ok()
}
