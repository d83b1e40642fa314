//! One file per command.

mod client;
pub mod history;
pub mod status;
mod text;
