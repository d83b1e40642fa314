//! Which of the other apps one is told of. In an outage all are in distress at once, and each keeps
//! what it is told: without a bound that grows with the square of their number, when it is needed
//! most.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{AppName, Distress, Region, Well};

/// Apps in distress that one is told of: so many that were deployed, and so many that were not.
const DISTRESSED_TOLD: usize = 25;
/// Apps that are well, for each region in which one is in distress.
const WELL_TOLD: usize = 20;

/// The others in distress that matter most to an app: in its regions, and of about the same moment.
pub(super) fn in_distress(
    all: &BTreeMap<AppName, Distress>,
    app: &AppName,
    now: Timestamp,
) -> BTreeMap<AppName, Distress> {
    let own = all.get(app);
    let since = own.map_or(now, |own| own.since);
    let elsewhere = |theirs: &Distress| match own {
        // A steady app that was just restarted to does not know its regions yet.
        Some(own) => !theirs.regions.is_empty() && own.regions.is_disjoint(&theirs.regions),
        None => false,
    };
    let mut others: Vec<(&AppName, &Distress)> =
        all.iter().filter(|(name, _)| *name != app).collect();
    others.sort_by_key(|(_, theirs)| (elsewhere(theirs), theirs.since.duration_since(since).abs()));
    let (deployed, not): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, one)| one.deployed);
    let told =
        deployed.into_iter().take(DISTRESSED_TOLD).chain(not.into_iter().take(DISTRESSED_TOLD));
    told.map(|(app, theirs)| (app.clone(), theirs.clone())).collect()
}

/// Of the apps that are well those that were seen to be so last, in each region of an app in distress.
pub(super) fn well(all: &BTreeMap<AppName, Well>, own: &Distress) -> BTreeMap<AppName, Well> {
    let mut told = BTreeMap::new();
    let anywhere: BTreeSet<&Region> = all.values().flat_map(|well| well.since.keys()).collect();
    let where_it_is = |region: &&Region| own.regions.is_empty() || own.regions.contains(*region);
    for region in anywhere.into_iter().filter(where_it_is) {
        let here = |(app, well): (&AppName, &Well)| Some((*well.since.get(region)?, app.clone()));
        let mut here: Vec<(Timestamp, AppName)> = all.iter().filter_map(here).collect();
        here.sort_by_key(|(seen, _)| std::cmp::Reverse(*seen));
        for (_, app) in here.into_iter().take(WELL_TOLD) {
            if let Some(well) = all.get(&app) {
                told.insert(app, well.clone());
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn distress(second: i64, region: &str, deployed: bool) -> Distress {
        Distress { since: at(second), regions: [Region::new(region)].into(), deployed }
    }

    #[test]
    fn in_an_outage_each_is_told_of_as_many_as_matter() {
        // Given a thousand apps in distress, half of them deployed, ever later
        let mut all: BTreeMap<AppName, Distress> = (0..1000)
            .map(|app| (AppName::new(format!("a{app}")), distress(app, "iad", app % 2 == 0)))
            .collect();
        all.insert("far".into(), distress(500, "syd", false));
        all.insert("unknown".into(), Distress { regions: [].into(), ..distress(499, "", false) });
        // Then one is told of those of the same moment, of both kinds, where it is
        let told = in_distress(&all, &"a500".into(), at(2000));
        assert_eq!(told.len(), 2 * DISTRESSED_TOLD);
        assert_eq!(told.values().filter(|one| one.deployed).count(), DISTRESSED_TOLD);
        assert!(told.values().all(|one| (at(500) - one.since).get_seconds().abs() <= 26));
        assert!(told.contains_key(&AppName::new("unknown")));
        assert!(
            !told.contains_key(&AppName::new("far")) && !told.contains_key(&AppName::new("a500"))
        );
        // and one whose own distress is not known yet of the newest
        let told = in_distress(&all, &"fine".into(), at(2000));
        assert!(
            told.contains_key(&AppName::new("a999")) && told.contains_key(&AppName::new("a998"))
        );
    }

    #[test]
    fn few_are_all_told_of() {
        let all = [("api", "iad"), ("shop", "syd")];
        let all: BTreeMap<AppName, Distress> =
            all.map(|(app, region)| (app.into(), distress(0, region, false))).into();
        assert_eq!(in_distress(&all, &"api".into(), at(0)).len(), 1);
        assert!(in_distress(&all, &"shop".into(), at(0)).contains_key(&AppName::new("api")));
    }

    #[test]
    fn those_that_were_seen_well_last_are_told_of_region_by_region() {
        // Given many that are well in one region, and one in another
        let mut all: BTreeMap<AppName, Well> = (0..100)
            .map(|app| {
                let since = [(Region::new("iad"), at(app))].into();
                (AppName::new(format!("a{app}")), Well { since })
            })
            .collect();
        all.insert("b".into(), Well { since: [(Region::new("syd"), at(0))].into() });
        let own = Distress {
            since: at(0),
            regions: [Region::new("iad"), Region::new("syd")].into(),
            deployed: true,
        };
        let told = well(&all, &own);
        assert_eq!(told.len(), WELL_TOLD + 1);
        assert!(told.contains_key(&AppName::new("a99")) && told.contains_key(&AppName::new("b")));
        // and of all regions one that does not know its own
        let told = well(&all, &Distress { regions: [].into(), ..own });
        assert_eq!(told.len(), WELL_TOLD + 1);
    }
}
