//! Requests of the daemon's own, over real sockets.

use crate::{
    stage::{POLICY, Stage},
    wait::s,
};

/// What the machines count themselves says nothing of a release that answers nobody, and its checks
/// pass.
#[tokio::test]
async fn a_release_that_answers_nobody_is_undone_by_probes_alone() {
    // Given a policy of probes and checks, and a release that is trusted by them
    let mut stage = Stage::set().await;
    let head = POLICY.split("[[threshold]]").next().unwrap();
    let probe = "[[threshold]]\nname = \"probe\"\n\
         probe = { path = \"/healthz\", timeout = \"300ms\", grace = \"2s\" }\n";
    let policy = head.replace("mode =", "use = [\"checks\"]\nmode =");
    stage.write("thresholds/all.toml", &format!("{policy}{probe}"));
    stage.start().await;
    stage.trusted().await;

    // When somebody ships one that hangs
    stage.platform.ship("hangs").await;

    // Then it is undone, and people read how it failed
    stage.hook.about_api("rollback.completed", s(60)).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let (_, history, _) = stage.waveoff(&["history", "api"]).await;
    assert!(history.contains("no whole answer in time"), "{history}");
    stage.end().await;
}
