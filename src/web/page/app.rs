//! One app: what is under way, what speaks against its release, what was done and why.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{
    acts, chart, neighbours,
    part::{self, badge, phase_tone, verdict_tone},
    rollback,
    shell::{self, lasting, time},
    timeline::{self, Events},
};
use crate::{
    config::{self, Lines, PolicyFile},
    model::{AppName, Mode, OnBreach, event::ReleaseInfo},
    numbers::share,
    web::{
        ApiState,
        explain::{Explained, MachineView, ThresholdView},
        view::{AppView, OrgView, ReleaseView},
    },
};

/// Machines and releases shown.
const MACHINES_MAX: usize = 200;
const RELEASES_MAX: usize = 15;
/// Machines without metrics that are named.
const UNREAD_MAX: usize = 5;
/// Releases that were undone, the newest first.
const UNDONE_MAX: usize = 4;

/// What the page is made from.
pub(super) struct Shown {
    headline: OrgView,
    app: AppName,
    /// `None`: no longer watched, and its history is kept.
    view: Option<AppView>,
    explained: Option<Explained>,
    releases: Vec<ReleaseView>,
    policy: Option<PolicyFile>,
    /// Where its keys stand; only known where the policy is shown.
    lines: Lines,
    events: Events,
}

impl Shown {
    /// `None`: nobody knows the app.
    pub(super) fn of(state: &ApiState, app: &AppName, events: Events) -> Option<Self> {
        let view = state.board.app(app);
        if view.is_none() && events.is_empty() {
            return None;
        }
        Some(Self {
            headline: state.board.headline(state.clock.now()),
            app: app.clone(),
            view,
            explained: state.board.explained(app),
            releases: state.board.releases(app).unwrap_or_default(),
            policy: (state.policies)(app),
            lines: Lines::new(),
            events,
        })
    }

    /// The same, with the lines of the policy's file.
    pub(super) async fn with_lines(self) -> Self {
        let Some(path) = self.policy.as_ref().map(|file| file.path.clone()) else { return self };
        let read = tokio::task::spawn_blocking(move || config::lines(&path)).await;
        Self { lines: read.unwrap_or_default(), ..self }
    }

    /// The parts that change, by the ids of their elements.
    pub(super) fn parts(&self, is_newest: bool) -> Vec<(&'static str, String)> {
        let mut parts = vec![("head", self.head())];
        if let Some(view) = &self.view {
            parts.push(("rollback", self.rollback(view)));
            parts.push(("watch", self.watch()));
            parts.push(("acts", acts::for_app(view)));
            parts.push(("machines", self.machines()));
            parts.push(("releases", self.releases()));
        }
        if is_newest {
            parts.push(("timeline", timeline::timeline(&self.app, &self.events, true)));
        }
        parts.into_iter().map(|(id, markup)| (id, markup.0)).collect()
    }

    fn head(&self) -> Markup {
        let Some(view) = &self.view else {
            return html! {
                h1 { (self.app) }
                p.note.warn { "This app is not watched any more. What happened to it is kept." }
            };
        };
        let mode = match view.mode {
            Mode::Observe => "observes only",
            Mode::Approve => "asks before it rolls back",
            Mode::Rollback => "rolls back by itself",
        };
        html! {
            h1 { (view.app) " " (badge(phase_tone(view.phase), view.phase.words())) }
            p { (lasting(view.since))
                @if let Some(deadline) = view.next_deadline { ", this ends " (time(deadline)) " at the latest" }
                "; policy " b { (view.policy) } " " (mode)
            }
            @if let Some(refused) = &self.headline.token_refused { p.note.bad { (refused) } }
            @if let Some(hold) = &view.hold { p.note.bad { b { "Held: " } (hold) } }
            @if view.hold.is_none()
                && let Some(hold) = self.headline.hold.as_ref().or(view.operator_hold.as_ref()) {
                p.note.warn { b { "Nothing is rolled back: " } "held by " (part::held_by(hold)) }
            }
            @if let Some(vetoed) = view.vetoed_besides() {
                p.note.warn { b { "Vetoed by " (part::signed(vetoed)) ": " } "it is not rolled back by itself." }
            }
            @if let Some(blind) = &view.blind { p.note.warn { b { "Blind: " } (blind) } }
            @if !view.unknown.is_empty() {
                p.note {
                    b { "Not known: " }
                    @for unknown in &view.unknown { (unknown.threshold) ": " (unknown.text) ". " }
                }
            }
            @for suspect in &view.suspects {
                p.note.warn { b { "Fails alone: " } (suspect.text) "."
                    @for one in &suspect.commands { br; code { (one.command) } }
                }
            }
            @if !view.unread.is_empty() {
                p.note.warn {
                    b { "Metrics of " (view.unread.len()) " machines cannot be read: " }
                    (unread(view))
                }
            }
            dl.facts {
                div { dt { "Release" } dd { (described(view.release.as_ref())) } }
                // Beside what was undone, or is.
                @if view.target.is_some() {
                    div { dt { "Running" } dd { (part::running(&view.running)) } }
                }
                div { dt { "Known good" } dd { (described(view.known_good.as_ref())) } }
                div { dt { "Protected" } dd { (view.protection.sentence()) } }
                @if let Some(pinned) = &view.pinned {
                    div { dt { "Pinned" } dd {
                        @if let Some(version) = pinned.version { (version) " " }
                        (pinned.digest.short()) " by " (part::signed(&pinned.signed))
                    } }
                }
                @if !view.quarantined.is_empty() {
                    div { dt { "Rolled back" } @for old in view.quarantined.iter().take(UNDONE_MAX) { dd {
                        @if let Some(version) = old.version { (version) " " }
                        code title=(old.digest) { (old.digest.short()) } " " (time(old.at))
                    } } }
                }
            }
        }
    }

