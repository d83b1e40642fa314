//! Telling people: an event becomes a sentence, a webhook body, a signed request.
//!
//! `text`, `payload`, `slack` and `signing` are pure; `http` sends one request. The
//! daemon empties the outbox.

pub mod http;
pub mod payload;
pub mod signing;
pub mod slack;
pub mod text;

use crate::{config::Config, model::EventKind, numbers};

/// The names of the receivers that want to hear of `kind`, in order: whom to put in the outbox.
pub fn recipients(config: &Config, kind: EventKind) -> Vec<String> {
    let wants = |events: &[EventKind]| events.is_empty() || events.contains(&kind);
    config
        .receivers
        .iter()
        .filter(|(_, receiver)| wants(&receiver.events))
        .map(|(name, _)| name.clone())
        .collect()
}
