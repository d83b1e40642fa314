//! How much of a lease is left. It ends when it would if the platform had granted it the moment it
//! was asked for; a renewal counts when it is confirmed, and from the moment it was sent. So ours
//! always ends before the platform's, however slow the answers are.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Now;
use crate::ports::Lease;

/// Short, so that a daemon that dies frees its machines soon.
pub const LEASE_TTL: Duration = Duration::from_secs(30);
/// No write is under way so near the end of the lease.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// No write is begun with less time than this before the margin: it would hardly be answered.
pub const WRITE_MIN: Duration = Duration::from_secs(8);
/// A lease is prolonged when so much of it is over, and tried again so long after a failure.
const RENEW_AFTER: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A lease that is ours, and until when that is certain.
#[derive(Clone, Debug)]
pub struct HeldLease {
    pub lease: Lease,
    /// When the request that was confirmed last was sent, on both clocks: the one that only runs
    /// forward may stand still while the host sleeps.
    sent: Duration,
    sent_clock: Timestamp,
    renew_at: Duration,
    retry_at: Duration,
    /// A renewal that is under way: when it was sent.
    renewing: Option<(Duration, Timestamp)>,
}

impl HeldLease {
    /// A lease that was asked for at `sent`.
    pub(super) fn new(lease: Lease, sent: Duration, now: Now) -> Self {
        let took = SignedDuration::try_from(now.elapsed.saturating_sub(sent)).unwrap_or_default();
        let sent_clock = now.clock.checked_sub(took).unwrap_or(now.clock);
        Self {
            lease,
            sent,
            sent_clock,
            renew_at: sent + RENEW_AFTER,
            retry_at: sent,
            renewing: None,
        }
    }

    /// From here on it may be somebody else's.
    pub fn ends(&self) -> Duration {
        self.sent + LEASE_TTL
    }

    /// From here on no write may be under way.
    pub fn writes_end(&self) -> Duration {
        self.ends().saturating_sub(LEASE_MARGIN)
    }

    /// Whether a write may begin.
    pub(super) fn has_time_to_write(&self, now: Now) -> bool {
        let slept = Duration::try_from(now.clock.duration_since(self.sent_clock));
        let age = slept.unwrap_or_default().max(now.elapsed.saturating_sub(self.sent));
        age + WRITE_MIN + LEASE_MARGIN <= LEASE_TTL
    }

    pub(super) fn renew_at(&self) -> Duration {
        self.renew_at
    }

    /// When a renewal that is wanted at once may leave.
    pub(super) fn retry_at(&self) -> Duration {
        self.retry_at
    }

    pub(super) fn is_being_renewed(&self) -> bool {
        self.renewing.is_some()
    }

    pub(super) fn renewal_sent(&mut self, now: Now) {
        self.renewing = Some((now.elapsed, now.clock));
    }

    pub(super) fn confirmed(&mut self, lease: Lease) {
        if let Some((sent, clock)) = self.renewing.take() {
            self.sent = sent;
            self.sent_clock = clock;
            self.renew_at = sent + RENEW_AFTER;
            self.retry_at = sent;
        }
        self.lease = lease;
    }

    pub(super) fn not_confirmed(&mut self, now: Now) {
        self.renewing = None;
        self.renew_at = now.elapsed + RETRY_AFTER;
        self.retry_at = now.elapsed + RETRY_AFTER;
    }
}
