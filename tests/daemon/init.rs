//! `waveoff init`: a first configuration from nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    platform::FLEET,
    stage::Stage,
    wait::{s, until},
};

/// Puts the files that ship in a directory.
fn ship(dir: &Path) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    fs::create_dir_all(dir.join("thresholds")).unwrap();
    for name in ["waveoff.toml", "thresholds/default.toml", "thresholds/web.toml.example"] {
        fs::copy(shipped.join(name), dir.join(name)).unwrap();
    }
}

/// All files of a directory and of those in it.
fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { [path].into() }).collect()
}

#[tokio::test]
async fn from_a_token_alone_to_a_configuration_that_fits_the_apps() {
    // Given an organization in which one app always fails 6 % of its requests, and its proxy's metrics
    let fleet =
        FLEET.replacen("seed = 7", "seed = 7\nmetrics_every_s = 0.5\nmetrics_late_s = 0.0", 1);
    // The last image is the app's.
    let stage = Stage::with_fleet(&format!("{fleet}behaviour = {{ error_share = 0.06 }}\n")).await;
    let dir = stage.config().with_file_name("first");
    let place = dir.to_str().unwrap();

    // When a configuration is wanted
    let written = until("something was counted", s(30), async || {
        // The directory of a checkout, in which nobody has written anything yet.
        let _ = fs::remove_dir_all(&dir);
        ship(&dir);
        let (code, out, err) = stage.waveoff_there(&["init", "--config", place]).await;
        assert_eq!(code, 0, "{err}");
        out.contains("thresholds/web.toml\n").then_some(out)
    })
    .await;

    // Then it is for the organization that the token is for, and says what it saw
    for word in ["acme: 2 apps", "api", "default.toml", "limit ", "waveoff check --live"] {
        assert!(written.contains(word), "no {word:?} in\n{written}");
    }
    // And all that was written is listed, where it is
    let listed = written.lines().filter_map(|line| line.strip_prefix("written  "));
    let listed: BTreeSet<PathBuf> = listed.map(PathBuf::from).collect();
    let mut there = files(&dir);
    there.remove(&dir.join("thresholds/web.toml.example"));
    assert_eq!(listed, there);
    // And the app that fails a little has a limit above that, with the reason; nothing is rolled back
    let web = fs::read_to_string(dir.join("thresholds/web.toml")).unwrap();
    let limits = ["8%", "10%", "15%", "20%"].map(|limit| format!("max = \"{limit}\""));
    assert!(limits.iter().any(|limit| web.contains(limit)), "{web}");
    assert!(web.contains("of its requests failed"), "{web}");
    assert!(web.contains("mode = \"observe\""), "{web}");
    // And what was written is right, here and there
    let (code, shown, wrong) = stage.waveoff_there(&["check", "--config", place]).await;
    assert_eq!(code, 0, "{shown}{wrong}");
    // And nothing is written over
    let (code, _, wrong) = stage.waveoff_there(&["init", "--config", place]).await;
    assert!(code == 1 && wrong.contains("there already"), "{wrong}");
    // And a slug that is not the token's is looked at first
    let slug = ["init", "--config", "elsewhere", "--organization", "acmee"];
    let (code, _, wrong) = stage.waveoff_there(&slug).await;
    assert!(
        code == 1 && wrong.contains("the token is of acme: write the slug as it is"),
        "{wrong}"
    );
    stage.end().await;
}
