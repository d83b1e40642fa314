//! What the proxy counts, whatever runs behind it.

use super::*;
use crate::sim::{Org, ProxySeries};

impl Scene {
    /// A machine's counter of responses with a status.
    fn responses(&self, index: usize, status: &str) -> Option<f64> {
        self.of_proxy(index, "fly_app_http_responses_count", status).map(|series| series.value)
    }

    fn of_proxy(&self, index: usize, name: &str, status: &str) -> Option<ProxySeries> {
        let id = self.ids[index].as_str();
        self.sim.with(|org| org.proxy_series()).into_iter().find(|series| {
            series.name == name
                && series.labels["instance"] == id
                && series.labels.get("status").is_some_and(|of| of == status)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_proxy_counts_by_machine_and_an_update_in_place_resets_nothing() {
    let scene = Scene::new(Behaviour::errors(1.0));
    pass(10).await;
    let before = scene.responses(0, "200").unwrap();
    assert!((99.0..=100.0).contains(&before), "{before}");
    assert_eq!(scene.responses(0, "500"), None, "a series begins with its first response");

    scene.put(0, NEW).await;
    pass(20).await;

    let series = scene.of_proxy(0, "fly_app_http_responses_count", "500").unwrap();
    assert!(series.value > 50.0, "{series:?}");
    assert_eq!(series.labels["app"], "web");
    assert_eq!(series.labels["region"], "iad");
    assert!(scene.responses(0, "200").unwrap() >= before);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_is_started_anew_counts_from_0_under_another_id() {
    let scene = Scene::new(Behaviour::default());
    pass(10).await;
    let before = scene.of_proxy(0, "fly_app_http_responses_count", "200").unwrap();

    scene.sim.with(Org::restart_proxies);
    pass(1).await;

    let after = scene.of_proxy(0, "fly_app_http_responses_count", "200").unwrap();
    assert!(after.value < before.value, "{after:?}");
    assert_ne!(after.labels["proxy_id"], before.labels["proxy_id"]);
}

#[tokio::test(start_paused = true)]
async fn the_proxys_page_has_its_responses_their_times_and_how_many_are_under_way() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.with(|org| org.add_image(NEW, None, Behaviour::slow(0.5)));
    scene.put(0, NEW).await;
    pass(20).await;

    let page = scene.sim.with(|org| org.proxy_page());

    let id = scene.ids[0].as_str();
    let of = |name: &str, status: &str, le: &str| {
        let line = page.lines().find(|line| {
            let has = |label: &str, value: &str| line.contains(&format!("{label}=\"{value}\""));
            line.starts_with(&format!("{name}{{"))
                && has("instance", id)
                && (status.is_empty() || has("status", status))
                && (le.is_empty() || has("le", le))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    let all = of("fly_app_http_response_time_seconds_count", "200", "").unwrap();
    assert_eq!(of("fly_app_http_responses_count", "200", ""), Some(all));
    assert_eq!(of("fly_app_http_response_time_seconds_bucket", "200", "+Inf"), Some(all));
    let fast = of("fly_app_http_response_time_seconds_bucket", "200", "0.5").unwrap();
    assert!(fast < 0.8 * all && fast > 0.3 * all, "{fast} of {all}");
    assert!(of("fly_app_concurrency", "", "").unwrap() > 1.0, "{page}");
    assert!(page.contains("# TYPE fly_app_http_responses_count counter\n"));
}

#[tokio::test(start_paused = true)]
async fn the_managed_prometheus_shows_what_it_read_a_while_later() {
    let scene = Scene::new(Behaviour::default());
    let ask = |query: &str| scene.sim.with(|org| org.query_metrics(query, None));
    let id = scene.ids[0].as_str();
    let query = format!("{{__name__=~\"fly_app_http_responses_count\",instance=\"{id}\"}}[90s]");
    assert!(ask(&query).unwrap().series.is_empty(), "it begins when somebody asks");
    let began = scene.sim.platform_now();
    pass(14).await;
    assert!(ask(&query).unwrap().series.is_empty(), "nothing is seen at once");
    pass(48).await;
    let answered = ask(&query).unwrap();
    assert!(answered.is_range);
    let [(labels, samples)] = answered.series.as_slice() else { panic!("{answered:?}") };
    assert_eq!((labels["app"].as_str(), labels["status"].as_str()), ("web", "200"));
    let seconds: Vec<i64> =
        samples.iter().map(|(at, _)| at.duration_since(began).as_secs()).collect();
    assert_eq!(
        seconds,
        [0, 15, 30, 45],
        "every quarter of a minute, as of a quarter of a minute ago"
    );
    assert!(samples.windows(2).all(|pair| pair[0].1 < pair[1].1), "{samples:?}");
}

#[tokio::test(start_paused = true)]
async fn the_managed_prometheus_refuses_what_it_does_not_have_in_a_sentence() {
    let scene = Scene::new(Behaviour::default());
    for (query, want) in [
        ("irate(a[1m])", "does not evaluate irate()"),
        ("topk(2, a)", "does not evaluate topk"),
        ("a > 2", "does not evaluate `>`"),
        ("histogram_quantile(0.9, a)", "does not evaluate histogram_quantile()"),
        ("a offset 5m", "not other times"),
        ("a{", "parse error"),
    ] {
        let said = scene.sim.with(|org| org.query_metrics(query, None)).unwrap_err();
        assert!(said.contains(want), "{query}: {said}");
    }
}
