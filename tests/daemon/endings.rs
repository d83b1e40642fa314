//! The daemon ends in the middle of a rollback, and the next one goes on.

use crate::{
    platform::FLEET,
    stage::{Stage, tail},
    wait::{s, until},
};

/// As [`FLEET`], but updates take long enough to be interrupted.
async fn in_the_middle_of_a_rollback() -> Stage {
    let mut stage = Stage::with_fleet(&FLEET.replace("boot_s = 0.3", "boot_s = 2")).await;
    stage.start().await;
    stage.trusted().await;
    stage.platform.ship("errors").await;
    stage.hook.about_api("rollback.started", s(60)).await;
    until("the daemon works on a machine", s(20), async || {
        (!stage.platform.leased().await.is_empty()).then_some(())
    })
    .await;
    stage
}

async fn goes_on_and_completes(stage: &Stage, within: std::time::Duration) {
    stage.hook.about_api("rollback.completed", within).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);
    assert_eq!(stage.platform.leased().await, Vec::<String>::new());
    for kind in ["release.degraded", "rollback.planned", "rollback.started", "rollback.completed"] {
        assert_eq!(stage.hook.count(kind), 1, "{kind} in {:?}", stage.hook.kinds("api"));
    }
    assert_eq!(stage.hook.count("rollback.region_confirmed"), 2);
    let release = stage.platform.app("api").await["release"].clone();
    assert_eq!((&release["version"], &release["status"]), (&43.into(), &"complete".into()));
}

#[tokio::test]
async fn told_to_stop_in_the_middle_it_frees_its_machines_and_the_next_one_goes_on() {
    // Given a rollback under way
    let mut stage = in_the_middle_of_a_rollback().await;

    // When the daemon is told to stop
    stage.daemon().tell_to_stop().await;
    let code = stage.daemon().exit(s(6)).await;

    // Then it ends well, and holds nothing any more
    assert_eq!(code, Some(0), "{}", tail(&stage.log()));
    assert_eq!(stage.platform.leased().await, Vec::<String>::new());
    stage.ended();

    // and the next one completes what was begun
    stage.start().await;
    goes_on_and_completes(&stage, s(60)).await;
    stage.end().await;
}

#[tokio::test]
async fn killed_in_the_middle_its_leases_lapse_and_the_next_one_goes_on() {
    // Given a rollback under way
    let mut stage = in_the_middle_of_a_rollback().await;

    // When the daemon is killed
    stage.daemon().kill().await;
    stage.ended();

    // Then its lease is still there, the next one waits for its end, and completes
    assert!(!stage.platform.leased().await.is_empty(), "nobody gave the lease back");
    stage.start().await;
    goes_on_and_completes(&stage, s(80)).await;
    stage.end().await;
}

#[tokio::test]
async fn a_second_daemon_says_who_is_there_and_leaves_it_alone() {
    // Given a daemon at work
    let mut stage = Stage::running().await;

    // When another is started on its data directory
    let config = stage.config();
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let (code, _, complaint) = stage.waveoff_there(&arguments).await;

    // Then it ends with a code of its own, and names the first
    assert_eq!(code, 3, "{complaint}");
    let pid = stage.daemon().id();
    assert!(complaint.contains(&format!("is in use by waveoff, process {pid} on ")), "{complaint}");
    assert!(complaint.contains(" since 20"), "{complaint}");

    // and the first goes on, and so does the next one after its death
    assert_eq!(stage.get("/readyz").await.0, 200);
    stage.daemon().kill().await;
    stage.ended();
    stage.start().await;
    stage.end().await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_waited_for_and_people_hear_of_it() {
    // Given a data directory with something else in the journal's place
    let mut stage = Stage::set().await;
    stage.damage_journal();

    // When the daemon is started, it stays up and says why it does nothing, wherever it is asked
    stage.start().await;
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/status"] {
        let (status, text) = stage.get(path).await;
        assert_eq!(status, 503, "{path}: {text}");
        assert!(text.contains("waveoff.sqlite") && text.contains("not a database"), "{text}");
    }
    let (code, text, complaint) = stage.waveoff(&["status"]).await;
    assert_ne!(code, 0, "{text}");
    assert!(complaint.contains("not a database"), "{complaint}");
    let told = stage.hook.wait("monitor.journal", s(5), |_| true).await;
    assert!(told.text().contains("not a database"), "{}", told.text());

    // Then it ends when it is told to, and a second start tells nobody anew
    stage.daemon().tell_to_stop().await;
    assert_eq!(stage.daemon().exit(s(10)).await, Some(0));
    stage.ended();
    stage.start().await;
    until("it was told again", s(10), async || (stage.hook.raw().len() == 2).then_some(())).await;
    assert_eq!(stage.hook.messages().len(), 1, "under one id");

    // And once the file is put away, it begins by itself and says so
    stage.mend_journal();
    let over = stage.hook.wait("monitor.recovered", s(20), |_| true).await;
    assert!(over.text().contains("journal"), "{}", over.text());
    stage.trusted().await;
    assert_eq!(stage.get("/healthz").await.0, 200);
    stage.end().await;
}
