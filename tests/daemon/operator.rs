//! The operator's brake, by the commands that operators use.

use crate::stage::{OPERATOR_TOKEN, Stage};

#[tokio::test]
async fn an_operator_holds_an_app_with_the_token_and_not_without() {
    // Given a daemon that knows the operator's token
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.start().await;
    stage.trusted().await;
    let hold = ["hold", "api", "--reason", "a sale", "--for", "2h", "--by", "dana"];

    // When somebody orders without the token, or with another, then it is refused
    let (code, _, complaint) = stage.waveoff(&hold).await;
    assert!(code == 1 && complaint.contains("WAVEOFF_OPERATOR_TOKEN is not set"), "{complaint}");
    let (code, _, complaint) = stage.waveoff_as("another-token-altogether", &hold).await;
    assert!(code == 1 && complaint.contains("the token is not the daemon's"), "{complaint}");
    let (code, ..) = stage.waveoff_as(OPERATOR_TOKEN, &["hold", "--reason", "x"]).await;
    assert_eq!(code, 2, "an app, or --all");

    // and with it, the app is held, which status shows, also after a restart
    let (code, said, complaint) = stage.waveoff_as(OPERATOR_TOKEN, &hold).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(said.starts_with("api: nothing is rolled back until 20"), "{said}");
    stage.daemon().kill().await;
    stage.ended();
    stage.start().await;
    stage.logged("api is watched", crate::wait::s(10)).await;
    crate::wait::until("status shows the hold", crate::wait::s(20), async || {
        let (_, text, _) = stage.waveoff(&["status"]).await;
        text.contains("dana until 20").then_some(())
    })
    .await;

    // Then it ends when the operator says so
    let (code, said, _) = stage.waveoff_as(OPERATOR_TOKEN, &["unhold", "--all"]).await;
    assert_eq!(code, 0);
    assert!(said.contains("recorded by api, web"), "{said}");
    let (_, text, _) = stage.waveoff(&["status"]).await;
    assert!(!text.contains("dana"), "{text}");
    stage.end().await;
}

#[tokio::test]
async fn a_daemon_without_a_token_takes_no_orders_and_says_why() {
    let stage = Stage::running().await;
    let hold = ["hold", "--all", "--reason", "a sale"];
    let (code, _, complaint) = stage.waveoff_as(OPERATOR_TOKEN, &hold).await;
    assert_eq!(code, 1);
    assert!(complaint.contains("WAVEOFF_OPERATOR_TOKEN is not set on the daemon"), "{complaint}");
    stage.end().await;
}
