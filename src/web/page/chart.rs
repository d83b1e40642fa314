//! How the evidence against a release grew, drawn: the share of each block against the limit, and the
//! odds on a logarithmic scale, climbing to the line at which they are a breach.

use maud::{Markup, html};

use crate::{
    model::Unit,
    numbers::{odds, share},
    threshold,
    web::explain::{BlockView, ThresholdView},
};

/// The picture, in its own units.
const WIDTH: f64 = 380.0;
/// Room for the longest label of a scale, `1 000 000:1`.
const LEFT: f64 = 86.0;
const RIGHT: f64 = 374.0;
const SHARE_TOP: f64 = 20.0;
const SHARE_BOTTOM: f64 = 96.0;
const ODDS_TOP: f64 = 130.0;
const ODDS_BOTTOM: f64 = 218.0;
const HEIGHT: f64 = 240.0;
/// A few blocks are not drawn as wide as many are.
const BANDS_MIN: usize = 10;
/// Beyond this more odds say nothing more.
const DECADES_MAX: f64 = 12.0;

/// Where things are on the picture.
struct Frame {
    bands: f64,
    share_max: f64,
    odds_max: f64,
}

impl Frame {
    fn of(blocks: &[BlockView], limit: f64, floor: Option<f64>, needed: f64) -> Self {
        let shares = blocks.iter().flat_map(|block| [share_of(block), control_of(block)]).flatten();
        let most = shares.chain(floor).fold(limit * 2.0, f64::max);
        let decades = std::f64::consts::LN_10 * DECADES_MAX;
        let odds = blocks.iter().filter_map(|block| block.ln_odds).fold(needed * 1.2, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a few dozen blocks")]
        let bands = blocks.len().max(BANDS_MIN) as f64;
        Self { bands, share_max: most.clamp(1e-6, 1.0), odds_max: odds.clamp(0.1, decades) }
    }

    /// The left edge of a block, and of the one after the last.
    fn x(&self, index: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few dozen blocks")]
        let index = index as f64;
        LEFT + (RIGHT - LEFT) * index / self.bands
    }

    fn share_y(&self, share: f64) -> f64 {
        let part = (share / self.share_max).clamp(0.0, 1.0);
        SHARE_BOTTOM - (SHARE_BOTTOM - SHARE_TOP) * part
    }

    fn odds_y(&self, ln_odds: f64) -> f64 {
        let part = (ln_odds / self.odds_max).clamp(0.0, 1.0);
        ODDS_BOTTOM - (ODDS_BOTTOM - ODDS_TOP) * part
    }
}

fn share_of(block: &BlockView) -> Option<f64> {
    (block.counts.total > 0.0).then(|| block.counts.bad / block.counts.total)
}

fn control_of(block: &BlockView) -> Option<f64> {
    let control = block.control.filter(|control| control.total > 0.0)?;
    Some(control.bad / control.total)
}

fn coordinate(number: f64) -> String {
    format!("{number:.1}")
}

/// The picture of a threshold that counts events; `None` where there is nothing to draw yet.
/// `control`: what the known-good release is called.
pub(super) fn chart(view: &ThresholdView, control: &str) -> Option<Markup> {
    let blocks = view.blocks.as_slice();
    let (first, last) = (blocks.first()?, blocks.last()?);
    let (limit, needed) = (view.evidence.limit?, view.evidence.ln_odds_needed?);
    let raised = view.evidence.raised.as_ref();
    let frame = Frame::of(blocks, limit, raised.map(|raised| raised.share), needed);
    let limit_y = coordinate(frame.share_y(limit));
    let needed_y = coordinate(frame.odds_y(needed));
    let needed_words =
        odds(needed).map(|words| words.replace("over ", "")).unwrap_or_else(|| "1:1".to_owned());
    let clock = |block: &BlockView| block.at.strftime("%H:%M:%S").to_string();
    Some(html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(said(view, &needed_words)) {
            text.axis x=(LEFT) y="12" { (what(view.evidence.unit)) }
            path.frame d={ "M" (LEFT) " " (SHARE_BOTTOM) "H" (RIGHT) } {}
            @for (index, block) in blocks.iter().enumerate() { (column(&frame, index, block, limit)) }
            path.limit d={ "M" (LEFT) " " (limit_y) "H" (RIGHT) } {}
            text.label.needed x=(LEFT - 6.0) y=(limit_y) { (threshold::limit(limit, Unit::Requests)) }
            @if let Some(raised) = raised {
                @let floor_y = coordinate(frame.share_y(raised.share));
                path.floor d={ "M" (LEFT) " " (floor_y) "H" (RIGHT) } {}
            }

            text.axis x=(LEFT) y=(coordinate(ODDS_TOP - 8.0)) { "odds that it is bad" }
            @for (at, words) in decades(&frame, needed) {
                path.grid d={ "M" (LEFT) " " (coordinate(at)) "H" (RIGHT) } {}
                text.label x=(LEFT - 6.0) y=(coordinate(at)) { (words) }
            }
            path.limit d={ "M" (LEFT) " " (needed_y) "H" (RIGHT) } {}
            text.label.needed x=(LEFT - 6.0) y=(needed_y) { (needed_words) }
            (line(&frame, blocks, needed))
            text.axis x=(LEFT) y=(coordinate(HEIGHT - 6.0)) { (clock(first)) }
            @if blocks.len() > 3 {
                text.axis.end x=(coordinate(frame.x(blocks.len()))) y=(coordinate(HEIGHT - 6.0)) { (clock(last)) }
            }
        }
        (legend(blocks, control))
        @if let Some(raised) = raised {
            p.legend { span.floor {
                @if raised.relative {
                    (raised.by) " shows " (share(raised.share)) ", from which the limit follows: "
                    (threshold::limit(raised.to, Unit::Requests))
                } @else {
                    "the floor: " (raised.by) " ran at " (share(raised.share)) " before, so that the limit is "
                    (threshold::limit(raised.to, Unit::Requests)) " and not "
                    (threshold::limit(raised.from, Unit::Requests))
                }
            } }
        }
    })
}

