//! What the commands of `flyctl` ask for that `scenes` does not: each works, or is refused in words
//! that the client prints.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use serde_json::{Value, json};
use waveoff::sim::Behaviour;

use crate::served::{Served, Y, on, update_body};

async fn said(web: &Served, query: &str, variables: Value) -> String {
    let answer = web.graphql(query, variables).await;
    answer["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
}

async fn log(web: &Served) -> Vec<Value> {
    web.get("/_sim/calls").await.body["calls"].as_array().unwrap().clone()
}

#[tokio::test]
async fn whatever_is_not_simulated_is_refused_by_its_name_and_stands_in_the_log_of_calls() {
    let web = Served::web(Behaviour::default()).await;
    let certificates = web.get("/v1/apps/web/certificates?limit=50").await;
    assert_eq!(certificates.status, 404);
    let sentence = "the simulated platform has no GET /v1/apps/web/certificates";
    assert_eq!(certificates.error(), format!("not_found: {sentence}"));
    let last = log(&web).await.pop().unwrap();
    assert_eq!((&last["action"], &last["status"]), (&json!("unrouted"), &json!(404)));
    assert_eq!(
        (&last["path"], &last["unknown"]),
        (&json!("/v1/apps/web/certificates?limit=50"), &json!(sentence),)
    );

    let tokens = "query ($appName: String!) { appLimitedAccessTokens: app(name: $appName) \
                  { limitedAccessTokens { nodes { id } } } }";
    let sentence = "the simulated platform has no field `limitedAccessTokens` of `app`";
    assert_eq!(said(&web, tokens, json!({"appName": "web"})).await, sentence);
    let last = log(&web).await.pop().unwrap();
    assert_eq!((&last["status"], &last["unknown"]), (&json!(200), &json!(sentence)));

    let allocate = "mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) \
                    { ipAddress { id } } }";
    let answer = said(&web, allocate, json!({"input": {"appId": "web"}})).await;
    assert_eq!(answer, "the simulated platform has no mutation `allocateIpAddress`");

    // What is known is no news, and a body that nobody can read is in the log as well.
    let before = log(&web).await.len();
    web.get("/v1/apps/web").await;
    let broken = reqwest::Client::new()
        .post(web.url("/api/v1/query"))
        .header("authorization", "Bearer sim-token")
        .body("query=up")
        .send();
    assert_eq!(broken.await.unwrap().status(), 404);
    let log = log(&web).await;
    assert_eq!((log.len(), &log[before]["unknown"]), (before + 2, &Value::Null));
    assert_eq!(log[before + 1]["action"], "unrouted");
}

#[tokio::test]
async fn whoever_asks_is_told_who_that_is_and_what_the_organization_is() {
    let web = Served::web(Behaviour::default()).await;
    let viewer =
        "query { viewer { ... on User { id email enablePaidHobby } ... on Macaroon { email } } }";
    let viewer = web.graphql(viewer, Value::Null).await["data"]["viewer"].clone();
    assert_eq!(viewer["email"], Value::String(waveoff::sim::owner_of("sim-token")));
    let details = "query($slug: String!) { organizationdetails: organization(slug: $slug) { id slug \
        rawSlug name type viewerRole internalNumericId remoteBuilderImage remoteBuilderApp { name } \
        members { edges { cursor node { id name email } joinedAt role } } } }";
    let details = web.graphql(details, json!({"slug": "acme"})).await;
    let details = &details["data"]["organizationdetails"];
    assert_eq!((&details["name"], &details["type"]), (&json!("acme"), &json!("SHARED")));
    assert_eq!(details["members"]["edges"][0]["node"]["email"], viewer["email"]);
}

#[tokio::test]
async fn a_peer_of_the_private_network_is_made_listed_and_removed() {
    let web = Served::web(Behaviour::default()).await;
    let add = "mutation($input: AddWireGuardPeerInput!) { addWireGuardPeer(input: $input) \
               { peerip endpointip pubkey } }";
    let input = json!({"input": {"organizationId": "org_sim", "name": "laptop", "pubkey": "a2V5",
                                 "nats": false, "region": "iad"}});
    let added = web.graphql(add, input.clone()).await["data"]["addWireGuardPeer"].clone();
    assert!(added["peerip"].as_str().unwrap().parse::<std::net::Ipv6Addr>().is_ok());
    assert!(said(&web, add, input).await.contains("already been taken"));

    let list = "query($slug: String!) { organization(slug: $slug) { wireGuardPeers { nodes \
                { id name pubkey region peerip } } } }";
    let listed = web.graphql(list, json!({"slug": "acme"})).await;
    let nodes = &listed["data"]["organization"]["wireGuardPeers"]["nodes"];
    assert_eq!((&nodes[0]["name"], &nodes[0]["peerip"]), (&json!("laptop"), &added["peerip"]));

    let validate = "mutation($input: ValidateWireGuardPeersInput!) { validateWireGuardPeers\
                    (input: $input) { invalidPeerIps } }";
    let asked = json!({"input": {"peerIps": [added["peerip"], "fdaa::9"]}});
    let valid = web.graphql(validate, asked).await;
    assert_eq!(valid["data"]["validateWireGuardPeers"]["invalidPeerIps"], json!(["fdaa::9"]));

    let remove = "mutation($input: RemoveWireGuardPeerInput!) { removeWireGuardPeer(input: $input) \
                  { organization { id } } }";
    let input = json!({"input": {"organizationId": "org_sim", "name": "laptop"}});
    assert_eq!(said(&web, remove, input.clone()).await, "");
    assert!(said(&web, remove, input).await.contains("peer laptop not found"));
}

/// `flyctl` counts the checks of the answer: where there is none it does not wait for any.
#[tokio::test]
async fn the_answer_to_an_update_and_to_a_new_machine_names_the_checks_that_are_to_come() {
    let web = Served::web(Behaviour::default()).await;
    let updated = web.post(&on(1, ""), None, update_body(&web, 1, Y).await).await.body;
    let created = json!({"config": web.machine(2).await["config"], "region": "syd"});
    let created = web.post("/v1/apps/web/machines", None, created).await.body;
    for answer in [&updated, &created] {
        let checks = answer["checks"].as_array().unwrap();
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0]["name"], "servicecheck-00-http-8080");
        assert_eq!(
            (&checks[0]["status"], &checks[0]["output"]),
            (&json!("warning"), &json!("the machine hasn't started"),)
        );
        assert!(checks[0]["updated_at"].is_string());
    }
    assert_eq!(web.machine(1).await["checks"], json!([]), "no result before the first");
    web.pass(1000);
    assert_eq!(web.machine(1).await["checks"][0]["status"], "passing");
}

