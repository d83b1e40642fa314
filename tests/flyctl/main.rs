//! The simulated platform over real sockets, asked as `flyctl` asks.
//!
//! The scenes in `scenes` and `control` hold the protocol by themselves. Where recordings of a real `flyctl` are
//! at hand, `replay` plays them besides. Model time is moved by hand, so nothing waits for it.

mod between;
mod clients;
mod control;
mod described;
mod driven;
mod openapi;
mod replay;
mod scenes;
mod served;
mod volumes;
