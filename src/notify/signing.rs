//! Standard Webhooks signatures: `HMAC-SHA256` over id, time and body, one per secret.
//!
//! Several secrets at once are how a secret is changed without losing a message: the receiver
//! accepts whichever it knows.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use crate::config::Secret;

/// How far a message's time may be from the receiver's clock, either way.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Most signatures of one header that are tried: each costs a hash of the body.
const SIGNATURES_MAX: usize = 16;

/// Why a signing secret cannot be used; says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a signing secret must start with `whsec_`")]
    Prefix,
    #[error("what follows `whsec_` must be base64")]
    Base64,
    #[error("a signing secret must hold 24 to 64 bytes")]
    Length,
}

/// Why a message is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    #[error("`webhook-timestamp` is not a number of seconds")]
    Timestamp,
    #[error("the message is older than the tolerance allows")]
    TooOld,
    #[error("the message comes from the future")]
    TooNew,
    #[error("no signature matches")]
    Signature,
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The key in a `whsec_…` secret; also how the configuration is checked.
pub fn key(secret: &Secret) -> Result<Vec<u8>, SecretError> {
    let text = secret.expose().strip_prefix("whsec_").ok_or(SecretError::Prefix)?;
    let key = STANDARD.decode(text).map_err(|_| SecretError::Base64)?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err(SecretError::Length) }
}

/// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` for a message sent at
/// `now`. Every secret signs, in order; without secrets there is no signature header.
pub fn headers(
    id: &str,
    now: Timestamp,
    body: &str,
    secrets: &[Secret],
) -> Result<Vec<(String, String)>, SecretError> {
    let seconds = now.as_second();
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let mac = mac(&key(secret)?, id, &seconds.to_string(), body)?;
        signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
    }
    let mut headers = vec![
        ("webhook-id".to_owned(), id.to_owned()),
        ("webhook-timestamp".to_owned(), seconds.to_string()),
    ];
    if !signatures.is_empty() {
        headers.push(("webhook-signature".to_owned(), signatures.join(" ")));
    }
    Ok(headers)
}

/// Whether a message received at `now` was signed with one of `secrets` within `tolerance`.
/// Header names are compared without regard to case, signatures in constant time.
pub fn verify(
    headers: &[(String, String)],
    body: &str,
    secrets: &[Secret],
    now: Timestamp,
    tolerance: SignedDuration,
) -> Result<(), VerifyError> {
    let header = |name: &'static str| {
        headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .ok_or(VerifyError::Missing(name))
    };
    let id = header("webhook-id")?;
    let time = header("webhook-timestamp")?;
    let signatures = header("webhook-signature")?;
    let sent = time.parse::<i64>().map_err(|_| VerifyError::Timestamp)?;
    let sent = Timestamp::from_second(sent).map_err(|_| VerifyError::Timestamp)?;
    let age = now.duration_since(sent);
    if age > tolerance {
        return Err(VerifyError::TooOld);
    }
    if age < -tolerance {
        return Err(VerifyError::TooNew);
    }
    for secret in secrets {
        let key = key(secret)?;
        for signature in signatures.split(' ').take(SIGNATURES_MAX) {
            // Other versions may stand beside ours; they are not for us.
            let Some(text) = signature.strip_prefix("v1,") else { continue };
            let Ok(bytes) = STANDARD.decode(text) else { continue };
            if mac(&key, id, time, body)?.verify_slice(&bytes).is_ok() {
                return Ok(());
            }
        }
    }
    Err(VerifyError::Signature)
}

fn mac(key: &[u8], id: &str, time: &str, body: &str) -> Result<Hmac<Sha256>, SecretError> {
    // HMAC takes a key of any length; the error exists for other constructions.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| SecretError::Length)?;
    for part in [id, ".", time, ".", body] {
        mac.update(part.as_bytes());
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn sent() -> Timestamp {
        Timestamp::from_second(1_614_265_330).unwrap()
    }

    fn signed(body: &str, secrets: &[Secret]) -> Vec<(String, String)> {
        headers("msg_p5jXN8AQM9LWM0D4loKWxJek", sent(), body, secrets).unwrap()
    }

    #[test]
    fn the_published_example_comes_out() {
        let headers = signed(r#"{"test": 2432232314}"#, &[secret(OLD)]);
        assert_eq!(headers[0].1, "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers[1].1, "1614265330");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_changes_either_is_enough() {
        let headers = signed("{}", &[secret(NEW), secret(OLD)]);
        for known in [OLD, NEW] {
            let known = [secret(known)];
            assert_eq!(verify(&headers, "{}", &known, sent(), TOLERANCE), Ok(()));
        }
    }

    #[test]
    fn a_changed_body_id_time_or_secret_is_not_believed() {
        let good = signed("{}", &[secret(OLD)]);
        let wrong = Err(VerifyError::Signature);
        assert_eq!(verify(&good, "{ }", &[secret(OLD)], sent(), TOLERANCE), wrong);
        assert_eq!(verify(&good, "{}", &[secret(NEW)], sent(), TOLERANCE), wrong);
        assert_eq!(verify(&good, "{}", &[], sent(), TOLERANCE), wrong);
        for (index, value) in [(0, "msg_other"), (1, "1614265331"), (2, "v1,AAAA"), (2, "v1a,x")] {
            let mut bad = good.clone();
            bad[index].1 = value.to_owned();
            assert_eq!(verify(&bad, "{}", &[secret(OLD)], sent(), TOLERANCE), wrong, "{value}");
        }
    }

    #[test]
    fn old_and_future_messages_are_refused() {
        let headers = signed("{}", &[secret(OLD)]);
        let at = |seconds| {
            let now = sent() + SignedDuration::from_secs(seconds);
            verify(&headers, "{}", &[secret(OLD)], now, TOLERANCE)
        };
        assert_eq!([at(300), at(-300)], [Ok(()), Ok(())]);
        assert_eq!([at(301), at(-301)], [Err(VerifyError::TooOld), Err(VerifyError::TooNew)]);
    }

    #[test]
    fn an_unusable_secret_is_named_by_its_fault_and_never_shown() {
        let fault = |text: &str| key(&secret(text)).unwrap_err();
        assert_eq!(fault("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SecretError::Prefix);
        assert_eq!(fault("whsec_not base64"), SecretError::Base64);
        assert_eq!(fault("whsec_c2hvcnQ="), SecretError::Length);
    }
}
