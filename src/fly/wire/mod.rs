//! The platform's JSON, as loosely as it may be sent: every field may be missing or null, numbers
//! may be texts, and unknown fields are passed over. What it means is decided in the conversions.

pub(super) mod config;
pub(super) mod feed;
pub(super) mod image;
pub(super) mod lenient;
pub(super) mod machine;
pub(super) mod release;
