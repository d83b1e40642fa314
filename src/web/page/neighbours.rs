//! Other apps beside the one that is shown: whether they serve their requests meanwhile says whose
//! fault it is.

use maud::{Markup, html};

use super::{
    part::{Tone, badge},
    shell::{app_path, lasting},
};
use crate::web::explain::NeighbourView;

/// Neighbours with a line of their own: those that degrade first.
const SHOWN_MAX: usize = 12;

/// What they say; nothing where nobody bears witness.
pub(super) fn card(neighbours: &[NeighbourView]) -> Markup {
    let degraded = neighbours.iter().filter(|one| one.degraded_since.is_some()).count();
    let mut shown: Vec<&NeighbourView> = neighbours.iter().collect();
    shown.sort_by_key(|one| (one.degraded_since.is_none(), one.deployed));
    let (tone, words) = match degraded {
        0 => (Tone::Good, "well".to_owned()),
        all if all == neighbours.len() => (Tone::Bad, "all degrade".to_owned()),
        some => (Tone::Warn, format!("{some} of {} degrade", neighbours.len())),
    };
    html! {
        @if !neighbours.is_empty() {
            article.card.calm {
                h3 { "Neighbours " (badge(tone, &words)) }
                p {
                    @if degraded == 0 {
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
