//! When to look at a daemon again: when it says that something changed. While it says nothing, because its stream
//! broke, or it has none, it is asked every second, and its stream is tried again, ever more seldom.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::client::Signs;

/// What a daemon's changes are read from.
const PATH: &str = "/events?names=true";
/// After a look that took long, so many times longer nothing is asked, up to a bound.
const PAUSES: u32 = 10;
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How soon what is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two looks while there is no stream.
    pub(super) poll: Duration,
    /// Until a stream that broke is tried again: at first, and at most.
    pub(super) again: (Duration, Duration),
    /// Beyond it a stream without a sign of life is none; a daemon sends one each ten seconds.
    pub(super) silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            again: (Duration::from_secs(1), Duration::from_secs(30)),
            silence: Duration::from_secs(30),
        }
    }
}

/// The stream, or when it is tried again.
enum Stream {
    Open(Signs),
    Broken { try_at: Instant, wait: Duration },
}

impl Stream {
    /// Waits until it is worth looking again.
    async fn changed(self, url: &str, pace: Pace) -> Self {
        let (first, most) = pace.again;
        match self {
            Self::Open(mut signs) => match signs.next().await {
                // What else came meanwhile is seen by the same look.
                Ok(()) => match signs.next().now_or_never() {
                    None | Some(Ok(())) => Self::Open(signs),
                    Some(Err(_)) => Self::Broken { try_at: Instant::now(), wait: first },
                },
                Err(_) => Self::Broken { try_at: Instant::now() + first, wait: first },
            },
            Self::Broken { try_at, wait } if Instant::now() >= try_at => {
                // Its first event comes at once: anything may have changed before.
                let opened = async {
                    let mut signs = Signs::open(url, PATH, pace.silence).await?;
                    signs.next().await.map(|()| signs)
                };
                match opened.await {
                    Ok(signs) => Self::Open(signs),
                    Err(_) => {
                        let try_at = Instant::now() + wait;
                        Self::Broken { try_at, wait: (wait * 2).min(most) }
                    }
                }
            }
            Self::Broken { try_at, wait } => {
                sleep(pace.poll).await;
                Self::Broken { try_at, wait }
            }
        }
    }
}

/// Looks whenever something changed, and tells what was seen, until nobody listens any more.
pub(super) async fn follow<T, F: Future<Output = T>>(
    url: &str,
    pace: Pace,
    look: impl Fn() -> F,
    tell: mpsc::Sender<T>,
) {
    let mut stream = Stream::Broken { try_at: Instant::now(), wait: pace.again.0 };
    loop {
        stream = tokio::select! {
            stream = stream.changed(url, pace) => stream,
            () = tell.closed() => return,
        };
        let began = Instant::now();
        let seen = look().await;
        let took = began.elapsed();
        if tell.send(seen).await.is_err() {
            return;
        }
        sleep((took * PAUSES).min(PAUSE_MAX)).await;
    }
}

#[cfg(test)]
mod tests;
