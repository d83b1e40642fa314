//! Whose it is that comes late.

use super::*;

impl Told {
    /// What is told of a machine that runs an instance since so many seconds, by a list of this second:
    /// of it, and of the one before.
    fn told_of(&mut self, (instance, started): (&str, i64), second: i64) -> (f64, Option<Late>) {
        let listed = listed(instance, at(started), at(second));
        let told = self.tracks.count(&APP.into(), "m1", &listed, at(second - 15)).unwrap();
        (told.count.unwrap().n, told.belated.map(late))
    }
}

/// A server tells the last seconds of an instance when another one runs there already.
#[tokio::test]
async fn what_comes_late_of_the_instance_before_is_told_as_its_own() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 0.0), (15, 10.0)])]);
    assert_eq!(told.told_of(("i1", -1000), 30), (10.0, None));
    // Updated at second 47: the increment from 45 to 60 lies over that, and is nobody's.
    told.hears(&[responses("m1", "500", &[(15, 10.0), (30, 30.0), (45, 60.0), (60, 100.0)])]);
    assert_eq!(told.told_of(("i1", -1000), 44), (0.0, None));
    let of_before = |n: f64, from, to| Some(("i1".to_owned(), n, n, from, to));
    assert_eq!(told.told_of(("i2", 47), 48), (0.0, of_before(20.0, 15, 30)));
    assert_eq!(told.told_of(("i2", 47), 62), (0.0, of_before(30.0, 30, 45)));
    told.hears(&[responses("m1", "500", &[(60, 100.0), (75, 107.0)])]);
    assert_eq!(told.told_of(("i2", 47), 90), (7.0, None));
    // Of the one before that nobody is told any more.
    assert_eq!(told.told_of(("i3", 92), 100), (0.0, None));
}

#[tokio::test]
async fn what_began_after_the_instance_before_was_listed_last_is_nobodys() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 0.0), (15, 10.0), (30, 30.0), (45, 60.0)])]);
    assert_eq!(told.told_of(("i1", -1000), 14), (0.0, None));
    // Who knows what ran from 15 to 45.
    let first = Some(("i1".to_owned(), 10.0, 10.0, 0, 15));
    assert_eq!(told.told_of(("i9", 50), 62), (0.0, first));
    assert_eq!(told.told_of(("i9", 50), 90), (0.0, None));
}

/// A deploy that creates its machines anew, and destroys the old ones.
#[tokio::test]
async fn what_comes_late_of_a_machine_that_is_gone_is_told_for_two_minutes() {
    let samples: &[(i64, f64)] = &[(15, 0.0), (30, 30.0), (45, 60.0)];
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 0.0), (15, 0.0)])]);
    assert_eq!(told.told_of(("i1", -1000), 40), (0.0, None));
    told.hears(&[responses("m1", "500", samples)]);
    assert_eq!(told.left(&["m1"], 45), [], "it runs");
    assert_eq!(told.left(&["m2"], 44), [], "the lists may lag");
    assert_eq!(told.left(&["m2"], 46), [("i1".to_owned(), 30.0, 30.0, 15, 30)]);
    assert_eq!(told.left(&["m2"], 90), [], "it was listed until second 40");
    // Too late for anybody
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 0.0), (15, 0.0)])]);
    assert_eq!(told.told_of(("i1", -1000), 40), (0.0, None));
    told.hears(&[responses("m1", "500", samples)]);
    assert_eq!(told.left(&[], 181), []);
    assert!(told.tracks.machines.values().all(|one| one.waiting.is_empty()));
}
