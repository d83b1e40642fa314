//! A Fly organization in memory, and the same over HTTP ([`serve`]).

pub mod serve;
