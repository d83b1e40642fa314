//! The status page in a real Chromium, over real sockets: what people see, with and without scripts,
//! by mouse and by keyboard, and what hostile names can do. Pictures are kept in `target/tmp/pages`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

#[path = "../support/browser.rs"]
mod browser;
mod hostile;
mod looks;
mod many;
mod orders;
mod reading;
mod stage;
mod updates;
