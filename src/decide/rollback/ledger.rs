//! The rollback's entry in the release ledger, which `fly releases` shows and other tools pause
//! for: opened before the first machine, closed with its end, and closed again until it is.

use std::time::Duration;

use super::super::{
    Command, Context, fleet, later,
    state::{LedgerEntry, Phase, Rollback, Unclosed},
};
use crate::model::{EventKind, Reason, ReleaseVersion};

/// Pause before a ledger entry is closed again, times the tries so far; and how many there are:
/// about a day.
const CLOSE_RETRY_AFTER: Duration = Duration::from_secs(60);
const CLOSE_TRIES_MAX: u32 = 50;

pub(in crate::decide) fn release_opened(
    mut phase: Phase,
    cx: &mut Context<'_>,
    id: &str,
    version: ReleaseVersion,
) -> Phase {
    fleet::make_own(&mut cx.memory, version);
    if let Phase::RollingBack(rollback) = &mut phase {
        rollback.ledger = LedgerEntry::Open { id: id.to_owned(), version };
    } else {
        // The rollback was stopped meanwhile; its entry must not stay open.
        cx.command(Command::CloseRelease { id: id.to_owned(), complete: false });
    }
    phase
}

pub(in crate::decide) fn ledger_refused(mut phase: Phase, reason: &str) -> Phase {
    if let Phase::RollingBack(rollback) = &mut phase
        && rollback.ledger == LedgerEntry::Opening
    {
        rollback.ledger = LedgerEntry::Refused { reason: reason.to_owned() };
    }
    phase
}

pub(in crate::decide) fn release_closed(cx: &mut Context<'_>, command: &Command) {
    if let Command::CloseRelease { id, .. } = command {
        cx.memory.unclosed.remove(id);
    }
}

/// A release that stays `running` makes other tools wait for ever: it is tried for a day.
pub(in crate::decide) fn release_left_open(cx: &mut Context<'_>, command: &Command) {
    let Command::CloseRelease { id, complete } = command else { return };
    let tries = cx.memory.unclosed.get(id).map_or(0, |open| open.tries) + 1;
    if tries > CLOSE_TRIES_MAX {
        cx.memory.unclosed.remove(id);
        cx.say(EventKind::MonitorBlind, Reason::LedgerStaysOpen { release: id.clone() });
        return;
    }
    let next = later(cx.now, CLOSE_RETRY_AFTER * tries);
    cx.memory.unclosed.insert(id.clone(), Unclosed { complete: *complete, tries, next });
}

pub(in crate::decide) fn close_what_was_left_open(cx: &mut Context<'_>) {
    let due: Vec<(String, bool)> = cx
        .memory
        .unclosed
        .iter()
        .filter(|(_, open)| open.next <= cx.now)
        .map(|(id, open)| (id.clone(), open.complete))
        .collect();
    for (id, complete) in due {
        let under_way = cx.memory.pending.values().any(|command| {
            matches!(command, Command::CloseRelease { id: pending, .. } if *pending == id)
        });
        if !under_way {
            cx.command(Command::CloseRelease { id, complete });
        }
    }
}

/// Closes the entry of a rollback that is over.
pub(super) fn close(cx: &mut Context<'_>, rollback: &Rollback, complete: bool) {
    match &rollback.ledger {
        LedgerEntry::Open { id, .. } => {
            cx.command(Command::CloseRelease { id: id.clone(), complete });
        }
        // It may have been made all the same: then other tools wait for it.
        LedgerEntry::Refused { .. } => {
            cx.command(Command::CloseStray {
                image: rollback.target.image.reference(),
                after: rollback.after,
                since: rollback.started_at,
                complete,
            });
        }
        // Its outcome comes when the rollback is over, and closes it then.
        LedgerEntry::Opening => {}
    }
}
