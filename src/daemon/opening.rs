//! The journal at the start. While it cannot be opened nothing may be decided, and so nothing is
//! watched: the daemon stays up, tells people past the outbox, says why on every path it serves,
//! and begins as soon as the journal can be opened.

use std::{future::Future, net::TcpListener, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};
use tracing::{error, info, warn};

use super::page::Page;
use crate::{
    config::Config,
    model::{Event, EventKind, Reason},
    notify::{recipients, text::sentence},
    ports::{Clock, Notifier},
    store::Journal,
    web,
};

/// How often it is tried.
const TRIED_EVERY: Duration = Duration::from_secs(5);
/// A daemon that is started again and again tells of it under one id in so much time.
const ONCE_IN_S: i64 = 1800;

/// What a journal that cannot be opened is told to.
pub struct Audience<'a> {
    pub config: &'a Config,
    pub notifier: &'a dyn Notifier,
    pub clock: &'a Clock,
    /// Answers every request with the reason meanwhile.
    pub listener: &'a TcpListener,
}

/// What was told of a journal that could not be opened.
pub struct Trouble {
    page: Page,
}

/// Tries `open` until it succeeds, after it failed with `detail`. An inner error is the end of it.
/// `None`: `stop` completed before.
///
/// # Errors
/// When the reason cannot be served.
pub async fn await_journal<T, E>(
    audience: &Audience<'_>,
    detail: String,
    mut open: impl FnMut() -> Result<Result<T, E>, String>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<(Result<T, E>, Trouble)>> {
    let Audience { config, notifier, clock, listener } = audience;
    let mut trouble = Trouble { page: page(config, clock.now(), detail.clone()) };
    error!(event = trouble.page.event.kind.as_str(), "{}", sentence(&trouble.page.event));

    let address = listener.local_addr().context("serve the reason")?;
    let seconds = TRIED_EVERY.as_secs();
    info!("tries again every {seconds} s, answers why meanwhile, and listens on {address}");

    let (say, said) = watch::channel(detail);
    let (close, closed) = oneshot::channel::<()>();
    let serving = listener.try_clone().context("serve why the journal cannot be opened")?;
    let serving = tokio::net::TcpListener::from_std(serving).context("serve the reason")?;
    let served = tokio::spawn(web::serve(serving, web::out_of_order(said), async move {
        // Told to, or dropped with this function.
        let _either = closed.await;
    }));

    let mut stop = std::pin::pin!(stop);
    let opened = loop {
        tokio::select! {
            biased;
            () = &mut stop => break None,
            () = trouble.page.send_when_due(config, *notifier, clock.now()) => {}
        }
        tokio::select! {
            biased;
            () = &mut stop => break None,
            () = sleep(TRIED_EVERY) => {}
        }
        match open() {
            Ok(opened) => break Some(opened),
            Err(detail) => {
                if *say.borrow() != detail {
                    warn!("the journal cannot be opened: {detail}");
                }
                say.send_replace(detail);
            }
        }
    };
    let _gone = close.send(()).is_err();
    served.await.context("serve the reason")?.context("serve the reason")?;
    Ok(opened.map(|opened| (opened, trouble)))
}

fn page(config: &Config, now: Timestamp, detail: String) -> Page {
    let mut event = Event::new(EventKind::MonitorJournal, now, None);
    event.reason = Some(Reason::JournalUnopened { detail });
    let bucket = now.as_second() - now.as_second().rem_euclid(ONCE_IN_S);
    Page::new(format!("msg_{}_unopened_{bucket}", config.organization), event)
}

/// Puts what was told into the journal that could be opened at last, for who has not heard of it, and
/// that it is over for everybody.
pub async fn tell_opened(trouble: Trouble, config: &Config, journal: &dyn Journal, now: Timestamp) {
    let Trouble { page } = trouble;
    let mut over = Event::new(EventKind::MonitorRecovered, now, None);
    over.reason = Some(Reason::JournalWritable);
    over.after_s = Some(now.duration_since(page.event.at).as_secs_f64().max(0.0));
    info!(event = over.kind.as_str(), "{}", sentence(&over));
    let (id, at, missing) = (page.id.clone(), page.event.at, page.missing(config));
    let told = journal.announce(&id, page.event, &missing, at).await;
    let receivers = recipients(config, &over);
    let ended = journal.announce(&format!("{id}_over"), over, &receivers, now).await;
    for outcome in [told, ended] {
        if let Err(error) = outcome {
            warn!("not recorded: {error}");
        }
    }
}
