//! What is on the pages, and how they look.

use waveoff::model::OperatorHold;

use crate::{
    browser::Browser,
    stage::{Stage, ago, explained, releases, rolling_back, steady, story, troubled, watched},
};

/// Three apps, the worst of them last by name.
pub async fn three() -> Stage {
    let stage = Stage::set().await;
    let mut blog = steady("blog");
    blog.operator_hold = Some(OperatorHold {
        by: "dana".to_owned(),
        reason: "a sale".to_owned(),
        since: ago(600),
        until: Some(ago(-6600)),
    });
    stage.show(vec![watched("api"), blog, rolling_back("shop")]);
    let shop = "shop".into();
    stage.board.explain(&shop, Some(explained()));
    stage.board.know(&shop, releases());
    stage.tell("shop", story("shop")).await;
    stage
}

#[tokio::test]
async fn all_apps_are_listed_the_worst_first_with_what_speaks_against_them() {
    // Given an app that is rolled back, one under watch, and one that is held
    let (stage, browser) = (three().await, Browser::start().await);

    // When somebody opens the page
    browser.open(&stage.url).await;

    // Then the worst is first, and each row says how it is
    assert_eq!(browser.text("h1").await, "1 app is in trouble");
    let names = "[...document.querySelectorAll('#rows th')].map(one => one.innerText)";
    assert_eq!(browser.value(names).await, serde_json::json!(["shop", "blog", "api"]));
    let shop = browser.text("#rows tr").await;
    for said in ["rolling back", "v42", "v41", "5xx 12.1 % of 2 %"] {
        assert!(shop.contains(said), "{said}: {shop}");
    }
    let blog = browser.text("#rows tr:nth-child(2)").await;
    assert!(blog.contains("held by dana: a sale"), "{blog}");
    browser.until("the title counts", "document.title === '(1) All apps · acme · Waveoff'").await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn an_apps_page_shows_the_evidence_the_rollback_and_why() {
    // Given an app that is rolled back
    let (stage, browser) = (three().await, Browser::start().await);

    // When somebody follows its name
    browser.open(&stage.url).await;
    browser.value("document.querySelector('#rows a').click()").await;
    browser.until("its page is there", "location.pathname === '/apps/shop'").await;
    browser.until("all of it", "document.readyState === 'complete'").await;

    // Then the releases, the evidence with its picture, regions, and history are there
    assert!(browser.text("#head").await.contains("v41"), "the known-good release");
    assert!(browser.text("#rollback").await.contains("Back to v41: 4 of 8 machines"));
    let watch = browser.text("#watch").await;
    for said in ["5xx", "12.1 %", "limit 2 %", "odds 9000:1", "v41 at the same time 0.4 %"] {
        assert!(watch.contains(said), "{said}: {watch}");
    }
    let said =
        browser.value("document.querySelector('svg.chart').getAttribute('aria-label')").await;
    assert_eq!(said, "5xx, in the last of 10 blocks 25.7 %; odds 9000:1, breached at 990:1");
    let crossed = "document.querySelectorAll('svg.chart path.odds.over').length";
    assert_eq!(browser.value(crossed).await, 1, "one of the thresholds climbed over its line");
    // and beside it the past, which has raised the limit, and the neighbours
    for said in [
        "the floor: v40 ran at 0.9 % before, so that the limit is 2 % and not 0.5 %",
        "1 of 2 degrade",
        "is deployed itself: no witness",
    ] {
        assert!(watch.contains(said), "{said}: {watch}");
    }
    let floors = browser.value("document.querySelectorAll('svg.chart path.floor').length").await;
    assert_eq!(floors, 1);
    let first = browser.text(".neighbours li").await;
    assert!(first.starts_with("blog"), "who degrades comes first: {first}");
    let told = browser.text("#timeline").await;
    assert!(told.contains("rollback.region_confirmed") && told.contains("Why"), "{told}");
    browser.value("document.querySelector('#timeline summary').click()").await;
    assert!(browser.text("#timeline").await.contains("no such column"), "its log lines");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn without_scripts_everything_can_be_read_and_the_commands_are_there() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.without_scripts().await;
    browser.open(&stage.url).await;
    assert!(browser.text("#acts").await.contains("waveoff hold --all"));
    assert!(browser.text("#rows").await.contains("shop"));

    browser.open(&format!("{}/apps/shop", stage.url)).await;
    for (part, said) in [
        ("#head", "UTC"),
        ("#rollback", "lhr"),
        ("#watch", "limit 2 %"),
        ("#timeline", "rollback.started"),
        ("#acts", "The same in a terminal"),
    ] {
        let text = browser.text(part).await;
        assert!(text.contains(said), "{part}: {text}");
    }
    let enabled = "document.querySelectorAll('button[data-act]:enabled').length";
    assert_eq!(browser.value(enabled).await, 0, "nothing that does nothing can be pressed");
}

#[tokio::test]
async fn an_app_that_is_not_watched_and_a_path_that_is_none_are_said_to_be_so() {
    let (stage, browser) = (three().await, Browser::start().await);
    browser.open(&format!("{}/apps/nobody", stage.url)).await;
    assert_eq!(browser.text("h1").await, "app nobody is not watched");
    stage.show(vec![steady("api")]);
    browser.open(&format!("{}/apps/shop", stage.url)).await;
    assert!(browser.text("#head").await.contains("not watched any more"));
    assert!(browser.text("#timeline").await.contains("release.degraded"));
}

/// Tables of releases and machines, opened, that are wider than their place.
const SCROLLED_SIDEWAYS: &str = "(() => {
    document.querySelectorAll('#all-machines').forEach(one => { one.open = true; });
    const wide = [...document.querySelectorAll('.wide')].filter(box => box.querySelector('.stacks'));
    return wide.filter(box => box.scrollWidth > box.clientWidth).length;
})()";

#[tokio::test]
async fn pictures_are_kept_of_light_dark_and_phone() {
    let (stage, browser) = (three().await, Browser::start().await);
    let wiki = "wiki".into();
    stage.board.publish(troubled("wiki"));
    stage.board.explain(&wiki, Some(explained()));
    stage.board.know(&wiki, releases());
    browser.open(&format!("{}/apps/wiki", stage.url)).await;
    let head = browser.text("#head").await;
    for said in ["Vetoed by dana", "Pinned", "v39", "v37", "v41 is trusted", "1200: answered 404\n"]
    {
        assert!(head.contains(said), "{said}: {head}");
    }
    for (device, width, height, is_phone) in [("desk", 1280, 800, false), ("phone", 390, 844, true)]
    {
        browser.size(width, height, is_phone).await;
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            browser.dark(is_dark).await;
            for (page, path) in [
                ("list", "/"),
                ("app", "/apps/shop"),
                ("watched", "/apps/api"),
                ("troubled", "/apps/wiki"),
            ] {
                browser.open(&format!("{}{path}", stage.url)).await;
                browser
                    .until("the times are told", "!document.body.innerText.includes('UTC')")
                    .await;
                // Nothing is wider than the window.
                let wide = browser.value("document.documentElement.scrollWidth").await;
                assert!(wide.as_u64().unwrap() <= u64::from(width), "{page} on a {device}: {wide}");
                // On a phone what has words in it is not scrolled to the side.
                let scrolled = browser.value(SCROLLED_SIDEWAYS).await;
                assert_eq!(scrolled, 0, "{page} on a {device}");
                browser.picture(&format!("{page}-{device}-{scheme}"), true).await;
            }
        }
    }
}
