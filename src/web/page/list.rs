//! The list of all apps, worst first.

use maud::{Markup, html};

use super::{
    ListQuery, acts,
    live::{Overview, Row},
    part::{self, Tone},
    shell::{self, app_path, encoded},
};
use crate::{
    numbers,
    web::{
        Phase,
        rank::Rank,
        view::{AppView, OrgView},
    },
};

/// Apps on a page: so many that few organizations have a second one.
pub(super) const PER_PAGE: usize = 200;
/// Longest explanation in a row, in characters.
const WHY_MAX: usize = 140;
/// Longest name that is looked for.
const SOUGHT_MAX: usize = 100;
/// From this on the change feed is old.
const FEED_OLD_S: f64 = 15.0;

fn tone(view: &AppView) -> Tone {
    match view.rank() {
        Rank::NeedsSomebody | Rank::BeingUndone | Rank::Degraded => Tone::Bad,
        Rank::Blind | Rank::Undone | Rank::Braked => Tone::Warn,
        Rank::UnderWatch | Rank::Learning | Rank::Steady => part::phase_tone(view.phase),
    }
}

/// One app.
pub(super) fn row(view: &AppView) -> Markup {
    let worst = part::worst(view);
    html! {
        tr data-app=(view.app) {
            th scope="row" { a href=(app_path(view.app.as_str())) { (view.app) } }
            td { (part::badge(tone(view), view.phase.words())) " " (shell::lasting(view.since)) }
            td.r {
                // What was undone runs no more.
                @if view.phase == Phase::RolledBack { (part::running(&view.running)) }
                @else { (part::release(view.release.as_ref())) }
            }
            td.k { (part::release(view.known_good.as_ref())) }
            td.e {
                @if let (Phase::RolledBack, Some(worst)) = (view.phase, worst) {
                    // It is not so any more.
                    span.none {
                        @if let Some(undone) = &view.release { (undone.label()) " then: " }
                        (worst.threshold) " " (part::value(worst))
                    }
                } @else if let Some(worst) = worst {
                    b { (worst.threshold) } " " (part::value(worst)) " of " (part::limit(worst))
                    (part::bar(worst))
                }
            }
            td.w { (numbers::cut(&view.remark(), WHY_MAX)) }
        }
    }
}

/// The rows of one page of the list, and how many there are in all.
pub(super) struct Window<'o> {
    pub(super) rows: Vec<&'o Row>,
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) found: usize,
}

pub(super) fn window<'o>(overview: &'o Overview, query: &ListQuery) -> Window<'o> {
    let sought = query.q.as_deref().unwrap_or_default().trim().to_lowercase();
    let phase = query.phase.as_deref().unwrap_or_default();
    let wanted = |row: &&Row| {
        (sought.is_empty() || row.view.app.as_str().to_lowercase().contains(&sought))
            && (phase.is_empty() || row.view.phase.as_str() == phase)
    };
    let found: Vec<&Row> = overview.rows.iter().map(AsRef::as_ref).filter(wanted).collect();
    let pages = found.len().div_ceil(PER_PAGE).max(1);
    let page = query.page.unwrap_or(1).clamp(1, pages);
    let rows = found.iter().skip((page - 1) * PER_PAGE).take(PER_PAGE).copied().collect();
    Window { rows, page, pages, found: found.len() }
}

