//! A thousand apps: how much is sent, how soon it is seen, and what readers cost who do not read.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use waveoff::web::AppView;

use crate::{
    browser::Browser,
    stage::{Stage, rolling_back, steady, watched},
};

/// Nine hundred are steady, ninety-nine under watch, one is rolled back.
fn thousand() -> Vec<AppView> {
    (0..1000)
        .map(|number| match number {
            500 => rolling_back(&format!("customer-facing-shop-{number}")),
            _ if number % 10 == 3 => watched(&format!("customer-facing-shop-{number}")),
            _ => steady(&format!("customer-facing-shop-{number}")),
        })
        .collect()
}

#[tokio::test]
async fn a_thousand_apps_are_painted_within_a_second_and_300_kb() {
    // Given a thousand apps
    let (stage, browser) = (Stage::set().await, Browser::start().await);
    stage.show(thousand());
    browser.size(1280, 800, false).await;

    // When somebody opens the page for the first time
    browser.open(&stage.url).await;
    browser
        .until("it is painted", "performance.getEntriesByName('first-contentful-paint').length > 0")
        .await;

    // Then it is there soon, and small
    let painted = browser
        .value("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        .await
        .as_f64()
        .unwrap();
    let sizes = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
        .filter(one => !one.name.includes('/events')).reduce((sum, one) => sum + one.transferSize, 0)";
    let bytes = browser.value(sizes).await.as_f64().unwrap();
    println!("first paint after {painted:.0} ms, {bytes:.0} bytes in all");
    assert!(painted < 1000.0, "{painted} ms");
    assert!(bytes < 300_000.0, "{bytes} bytes");
    assert!(browser.text("#rows th").await.ends_with("-500"), "the worst first");

    // and any of them can be found, page by page or by name
    assert!(browser.text("#foot").await.contains("page 1 of 5, 1000 apps"));
    browser.open(&format!("{}/?q=shop-77", stage.url)).await;
    let count = "document.querySelectorAll('#rows tr').length";
    assert_eq!(browser.value(count).await, 11);
    browser.open(&format!("{}/?phase=baking", stage.url)).await;
    assert_eq!(browser.value(count).await, 100);
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        browser.dark(is_dark).await;
        browser.size(1280, 800, false).await;
        browser.open(&stage.url).await;
        browser.until("the times are told", "!document.body.innerText.includes('UTC')").await;
        browser.picture(&format!("thousand-desk-{scheme}"), false).await;
        browser.size(390, 844, true).await;
        browser.picture(&format!("thousand-phone-{scheme}"), false).await;
    }
}

#[tokio::test]
async fn of_a_thousand_apps_only_what_changed_is_sent() {
    let stage = Stage::set().await;
    stage.show(thousand());
    let page = reqwest::get(&stage.url).await.unwrap().text().await.unwrap();
    let seen = page.split("data-seen=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let url = format!("{}/events?page=1&seen={seen}", stage.url);
    let mut answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");

    // The reader has the page, so the rows are not sent again
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.len() < 20_000, "{} bytes", first.len());
    assert!(String::from_utf8_lossy(&first).contains("\"rows\":{}"));

    // When one of them changes, then it alone is sent
    stage.board.publish(rolling_back("customer-facing-shop-3"));
    let next = timeout(Duration::from_secs(10), answer.chunk()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8_lossy(&next);
    assert_eq!(text.matches("<tr").count(), 1, "{text}");
    assert!(text.contains("\"head\":\""), "one more is bad");
}

/// Nobody waits for them, and they are let go.
#[tokio::test]
async fn readers_who_do_not_read_delay_nobody_and_only_so_many_are_let_in() {
    // Given as many readers as there are places, none of which reads
    let stage = Stage::set().await;
    stage.show(thousand());
    let address = stage.url.trim_start_matches("http://").to_owned();
    let mut stuck = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /events?page=1 HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stuck.push(stream);
    }

    // Then one more is asked to come later
    let late = reqwest::get(format!("{}/events", stage.url)).await.unwrap();
    assert_eq!(
        (late.status().as_u16(), &late.headers()["retry-after"]),
        (503, &"10".parse().unwrap())
    );

    // and everybody else is answered as quickly as ever, while everything changes
    let began = Instant::now();
    for round in 0..50 {
        for number in 0..20 {
            let mut view = watched(&format!("customer-facing-shop-{}", number * 10 + 3));
            view.policy = format!("round {round}");
            stage.board.publish(view);
        }
        let answer = reqwest::get(format!("{}/healthz", stage.url)).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let each = began.elapsed() / 50;
    println!("an answer takes {each:?} beside 64 readers who do not read");
    assert!(each < Duration::from_millis(200), "{each:?}");

    // and when they go, there is room again
    stuck.clear();
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    loop {
        looks.tick().await;
        if reqwest::get(format!("{}/events", stage.url)).await.unwrap().status() == 200 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the places are not given back");
    }
}
