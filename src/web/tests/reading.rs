//! Reading with a token, over real sockets.

use reqwest::{Client, Method, RequestBuilder};

use super::*;

const READER: &str = "a-token-of-the-readers";
const OPERATOR: &str = "a-token-of-the-operator";
/// Everything that is read, and whether a browser is asked for a name and a password.
const PATHS: [(&str, bool); 10] = [
    ("/", true),
    ("/apps/api", true),
    ("/events", true),
    ("/assets/none", true),
    ("/metrics", false),
    ("/api/v1/status", false),
    ("/api/v1/apps/api/history", false),
    ("/api/v1/deliveries", false),
    ("/api/v1/openapi.json", false),
    ("/nothing/here", true),
];

async fn asked(request: RequestBuilder) -> (u16, String, String) {
    let answer = request.send().await.unwrap();
    let way = answer.headers().get("www-authenticate");
    let way = way.map(|way| way.to_str().unwrap().to_owned()).unwrap_or_default();
    let status = answer.status().as_u16();
    // The stream of changes has no end.
    let text = if status == 200 { String::new() } else { answer.text().await.unwrap() };
    (status, way, text)
}

#[tokio::test]
async fn nothing_is_read_without_a_token_that_may() {
    // Given a daemon whose readers need a token
    let served = Served::guarded(Some(Vec::new()), Some(READER)).await;
    served.board.publish(view("api", Phase::Steady));
    let client = Client::new();
    let get = |path: &str| client.get(format!("{}{path}", served.address));

    for (path, for_people) in PATHS {
        // When somebody asks without one, or with another
        for request in [get(path), get(path).bearer_auth("another-token-altogether")] {
            let (status, way, text) = asked(request).await;
            // Then they are told which, and a browser asks its person
            assert_eq!(status, 401, "{path}");
            assert!(text.contains("WAVEOFF_READ_TOKEN") && !text.contains(READER), "{text}");
            assert!(
                way.starts_with(if for_people { "Basic " } else { "Bearer " }),
                "{path}: {way}"
            );
        }
        // Nor does the operator's token open as a password, which a browser would keep.
        let kept = get(path).basic_auth("dana", Some(OPERATOR));
        assert_eq!(asked(kept).await.0, 401, "{path}");

        // Then either token opens
        for request in [
            get(path).bearer_auth(READER),
            get(path).bearer_auth(OPERATOR),
            get(path).basic_auth("dana", Some(READER)),
        ] {
            let (status, _, text) = asked(request).await;
            assert!([200, 404].contains(&status), "{path}: {status} {text}");
        }
    }
}

#[tokio::test]
async fn who_may_read_gives_no_orders() {
    let served = Served::guarded(Some(Vec::new()), Some(READER)).await;
    let client = Client::new();
    let orders = [
        (Method::POST, "/api/v1/hold"),
        (Method::DELETE, "/api/v1/hold"),
        (Method::POST, "/api/v1/apps/api/rollback"),
        (Method::POST, "/api/v1/apps/api/trust"),
        (Method::POST, "/api/v1/deliveries/resend"),
        (Method::POST, "/api/v1/receivers/ops/test"),
    ];
    for (method, path) in orders {
        let order =
            || client.request(method.clone(), format!("{}{path}", served.address)).body("{}");
        for request in [
            order(),
            order().bearer_auth(READER),
            order().basic_auth("dana", Some(READER)),
            order().basic_auth("dana", Some(OPERATOR)),
        ] {
            let (status, way, text) = asked(request).await;
            assert_eq!((status, way.as_str()), (401, ""), "{method} {path}: {text}");
        }
        assert_ne!(asked(order().bearer_auth(OPERATOR)).await.0, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn health_is_told_to_all_and_without_a_token_in_one_word() {
    let served = Served::guarded(Some(Vec::new()), Some(READER)).await;
    served.board.journal_fails(None, "disk full in /secret/place");
    served.board.expect(["hidden".into()]);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(served.get(path).await, (503, "not ok\n".to_owned()), "{path}");
        let url = format!("{}{path}", served.address);
        let (status, _, text) = asked(Client::new().get(url).bearer_auth(READER)).await;
        assert!(status == 503 && text.contains(if path == "/readyz" { "hidden" } else { "disk" }));
    }
    served.board.journal_works(None);
    assert_eq!(served.get("/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn the_description_says_what_this_daemon_asks_for() {
    let of = async |reader: Option<&str>| {
        let served = Served::guarded(Some(Vec::new()), reader).await;
        let url = format!("{}/api/v1/openapi.json", served.address);
        let answer = Client::new().get(url).bearer_auth(OPERATOR).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let description: serde_json::Value = serde_json::from_str(&text).unwrap();
        description["paths"]["/api/v1/status"]["get"].clone()
    };
    let (open, guarded) = (of(None).await, of(Some(READER)).await);
    assert!(open["security"].is_null() && open["responses"]["401"].is_null());
    assert_eq!(guarded["security"], json!([{ "reader": [] }, { "operator": [] }]));
    assert!(guarded["responses"]["401"].is_object());
}

#[tokio::test]
async fn nothing_of_an_order_is_looked_at_before_its_token() {
    // Given everything that takes an order
    let served = Served::with(Some(Vec::new())).await;
    let client = Client::new();
    for (method, path) in [
        (Method::POST, "/api/v1/hold"),
        (Method::DELETE, "/api/v1/hold"),
        (Method::PUT, "/api/v1/config"),
        (Method::DELETE, "/api/v1/config"),
        (Method::POST, "/api/v1/deliveries/resend"),
        (Method::POST, "/api/v1/receivers/ops/test"),
        (Method::POST, "/api/v1/apps/api/approve"),
        (Method::POST, "/api/v1/apps/api/pin"),
    ] {
        let ask = || {
            let request = client.request(method.clone(), format!("{}{path}", served.address));
            request.body("this is no JSON")
        };
        // When it comes without a token; then that is what is said, and nothing of what it wants
        assert_eq!(asked(ask()).await.0, 401, "{method} {path}");
        // When it comes with one; then it is no order
        assert_eq!(asked(ask().bearer_auth(OPERATOR)).await.0, 415, "{method} {path}");
    }
}
