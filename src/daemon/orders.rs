//! Orders of an operator, on their way from the API to the tasks of the apps.
//!
//! An order is noted in the journal before it is handed on, and each app's task takes the newest
//! one that concerns it when it starts: neither a restart nor an app that appears later misses it.
//! What a hold means is decided in `decide`; the same order twice means nothing new there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{Act, AppName, OperatorHold, Order, Reply, Signed},
    store::{Journal, StoreError},
    web::OrderError,
};

/// Orders that wait for one app's task; beyond that somebody is told to try again.
const WAITING_MAX: usize = 8;
/// How long the tasks may take to record an order.
const RECORDED_WITHIN: Duration = Duration::from_secs(6);
/// What the journal calls the order for all apps, and those for one.
const ALL: &str = "operator/all";

fn key(app: Option<&AppName>) -> String {
    app.map_or_else(|| ALL.to_owned(), |app| format!("operator/app/{app}"))
}

/// An order on its way.
pub(super) struct Ordered {
    pub(super) order: Order,
    /// To be dropped, or used once the order is recorded.
    pub(super) recorded: oneshot::Sender<Reply>,
}

/// As noted in the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    at: Timestamp,
    order: Order,
}

/// Who takes orders.
#[derive(Default)]
pub struct Orders(Mutex<BTreeMap<AppName, mpsc::Sender<Ordered>>>);

impl Orders {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<AppName, mpsc::Sender<Ordered>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on orders for `app` come out of this.
    pub(super) fn enlist(&self, app: &AppName) -> mpsc::Receiver<Ordered> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.tasks().insert(app.clone(), sender);
        receiver
    }

    fn addressed(&self, app: Option<&AppName>) -> Vec<(AppName, mpsc::Sender<Ordered>)> {
        let mut tasks = self.tasks();
        tasks.retain(|_, sender| !sender.is_closed());
        tasks
            .iter()
            .filter(|(name, _)| app.is_none_or(|app| app == *name))
            .map(|(name, sender)| (name.clone(), sender.clone()))
            .collect()
    }

    /// Notes an order for `app` (for all when `None`), hands it on, and waits until it is recorded;
    /// answers with the apps that recorded it. An app that did not in time takes it at its start,
    /// or when it is next free.
    ///
    /// # Errors
    /// When `app` is not watched, or the order cannot be noted: then nothing was done.
    pub async fn give(
        &self,
        journal: &dyn Journal,
        app: Option<&AppName>,
        order: &Order,
        now: Timestamp,
    ) -> Result<Vec<AppName>, OrderError> {
        let addressed = self.addressed(app);
        if let (Some(app), true) = (app, addressed.is_empty()) {
            return Err(OrderError::NotWatched(app.clone()));
        }
        let noted = serde_json::to_string(&Noted { at: now, order: order.clone() })
            .map_err(|error| OrderError::NotNoted(error.to_string()))?;
        journal
            .set_note(&key(app), Some(&noted))
            .await
            .map_err(|error| OrderError::NotNoted(error.to_string()))?;
        let mut answers = Vec::new();
        for (name, sender) in addressed {
            let (recorded, answer) = oneshot::channel();
            if sender.try_send(Ordered { order: order.clone(), recorded }).is_ok() {
                answers.push((name, answer));
            }
        }
        let deadline = tokio::time::Instant::now() + RECORDED_WITHIN;
        let mut done = Vec::new();
        for (name, answer) in answers {
            if matches!(tokio::time::timeout_at(deadline, answer).await, Ok(Ok(_))) {
                done.push(name);
            }
        }
        Ok(done)
    }

    /// Hands one app what takes effect once, and waits for what came of it. It is noted nowhere: an
    /// order that is not answered was not carried out, or is seen by its effect.
    ///
    /// # Errors
    /// When the app is not watched, or its task did not answer in time.
    pub async fn act(&self, app: &AppName, act: Act, signed: Signed) -> Result<Reply, OrderError> {
        let Some((_, sender)) = self.addressed(Some(app)).into_iter().next() else {
            return Err(OrderError::NotWatched(app.clone()));
        };
        let (recorded, answer) = oneshot::channel();
        let busy = || OrderError::NoAnswer(app.clone());
        let ordered = Ordered { order: Order::Act { act, signed }, recorded };
        sender.try_send(ordered).map_err(|_| busy())?;
        match tokio::time::timeout(RECORDED_WITHIN, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            // The task dropped it: the journal could not be written.
            Ok(Err(_)) => Err(OrderError::NotNoted("the journal cannot be written".to_owned())),
            Err(_) => Err(busy()),
        }
    }
}

