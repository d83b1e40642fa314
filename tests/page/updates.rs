//! What changes is shown without a reload.

use waveoff::{
    model::{MachineReport, OperatorHold, RegionStage},
    web::Phase,
};

use crate::{
    browser::Browser,
    looks::three,
    stage::{ago, explained, rolling_back, steady, story, watched},
};

#[tokio::test]
async fn an_app_that_gets_bad_rises_to_the_top_and_one_that_is_new_appears() {
    // Given the list in a browser
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&stage.url).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    browser.value("window.was = true").await;

    // When the app that was bad is well, another one is bad, and one is new
    stage.show(vec![rolling_back("api"), steady("blog"), steady("shop"), watched("new")]);

    // Then the order is the new one, in the same document, and the title says it
    let names = "[...document.querySelectorAll('#rows th')].map(one => one.innerText).join()";
    browser.until("the order is new", &format!("{names} === 'api,new,blog,shop'")).await;
    assert_eq!(browser.value("window.was").await, true);
    assert!(browser.text("#rows").await.contains("rolling back"));
    browser
        .until("two are well", "document.querySelector('#head nav').innerText.includes('2 steady')")
        .await;

    // and one that is gone is gone
    stage.show(vec![steady("blog")]);
    browser.until("one is left", &format!("{names} === 'blog'")).await;
    browser
        .until("nothing is bad", "document.querySelector('h1').innerText === 'Nothing is wrong'")
        .await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn a_rollback_is_seen_as_it_goes_and_what_is_open_stays_open() {
    // Given an app's page with something opened, and the focus on it
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    browser.value("document.querySelector('#rollback summary').click()").await;
    browser.value("document.querySelector('#rollback summary').focus()").await;

    // When another region is done
    let mut view = rolling_back("shop");
    view.regions[1].phase = RegionStage::Confirmed;
    for machine in view.regions[1].machines.values_mut() {
        *machine = MachineReport::OnTarget { at_rest: false };
    }
    stage.board.publish(view);

    // Then it is shown, and the reader is not disturbed
    browser
        .until(
            "six are good",
            "document.querySelector('#rollback h2').innerText.includes('6 of 8')",
        )
        .await;
    assert_eq!(browser.value("document.querySelector('#rollback details').open").await, true);
    let focus = "document.activeElement === document.querySelector('#rollback summary')";
    assert_eq!(browser.value(focus).await, true);

    // and what is told of it appears as well
    stage.tell("shop", story("shop")).await;
    let told = "document.querySelectorAll('#timeline li p.when').length";
    browser.until("it was told twice", &format!("{told} === 8")).await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn a_hold_of_everything_is_shown_with_the_button_that_ends_it() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&stage.url).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    let hold = OperatorHold {
        by: "dana".to_owned(),
        reason: "an incident".to_owned(),
        since: ago(1),
        until: None,
    };
    stage.board.held(Some(hold));
    let said = "document.getElementById('head').innerText.includes('held by dana: an incident')";
    browser.until("it is said", said).await;
    let button = "!!document.querySelector('#acts button[data-act=unhold]:enabled')";
    browser.until("it can be ended", button).await;
}

#[tokio::test]
async fn the_odds_climb_while_somebody_looks() {
    let (stage, browser) = (three().await, Browser::start().await);
    let app = "shop".into();
    let mut early = explained();
    early.thresholds[0].blocks.truncate(4);
    stage.board.explain(&app, Some(early));
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    let crossed = "document.querySelectorAll('svg.chart path.odds.over').length";
    assert_eq!(browser.value(crossed).await, 0);
    stage.board.explain(&app, Some(explained()));
    browser.until("the line is crossed", &format!("{crossed} === 1")).await;
}

#[tokio::test]
async fn a_daemon_that_stops_ends_the_streams_and_one_that_comes_back_is_heard_again() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&stage.url).await;
    browser.until("it is live", "document.getElementById('link').innerText === 'live'").await;
    stage.live.close();
    browser
        .until("it says so", "document.getElementById('link').innerText.startsWith('not live')")
        .await;
}

#[tokio::test]
async fn a_page_that_waits_for_a_yes_says_so() {
    let (stage, browser) = (three().await, Browser::start().await);
    let waiting = waveoff::web::AppView { phase: Phase::AwaitingApproval, ..rolling_back("shop") };
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    stage.board.publish(waiting);
    browser
        .until("there is a yes", "!!document.querySelector('button[data-act=approve]:enabled')")
        .await;
}
