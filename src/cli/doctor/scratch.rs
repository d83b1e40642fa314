//! The app that is made to be tried out.

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, Reply};
use crate::model::AppName;

/// An app of one machine.
pub(super) struct Scratch {
    pub(super) app: AppName,
    pub(super) organization: String,
    pub(super) image: String,
    pub(super) region: Option<String>,
}

impl Scratch {
    /// Makes the app; only one that was made here is ever removed.
    pub(super) async fn found(&self, api: &Api) -> anyhow::Result<()> {
        let name = self.app.as_str();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            bail!("--scratch-app: an app's name has small letters, digits and -");
        }
        let body = json!({ "app_name": name, "name": name, "org_slug": self.organization });
        let made = api.call(Method::POST, "/v1/apps", None, Some(body)).await?;
        if !made.is_done() {
            bail!(
                "the app {name} was not made ({}), and nothing was changed\n\
                 name one with --scratch-app that is not there, and an organization that the token is for",
                made.says()
            );
        }
        Ok(())
    }

    /// The configuration of its machine; `mark` makes one differ from another.
    pub(super) fn config(&self, mark: &str) -> Value {
        self.config_of(&self.image, mark)
    }

    /// The same with another image.
    pub(super) fn config_of(&self, image: &str, mark: &str) -> Value {
        json!({
            "image": image,
            "env": { "WAVEOFF_DOCTOR": mark },
            "guest": { "cpu_kind": "shared", "cpus": 1, "memory_mb": 256 },
            "restart": { "policy": "no" },
            "metadata": { "fly_platform_version": "v2", "fly_process_group": "app" },
            // Fails as long as the machine is up: nothing listens there.
            "checks": { "nobody": { "type": "tcp", "port": 9, "interval": "5s", "timeout": "2s" } },
        })
    }

    /// Path of the app's machines, or of something of one of them.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v1/apps/{}/machines{rest}", self.app)
    }

    /// Makes its machine; answers with the machine.
    pub(super) async fn machine(&self, api: &Api) -> anyhow::Result<Reply> {
        let body = json!({ "region": self.region, "config": self.config("first") });
        let made = api.call(Method::POST, &self.path(""), None, Some(body)).await?;
        if !made.is_done() {
            bail!(
                "its machine was not made: {}\nif that is the image {}, name another one with --image",
                made.says(),
                self.image
            );
        }
        Ok(made)
    }

    /// Removes the app and what is in it.
    pub(super) async fn remove(&self, api: &Api) -> anyhow::Result<()> {
        let machines = api.call(Method::GET, &self.path(""), None, None).await?;
        let ids = machines.body.as_array().into_iter().flatten();
        let ids: Vec<&str> = ids.filter_map(|one| one.get("id")?.as_str()).collect();
        for id in ids {
            let path = self.path(&format!("/{id}?force=true"));
            let gone = api.call(Method::DELETE, &path, None, None).await?;
            if !gone.is_done() && gone.status != 404 {
                bail!("its machine {id} was not removed: {}", gone.says());
            }
        }
        let path = format!("/v1/apps/{}?force=true", self.app);
        let gone = api.call(Method::DELETE, &path, None, None).await.context("remove the app")?;
        if !gone.is_done() && gone.status != 404 {
            bail!("it was not removed: {}", gone.says());
        }
        Ok(())
    }
}
