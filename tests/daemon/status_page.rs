//! The status page of a running daemon, in a real browser.

use crate::{
    browser::Browser,
    stage::{OPERATOR_TOKEN, Stage},
};

#[tokio::test]
async fn a_rollback_is_watched_from_the_first_bad_request_to_its_end_and_the_next_one_held() {
    // Given a daemon, and its page open in a browser
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.start().await;
    stage.trusted().await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/apps/api", stage.url())).await;
    let part = |id: &str| format!("document.getElementById('{id}').innerText");
    browser.until("it is steady", &format!("{}.includes('steady')", part("head"))).await;
    browser.until("the policy is there", &format!("{}.includes('all.toml')", part("policy"))).await;
    assert!(
        browser.text("#policy").await.contains("5xx (line 15): at most 2% http_requests_total")
    );

    // When somebody ships a bad release
    stage.platform.ship("errors").await;

    // Then the odds are seen to climb over their line, and the machines to go back
    let crossed = "document.querySelectorAll('svg.chart path.odds.over').length > 0";
    browser.until("the line is crossed", crossed).await;
    browser.until("it goes back", &format!("{}.includes('Back to v41')", part("rollback"))).await;
    browser.until("it is done", &format!("{}.includes('4 of 4 machines')", part("rollback"))).await;
    browser
        .until("it is told", &format!("{}.includes('rollback.completed')", part("timeline")))
        .await;
    browser.until("it is over", &format!("{}.includes('rolled back')", part("head"))).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);

    // and an order that is given there is carried out
    browser.value("document.querySelector('button[data-act=hold]').click()").await;
    for (field, text) in [("token", OPERATOR_TOKEN), ("reason", "a sale"), ("by", "dana")] {
        browser.value(&format!("document.querySelector('input[name={field}]').focus()")).await;
        browser.write(text).await;
    }
    browser.key("Enter").await;
    browser
        .until("it is held", &format!("{}.includes('held by dana: a sale')", part("head")))
        .await;
    let (_, status, _) = stage.waveoff(&["status"]).await;
    let is_held = |line: &str| {
        let said = line.trim().strip_prefix("held by");
        said.is_some_and(|by| by.trim() == "dana: a sale")
    };
    assert!(status.lines().any(is_held), "{status}");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    browser.picture("daemon-after-a-rollback", true).await;
    drop(browser);
    stage.end().await;
}

#[tokio::test]
async fn an_open_page_does_not_keep_a_daemon_from_ending() {
    let mut stage = Stage::running().await;
    let browser = Browser::start().await;
    browser.open(stage.url()).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    let began = tokio::time::Instant::now();
    stage.daemon().tell_to_stop().await;
    assert_eq!(stage.daemon().exit(crate::wait::s(10)).await, Some(0));
    assert!(began.elapsed() < crate::wait::s(4), "it waited for the reader: {:?}", began.elapsed());
    stage.ended();
    stage.end().await;
}