fn column(frame: &Frame, index: usize, block: &BlockView, limit: f64) -> Markup {
    let (x, next) = (frame.x(index), frame.x(index + 1));
    let wide = (next - x) * 0.72;
    html! {
        @if let Some(share) = share_of(block) {
            @let y = frame.share_y(share).min(SHARE_BOTTOM - 1.0);
            path .(if share > limit { "over" } else { "under" })
                d={ "M" (coordinate(x)) " " (SHARE_BOTTOM) "V" (coordinate(y)) "h" (coordinate(wide)) "V" (SHARE_BOTTOM) "z" } {}
        }
        @if let Some(share) = control_of(block) {
            path.control d={ "M" (coordinate(x)) " " (coordinate(frame.share_y(share))) "h" (coordinate(wide)) } {}
        }
    }
}

/// The odds after each block, from 1:1 before the first.
fn line(frame: &Frame, blocks: &[BlockView], needed: f64) -> Markup {
    let mut path = format!("M{LEFT} {ODDS_BOTTOM}");
    let (mut end, mut crossed) = ((LEFT, ODDS_BOTTOM), false);
    for (index, block) in blocks.iter().enumerate() {
        let Some(ln_odds) = block.ln_odds else { continue };
        end = (frame.x(index + 1), frame.odds_y(ln_odds));
        crossed = ln_odds >= needed;
        path.push_str(&format!("L{:.1} {:.1}", end.0, end.1));
    }
    let tone = if crossed { "over" } else { "under" };
    html! {
        path.odds .(tone) d=(path) {}
        circle .(tone) cx=(coordinate(end.0)) cy=(coordinate(end.1)) r="4" {}
    }
}

