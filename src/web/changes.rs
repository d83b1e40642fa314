//! What changed on the board since somebody looked: a number that counts changes, and for each app the one at
//! which it changed last. Nothing is queued for anybody.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::model::AppName;

/// When what changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// How many there were.
    count: watch::Sender<u64>,
    apps: BTreeMap<AppName, u64>,
    /// Of what belongs to no single app.
    organization: u64,
}

/// What changed since somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// What to name at the next look.
    pub(super) count: u64,
    pub(super) apps: Vec<AppName>,
    pub(super) organization: bool,
}

impl Changes {
    fn next(&self) -> u64 {
        self.count.send_modify(|count| *count += 1);
        *self.count.borrow()
    }

    /// Notes a change of an app.
    pub(super) fn app(&mut self, app: &AppName) {
        let count = self.next();
        self.apps.insert(app.clone(), count);
    }

    /// Notes a change of what belongs to no single app, or of which apps there are.
    pub(super) fn organization(&mut self) {
        self.organization = self.next();
    }

    /// Forgets an app that is gone.
    pub(super) fn gone(&mut self, app: &AppName) {
        self.apps.remove(app);
        self.organization();
    }

    /// Wakes with each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// What changed after so many changes.
    pub(super) fn since(&self, count: u64) -> News {
        let apps = self.apps.iter().filter(|(_, at)| **at > count);
        News {
            count: *self.count.borrow(),
            apps: apps.map(|(app, _)| app.clone()).collect(),
            organization: self.organization > count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_is_named_once_and_an_app_that_is_gone_is_a_change_of_the_whole() {
        let mut changes = Changes::default();
        let (api, web): (AppName, AppName) = ("api".into(), "web".into());
        changes.app(&api);
        changes.app(&web);
        let first = changes.since(0);
        assert_eq!(
            (first.apps.clone(), first.organization),
            (vec![api.clone(), web.clone()], false)
        );
        changes.app(&api);
        changes.app(&api);
        let second = changes.since(first.count);
        assert_eq!(second.apps, std::slice::from_ref(&api));
        assert_eq!(changes.since(second.count).apps, []);
        changes.gone(&api);
        let third = changes.since(second.count);
        assert_eq!((third.apps, third.organization), (Vec::new(), true));
    }
}
