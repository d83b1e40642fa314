//! The Machines API as it is: statuses and bodies, where the daemon's own client has made nouns of them.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{
    Client, Method,
    header::{AUTHORIZATION, RETRY_AFTER},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{config::Secret, fly::FlySettings, numbers::cut};

/// Longest answer to a call: a wait of a minute.
const DEADLINE: Duration = Duration::from_secs(75);
/// Answers beyond it say nothing of a machine.
const BODY_MAX: usize = 4 << 20;
/// How often a call is made again that came too soon, and after how long.
const AGAIN_MAX: u32 = 6;
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(20);
/// Of what the platform says, in characters.
const SAID_MAX: usize = 90;

pub(super) struct Api {
    client: Client,
    base: String,
    authorization: Secret,
}

/// What the platform answered.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    /// The seconds that it wants to be left alone.
    pub(super) retry_after: Option<u64>,
}

impl Reply {
    pub(super) fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The status, and what it says of a failure.
    pub(super) fn says(&self) -> String {
        let text = ["message", "error"].iter().find_map(|key| self.body.get(key)?.as_str());
        match text.filter(|_| !self.is_done()) {
            Some(text) => format!("{}: {}", self.status, cut(text, SAID_MAX)),
            None => self.status.to_string(),
        }
    }

    /// A text in the body, by its path.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer)?.as_str()
    }
}

impl Api {
    pub(super) fn new(settings: &FlySettings) -> anyhow::Result<Self> {
        let (base, authorization) = settings.machines()?;
        let client = Client::builder().timeout(DEADLINE).build().context("prepare a client")?;
        Ok(Self { client, base, authorization })
    }

    /// One call, made again where it came too soon.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        nonce: Option<&str>,
        body: Option<Value>,
    ) -> anyhow::Result<Reply> {
        let mut tries = 0;
        loop {
            let reply = self.once(method.clone(), path, nonce, body.as_ref()).await?;
            tries += 1;
            if reply.status != 429 || tries > AGAIN_MAX {
                return Ok(reply);
            }
            let wanted = reply.retry_after.map_or(AGAIN_AFTER, Duration::from_secs);
            sleep(wanted.clamp(AGAIN_AFTER, AGAIN_AFTER_MAX)).await;
        }
    }

    /// One call, however soon.
    pub(super) async fn once(
        &self,
        method: Method,
        path: &str,
        nonce: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let place = format!("{method} {}", path.split('?').next().unwrap_or(path));
        let request = self.client.request(method, format!("{}{path}", self.base));
        let mut request = request.header(AUTHORIZATION, self.authorization.expose());
        if let Some(nonce) = nonce {
            request = request.header("fly-machine-lease-nonce", nonce);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        // The text of an error can hold the URL, which holds no secret.
        let mut response = request.send().await.with_context(|| place.clone())?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(|| place.clone())? {
            if bytes.len() + chunk.len() > BODY_MAX {
                anyhow::bail!("{place} answers without end");
            }
            bytes.extend_from_slice(&chunk);
        }
        // Some answers have no body, and some errors are no JSON.
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Reply { status, body, retry_after })
    }
}