/// Lines of the scale that are not too near to each other, or to the one that matters.
fn decades(frame: &Frame, needed: f64) -> Vec<(f64, String)> {
    let mut lines = vec![(frame.odds_y(0.0), "1:1".to_owned())];
    let step = (frame.odds_max / std::f64::consts::LN_10 / 4.0).ceil().max(1.0);
    let mut decade = step;
    while decade * std::f64::consts::LN_10 <= frame.odds_max {
        let ln_odds = decade * std::f64::consts::LN_10;
        let at = frame.odds_y(ln_odds);
        if (at - frame.odds_y(needed)).abs() > 11.0 && (at - ODDS_BOTTOM).abs() > 11.0 {
            let words = match decade {
                small if small <= 6.0 => odds(ln_odds + 1e-9).unwrap_or_default(),
                large => format!("10^{large:.0}:1"),
            };
            lines.push((at, words.replace("over ", "")));
        }
        decade += step;
    }
    lines
}

fn legend(blocks: &[BlockView], control: &str) -> Markup {
    let has_control = blocks.iter().any(|block| control_of(block).is_some());
    html! {
        p.legend {
            span.over { "over the limit" } " " span.under { "within it" }
            @if has_control && !control.is_empty() { " " span.control { (control) " at the same time" } }
        }
    }
}

fn what(unit: Unit) -> String {
    match unit {
        Unit::Requests => "share of bad requests".to_owned(),
        Unit::SlowerThan(bound) => format!("share slower than {}", crate::numbers::seconds(bound)),
        _ => "share of bad events".to_owned(),
    }
}

/// For who does not see it.
fn said(view: &ThresholdView, needed: &str) -> String {
    let lately = view.blocks.last().and_then(share_of).map_or_else(String::new, |last| {
        format!(", in the last of {} blocks {}", view.blocks.len(), share(last))
    });
    let now = view.evidence.ln_odds.and_then(odds).unwrap_or_else(|| "none".to_owned());
    format!("{}{lately}; odds {now}, breached at {needed}", view.evidence.threshold)
}

/// The same blocks as numbers.
pub(super) fn table(view: &ThresholdView, control: &str) -> Markup {
    html! {
        details #{ "b-" (view.evidence.threshold) } {
            summary { "The numbers of " (view.blocks.len()) " blocks" }
            div.wide {
                table {
                    thead { tr {
                        @for name in ["Block", "Events", "Bad", "Share", "Odds"] { th scope="col" { (name) } }
                        @if !control.is_empty() { th scope="col" { (control) " meanwhile" } }
                    } }
                    tbody {
                        @for block in view.blocks.iter().rev() {
                            tr {
                                td { (block.at.strftime("%H:%M:%S").to_string()) }
                                td.n { (crate::numbers::plain(block.counts.total, 1)) }
                                td.n { (crate::numbers::plain(block.counts.bad, 1)) }
                                td.n { (share_of(block).map_or_else(String::new, share)) }
                                td.n { (block.ln_odds.and_then(odds).unwrap_or_else(|| "-".to_owned())) }
                                @if !control.is_empty() {
                                    td.n {
                                        @match block.control {
                                            Some(one) => { (crate::numbers::plain(one.bad, 1)) " of " (crate::numbers::plain(one.total, 1)) }
                                            None => "-"
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As wide as a digit gets in bold, of which letters are 12 units high.
    const DIGIT: f64 = 7.2;

    #[test]
    fn labels_of_the_odds_have_room_beside_the_scale() {
        let needed = 1e5_f64.ln();
        let frame = Frame { bands: 10.0, share_max: 1.0, odds_max: 1e12_f64.ln() };
        let mut labels: Vec<String> =
            decades(&frame, needed).into_iter().map(|(_, words)| words).collect();
        labels.extend(odds(1e6_f64.ln()));
        assert!(labels.iter().any(|label| label == "1 000 000:1"), "{labels:?}");
        for label in &labels {
            let digits = label.chars().filter(char::is_ascii_digit).count() as f64;
            let others = label.chars().count() as f64 - digits;
            let wide = digits * DIGIT + others * DIGIT / 2.0;
            assert!(wide < LEFT - 6.0, "{label}: {wide}");
        }
    }
}
