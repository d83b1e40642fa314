//! `waveoff init`: a first configuration from nothing.

use std::fs;

use crate::{
    platform::FLEET,
    stage::Stage,
    wait::{s, until},
};

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
        let _ = fs::remove_dir_all(&dir);
        let (code, out, err) = stage.waveoff_there(&["init", "--config", place]).await;
        assert_eq!(code, 0, "{err}");
        out.contains("thresholds/web.toml\n").then_some(out)
    })
    .await;

    // Then it is for the organization that the token is for, and says what it saw
    for word in ["acme: 2 apps", "api", "default.toml", "limit ", "waveoff check --live"] {
        assert!(written.contains(word), "no {word:?} in\n{written}");
    }
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
    stage.end().await;
}