    fn rollback(&self, view: &AppView) -> Markup {
        let target = view
            .target
            .as_ref()
            .or(view.known_good.as_ref())
            .map_or_else(|| "the known-good release".to_owned(), ReleaseInfo::label);
        html! { @if !view.regions.is_empty() { (rollback::rollback(&view.regions, &target)) } }
    }

    fn watch(&self) -> Markup {
        let Some(explained) = &self.explained else { return html! {} };
        let digest = &explained.release.digest;
        let good = explained.known_good.as_ref().filter(|good| good.digest != *digest);
        let control = good.map_or_else(String::new, ReleaseInfo::label);
        // On a phone the first one is all that is seen.
        let mut thresholds: Vec<&ThresholdView> = explained.thresholds.iter().collect();
        thresholds.sort_by_key(|one| Reverse((one.evidence.may_roll_back, one.evidence.verdict)));
        html! {
            h2 { "What speaks against " (explained.release.label())
                @if !control.is_empty() { ", beside " (control) }
            }
            @if explained.thresholds.is_empty() { p.none { "Nothing was measured yet." } }
            div.cards {
                @for threshold in thresholds { (card(threshold, &control)) }
                (neighbours::card(&explained.neighbours))
            }
            p { "That it falls silent " (explained.silence.text) "." }
        }
    }

    fn machines(&self) -> Markup {
        let machines = self.explained.iter().flat_map(|explained| &explained.machines);
        let count = machines.clone().count();
        html! {
            @if count > 0 {
                details #all-machines {
                    summary { h2 { (count) " machines" } }
                    div.wide { table.stacks {
                        thead { tr {
                            @for name in ["Machine", "Region", "Release", "State", "Exits", "Checks that fail"] { th scope="col" { (name) } }
                        } }
                        tbody { @for machine in machines.take(MACHINES_MAX) { (machine_row(machine)) } }
                    } }
                    @if count > MACHINES_MAX { p { "and " (count - MACHINES_MAX) " more" } }
                }
            }
        }
    }

    fn releases(&self) -> Markup {
        html! {
            (acts::choices(&self.releases))
            @if !self.releases.is_empty() {
                h2 { "Releases" }
                div.wide { table.stacks {
                    thead { tr { @for name in ["Release", "Standing", "Since", "Image"] { th scope="col" { (name) } } } }
                    tbody { @for release in self.releases.iter().take(RELEASES_MAX) { (release_row(release)) } }
                } }
            }
        }
    }

    /// ` (line 12)`, or that a preset brought it.
    fn line(&self, threshold: &str) -> String {
        let of = |key: &str| self.lines.get(key);
        match (of(&format!("threshold {threshold:?}")), of("use")) {
            (Some(line), _) => format!(" (line {line})"),
            (None, Some(line)) => format!(" (line {line}, by a preset)"),
            (None, None) => String::new(),
        }
    }

    fn policy(&self) -> Markup {
        let Some(file) = &self.policy else { return html! {} };
        html! {
            h2 { "Configuration in force" }
            p { "Policy " b { (file.policy.name) } " from " code { (file.path.display()) } ", for the apps "
                @for (at, glob) in file.apps.iter().enumerate() {
                    @if at > 0 { ", " }
                    code { (glob.as_str()) }
                }
            }
            ul {
                @for threshold in &file.policy.thresholds {
                    li { b { (threshold.name) } (self.line(&threshold.name)) ": " (threshold.room().describe())
                        @if threshold.on_breach == OnBreach::Alert { ", alerts only" }
                    }
                }
            }
        }
    }
}

