//! Releases, as GraphQL and the release endpoints show them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::lenient;
use crate::model::{Release, ReleaseStatus, ReleaseVersion};

/// A GraphQL answer: data, errors, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireGraph<T: Default> {
    pub(crate) data: Option<T>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) errors: Vec<WireGraphError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireGraphError {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) message: String,
    pub(crate) extensions: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireData {
    pub(crate) app: Option<WireAppReleases>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireAppReleases {
    pub(crate) releases: Option<WireReleases>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireReleases {
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) nodes: Vec<WireRelease>,
    #[serde(rename = "pageInfo", deserialize_with = "lenient::or_default")]
    pub(crate) page: WirePageInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WirePageInfo {
    #[serde(rename = "hasNextPage", deserialize_with = "lenient::flag")]
    pub(crate) has_next: bool,
    #[serde(rename = "endCursor", deserialize_with = "lenient::text")]
    pub(crate) end_cursor: String,
}

/// A release; GraphQL writes names in camel case, the release endpoints with underscores.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireRelease {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) id: String,
    #[serde(deserialize_with = "lenient::whole")]
    pub(crate) version: Option<i64>,
    #[serde(deserialize_with = "lenient::text")]
    status: String,
    #[serde(alias = "imageRef", deserialize_with = "lenient::text")]
    image_ref: String,
    /// An object with e-mail and name, or just a text.
    user: Value,
    #[serde(alias = "createdAt", deserialize_with = "lenient::time")]
    created_at: Option<Timestamp>,
    /// The app configuration it was made with, as it came.
    #[serde(rename = "configDefinition")]
    pub(crate) definition: Option<Box<RawValue>>,
}

impl WireRelease {
    /// The release; `None` when it has no id or number.
    pub(crate) fn release(&self) -> Option<Release> {
        let version = u64::try_from(self.version?).ok()?;
        if self.id.is_empty() {
            return None;
        }
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let status = if self.status.is_empty() { "unknown" } else { &self.status };
        Some(Release {
            id: self.id.clone(),
            version: ReleaseVersion(version),
            status: ReleaseStatus::parse(status),
            image: self.image_ref.clone(),
            author: text(&self.user)
                .or_else(|| self.user.get("email").and_then(text))
                .or_else(|| self.user.get("name").and_then(text)),
            created_at: self.created_at.unwrap_or(Timestamp::UNIX_EPOCH),
            has_release_command: self.has_release_command(),
            is_brief: false,
        })
    }

    /// Whether the app configuration runs a command for each release; `None` when there is no
    /// configuration to look at.
    fn has_release_command(&self) -> Option<bool> {
        let mut definition: Value = serde_json::from_str(self.definition.as_ref()?.get()).ok()?;
        // JSON in a text, as GraphQL may carry it.
        if let Value::String(text) = &definition {
            definition = serde_json::from_str(text).ok()?;
        }
        let command = definition.as_object()?.get("deploy").and_then(|d| d.get("release_command"));
        Some(match command {
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(Value::Array(words)) => !words.is_empty(),
            Some(Value::Object(_) | Value::Number(_) | Value::Bool(true)) => true,
            Some(Value::Null | Value::Bool(false)) | None => false,
        })
    }
}

/// The list of the release endpoints, which tells nothing of app configurations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireBrief {
    pub(crate) releases: Option<Vec<WireRelease>>,
}

/// The answer to a new release: in an envelope, or bare.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireOpened {
    release: Option<WireRelease>,
}

impl WireOpened {
    /// The release in an answer's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Release>, serde_json::Error> {
        let opened: Self = serde_json::from_slice(body)?;
        let release = match opened.release {
            Some(release) => release,
            None => serde_json::from_slice(body)?,
        };
        Ok(release.release())
    }
}
