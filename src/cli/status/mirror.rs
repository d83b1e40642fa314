//! How the copies of trusted images stand.

use jiff::Timestamp;

use crate::{
    cli::text::{duration, seconds_between},
    web::view::{AppView, MirrorState, MirrorView},
};

/// Lines about copies in the mirror; the JSON has them all.
const MIRROR_SHOWN: usize = 4;

/// The newest trusted image's copy, and what is not copied of the others.
pub(super) fn rows(app: &AppView, now: Timestamp) -> Vec<Vec<String>> {
    let told = |(nth, mirror): &(usize, &MirrorView)| {
        *nth == 0 || matches!(mirror.state, MirrorState::Copying | MirrorState::Failed)
    };
    let rows = app.mirror.iter().enumerate().filter(told).take(MIRROR_SHOWN);
    rows.map(|(_, mirror)| vec!["mirror".to_owned(), mirrored(mirror, now)]).collect()
}

/// `v41  copied to ghcr.io/acme/api@sha256:…`.
fn mirrored(mirror: &MirrorView, now: Timestamp) -> String {
    let (label, place) = (mirror.release.label(), &mirror.image);
    match mirror.state {
        MirrorState::Copied if mirror.only_copy => {
            format!("{label}  only in {place}: its own registry has lost it")
        }
        MirrorState::Copied => format!("{label}  copied to {place}"),
        MirrorState::Copying => {
            if mirror.of.is_none() {
                return format!("{label}  being copied to {place}");
            }
            let megabytes = |bytes: Option<u64>| bytes.unwrap_or_default().div_ceil(1_000_000);
            let (done, of) = (megabytes(mirror.done), megabytes(mirror.of));
            format!("{label}  being copied to {place}: {done} of {of} MB")
        }
        MirrorState::Waiting => format!("{label}  not copied yet to {place}"),
        MirrorState::Failed => {
            let why = mirror.why.as_deref().unwrap_or("for a reason that is not known");
            let next = mirror.next.filter(|next| *next > now).map_or_else(String::new, |next| {
                format!("; tried again in {}", duration(seconds_between(now, next)))
            });
            format!("{label}  not copied to {why}{next}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReleaseVersion, event::ReleaseInfo};

    fn now() -> Timestamp {
        "2026-03-01T02:03:04Z".parse().unwrap()
    }

    fn mirror(state: MirrorState) -> MirrorView {
        MirrorView {
            release: ReleaseInfo {
                version: Some(ReleaseVersion(41)),
                tag: None,
                digest: "sha256:41".into(),
                author: None,
                created_at: None,
            },
            image: "ghcr.io/acme/api@sha256:41".to_owned(),
            reference: None,
            state,
            done: None,
            of: None,
            why: None,
            next: None,
            only_copy: false,
        }
    }

    #[test]
    fn a_line_says_where_the_copy_is_how_far_or_what_keeps_it() {
        let said = |mirror: &MirrorView| mirrored(mirror, now());
        let place = "ghcr.io/acme/api@sha256:41";
        let copied = mirror(MirrorState::Copied);
        assert_eq!(said(&copied), format!("v41  copied to {place}"));
        let only = MirrorView { only_copy: true, ..copied };
        assert_eq!(said(&only), format!("v41  only in {place}: its own registry has lost it"));
        let (done, of) = (Some(12_300_000), Some(40_000_000));
        let copying = MirrorView { done, of, ..mirror(MirrorState::Copying) };
        assert_eq!(said(&copying), format!("v41  being copied to {place}: 13 of 40 MB"));
        let begun = format!("v41  being copied to {place}");
        assert_eq!(said(&mirror(MirrorState::Copying)), begun);
        assert_eq!(said(&mirror(MirrorState::Waiting)), format!("v41  not copied yet to {place}"));
        let failed = MirrorView {
            why: Some(format!("{place}: create the repository (404)")),
            next: Some(now() + jiff::SignedDuration::from_mins(4)),
            ..mirror(MirrorState::Failed)
        };
        let text = format!(
            "v41  not copied to {place}: create the repository (404); tried again in 4 min"
        );
        assert_eq!(said(&failed), text);
    }
}
