//! What is written to machines and to the ledger: carries out commands, and decides nothing.
//!
//! Every command may have been carried out already, wholly or in part, by a daemon that was killed
//! before it could say so; each begins by looking.
//!
//! `rules` says what comes next when a machine is written to, and is pure; `make_calls` makes the
//! calls that it names. `ledger_entry` keeps the rollback's own release.

mod carry_out;
mod ledger_entry;
mod make_calls;
mod mirror_image;
pub mod rules;
#[cfg(test)]
mod tests;

use tokio::sync::watch;

pub(super) use carry_out::carry_out;

use super::Ports;
use crate::{
    decide::{Outcome, PutImage, StartMachine},
    model::AppName,
};
use rules::Errand;

/// Makes the machine run the target, unless somebody wants something newer.
/// Ends early, giving the lease back, when `stop` turns true.
async fn update_machine(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    stop: watch::Receiver<bool>,
) -> Outcome {
    make_calls::see_through(&*ports.platform, &ports.clock, app, Errand::update(put.clone()), stop)
        .await
}

/// Starts a machine that we took down, unless it rests for another reason.
/// Ends early, giving the lease back, when `stop` turns true.
async fn start_machine(
    ports: &Ports,
    app: &AppName,
    start: &StartMachine,
    stop: watch::Receiver<bool>,
) -> Outcome {
    make_calls::see_through(&*ports.platform, &ports.clock, app, Errand::start(start.clone()), stop)
        .await
}
