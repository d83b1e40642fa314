//! The configuration changes while the daemon runs, or is wrong from the beginning.

use crate::{
    stage::{POLICY, Stage},
    wait::{s, until},
};

#[tokio::test]
async fn a_broken_file_is_refused_loudly_and_a_mended_one_is_taken() {
    // Given a daemon that rolls back
    let mut stage = Stage::set().await;
    stage.start().await;
    stage.hook.about_api("release.detected", s(30)).await;

    // When its threshold file is broken
    stage.write("thresholds/all.toml", &POLICY.replace("max = \"2%\"", "maxx = \"2%\""));

    // Then log and receiver are told where and why, and the old one stays in force
    let refused = stage.hook.wait("config.rejected", s(20), |_| true).await.text();
    let line = POLICY.lines().position(|line| line.starts_with("max")).unwrap() + 1;
    for word in [&format!("thresholds/all.toml:{line}"), "maxx", "5xx"] {
        assert!(refused.contains(word), "no {word:?} in {refused}");
        assert!(stage.log().contains(word), "no {word:?} in the log");
    }
    assert_eq!(stage.view("api").await.unwrap()["mode"], "rollback");

    // When it is mended, and says something else
    let observe = POLICY.replace("mode = \"rollback\"", "mode = \"observe\"");
    stage.write("thresholds/all.toml", &observe);

    // Then that is in force
    stage.hook.wait("config.reloaded", s(20), |_| true).await;
    until("the app is only observed", s(10), async || {
        let view = stage.view("api").await?;
        (view["mode"] == "observe").then_some(())
    })
    .await;
    assert_eq!(stage.hook.count("config.rejected"), 1);
    stage.end().await;
}

#[tokio::test]
async fn a_wrong_configuration_keeps_the_daemon_from_starting() {
    // Given a configuration with mistakes in two files
    let stage = Stage::set().await;
    stage.write("waveoff.toml", "organisation = \"acme\"\n");
    stage.write("thresholds/all.toml", &POLICY.replace("bake = \"3s\"", "bake = \"3 sheep\""));
    let config = stage.config();
    let config = config.to_str().unwrap();

    // When it is checked, and when the daemon is to run with it
    let (checked, _, complaint) = stage.waveoff_there(&["check", "--config", config]).await;
    let (ran, _, refusal) = stage.waveoff_there(&["run", "--config", config]).await;

    // Then both say the same, and the exit code is that of a wrong configuration
    assert_eq!((checked, ran), (2, 2), "{complaint}\n{refusal}");
    assert_eq!(complaint, refusal);
    for word in ["waveoff.toml:1", "organisation", "thresholds/all.toml:9", "3 sheep"] {
        assert!(refusal.contains(word), "no {word:?} in {refusal}");
    }
    stage.end().await;
}
