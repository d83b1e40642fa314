//! `waveoff releases APP`: the release ledger, with what is known of each release.

use std::{fmt::Write as _, io::Write};

use super::{
    client,
    history::escaped,
    terminal::{Look, Tone, toned},
    text::{clean_lines, paragraph, table_in, time},
};
use crate::web::view::{ImageState, ReleaseView, ReleasesView};

/// Asks the daemon at `url` and writes what it says; `json` passes its answer on unchanged.
///
/// # Errors
/// When the daemon cannot be reached or understood, does not watch the app, or `out` cannot be
/// written.
pub(super) async fn run(
    url: &str,
    app: &str,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let body = client::get(url, &format!("/api/v1/apps/{}/releases", escaped(app))).await?;
    if json {
        writeln!(out, "{}", body.trim_end())?;
    } else {
        out.write_all(page(&client::parse(url, &body)?, Look::of_stdout()).as_bytes())?;
    }
    Ok(0)
}

fn page(view: &ReleasesView, look: Look) -> String {
    let mut text = String::new();
    if let Some(why) = &view.ledger_unread {
        let said = format!("the release ledger cannot be read ({why}): what is remembered");
        text.push_str(&paragraph(&said, 0, look.width));
    }
    if view.releases.is_empty() {
        let _ = writeln!(text, "{}: no release is known yet", view.app);
    } else {
        let head = ["", "RELEASE", "IMAGE", "DIGEST", "WAVEOFF", "STATUS", "CREATED", "BY"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(view.releases.iter().map(row));
        text.push_str(&table_in(&rows, 0, look.width));
        match view.releases.iter().find(|one| one.is_target) {
            Some(target) => {
                let label = label(target);
                let _ = writeln!(text, "\n← a rollback now would go to {label}");
            }
            None => text.push_str("\nnothing is known that a rollback could go to\n"),
        }
    }
    look.paint(&clean_lines(&text))
}

fn label(release: &ReleaseView) -> String {
    match (&release.version, &release.digest) {
        (Some(version), _) => version.to_string(),
        (None, Some(digest)) => digest.short().to_owned(),
        (None, None) => release.image.clone(),
    }
}

fn row(release: &ReleaseView) -> Vec<String> {
    let mark = match (release.runs, release.is_target) {
        (true, _) => toned(Tone::Good, "●"),
        (false, true) => toned(Tone::Busy, "←"),
        (false, false) => String::new(),
    };
    let mut standing = vec![release.standing.words().to_owned()];
    standing.extend(release.by.iter().map(|by| format!("by {by}")));
    if release.pinned {
        standing.push("pinned".to_owned());
    }
    let gone = match release.image_state {
        ImageState::Missing => " (gone)",
        ImageState::Mirrored => " (in the mirror)",
        ImageState::Present | ImageState::Unknown => "",
    };
    let name = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
    vec![
        mark,
        release.version.map_or_else(|| "-".to_owned(), |version| version.to_string()),
        format!("{}{gone}", release.tag.as_ref().map_or_else(|| release.image.clone(), name)),
        release.digest.as_ref().map_or_else(|| "-".to_owned(), |one| one.short().to_owned()),
        name(&standing.join(" ").trim().to_owned()),
        release.status.clone().unwrap_or_else(|| "-".to_owned()),
        release.created_at.map_or_else(|| "-".to_owned(), time),
        release.author.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