#[tokio::test]
async fn an_app_is_made_shown_and_destroyed_with_all_that_it_has() {
    let web = Served::web(Behaviour::default()).await;
    let asked = json!({"name": "shop", "org_slug": "acme", "network": "", "app_role_id": ""});
    let created = web.post("/v1/apps?wait=true", None, asked.clone()).await;
    assert_eq!((created.status, &created.body["name"]), (201, &json!("shop")));
    assert!(created.body["created_at"].is_u64() && created.body["id"].is_string());
    let again = web.post("/v1/apps?wait=true", None, asked).await;
    assert_eq!((again.status, &again.body["status"]), (422, &json!("name_taken")));
    assert!(again.error().contains("taken"), "{again:?}");
    for (wrong, status) in [
        (json!({"name": "Shop!", "org_slug": "acme"}), 422),
        (json!({"name": "shop2"}), 400),
        (json!({"name": "shop2", "org_slug": "other"}), 404),
    ] {
        assert_eq!(web.post("/v1/apps", None, wrong.clone()).await.status, status, "{wrong}");
    }
    assert_eq!(web.get("/v1/apps/shop").await.body["status"], "pending");
    let query = "query ($appName: String!) { app(name: $appName) { id deployed status version \
                 currentRelease { version } config { definition } services { protocol } \
                 ipAddresses { nodes { id } } sharedIpAddress imageDetails { tag } \
                 machines { nodes { id host { id } } } } }";
    let shown = web.graphql(query, json!({"appName": "shop"})).await["data"]["app"].clone();
    assert_eq!((&shown["deployed"], &shown["currentRelease"]), (&json!(false), &Value::Null));

    let body = json!({"config": web.machine(1).await["config"], "region": "ams"});
    let machine = web.post("/v1/apps/shop/machines", None, body).await.body;
    assert_eq!(web.get("/v1/apps/shop").await.body["status"], "deployed");
    let shown = web.graphql(query, json!({"appName": "shop"})).await["data"]["app"].clone();
    assert_eq!(shown["machines"]["nodes"][0]["id"], machine["id"]);

    assert_eq!(web.ask(("DELETE", "/v1/apps/shop"), None, &Value::Null).await.status, 202);
    assert_eq!(web.get("/v1/apps/shop").await.status, 404);
    assert_eq!(web.get("/v1/apps?org_slug=acme").await.body["total_apps"], 1);
    let feed = web.get("/v1/orgs/acme/machines").await.body;
    assert_eq!(feed["machines"].as_array().unwrap().len(), 4, "its machine is gone");
    assert_eq!(web.ask(("DELETE", "/v1/apps/shop"), None, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn secrets_are_counted_and_can_be_set_and_removed_one_by_one() {
    let web = Served::web(Behaviour::default()).await;
    let set = web.post("/v1/apps/web/secrets/A", None, json!({"value": "b"})).await;
    assert_eq!(
        (set.status, &set.body["name"], &set.body["version"]),
        (201, &json!("A"), &json!(1))
    );
    let one = web.get("/v1/apps/web/secrets/A").await;
    assert_eq!((one.status, &one.body["digest"]), (200, &set.body["digest"]));
    let unset = web.post("/v1/apps/web/secrets", None, json!({"values": {"A": null}})).await;
    assert_eq!((unset.status, &unset.body["version"]), (200, &json!(2)));
    assert_eq!(web.get("/v1/apps/web/secrets/A").await.status, 404);
    let gone = web.ask(("DELETE", "/v1/apps/web/secrets/A"), None, &Value::Null).await;
    assert_eq!((gone.status, &gone.body["version"]), (200, &json!(3)));
}

#[tokio::test]
async fn the_regions_that_there_are_can_be_asked_for() {
    let web = Served::web(Behaviour::default()).await;
    let query = "query { platform { requestRegion regions { name code latitude longitude \
                 gatewayAvailable requiresPaidPlan deprecated } } nearestRegion { code } }";
    let data = web.graphql(query, Value::Null).await["data"].clone();
    assert_eq!(
        (&data["platform"]["requestRegion"], &data["nearestRegion"]["code"]),
        (&json!("iad"), &json!("iad"),)
    );
    let codes: Vec<&Value> =
        data["platform"]["regions"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["iad", "lhr"]);
}
