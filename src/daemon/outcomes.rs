//! What came of a command, as the log says it.

use crate::{
    decide::{Outcome, PutOutcome, StartOutcome},
    model::Digest,
    numbers::moment,
};

/// One line for an outcome.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::ImagePresent => "the image is there".to_owned(),
        Outcome::ImageMissing => "the image is missing".to_owned(),
        Outcome::ImageUnknown { reason } => format!("the registry could not be asked: {reason}"),
        Outcome::Mirrored => "the mirror has it".to_owned(),
        Outcome::MirrorFailed { reason, .. } => format!("not copied: {reason}"),
        Outcome::ReleaseOpened { id, version } => format!("{version} ({id}) is open"),
        Outcome::LedgerRefused { reason } => format!("the ledger refused: {reason}"),
        Outcome::ReleaseClosed => "closed".to_owned(),
        Outcome::ReleaseLeftOpen => "not closed, tried again".to_owned(),
        Outcome::Put(outcome) => put(outcome),
        Outcome::Start(StartOutcome::Started) => "started".to_owned(),
        Outcome::Start(StartOutcome::AlreadyUp) => "it was up already".to_owned(),
        Outcome::Start(StartOutcome::NotOurs) => {
            "it rests for a reason that is not ours".to_owned()
        }
        Outcome::Start(StartOutcome::Not(outcome)) => put(outcome),
    }
}

fn put(outcome: &PutOutcome) -> String {
    let of = |by: &Option<String>| by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    match outcome {
        PutOutcome::Updated { .. } => "updated and verified".to_owned(),
        PutOutcome::AlreadyOnTarget { .. } => "it ran the target already".to_owned(),
        PutOutcome::NewerRelease { version, by } => format!("it carries {version}{}", of(by)),
        PutOutcome::SetByHand { digest } => {
            format!("somebody put {} on it by hand", digest.short())
        }
        PutOutcome::OtherImage { digest } => {
            let runs = digest.as_ref().map_or("an image without digest", Digest::short);
            format!("it runs {runs}")
        }
        PutOutcome::Gone => "it is gone".to_owned(),
        PutOutcome::LeaseHeld { owner, description } if description.is_empty() => {
            format!("leased by {owner}")
        }
        PutOutcome::LeaseHeld { owner, description } => format!("leased by {owner}: {description}"),
        PutOutcome::Deploying { version, by, .. } => {
            let version = version.map_or_else(|| "a deploy".to_owned(), |v| v.to_string());
            format!("it belongs to {version}{}, which is going on", of(by))
        }
        PutOutcome::Announced { version, by } => format!("{version}{} is on its way", of(by)),
        PutOutcome::Denied { reason } => format!("not allowed: {reason}"),
        PutOutcome::Unreadable { reason } => format!("an unreadable answer: {reason}"),
        PutOutcome::HostDown { status } => format!("its host is {status}"),
        PutOutcome::UpByNow => "it was started meanwhile, and is put off".to_owned(),
        PutOutcome::NotReadyYet { state, since } => {
            format!("{state} since {}, not ready yet", moment(*since))
        }
        PutOutcome::Unavailable { reason } => reason.clone(),
        PutOutcome::Reverted { runs } => format!("the platform went back: it runs {runs}"),
        PutOutcome::Refused { reason } => format!("refused: {reason}"),
        PutOutcome::Unhealthy { failing, crashed: false } => {
            format!("its checks fail: {}", failing.join(", "))
        }
        PutOutcome::Unhealthy { .. } => "its process ends by itself".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ReleaseVersion;

    #[test]
    fn a_log_line_reads_like_a_sentence() {
        let version = ReleaseVersion(43);
        let opened = Outcome::ReleaseOpened { id: "rel_1".to_owned(), version };
        assert_eq!(describe(&opened), "v43 (rel_1) is open");
        let newer = PutOutcome::NewerRelease { version, by: Some("dana@example.com".to_owned()) };
        assert_eq!(describe(&Outcome::Put(newer)), "it carries v43 by dana@example.com");
    }
}
