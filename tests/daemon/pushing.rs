//! A configuration that is pushed to the daemon: in force within seconds, over restarts, and whole.

use std::fs;

use crate::{
    stage::{OPERATOR_TOKEN, POLICY, Stage},
    wait::{s, until},
};

/// A daemon that takes orders, and a directory beside its own.
async fn stage() -> (Stage, String) {
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    let desk = stage.config().with_file_name("desk").display().to_string();
    (stage, desk)
}

async fn mode(stage: &Stage, mode: &str) {
    until(&format!("api is in mode {mode}"), s(15), async || {
        let view = stage.view("api").await?;
        (view["mode"] == mode).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_pushed_is_in_force_within_seconds_and_after_a_restart() {
    // Given a daemon with what its image brings, and a directory that it was pulled into
    let (mut stage, desk) = stage().await;
    stage.start().await;
    mode(&stage, "rollback").await;
    let token = OPERATOR_TOKEN;
    let pulled = stage.waveoff_as(token, &["config", "pull", "--config", &desk]).await;
    assert_eq!(pulled.0, 0, "{}", pulled.2);
    let same = stage.waveoff_as(token, &["config", "diff", "--config", &desk]).await;
    assert_eq!(
        (same.0, same.1.trim()),
        (0, "no difference: the image's configuration is in force")
    );

    // When somebody changes a line of it and pushes
    let policy = format!("{desk}/thresholds/all.toml");
    let observe = POLICY.replace("mode = \"rollback\"", "mode = \"observe\"");
    fs::write(&policy, &observe).unwrap();
    let pushed = ["config", "push", "--config", &desk, "--yes", "--by", "dana", "--note", "a sale"];
    let (code, said, wrong) = stage.waveoff_as(token, &pushed).await;

    // Then they see what changed, it is in force, and status and history say who did it
    assert_eq!(code, 0, "{wrong}");
    for line in
        ["-mode = \"rollback\"", "+mode = \"observe\"", "configuration 1 is in force: 1 policy"]
    {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    mode(&stage, "observe").await;
    let reloaded = stage.hook.wait("config.reloaded", s(20), |_| true).await.text();
    assert!(reloaded.contains("configuration 1, pushed by dana (a sale)"), "{reloaded}");
    let (_, status, _) = stage.waveoff(&["status"]).await;
    assert!(status.contains("configuration 1, pushed by dana"), "{status}");
    let (_, history, _) = stage.waveoff(&["history"]).await;
    assert!(history.contains("configuration 1, pushed by dana (a sale)"), "{history}");
    let show = ["config", "show", "api", "--in-force"];
    let (code, shown, wrong) = stage.waveoff_as(token, &show).await;
    assert_eq!(code, 0, "{wrong}");
    assert!(shown.starts_with("configuration 1"), "{shown}");
    assert!(shown.contains("the policy all (thresholds/all.toml:"), "{shown}");
    assert!(shown.contains("\"observe\""), "{shown}");
    let (_, versions, _) = stage.waveoff(&["config", "versions"]).await;
    assert!(versions.contains("*  1") && versions.contains("a sale"), "{versions}");

    // When somebody edits what the daemon came with; then they are told that this is not in force
    stage.write("thresholds/all.toml", &POLICY.replace("\"2%\"", "\"4%\""));
    let aside = stage.hook.wait("config.warning", s(20), |_| true).await.text();
    assert!(aside.contains("another configuration (") && aside.contains("not in force"), "{aside}");

    // When the daemon starts again, although its image says something else
    stage.daemon().tell_to_stop().await;
    assert_eq!(stage.daemon().exit(s(10)).await, Some(0));
    stage.ended();
    stage.write("thresholds/all.toml", &POLICY.replace("\"2%\"", "\"5%\""));
    stage.start().await;

    // Then what was pushed is in force, and it is told that the image's is not
    mode(&stage, "observe").await;
    until("that is told", s(20), async || (stage.hook.count("config.warning") == 2).then_some(()))
        .await;
    let image = ["config", "diff", "--config", &desk, "--version", "image"];
    let (differs, shown, _) = stage.waveoff_as(token, &image).await;
    assert!(differs == 1 && shown.contains("+max = \"5%\""), "{shown}");

    // When the image's is wanted back, and nobody can be asked
    let (reset, said, wrong) = stage.waveoff_as(token, &["config", "reset"]).await;

    // Then it is shown what that would change, and nothing is
    assert!(reset == 1 && wrong.contains("--yes resets without asking"), "{wrong}");
    assert!(said.contains("-mode = \"observe\"") && said.contains("+max = \"5%\""), "{said}");
    mode(&stage, "observe").await;

    // When somebody says yes
    let (reset, said, wrong) = stage.waveoff_as(token, &["config", "reset", "--yes"]).await;

    // Then it is in force
    assert_eq!(reset, 0, "{wrong}");
    assert!(said.ends_with("the image's configuration is in force: 1 policy\n"), "{said}");
    mode(&stage, "rollback").await;
    stage.end().await;
}

#[tokio::test]
async fn a_push_that_is_wrong_or_late_or_not_allowed_changes_nothing() {
    // Given a daemon, and a directory that was pulled
    let (mut stage, desk) = stage().await;
    stage.start().await;
    mode(&stage, "rollback").await;
    let token = OPERATOR_TOKEN;
    stage.waveoff_as(token, &["config", "pull", "--config", &desk]).await;
    let policy = format!("{desk}/thresholds/all.toml");
    let push = ["config", "push", "--config", &desk, "--yes"];

    // When it is wrong; then that is said here, with file and line
    fs::write(&policy, POLICY.replace("max = \"2%\"", "maxx = \"2%\"")).unwrap();
    let (code, _, wrong) = stage.waveoff_as(token, &push).await;
    assert!(
        code == 2 && wrong.contains("thresholds/all.toml:") && wrong.contains("maxx"),
        "{wrong}"
    );

    // When it names what only the daemon can know to be missing; then the daemon says so
    fs::write(&policy, POLICY).unwrap();
    let settings = format!("{desk}/waveoff.toml");
    let good = fs::read_to_string(&settings).unwrap();
    let more = "\n[[receiver]]\nname = \"more\"\nformat = \"slack\"\nurl_env = \"MORE_URL\"\n";
    fs::write(&settings, format!("{good}{more}")).unwrap();
    let (code, _, wrong) = stage.waveoff_as(token, &push).await;
    assert!(code == 2 && wrong.contains("waveoff.toml:") && wrong.contains("MORE_URL"), "{wrong}");
    assert!(!wrong.contains("pushed/versions"), "{wrong}");

    // When it is another organization's; then that is refused
    fs::write(&settings, good.replace("acme", "globex")).unwrap();
    let (code, _, wrong) = stage.waveoff_as(token, &push).await;
    assert!(code == 2 && wrong.contains("organization cannot change"), "{wrong}");
    fs::write(&settings, &good).unwrap();

    // When nobody says yes, or the token is another one; then nothing is pushed
    fs::write(&policy, POLICY.replace("rollback\"", "observe\"")).unwrap();
    let (code, _, wrong) = stage.waveoff_as(token, &["config", "push", "--config", &desk]).await;
    assert!(code == 1 && wrong.contains("--yes"), "{wrong}");
    let (code, _, wrong) = stage.waveoff_as("another-token-than-that", &push).await;
    assert!(code == 1 && wrong.contains("WAVEOFF_OPERATOR_TOKEN"), "{wrong}");

    // When it was compared with something that is in force no more; then somebody else was quicker
    let body =
        serde_json::json!({ "files": { "waveoff.toml": good, "thresholds/all.toml": POLICY } });
    let (status, answer) = stage.put("/api/v1/config", "\"0123abcd\"", &body.to_string()).await;
    assert!(status == 412 && answer.contains("changed"), "{status} {answer}");
    let (_, versions, _) = stage.waveoff(&["config", "versions"]).await;
    assert!(versions.contains("*  the image's") && versions.lines().count() == 2, "{versions}");
    assert_eq!(stage.view("api").await.unwrap()["mode"], "rollback");
    stage.end().await;
}
