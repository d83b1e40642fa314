//! What surrounds every page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;

/// A whole page. `stream`: where its changes come from, and what of it the page has already.
pub(super) fn document(
    title: &str,
    organization: &str,
    stream: Option<(&str, &str)>,
    body: &Markup,
) -> Markup {
    let (stream, seen) = stream.unzip();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (organization) " · Waveoff" }
                link rel="stylesheet" href=(assets::style());
                link rel="icon" href=(assets::icon());
                script defer src=(assets::script()) {}
            }
            body data-stream=[stream] data-seen=[seen] {
                a.skip href="#main" { "To the content" }
                header.top {
                    a.home href="/" { b { "Waveoff" } " " span { (organization) } }
                    span #link role="status" {}
                }
                (body)
            }
        }
    }
}

/// A path to an app's page.
pub(super) fn app_path(app: &str) -> String {
    format!("/apps/{}", encoded(app))
}

/// Text as a part of a path, or a value of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// A time, which the script turns into how long ago it was.
pub(super) fn time(at: jiff::Timestamp) -> Markup {
    let seconds = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let shown = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(seconds) { (shown) } }
}

/// Since when something is so, which the script turns into for how long.
pub(super) fn lasting(since: jiff::Timestamp) -> Markup {
    let seconds = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let shown = since.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(seconds) data-lasting { "since " (shown) } }
}

/// Markup that was made here before.
pub(super) fn made(text: &str) -> PreEscaped<&str> {
    PreEscaped(text)
}
