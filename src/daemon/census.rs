//! Which apps the organization has, from lists and a feed that can each be behind.
//!
//! An app is there as soon as either shows it, and gone only when two lists in a row do not have
//! it and no machine of it was seen to change meanwhile: letting go of an app that is there would
//! leave it unwatched, while watching one that is gone costs a few requests.

use std::collections::BTreeMap;

use crate::model::AppName;

/// Lists in a row that an app has to be absent from.
const ABSENCES: u32 = 2;

/// The apps, with the number of lists in a row that did not have them.
#[derive(Debug, Default)]
pub(super) struct Census(BTreeMap<AppName, u32>);

impl Census {
    /// Notes a living machine of `app`; whether the app is new.
    pub(super) fn seen(&mut self, app: AppName) -> bool {
        self.0.insert(app, 0).is_none()
    }

    /// Takes in a whole list and answers with the apps that are gone. `None`: the list is empty
    /// although there were apps, which is a defect of the list, and it changes nothing.
    pub(super) fn listed(&mut self, apps: Vec<AppName>) -> Option<Vec<AppName>> {
        if apps.is_empty() && !self.0.is_empty() {
            return None;
        }
        for absences in self.0.values_mut() {
            *absences = absences.saturating_add(1);
        }
        self.0.extend(apps.into_iter().map(|app| (app, 0)));
        let absent = self.0.iter().filter(|(_, absences)| **absences >= ABSENCES);
        let gone: Vec<AppName> = absent.map(|(app, _)| app.clone()).collect();
        self.0.retain(|_, absences| *absences < ABSENCES);
        Some(gone)
    }

    /// Whether the last list lacked an app that may still be there.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.0.values().any(|absences| *absences > 0)
    }

    pub(super) fn apps(&self) -> Vec<AppName> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<AppName> {
        names.iter().map(|name| AppName::new(*name)).collect()
    }

    #[test]
    fn an_app_is_gone_with_the_second_list_in_a_row_that_lacks_it() {
        let mut census = Census::default();
        assert_eq!(census.listed(names(&["api", "web"])), Some(names(&[])));
        assert_eq!(census.listed(names(&["api"])), Some(names(&[])));
        assert!(census.is_in_doubt());
        assert_eq!(census.apps(), names(&["api", "web"]));
        assert_eq!(census.listed(names(&["api"])), Some(names(&["web"])));
        assert!(!census.is_in_doubt());
        assert_eq!(census.apps(), names(&["api"]));
        assert_eq!(census.listed(names(&["api"])), Some(names(&[])), "gone once");
    }

    #[test]
    fn one_list_that_has_it_or_one_machine_that_changes_begins_anew() {
        let mut census = Census::default();
        census.listed(names(&["api", "web", "job"]));
        census.listed(names(&["api"]));
        census.listed(names(&["api", "web"]));
        assert_eq!(census.apps(), names(&["api", "web"]));
        census.listed(names(&["api"]));
        assert!(!census.seen("web".into()), "it was known");
        assert_eq!(census.listed(names(&["api"])), Some(names(&[])));
        assert_eq!(census.apps(), names(&["api", "web"]));
    }

    #[test]
    fn an_app_that_only_the_feed_shows_is_there_and_may_come_back_later() {
        let mut census = Census::default();
        assert!(census.seen("api".into()));
        census.listed(names(&["web"]));
        census.listed(names(&["web"]));
        assert_eq!(census.apps(), names(&["web"]));
        assert!(census.seen("api".into()), "back, and new again");
    }

    #[test]
    fn an_empty_list_is_not_believed_unless_there_was_nothing() {
        let mut census = Census::default();
        assert_eq!(census.listed(Vec::new()), Some(names(&[])));
        census.listed(names(&["api"]));
        for _ in 0..5 {
            assert_eq!(census.listed(Vec::new()), None);
        }
        assert_eq!(census.apps(), names(&["api"]));
        assert!(!census.is_in_doubt());
    }
}
