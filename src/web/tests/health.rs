//! Whether the daemon says of itself that it is well.

use super::*;

#[tokio::test]
async fn a_daemon_that_cannot_write_its_journal_is_not_healthy_and_says_why() {
    let served = Served::with(Some(Vec::new())).await;
    let api = AppName::new("api");
    served.board.journal_fails(Some(&api), "the disk is full");
    served.board.journal_fails(None, "the disk is full");
    let refusal: ErrorView = served.json("/healthz", 503).await;
    assert_eq!(refusal.error, "the journal cannot be written: the disk is full");
    assert!(served.get("/metrics").await.1.contains("waveoff_journal_failing 1"));

    served.board.journal_works(None);
    assert_eq!(served.get("/healthz").await.0, 503, "the app's task still fails");
    served.board.journal_works(Some(&api));
    assert_eq!(served.get("/healthz").await.0, 200);
    let page = served.get("/metrics").await.1;
    assert!(page.contains("waveoff_journal_failing 0"), "{page}");
    assert!(page.contains("waveoff_config_refused 0"), "{page}");
    served.board.config_refused(true);
    assert!(served.get("/metrics").await.1.contains("waveoff_config_refused 1"));
}
