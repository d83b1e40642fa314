//! The platform's client against servers that were not written for it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

mod front;
mod mirror;
mod oci;
#[path = "../support/registry.rs"]
mod real;
mod registry;
mod simulated;