/// The newest order that concerns `app`, as noted.
pub(super) async fn standing(
    journal: &dyn Journal,
    app: Option<&AppName>,
) -> Result<Option<Order>, StoreError> {
    let mut newest: Option<Noted> = None;
    let keys = std::iter::once(key(None)).chain(app.map(|app| key(Some(app))));
    for key in keys {
        let Some(text) = journal.note(&key).await? else { continue };
        match serde_json::from_str::<Noted>(&text) {
            Ok(noted) if newest.as_ref().is_none_or(|other| other.at < noted.at) => {
                newest = Some(noted);
            }
            Ok(_) => {}
            Err(error) => tracing::error!("the order noted under {key} cannot be read: {error}"),
        }
    }
    Ok(newest.map(|noted| noted.order))
}

/// The hold among orders, while it lasts.
pub(super) fn holding(order: Option<&Order>, now: Timestamp) -> Option<&OperatorHold> {
    match order? {
        Order::Hold(hold) if hold.is_on(now) => Some(hold),
        Order::Hold(_) | Order::Unhold(_) | Order::Act { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Effect, store::MemoryJournal};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + second).unwrap()
    }

    fn hold(until: Option<i64>) -> Order {
        let hold = OperatorHold {
            by: "dana".to_owned(),
            reason: "a sale".to_owned(),
            since: at(0),
            until: until.map(at),
        };
        Order::Hold(hold)
    }

    #[tokio::test]
    async fn the_newest_of_the_orders_for_all_and_for_one_stands() {
        let (journal, orders) = (MemoryJournal::new(), Orders::default());
        let (api, web) = (AppName::new("api"), AppName::new("web"));
        let mut inbox = orders.enlist(&api);
        let worker = tokio::spawn(async move {
            while let Some(ordered) = inbox.recv().await {
                ordered.recorded.send(Reply::Done(Effect::Held)).unwrap();
            }
        });
        let given = orders.give(&journal, None, &hold(None), at(0)).await.unwrap();
        assert_eq!(given, std::slice::from_ref(&api));
        for app in [&api, &web] {
            assert_eq!(standing(&journal, Some(app)).await.unwrap(), Some(hold(None)));
        }
        orders.give(&journal, Some(&api), &Order::Unhold(None), at(1)).await.unwrap();
        assert_eq!(standing(&journal, Some(&api)).await.unwrap(), Some(Order::Unhold(None)));
        assert_eq!(standing(&journal, Some(&web)).await.unwrap(), Some(hold(None)));
        assert_eq!(standing(&journal, None).await.unwrap(), Some(hold(None)));
        worker.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_is_not_watched_is_named_and_one_that_is_busy_is_not_promised() {
        let (journal, orders) = (MemoryJournal::new(), Orders::default());
        let api = AppName::new("api");
        let refused = orders.give(&journal, Some(&api), &hold(None), at(0)).await;
        assert_eq!(refused, Err(OrderError::NotWatched(api.clone())));
        assert_eq!(standing(&journal, Some(&api)).await.unwrap(), None);
        let _busy = orders.enlist(&api);
        let given = orders.give(&journal, Some(&api), &hold(None), at(0)).await.unwrap();
        assert_eq!(given, []);
        assert_eq!(standing(&journal, Some(&api)).await.unwrap(), Some(hold(None)));
    }

    #[test]
    fn a_hold_ends_at_its_time() {
        assert!(holding(Some(&hold(Some(10))), at(9)).is_some());
        assert!(holding(Some(&hold(Some(10))), at(10)).is_none());
        assert!(holding(Some(&Order::Unhold(None)), at(0)).is_none());
        assert!(holding(None, at(0)).is_none());
    }
}
