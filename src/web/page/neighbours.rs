//! Other apps beside the one that is shown: whether they serve their requests meanwhile says whose
//! fault it is.

use maud::{Markup, html};

use super::{
    part::{Tone, badge},
    shell::{app_path, lasting},
};
use crate::web::explain::NeighbourView;

/// Neighbours with a line of their own: witnesses first, and those that degrade.
const SHOWN_MAX: usize = 12;

/// What they say; nothing where nobody bears witness.
pub(super) fn card(neighbours: &[NeighbourView]) -> Markup {
    // What has a release of its own may degrade for that.
    let witnesses: Vec<&NeighbourView> = neighbours.iter().filter(|one| !one.deployed).collect();
    let degraded = witnesses.iter().filter(|one| one.degraded_since.is_some()).count();
    let mut shown: Vec<&NeighbourView> = neighbours.iter().collect();
    shown.sort_by_key(|one| (one.deployed, one.degraded_since.is_none()));
    let (tone, words) = match (degraded, witnesses.len()) {
        (_, 0) => (Tone::Calm, "no witness".to_owned()),
        (0, _) => (Tone::Good, "well".to_owned()),
        (some, all) if all == some => (Tone::Bad, "all degrade".to_owned()),
        (some, all) => (Tone::Warn, format!("{some} of {all} degrade")),
    };
    html! {
        @if !neighbours.is_empty() {
            article.card.calm {
                h3 { "Neighbours " (badge(tone, &words)) }
                p {
                    @if witnesses.is_empty() {
                        "None of them can bear witness: each has a release of its own."
                    } @else if degraded == 0 {
                        "Other apps serve their requests meanwhile: nothing speaks for a cause that they share."
                    } @else {
                        "What degrades in several apps at the same time is hardly the fault of one release."
                    }
                }
                ul.neighbours {
                    @for one in shown.iter().take(SHOWN_MAX) { (line(one)) }
                }
                @if shown.len() > SHOWN_MAX { p { "and " (shown.len() - SHOWN_MAX) " more" } }
            }
        }
    }
}

fn line(one: &NeighbourView) -> Markup {
    let regions: Vec<&str> = one.regions.iter().map(crate::model::Region::as_str).collect();
    html! {
        li {
            a href=(app_path(one.app.as_str())) { (one.app) } " "
            @match one.degraded_since {
                Some(since) => { (badge(Tone::Bad, "degrades")) " " (lasting(since)) }
                None => { (badge(Tone::Good, "well")) }
            }
            @if !regions.is_empty() { " in " (regions.join(", ")) }
            @if one.deployed { span.none { ", is deployed itself: no witness" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::tests::noon;

    fn beside(app: &str, degrades: bool, deployed: bool) -> NeighbourView {
        let degraded_since = degrades.then(noon);
        NeighbourView { app: app.into(), degraded_since, deployed, regions: Vec::new() }
    }

    #[test]
    fn only_apps_without_a_release_of_their_own_bear_witness() {
        let said = |neighbours: &[NeighbourView]| card(neighbours).0;
        let deployed = [beside("web", true, true), beside("pay", true, true)];
        let none = said(&deployed);
        assert!(none.contains("None of them can bear witness"), "{none}");
        assert!(!none.contains("all degrade") && !none.contains("hardly the fault"), "{none}");
        let well = said(&[beside("web", true, true), beside("api", false, false)]);
        assert!(well.contains("nothing speaks for a cause"), "{well}");
        let half = [true, false].map(|degrades| beside("api", degrades, false));
        let half = said(&[half.as_slice(), &deployed].concat());
        assert!(half.contains("1 of 2 degrade") && half.contains("hardly the fault"), "{half}");
        assert_eq!(said(&[]), "");
    }
}
