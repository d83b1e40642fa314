//! The organization's change feed: what changed since the last reading, each change once.
//!
//! The platform shows changes late and in no strict order. So every reading reaches back over what
//! was read before, until the position has stayed for minutes, and what was told already is recognised and left out. The position only moves
//! when all pages of all regions could be read: what is missing today is told tomorrow.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use tokio::time::Instant;

use super::{
    Answer, Fly, below,
    http::Call,
    limits::Action,
    wire::feed::{WireEntry, WirePage},
};
use crate::{
    model::Region,
    ports::{FeedEntry, FeedPosition, FeedReading, PlatformError},
};

/// How far back of its position a reading begins.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);
/// Changes remembered at most; beyond that the oldest may be told twice, which costs a look.
const SEEN_MAX: usize = 50_000;

/// A position that stays where it is for so long is read on from: what was to come from before it has
/// come. Else what changed last would be read again and again until something else changes.
const SETTLED_AFTER: Duration = Duration::from_secs(300);

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Time first, so that the oldest can be forgotten.
    told: BTreeSet<(Timestamp, String, String, String)>,
    /// The position, and since when it has been there.
    position: Option<(Timestamp, Instant)>,
}

impl Seen {
    /// Notes an entry; `false` when it was there.
    fn note(&mut self, entry: &FeedEntry) -> bool {
        let (machine, instance) = (entry.machine.as_str(), entry.instance.as_str());
        let key = (entry.updated_at, machine.to_owned(), instance.to_owned(), entry.state.clone());
        self.told.insert(key)
    }

    /// A reading came to this position.
    fn comes_to(&mut self, position: Timestamp, now: Instant) {
        if self.position.is_none_or(|(before, _)| before != position) {
            self.position = Some((position, now));
        }
    }

    /// Where a reading from this position begins.
    fn reach(&self, position: Timestamp, now: Instant) -> Timestamp {
        let stays = self.position.filter(|(at, _)| *at == position).map(|(_, since)| now - since);
        let overlap = match stays {
            Some(stays) if stays >= SETTLED_AFTER => SignedDuration::ZERO,
            _ => OVERLAP,
        };
        position.checked_sub(overlap).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Forgets what cannot come again, and the oldest of what is too much.
    fn forget(&mut self, before: Option<Timestamp>) {
        if let Some(before) = before {
            let from = (before, String::new(), String::new(), String::new());
            self.told = self.told.split_off(&from);
        }
        while self.told.len() > SEEN_MAX {
            self.told.pop_first();
        }
    }
}

/// Reads all pages of what changed since `position`.
pub(super) async fn changes(fly: &Fly, position: &FeedPosition) -> Answer<FeedReading> {
    let since = position.updated_after;
    let now = Instant::now();
    let from = since.map(|since| lock(fly).reach(since, now));
    let mut entries: Vec<FeedEntry> = Vec::new();
    let mut newest: Option<Timestamp> = None;
    let mut error_regions: BTreeSet<String> = BTreeSet::new();
    let mut cursor = String::new();
    let mut pages = 0;
    loop {
        let page = page(fly, from, &cursor).await?;
        pages += 1;
        newest = newest.max(page.last_updated_at);
        error_regions.extend(page.error_regions);
        entries.extend(page.machines.into_iter().filter_map(WireEntry::entry));
        if page.next_cursor.is_empty() {
            break;
        }
        // Only the cursor's absence ends a reading; a page may be short, or empty, before that.
        let stuck = page.next_cursor == cursor;
        if stuck || pages >= fly.caller.tuning().pages_max {
            let what = if stuck { "repeats itself" } else { "does not end" };
            let text = format!("the change feed {what}, given up after {pages} pages");
            return Err(PlatformError::Unreadable(text));
        }
        cursor = page.next_cursor;
    }
    // From here on nothing waits, so a reading is remembered if and only if it is handed out.
    let newest = newest.max(entries.iter().map(|entry| entry.updated_at).max());
    let next = if error_regions.is_empty() {
        since.max(newest)
    } else {
        // The beginning of time, not `None`: the next reading continues this one.
        Some(since.unwrap_or(Timestamp::UNIX_EPOCH))
    };
    let mut seen = lock(fly);
    if since.is_none() {
        *seen = Seen::default();
    }
    entries.retain(|entry| seen.note(entry));
    if let Some(next) = next {
        seen.comes_to(next, now);
    }
    seen.forget(next.and_then(|next| next.checked_sub(OVERLAP).ok()));
    Ok(FeedReading {
        entries,
        next: FeedPosition { updated_after: next },
        error_regions: error_regions.into_iter().map(Region::new).collect(),
    })
}

fn lock(fly: &Fly) -> MutexGuard<'_, Seen> {
    // Whatever is in there after a panic, at worst a change is told twice or looked at later.
    fly.seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn page(fly: &Fly, from: Option<Timestamp>, cursor: &str) -> Answer<WirePage> {
    let url = page_url(fly, from, cursor);
    let call = Call {
        authorization: fly.caller.tokens().machines(),
        ..Call::get(Action::Feed, &fly.organization, url)
    };
    let answer = fly.caller.call(&call).await?;
    fly.caller.decode(&answer)
}

/// Destroyed machines are news too, but not all that ever were.
fn page_url(fly: &Fly, from: Option<Timestamp>, cursor: &str) -> Url {
    let mut url = below(&fly.bases.flaps, &["v1", "orgs", &fly.organization, "machines"]);
    let mut query = url.query_pairs_mut();
    if let Some(from) = from.filter(|from| *from > Timestamp::UNIX_EPOCH) {
        query.append_pair("updated_after", &from.to_string());
        query.append_pair("include_deleted", "true");
    }
    if !cursor.is_empty() {
        query.append_pair("cursor", cursor);
    }
    drop(query);
    if url.query() == Some("") {
        url.set_query(None);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_stays_is_read_on_from_and_one_that_moves_is_reached_back_over() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        assert_eq!(seen.reach(at(0), start), at(-60), "nothing is known of it");
        seen.comes_to(at(0), start);
        seen.comes_to(at(0), later(200));
        assert_eq!(seen.reach(at(0), later(299)), at(-60));
        assert_eq!(seen.reach(at(0), later(300)), at(0), "it stayed for five minutes");
        seen.comes_to(at(10), later(310));
        assert_eq!(seen.reach(at(10), later(400)), at(-50));
        assert_eq!(seen.reach(at(0), later(400)), at(-60), "it is another one");
    }
}