/// The whole page.
pub(super) fn page(shown: &Shown, before: Option<i64>) -> Markup {
    let is_newest = before.is_none();
    let parts = shown.parts(is_newest);
    let part = |id: &str| {
        let html = parts.iter().find(|(name, _)| *name == id).map_or("", |(_, html)| html.as_str());
        html! { section id=(id) { (shell::made(html)) } }
    };
    let body = html! {
        main #main {
            p.back { a href="/" { "← all apps" } }
            @for id in ["head", "acts", "rollback", "watch"] { (part(id)) }
            section #timeline { (timeline::timeline(&shown.app, &shown.events, is_newest)) }
            @for id in ["machines", "releases"] { (part(id)) }
            section #policy { (shown.policy()) }
            (acts::dialog())
        }
    };
    let mut stream = format!("/events?app={}", shell::encoded(shown.app.as_str()));
    if let Some(before) = before {
        stream.push_str(&format!("&before={before}"));
    }
    let seen = mark(&parts);
    let organization = &shown.headline.organization;
    shell::document(shown.app.as_str(), organization, Some((&stream, &seen)), &body)
}

/// What a reader has who has these parts.
pub(super) fn mark(parts: &[(&'static str, String)]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

fn described(release: Option<&ReleaseInfo>) -> Markup {
    let Some(release) = release else { return html! { span.none { "none yet" } } };
    html! {
        b { (release.name()) } " "
        code title=(release.digest) { (release.digest.short()) }
        @if let Some(author) = &release.author { " by " (author) }
        @if let Some(at) = release.created_at { " " (time(at)) }
    }
}

/// `m1: answered 404; m2: answered 503`.
fn unread(view: &AppView) -> String {
    let mut said: Vec<String> = view
        .unread
        .iter()
        .take(UNREAD_MAX)
        .map(|(machine, why)| format!("{machine}: {why}"))
        .collect();
    said.extend((view.unread.len() > UNREAD_MAX).then(|| "…".to_owned()));
    said.join("; ")
}

fn card(threshold: &ThresholdView, control: &str) -> Markup {
    let evidence = &threshold.evidence;
    html! {
        article.card .(verdict_tone(evidence.verdict).class()) {
            h3 { (evidence.threshold) " " (badge(verdict_tone(evidence.verdict), evidence.verdict.as_str()))
                @if !evidence.may_roll_back { " " span.none { "alerts only" } }
            }
            p.big { (part::value(evidence)) " " span { "limit " (part::limit(evidence)) } }
            (part::bar(evidence))
            @if let Some(picture) = chart::chart(threshold, control) { (picture) }
            p { (threshold.text) }
            @if !threshold.blocks.is_empty() { (chart::table(threshold, control)) }
            @if threshold.regions.len() > 1 { (regions(threshold)) }
            @if !evidence.source.is_empty() { p.source { code { (evidence.source) } } }
        }
    }
}

fn regions(threshold: &ThresholdView) -> Markup {
    let counted = |counts: Option<crate::web::view::Counts>| match counts {
        Some(one) if one.total > 0.0 => share(one.bad / one.total),
        _ => "-".to_owned(),
    };
    html! {
        details #{ "p-" (threshold.evidence.threshold) } {
            summary { "By region" }
            div.wide { table {
                thead { tr { @for name in ["Region", "In all", "Last two minutes"] { th scope="col" { (name) } } } }
                tbody {
                    @for region in &threshold.regions {
                        tr {
                            th scope="row" { (region.region) }
                            td.n { (counted(Some(region.counts))) }
                            td.n { (counted(region.lately)) }
                        }
                    }
                }
            } }
        }
    }
}

fn machine_row(machine: &MachineView) -> Markup {
    html! {
        tr {
            th scope="row" { code { (machine.machine) } }
            td data-of="region" { (machine.region) }
            td data-of="release" { @if let Some(version) = machine.version { (version) } @else { "-" } }
            td data-of="state" { (machine.state) }
            td.n data-of="exits" { (machine.exits) }
            td data-of="fails" { (machine.failing.join(", ")) }
        }
    }
}

fn release_row(release: &ReleaseView) -> Markup {
    html! {
        tr {
            th scope="row" {
                @if let Some(version) = release.version { (version) } @else { "-" }
                @if release.runs { " " (badge(part::Tone::Busy, "runs")) }
                @if release.is_target { " " (badge(part::Tone::Good, "goes back to")) }
                @if release.pinned { " " (badge(part::Tone::Calm, "pinned")) }
            }
            td { (release.standing.words()) @if let Some(by) = &release.by { " by " (by) } }
            td data-of="since" { @if let Some(since) = release.since { (time(since)) } }
            td data-of="image" { code title=(release.image) {
                (release.tag.as_deref().unwrap_or_default()) " "
                @if let Some(digest) = &release.digest { (digest.short()) }
            } }
        }
    }
}
