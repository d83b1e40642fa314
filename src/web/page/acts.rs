//! What a person can order from the page. The script gives the order to the API with the operator's
//! token in a header, which no other site can make a browser do; without scripts the commands stand
//! there that do the same in a terminal.

use maud::{Markup, html};

use crate::web::{
    Phase,
    view::{AppView, ReleaseStanding, ReleaseView},
};

/// Releases that can be chosen.
const CHOICES_MAX: usize = 25;

/// An order: the API's word, the button's, and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Act {
    word: &'static str,
    label: &'static str,
    says: &'static str,
    /// Whether it may be wanted in a hurry.
    urgent: bool,
}

const fn act(word: &'static str, label: &'static str, says: &'static str) -> Act {
    Act { word, label, says, urgent: false }
}

const APPROVE: Act = Act {
    urgent: true,
    ..act("approve", "Approve", "Yes: the rollback that waits for it begins.")
};
const VETO: Act = Act {
    urgent: true,
    ..act("veto", "Veto", "No: this release is not rolled back by itself any more.")
};
const RESUME: Act =
    act("resume", "Resume", "End a veto, or go on with a rollback that came to a stop.");
const HOLD: Act = Act {
    urgent: true,
    ..act("hold", "Hold", "Nothing is begun any more, by the daemon or by hand, at once.")
};
const UNHOLD: Act =
    Act { urgent: true, ..act("unhold", "End the hold", "What was under way goes on.") };
const ROLLBACK: Act = act("rollback", "Roll back…", "Go back by hand. The plan is shown first.");
const PIN: Act =
    act("pin", "Pin…", "This release is what is gone back to, whatever is trusted later.");
const UNPIN: Act = act("unpin", "Unpin", "The newest trusted release is gone back to again.");
const QUARANTINE: Act = act(
    "quarantine",
    "Quarantine…",
    "As if it had been rolled back: it is never gone back to, and a redeploy is watched without a warm-up.",
);
const UNQUARANTINE: Act = act(
    "unquarantine",
    "End a quarantine…",
    "The release may be gone back to again once it earned it.",
);
const TRUST: Act = act(
    "trust",
    "Trust…",
    "You vouch for it: it is gone back to, and what is said against it just now is called off.",
);

/// What can be ordered now, the most urgent first.
fn offered(view: &AppView) -> Vec<Act> {
    let mut acts = Vec::new();
    if view.phase == Phase::AwaitingApproval || is_proposed(view, APPROVE) {
        acts.push(APPROVE);
    }
    if view.operator_hold.is_some() {
        acts.push(UNHOLD);
    } else {
        acts.push(HOLD);
    }
    if view.vetoed.is_some() || is_proposed(view, RESUME) {
        acts.push(RESUME);
    }
    let can_be_vetoed = match view.phase {
        Phase::Learning
        | Phase::Deploying
        | Phase::Baking
        | Phase::Degraded
        | Phase::CountingDown
        | Phase::AwaitingApproval => true,
        // A rollback that came to a stop has a target, and nothing to be vetoed.
        Phase::Held => view.target.is_none(),
        Phase::Steady | Phase::RollingBack | Phase::Confirming | Phase::RolledBack => false,
    };
    if view.vetoed.is_none() && can_be_vetoed {
        acts.push(VETO);
    }
    acts.push(ROLLBACK);
    acts.push(PIN);
    if view.pinned.is_some() {
        acts.push(UNPIN);
    }
    acts.push(QUARANTINE);
    if !view.quarantined.is_empty() {
        acts.push(UNQUARANTINE);
    }
    acts.push(TRUST);
    acts
}

/// Whether the daemon names the order among what can be done about it now.
fn is_proposed(view: &AppView, act: Act) -> bool {
    let wanted = command(act, view.app.as_str());
    view.commands.iter().any(|one| one.command == wanted)
}

/// The buttons for an app.
pub(super) fn for_app(view: &AppView) -> Markup {
    let acts = offered(view);
    html! {
        h2 { "What you can do" }
        div.acts data-for=(view.app) {
            @for act in &acts { (button(*act)) }
        }
        details #commands {
            summary { "The same in a terminal" }
            ul {
                @for act in &acts { li { code { (command(*act, view.app.as_str())) } } }
            }
        }
    }
}

