//! A real registry (the `distribution` one, as Debian ships it).

use std::{path::PathBuf, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};
use waveoff::model::Digest;

pub const TOKEN: &str = "opaque-token-of-the-test";
/// User `x` with that token, as `htpasswd -B` writes it.
const PASSWORDS: &str = "x:$2y$05$abcdefghijklmnopqrstuu4EBG0FyC2ChAgx0Rjz5p4FdjxU7Jv2S\n";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry that runs until it is dropped.
pub struct Registry {
    pub url: String,
    client: Client,
    _process: Child,
    /// Held open: the registry logs to its end.
    _log: tokio::io::Lines<BufReader<ChildStderr>>,
    _dir: TempDir,
}

impl Registry {
    /// One that wants to know who asks.
    pub async fn start() -> Self {
        Self::started(true).await
    }

    /// One that anybody may read and write.
    pub async fn open() -> Self {
        Self::started(false).await
    }

    async fn started(closed: bool) -> Self {
        let program = std::env::var_os("WAVEOFF_TEST_REGISTRY").map(PathBuf::from).expect(
            "WAVEOFF_TEST_REGISTRY must name the program `docker-registry`: run scripts/test, \
             which fetches it and sets it",
        );
        let dir = tempfile::tempdir().unwrap();
        let passwords = dir.path().join("htpasswd");
        std::fs::write(&passwords, PASSWORDS).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {passwords:?}}}}}\n");
        let config = format!(
            "version: 0.1\n\
             storage: {{filesystem: {{rootdirectory: {root:?}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n\
             {auth}",
            root = dir.path().join("images"),
            auth = if closed { auth.as_str() } else { "" },
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new(&program)
            .arg("serve")
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()));
        // It says in its log which port it was given.
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next_line().await.unwrap().expect("the registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        let client = Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), client, _process: process, _log: log, _dir: dir }
    }

    pub async fn send(
        &self,
        method: Method,
        url: &str,
        kind: &str,
        body: impl Into<Body>,
    ) -> Response {
        let password = STANDARD.encode(format!("x:{TOKEN}"));
        self.client
            .request(method, url)
            .header("authorization", format!("Basic {password}"))
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    pub async fn push_manifest(&self, repository: &str, kind: &str, manifest: String) -> Digest {
        let digest = digest_of(&manifest);
        let url = format!("{}/v2/{repository}/manifests/{digest}", self.url);
        let response = self.send(Method::PUT, &url, kind, manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{:?}", response.text().await);
        digest
    }

    /// Pushes a blob in one piece; gives its descriptor.
    pub async fn push_blob(&self, repository: &str, kind: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        let uploads = format!("{}/v2/{repository}/blobs/uploads/", self.url);
        let started = self.send(Method::POST, &uploads, "", String::new()).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED);
        let mut upload = Url::parse(started.headers()["location"].to_str().unwrap()).unwrap();
        upload.query_pairs_mut().append_pair("digest", digest.as_str());
        let octets = "application/octet-stream";
        let stored = self.send(Method::PUT, upload.as_str(), octets, bytes.to_vec()).await;
        assert_eq!(stored.status(), StatusCode::CREATED);
        json!({ "mediaType": kind, "size": bytes.len(), "digest": digest })
    }

    /// Pushes an image with these layers.
    pub async fn push_image(&self, repository: &str, config: &str, layers: &[&[u8]]) -> Digest {
        let config = self.push_blob(repository, CONFIG, config.as_bytes()).await;
        let mut pushed = Vec::new();
        for layer in layers {
            pushed.push(self.push_blob(repository, LAYER, layer).await);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": pushed,
        });
        self.push_manifest(repository, MANIFEST, manifest.to_string()).await
    }

    /// What is there under a path of a repository.
    pub async fn get(&self, repository: &str, rest: &str) -> (StatusCode, Vec<u8>) {
        let url = format!("{}/v2/{repository}/{rest}", self.url);
        let password = STANDARD.encode(format!("x:{TOKEN}"));
        let request = self.client.get(url).header("authorization", format!("Basic {password}"));
        let response =
            request.header("accept", format!("{MANIFEST}, {INDEX}")).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().to_vec())
    }

    /// The registry as images name it.
    pub fn name(&self) -> String {
        self.url.strip_prefix("http://").unwrap().to_owned()
    }
}

pub fn digest_of(text: impl AsRef<[u8]>) -> Digest {
    let hex: String =
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    Digest::new(format!("sha256:{hex}"))
}
