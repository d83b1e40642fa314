//! Asking a registry: what answers its challenges, and where it sends us.
//!
//! A redirect is followed a few times, never from TLS to plain text, and who we are goes along to the
//! place that was asked first and nowhere else: registries send readers to stores of other people.

use std::sync::{Mutex, PoisonError};

use reqwest::{Method, Url, header::HeaderValue};

use super::{Login, Place, challenge};
use crate::fly::{
    Answer, Fly,
    http::{self, Call},
    settings::is_loopback,
};

/// Statuses that send us elsewhere.
pub(super) const REDIRECTS: &[u16] = &[301, 302, 303, 307, 308];
/// Redirects in a row.
const HOPS_MAX: usize = 5;

/// What was answered in the end.
pub(super) struct Heard {
    pub(super) answer: http::Answer,
    /// Whether it came from where we were sent, and not from where we asked.
    pub(super) redirected: bool,
}

/// One repository, asked several things in a row: what answered its challenge answers the next one.
pub(super) struct Talk<'a> {
    pub(super) fly: &'a Fly,
    pub(super) place: &'a Place,
    /// What tokens have to allow; empty: what the registry asks for.
    scopes: Vec<String>,
    authorization: Mutex<Option<HeaderValue>>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(fly: &'a Fly, place: &'a Place, scopes: Vec<String>) -> Self {
        // The platform's registry takes our token as it is; others say what they want.
        let first = place.credentials(fly).filter(|_| place.login == Login::Platform);
        Self { fly, place, scopes, authorization: Mutex::new(first) }
    }

    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, once more with what the registry wants to see. The call's `answers` hold 401 and
    /// [`REDIRECTS`].
    pub(super) async fn ask(&self, mut call: Call) -> Answer<Heard> {
        call.authorization = self.authorization();
        let heard = follow(self.fly, call.clone()).await?;
        // Whoever we were sent to has no claim to know who we are.
        if heard.answer.status != 401 || heard.redirected {
            return Ok(heard);
        }
        let answer = challenge::answer(self.fly, self.place, &self.scopes, &heard.answer).await?;
        let Some(answer) = answer.filter(|answer| Some(answer) != call.authorization.as_ref())
        else {
            return Ok(heard);
        };
        call.authorization = Some(answer.clone());
        let heard = follow(self.fly, call).await?;
        if heard.answer.status != 401 {
            *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        }
        Ok(heard)
    }

    /// The error for what a registry answered in the end.
    pub(super) fn failure(&self, answer: &http::Answer) -> crate::ports::PlatformError {
        self.fly.caller.scrub(answer.failure().error)
    }
}

/// Makes a call, and the same where it is sent to.
pub(super) async fn follow(fly: &Fly, mut call: Call) -> Answer<Heard> {
    let (asked, authorization) = (call.url.origin(), call.authorization.clone());
    let first = call.url.clone();
    for hop in 0..=HOPS_MAX {
        let answer = fly.caller.call(&call).await?;
        if !REDIRECTS.contains(&answer.status) || !may_repeat(&call.method, answer.status) {
            return Ok(Heard { answer, redirected: hop > 0 });
        }
        let next = answer.header("location").and_then(|place| call.url.join(place).ok());
        let Some(next) = next.filter(Url::has_host) else {
            return Err(answer.unreadable("a redirect to nowhere"));
        };
        if !may_lead(&first, &next) {
            return Err(answer.unreadable("a redirect to a place without TLS is not followed"));
        }
        if !next.username().is_empty() || next.password().is_some() {
            return Err(answer.unreadable("a redirect with a password in it is not followed"));
        }
        call.authorization = authorization.clone().filter(|_| next.origin() == asked);
        if answer.status == 303 && call.method != Method::HEAD {
            call.method = Method::GET;
        }
        call.url = next;
        if hop == HOPS_MAX {
            return Err(answer.unreadable("more redirects in a row than are followed"));
        }
    }
    // Not reached: the last hop answers or fails.
    Err(crate::ports::PlatformError::Unreadable("redirects without end".to_owned()))
}

/// Whether one place may send us to another: to one with TLS, or, from this very machine in the
/// clear, to this very machine.
fn may_lead(from: &Url, to: &Url) -> bool {
    let plain_here = |url: &Url| url.scheme() == "http" && is_loopback(url);
    to.scheme() == "https" || (plain_here(from) && plain_here(to))
}

/// Reading can be done elsewhere; what writes only when the registry says that nothing was done.
fn may_repeat(method: &Method, status: u16) -> bool {
    matches!(*method, Method::GET | Method::HEAD) || matches!(status, 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_from_tls_into_the_open() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (from, to, want) in [
            ("https://ghcr.io/", "https://store.test/", true),
            ("https://ghcr.io/", "http://ghcr.io/", false),
            ("https://ghcr.io/", "http://127.0.0.1/", false),
            ("https://localhost/", "http://localhost/", false),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:7000/", true),
            ("http://127.0.0.1:5000/", "http://10.0.0.1/", false),
            ("http://127.0.0.1:5000/", "https://store.test/", true),
            ("https://ghcr.io/", "ftp://ghcr.io/", false),
        ] {
            assert_eq!(may_lead(&url(from), &url(to)), want, "{from} to {to}");
        }
    }

    #[test]
    fn only_what_reads_or_was_not_done_is_done_elsewhere() {
        for status in [301, 302, 303, 307, 308] {
            assert!(may_repeat(&Method::GET, status) && may_repeat(&Method::HEAD, status));
            assert_eq!(may_repeat(&Method::PUT, status), status >= 307, "{status}");
        }
    }
}
