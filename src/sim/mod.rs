//! (in work)
pub mod serve;
