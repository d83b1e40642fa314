//! What is known of an app's releases, as the API shows them.

use crate::{
    decide::{
        AppState,
        hands::would_take,
        name::{self, Named},
        state::{Memory, Phase},
    },
    model::Verdict,
    web::view::{ReleaseStanding, ReleaseView},
};

/// Every release that can be named, the newest first.
pub(super) fn releases(state: &AppState) -> Vec<ReleaseView> {
    let memory = &state.memory;
    // By number and image: a rollback's entry carries the image of an older release.
    let target = would_take(state).map(|target| (target.version, target.digest));
    let runs = state.phase.runs(memory);
    let shown = |Named { release, image }: Named| {
        let reference = image.as_ref().map(crate::model::ImageRef::reference);
        let text = reference.unwrap_or_else(|| release.digest.as_str().to_owned());
        let mut view = ReleaseView::unknown(&text, Some(release.digest.clone()));
        view.version = release.version;
        view.tag = release.tag.or(view.tag);
        view.reference = image;
        view.author = release.author;
        view.created_at = release.created_at;
        let one = (release.version, release.digest.clone());
        view.runs = runs.iter().any(|runs| runs.version == one.0 && runs.digest == one.1);
        view.pinned = memory.pinned.as_ref().is_some_and(|one| one.digest == release.digest);
        view.is_target = target.as_ref() == Some(&one);
        stands(&mut view, &state.phase, memory);
        view
    };
    name::releases(state).into_iter().map(shown).collect()
}

fn stands(view: &mut ReleaseView, phase: &Phase, memory: &Memory) {
    let Some(digest) = view.digest.clone() else { return };
    let mut trusted = memory.trusted.iter();
    if let Some(old) = memory.quarantined.iter().find(|old| old.digest == digest) {
        view.standing = ReleaseStanding::Quarantined;
        view.since = Some(old.at);
    } else if let Some(good) = trusted.find(|one| one.revision.digest == digest) {
        view.standing = ReleaseStanding::Trusted;
        view.since = Some(good.at);
        if let Some(revoked) = good.revoked {
            view.standing = ReleaseStanding::Degraded;
            view.since = Some(revoked);
            return;
        }
        if let Some(signed) = &good.vouched {
            view.standing = ReleaseStanding::VouchedFor;
            view.by = Some(signed.by.clone());
        }
    } else if let Some(baked) = memory.baked.iter().find(|one| one.revision.digest == digest) {
        view.standing = ReleaseStanding::Baked;
        view.since = Some(baked.at);
    } else if let Phase::Watching(watch)
    | Phase::CountingDown { watch, .. }
    | Phase::CheckingImage { watch, .. }
    | Phase::Held { watch, .. } = phase
        && watch.revision.digest == digest
    {
        let breaches = watch.evidence.iter().any(|one| one.verdict == Verdict::Breach);
        view.standing =
            if breaches { ReleaseStanding::Degraded } else { ReleaseStanding::UnderWatch };
        view.since = Some(watch.since);
    }
}