fn button(act: Act) -> Markup {
    html! {
        button type="button" .urgent[act.urgent] data-act=(act.word) data-says=(act.says) disabled { (act.label) }
    }
}

fn command(act: Act, app: &str) -> String {
    match act.word {
        "hold" => format!("waveoff hold {app} --reason \"…\""),
        "pin" | "quarantine" | "unquarantine" | "trust" => {
            format!("waveoff {} {app} v…", act.word)
        }
        "rollback" => format!("waveoff rollback {app} --dry-run"),
        word => format!("waveoff {word} {app}"),
    }
}

/// The brake for all apps.
pub(super) fn for_all(is_held: bool) -> Markup {
    html! {
        section #acts {
            h2 { "For all apps" }
            div.acts { (button(if is_held { UNHOLD } else { HOLD })) }
            noscript {
                p { "In a terminal: " code { @if is_held { "waveoff unhold --all" } @else { "waveoff hold --all --reason \"…\"" } } }
            }
        }
    }
}

/// Asks for what an order needs. The script opens it.
pub(super) fn dialog() -> Markup {
    html! {
        dialog #order aria-labelledby="order-title" {
            form method="dialog" {
                h2 #order-title {}
                p #order-says {}
                label #order-release { "Release " select name="release" {} }
                label #order-for { "For how long, such as 2h; empty: until it is ended "
                    input name="for" autocomplete="off" maxlength="20" pattern="([0-9]+[smhd])+" placeholder="2h";
                }
                label { "Why " span #order-why-must { "(needed)" }
                    input name="reason" autocomplete="off" maxlength="500";
                }
                label { "Who says so " input name="by" autocomplete="username" maxlength="100"; }
                label { "Operator's token "
                    input name="token" type="password" autocomplete="current-password" required minlength="16";
                }
                p.small { "The token stays in this tab until it is closed." }
                div #order-answer role="status" {}
                div.acts {
                    button type="submit" #order-go .urgent {}
                    button type="button" #order-close { "Close" }
                }
            }
        }
    }
}

/// The releases that an order can be about, as they are now: the script takes them when it asks.
pub(super) fn choices(releases: &[ReleaseView]) -> Markup {
    html! {
        template #choices {
            @for release in releases.iter().take(CHOICES_MAX) {
                @if let Some(name) = name(release) {
                    option value=(name) selected[release.is_target] data-trusted[is_trusted(release)] data-bad[release.standing == ReleaseStanding::Quarantined] {
                        (name) " " (release.standing.words())
                        @if release.runs { " (runs now)" }
                    }
                }
            }
        }
    }
}

fn is_trusted(release: &ReleaseView) -> bool {
    matches!(release.standing, ReleaseStanding::Trusted | ReleaseStanding::VouchedFor)
}

/// What the API understands a release by.
fn name(release: &ReleaseView) -> Option<String> {
    let version = release.version.map(|version| version.to_string());
    version.or_else(|| release.digest.as_ref().map(|digest| digest.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Signed, event::ReleaseInfo},
        web::{tests, view::CommandView},
    };

    fn held(proposes: &[&str]) -> AppView {
        let mut view = tests::view("api", Phase::Held);
        let command = |text: &&str| CommandView { purpose: "x".into(), command: (*text).into() };
        view.commands = proposes.iter().map(command).collect();
        view
    }

    fn words(view: &AppView) -> Vec<&'static str> {
        let words = offered(view).into_iter().map(|act| act.word);
        words.filter(|word| ["approve", "resume", "veto"].contains(word)).collect()
    }

    #[test]
    fn what_is_held_is_resumed_or_approved_only_where_the_daemon_takes_that() {
        assert_eq!(words(&held(&["waveoff approve api"])), ["approve", "veto"], "not approved");
        assert_eq!(words(&held(&["waveoff rollback api --to v41 --force"])), ["veto"]);
        let by = Signed { by: "dana".into(), reason: "x".into(), at: tests::noon() };
        let vetoed = AppView { vetoed: Some(by), ..held(&["waveoff resume api"]) };
        assert_eq!(words(&vetoed), ["resume"]);
        let target = ReleaseInfo {
            version: None,
            tag: None,
            digest: "sha256:41".into(),
            author: None,
            created_at: None,
        };
        let stopped = AppView { target: Some(target), ..held(&["waveoff resume api"]) };
        assert_eq!(words(&stopped), ["resume"]);
    }
}
