//! All apps as JSON: written once for what does not change, and tagged by what it says, whatever the
//! time is.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hasher as _},
    sync::{Arc, OnceLock},
};

use super::view::{AppView, OrgView};

/// A view on the board, with its JSON once somebody asked for it.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) view: Arc<AppView>,
    written: OnceLock<Written>,
}

/// A view as JSON, and a sum of it.
#[derive(Clone, Debug)]
struct Written {
    json: Box<str>,
    sum: u64,
}

impl Written {
    fn of(view: &AppView) -> Self {
        // A view is plain data: numbers, texts and lists of them.
        let json = serde_json::to_string(view).unwrap_or_default().into_boxed_str();
        let sum = sum(json.as_bytes());
        Self { json, sum }
    }
}

impl Posted {
    pub(super) fn new(view: AppView) -> Self {
        Self { view: Arc::new(view), written: OnceLock::new() }
    }

    fn written(&self) -> &Written {
        self.written.get_or_init(|| Written::of(&self.view))
    }
}

/// One app of a listing.
#[derive(Debug)]
pub(super) enum Entry {
    /// As it is on the board.
    Posted(Arc<Posted>),
    /// With what moves on while the app's own round does not.
    Fresh(Box<AppView>),
}

impl Entry {
    pub(super) fn view(&self) -> &AppView {
        match self {
            Self::Posted(posted) => &posted.view,
            Self::Fresh(view) => view,
        }
    }
}

/// So many apps, and the organization around them.
#[derive(Debug)]
pub(super) struct Listing {
    /// Without the apps.
    pub(super) head: OrgView,
    pub(super) apps: Vec<Entry>,
}

/// Minutes of lag that a tag tells apart: between them the feed is read as always.
const LAG_STEP_S: f64 = 60.0;

impl Listing {
    /// Changes with what it says, and not with the time: with how old the feed is, from a minute on.
    pub(super) fn tag(&self) -> String {
        let mut head = self.head.clone();
        head.at = head.started_at;
        head.feed.read_at = None;
        head.feed.lag_s = head.feed.lag_s.map(|lag| (lag / LAG_STEP_S).floor());
        let mut hasher = DefaultHasher::new();
        hasher.write(serde_json::to_string(&head).unwrap_or_default().as_bytes());
        for app in &self.apps {
            hasher.write_u64(match app {
                Entry::Posted(posted) => posted.written().sum,
                Entry::Fresh(view) => Written::of(view).sum,
            });
        }
        format!("\"{:016x}\"", hasher.finish())
    }

    /// The same that `OrgView` is as JSON.
    pub(super) fn json(&self) -> String {
        let head = serde_json::to_string(&self.head).unwrap_or_default();
        // The last one: what follows is a name, in which a quote would be escaped.
        let Some((before, after)) = head.rsplit_once("\"apps\":[]") else { return head };
        let length = |app: &Entry| match app {
            Entry::Posted(posted) => posted.written().json.len(),
            Entry::Fresh(_) => 0,
        };
        let apps: usize = self.apps.iter().map(length).sum();
        let mut json = String::with_capacity(head.len() + apps + self.apps.len() + 16);
        json.push_str(before);
        json.push_str("\"apps\":[");
        for (index, app) in self.apps.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            match app {
                Entry::Posted(posted) => json.push_str(&posted.written().json),
                Entry::Fresh(view) => {
                    let _infallible = write!(json, "{}", Written::of(view).json);
                }
            }
        }
        json.push(']');
        json.push_str(after);
        json
    }
}

fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use crate::{
        model::{AppName, event::ReleaseInfo},
        ports::CopyProgress,
        web::{
            Board, Phase,
            tests::{noon, view},
            view::{MirrorState, MirrorView, OrgView},
        },
    };

    /// Two apps with names that JSON has to escape, one of them with a copy under way.
    fn board() -> Board {
        let board = Board::new("acme \"apps\":[]", noon());
        let mut copied = view("b\"apps\":[]", Phase::Steady);
        let release = ReleaseInfo {
            version: None,
            tag: None,
            digest: "sha256:1".into(),
            author: None,
            created_at: None,
        };
        copied.mirror = vec![MirrorView {
            release: release.clone(),
            image: String::new(),
            reference: None,
            state: MirrorState::Waiting,
            done: None,
            of: None,
            why: None,
            next: None,
            only_copy: false,
        }];
        board.publish(view("a\"apps\":[]", Phase::Baking));
        board.copying(&copied.app, Some(&release.digest), CopyProgress { done: 1, of: 2 });
        board.publish(copied);
        board.feed_read(noon(), Vec::new());
        board
    }

    fn later(seconds: i64) -> Timestamp {
        noon() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_listing_is_what_the_whole_view_is_as_json() {
        let board = board();
        let listed = |after: Option<&str>, most| -> OrgView {
            serde_json::from_str(&board.listing(noon(), after, most).json()).unwrap()
        };
        assert_eq!(listed(None, 9), board.status(noon()));
        let first = listed(None, 1);
        assert_eq!((first.apps.len(), first.next_after), (1, Some(AppName::new("a\"apps\":[]"))));
        let second = listed(Some("a\"apps\":[]"), 1);
        assert_eq!((&second.apps[..], second.next_after), (&board.status(noon()).apps[1..], None));
        assert!(listed(Some("z"), 9).apps.is_empty());
    }

    #[test]
    fn a_listing_that_says_the_same_has_the_same_tag_whatever_the_time_is() {
        let board = board();
        let tag = |at| board.listing(at, None, 9).tag();
        let first = tag(later(1));
        board.feed_read(later(2), Vec::new());
        assert_eq!(tag(later(3)), first);
        board.publish(view("a\"apps\":[]", Phase::Baking));
        assert_eq!(tag(later(4)), first, "nothing changed");
        // A feed that is not read any more is news.
        assert_ne!(tag(later(70)), first);
        let others: [&dyn Fn(); 5] = [
            &|| board.publish(view("a\"apps\":[]", Phase::Held)),
            &|| board.sent("ops", noon(), Err("answered 500")),
            &|| board.copying(&"b\"apps\":[]".into(), None, CopyProgress::default()),
            &|| board.not_copying(&"b\"apps\":[]".into()),
            &|| board.remove(&"a\"apps\":[]".into()),
        ];
        let mut before = first;
        for (index, change) in others.into_iter().enumerate() {
            change();
            let now = tag(later(4));
            // A copy that nobody says more of changes nothing.
            assert_eq!(now == before, index == 2, "{index}");
            before = now;
        }
    }
}
