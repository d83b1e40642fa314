//! (in work)

pub mod detect;
