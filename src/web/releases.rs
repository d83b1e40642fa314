//! The releases of an app as the API shows them: the ledger's entries, with what the daemon knows of
//! each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{AppName, Digest, ImageRef, ReleaseVersion};

/// What the daemon holds of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseStanding {
    /// Not seen, or forgotten.
    #[default]
    Unknown,
    /// Not seen long enough.
    UnderWatch,
    /// Seen healthy for its bake.
    Baked,
    /// Its requests said so too.
    Trusted,
    /// A person vouched for it.
    VouchedFor,
    /// It degraded, and is held or waits.
    Degraded,
    /// It was rolled back, or a person put it there.
    Quarantined,
}

impl ReleaseStanding {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::UnderWatch => "under watch",
            Self::Baked => "baked",
            Self::Trusted => "trusted",
            Self::VouchedFor => "vouched for",
            Self::Degraded => "degraded",
            Self::Quarantined => "rolled back",
        }
    }
}

/// Whether an image can still be pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    Present,
    /// Its registry has it no more, and the mirror has.
    Mirrored,
    /// Nobody has it any more.
    Missing,
    /// Its registry did not say, or nobody knows its digest.
    #[default]
    Unknown,
}

/// One release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = KnownRelease)]
pub struct ReleaseView {
    pub version: Option<ReleaseVersion>,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
    /// As the ledger or a machine names it.
    pub image: String,
    /// The same in its parts, when its digest is known.
    #[serde(skip)]
    pub reference: Option<ImageRef>,
    pub author: Option<String>,
    pub created_at: Option<Timestamp>,
    /// What the ledger says of it.
    pub status: Option<String>,
    pub standing: ReleaseStanding,
    /// Who vouched for it.
    pub by: Option<String>,
    /// Since when it stands so.
    pub since: Option<Timestamp>,
    /// It is what the app runs, as last decided.
    pub runs: bool,
    pub pinned: bool,
    /// A rollback now would go to it.
    pub is_target: bool,
    pub image_state: ImageState,
}

impl ReleaseView {
    /// A release of which only its image is known.
    pub fn unknown(image: &str, digest: Option<Digest>) -> Self {
        let name = image.split_once('@').map_or(image, |(name, _)| name);
        let tag = name.rsplit('/').next().and_then(|last| last.split_once(':'));
        Self {
            version: None,
            tag: tag.map(|(_, tag)| tag.to_owned()),
            digest,
            image: image.to_owned(),
            reference: None,
            author: None,
            created_at: None,
            status: None,
            standing: ReleaseStanding::Unknown,
            by: None,
            since: None,
            runs: false,
            pinned: false,
            is_target: false,
            image_state: ImageState::Unknown,
        }
    }
}

/// The releases of an app, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Releases)]
pub struct ReleasesView {
    pub app: AppName,
    pub releases: Vec<ReleaseView>,
    /// Why the release ledger could not be read: then only what the daemon remembers is shown.
    pub ledger_unread: Option<String>,
}
