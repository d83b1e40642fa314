//! Names and numbers by which the platform knows things, as types that cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// The name of a Fly app, unique across the platform.
    AppName
);
text_id!(
    /// A machine's id; it survives updates and, with a volume, host migrations.
    MachineId
);
text_id!(
    /// The id of one version of a machine (a ULID): every update makes a new one.
    InstanceId
);
text_id!(
    /// A Fly region code, such as `iad`.
    Region
);
text_id!(
    /// A process group of an app; `app` when the app names none.
    ProcessGroup
);
text_id!(
    /// The content digest of an image (`sha256:…`): what "the same image" means.
    Digest
);

impl Digest {
    /// The first 12 hex digits, for people.
    pub fn short(&self) -> &str {
        let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
        hex.get(..12).unwrap_or(hex)
    }
}

/// Fly's number of a release, shown as `v42`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(transparent)]
pub struct ReleaseVersion(pub u64);

impl fmt::Display for ReleaseVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}