/// The whole page.
pub(super) fn page(overview: &Overview, query: &ListQuery) -> Markup {
    let shown = window(overview, query);
    let body = html! {
        main #main {
            div #head { (head(overview, query)) }
            form.seek role="search" {
                label { "Find an app " input type="search" name="q" maxlength=(SOUGHT_MAX) value=[query.q.as_deref()]; }
                @if let Some(phase) = &query.phase { input type="hidden" name="phase" value=(phase); }
                button { "Find" }
            }
            table.apps {
                caption.hidden { "Apps, worst first" }
                thead {
                    tr {
                        @for name in ["App", "Phase", "Release", "Known good", "Evidence and limit", "Why"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody #rows {
                    @for row in &shown.rows { (shell::made(&row.html)) }
                }
            }
            div #foot { (foot(overview, &shown, query)) }
            (acts::dialog())
        }
    };
    let organization = &overview.headline.organization;
    let stream = format!("/events{}", link(query, shown.page));
    shell::document("All apps", organization, Some((&stream, &overview.mark())), &body)
}

/// Whether the daemon itself sees, may act, and is heard. (Without the feed it looks at each app all the same.)
fn is_well(headline: &OrgView) -> bool {
    let is_heard = headline.receivers.iter().all(|one| one.failing_since.is_none());
    let is_free = headline.token_refused.is_none() && headline.hold.is_none();
    is_free && headline.ready && is_heard
}

/// `1 app is in trouble, 2 cannot be seen`.
fn state(needy: usize, blind: usize, is_well: bool) -> String {
    let trouble = match needy {
        0 => None,
        1 => Some("1 app is in trouble".to_owned()),
        more => Some(format!("{more} apps are in trouble")),
    };
    match (trouble, blind) {
        (None, 0) if is_well => "Nothing is wrong".to_owned(),
        (None, 0) => "No app is in trouble".to_owned(),
        (None, 1) => "1 app cannot be seen".to_owned(),
        (None, more) => format!("{more} apps cannot be seen"),
        (Some(trouble), 0) => trouble,
        (Some(trouble), more) => format!("{trouble}, {more} cannot be seen"),
    }
}

/// How many apps are how, and what is wrong with the daemon itself.
pub(super) fn head(overview: &Overview, query: &ListQuery) -> Markup {
    let headline = &overview.headline;
    let many = |is: fn(Rank) -> bool| overview.rows.iter().filter(|row| is(row.rank)).count();
    let (needy, blind) = (many(Rank::is_trouble), many(|rank| rank == Rank::Blind));
    html! {
        h1 data-needy=(needy + blind) { (state(needy, blind, is_well(headline))) }
        @if let Some(refused) = &headline.token_refused { p.note.bad { (refused) } }
        @if let Some(hold) = &headline.hold {
            p.note.warn { "Nothing is rolled back: every app is held by " (part::held_by(hold)) }
        }
        @if !headline.ready {
            p.note.warn {
                "Not ready yet"
                @if let Some(what) = headline.waiting_for.first() { ": waits for " (what) }
            }
        }
        @if headline.feed.lag_s.is_some_and(|lag| lag > FEED_OLD_S) {
            p.note.warn {
                "The platform's feed of changes was last read "
                @if let Some(at) = headline.feed.read_at { (shell::time(at)) }
            }
        }
        @for receiver in headline.receivers.iter().filter(|one| one.failing_since.is_some()) {
            p.note.warn {
                "The receiver " b { (receiver.name) } " takes no messages"
                @if let Some(since) = receiver.failing_since { ": " (shell::lasting(since)) ", " }
                (receiver.why.as_deref().unwrap_or_default())
            }
        }
        nav.phases aria-label="Phases" {
            a href="/" aria-current=[query.phase.is_none().then_some("page")] {
                b { (overview.rows.len()) } " all"
            }
            @for (phase, count) in overview.phases.iter().rev() {
                a .(part::phase_tone(*phase).class()) href={ "/?phase=" (phase.as_str()) }
                    aria-current=[(query.phase.as_deref() == Some(phase.as_str())).then_some("page")] {
                    b { (count) } " " (phase.words())
                }
            }
        }
    }
}

/// What is left out and the way to it, and what can be ordered for all apps.
pub(super) fn foot(overview: &Overview, shown: &Window<'_>, query: &ListQuery) -> Markup {
    html! {
        @if shown.found == 0 {
            @if query.q.is_some() || query.phase.is_some() {
                p { "No app is like that. " a href="/" { "Show all" } }
            } @else {
                p { "No app has had a round yet, or no policy names one." }
            }
        }
        @if shown.pages > 1 {
            nav.pages aria-label="Pages" {
                @if shown.page > 1 { a rel="prev" href={ "/" (link(query, shown.page - 1)) } { "← worse" } }
                span { "page " (shown.page) " of " (shown.pages) ", " (shown.found) " apps" }
                @if shown.page < shown.pages { a rel="next" href={ "/" (link(query, shown.page + 1)) } { "better →" } }
            }
        }
        (acts::for_all(overview.headline.hold.is_some()))
    }
}

fn link(query: &ListQuery, page: usize) -> String {
    let mut link = format!("?page={page}");
    for (name, value) in [("q", &query.q), ("phase", &query.phase)] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            link.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    link
}
