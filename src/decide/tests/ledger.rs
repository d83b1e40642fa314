//! The rollback's entry in the release ledger: other tools wait for one that stays open.

use super::{
    stage::{Stage, opened, put_on, puts},
    *,
};

fn closes(command: &Command) -> bool {
    matches!(command, Command::CloseRelease { .. })
}

/// What is closed, and whether as complete.
fn closed(ordered: &[Command]) -> Vec<(&str, bool)> {
    let closed = ordered.iter().filter_map(|command| match command {
        Command::CloseRelease { id, complete } => Some((id.as_str(), *complete)),
        _ => None,
    });
    closed.collect()
}

/// The entry is being made, and its answer is awaited.
fn opening() -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    stage.opens = None;
    stage.ship(2, "sha256:2");
    stage::fail_checks(stage.machine("m1"));
    stage.pass(60);
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)), "{:?}", stage.state.phase);
    stage
}

fn opens(command: &Command) -> bool {
    matches!(command, Command::OpenRelease { .. })
}

#[test]
fn no_machine_is_touched_before_the_ledger_has_answered() {
    let mut stage = opening();
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    stage.answer(opens, opened(3));
    assert_eq!(put_on(&stage.pass(2)), ["m1"]);
}

#[test]
fn an_entry_that_is_made_after_the_rollback_ended_is_closed() {
    let mut stage = opening();
    stage.tell(&Input::Unwatched);
    let ordered = stage.answer(opens, opened(3));
    assert_eq!(closed(&ordered), [("rel_3", false)]);
}

#[test]
fn a_ledger_that_refuses_stops_nothing_and_what_it_made_all_the_same_is_closed() {
    let mut stage = opening();
    stage.answer(opens, Outcome::LedgerRefused { reason: "503".to_owned() });
    let ordered = stage.pass(2);
    let [Command::PutImage(put)] = &ordered[..] else { panic!("{ordered:?}") };
    // The machines carry the number of what they are put back on.
    assert_eq!((put.release, &put.release_id), (Some(ReleaseVersion(1)), &None));
    stage.undo();
    let stray = stage.pending(|command| {
        matches!(command, Command::CloseStray { complete: true, after, .. } if after.0 == 2)
    });
    assert!(stray.is_some(), "{:?}", stage.state.memory.pending);
}

#[test]
fn an_entry_is_closed_as_complete_when_the_rollback_is() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    let close = stage.pending(closes).map(|id| stage.state.memory.pending[&id].clone());
    assert_eq!(close, Some(Command::CloseRelease { id: "rel_3".to_owned(), complete: true }));
}

#[test]
fn an_entry_is_closed_as_failed_when_the_rollback_stops() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    assert_eq!(closed(&stage.tell(&Input::Unwatched)), [("rel_3", false)]);
    // What was not begun is not begun any more.
    assert_eq!(stage.pending(puts("m1")), None);
}

#[test]
fn an_entry_that_cannot_be_closed_is_tried_again_for_a_day_and_then_told() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    let began = stage.second;
    let mut tries = vec![began];
    stage.answer(closes, Outcome::ReleaseLeftOpen);
    while stage.told(EventKind::MonitorBlind).is_empty() {
        assert!(stage.second < began + 2 * 24 * 3600, "{} tries", tries.len());
        stage.second += 28;
        if !closed(&stage.look()).is_empty() {
            tries.push(stage.second);
            assert_eq!(closed(&stage.look()), [], "one at a time");
            stage.answer(closes, Outcome::ReleaseLeftOpen);
        }
    }
    let gaps: Vec<i64> = tries.windows(2).map(|pair| (pair[1] - pair[0]) / 60).collect();
    assert_eq!(gaps[..4], [1, 2, 3, 4], "in minutes");
    assert_eq!(gaps.len(), 50);
    stage.second += 24 * 3600;
    assert_eq!(closed(&stage.look()), [], "given up");
}

#[test]
fn an_entry_that_was_closed_in_the_end_is_left() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    stage.answer(closes, Outcome::ReleaseLeftOpen);
    assert_eq!(closed(&stage.pass(70)), [("rel_3", true)]);
    stage.answer(closes, Outcome::ReleaseClosed);
    assert_eq!(closed(&stage.pass(600)), []);
}

/// Another tool's answer, or a second one of ours: only the entry that is awaited becomes the rollback's.
#[test]
fn an_entry_that_nobody_waits_for_is_closed() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let (image, after, since) = ("x".to_owned(), ReleaseVersion(2), at(0));
    stage.state.memory.pending.insert(999, Command::OpenRelease { image, after, since });
    let ordered = stage.answer(opens, opened(9));
    assert_eq!(closed(&ordered), [("rel_9", false)]);
    assert_eq!(stage.rollback().ledger.version(), Some(ReleaseVersion(3)));
}
