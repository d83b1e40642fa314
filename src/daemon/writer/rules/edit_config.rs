//! Replaces the image in a machine's configuration and in those of its containers that have it too,
//! and what is to be put back with it, and nothing else: every other byte of every other field goes
//! back as it came.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::value::{RawValue, to_raw_value};

use super::containers;
use crate::{
    decide::{PutImage, rival::ROLLBACK_MARK},
    model::{RawConfig, Texts, setup::PUT_BACK},
};

type Fields = IndexMap<String, Box<RawValue>>;

/// Why a configuration is not edited, in words.
#[derive(Debug)]
pub(super) struct NotEdited(pub(super) String);

impl From<serde_json::Error> for NotEdited {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("its configuration cannot be edited: {error}"))
    }
}

/// The configuration with the target's image, what is put back with it, and our metadata.
///
/// # Errors
///
/// When the configuration, or its `metadata`, is not a JSON object; and when it has containers, none
/// of which has its image: whatever is written, the machine would run what it runs.
pub(super) fn with_image(
    config: &RawConfig,
    put: &PutImage,
    put_back: Option<&Texts>,
) -> Result<RawConfig, NotEdited> {
    let mut fields: Fields = serde_json::from_str(&config.0)?;
    let reference = put.target.reference();
    if let Some(raw) = fields.get_mut("containers") {
        match containers::with_image(raw, &asked_for(config), &reference)? {
            containers::Put::None => {}
            containers::Put::Reached(replaced) => *raw = replaced,
            containers::Put::NotReached(images) => {
                return Err(NotEdited(containers::not_reached(&images)));
            }
        }
    }
    fields.insert("image".to_owned(), to_raw_value(&reference)?);
    for key in PUT_BACK.iter().filter(|_| put_back.is_some()) {
        match put_back.and_then(|texts| texts.get(key)) {
            Some(text) => {
                fields.insert((*key).to_owned(), RawValue::from_string(text.to_owned())?);
            }
            // What the known-good release did not have.
            None => {
                fields.shift_remove(*key);
            }
        }
    }
    let mut metadata: Fields = match fields.get("metadata") {
        Some(raw) => serde_json::from_str::<Option<Fields>>(raw.get())?.unwrap_or_default(),
        None => Fields::new(),
    };
    if let Some(version) = put.release {
        let text = version.0.to_string();
        metadata.insert("fly_release_version".to_owned(), to_raw_value(&text)?);
    }
    if let Some(id) = &put.release_id {
        metadata.insert("fly_release_id".to_owned(), to_raw_value(id)?);
    }
    metadata.insert(ROLLBACK_MARK.to_owned(), to_raw_value(&put.rollback)?);
    fields.insert("metadata".to_owned(), to_raw_value(&metadata)?);
    Ok(RawConfig(serde_json::to_string(&fields)?.into()))
}

/// Whether a configuration asks for this image.
pub(super) fn asks_for(config: &RawConfig, reference: &str) -> bool {
    asked_for(config) == reference
}

/// The image that a configuration asks for; empty: it names none.
fn asked_for(config: &RawConfig) -> Cow<'_, str> {
    #[derive(serde::Deserialize)]
    struct Wanted<'a> {
        #[serde(borrow)]
        image: Cow<'a, str>,
    }
    serde_json::from_str::<Wanted<'_>>(&config.0).map(|wanted| wanted.image).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Digest, ImageRef, MachineId, PutBack, Region, ReleaseVersion};

    fn put() -> PutImage {
        PutImage {
            machine: MachineId::new("m1"),
            region: Region::new("iad"),
            target: ImageRef {
                registry: "registry.fly.io".to_owned(),
                repository: "api".to_owned(),
                tag: Some("v41".to_owned()),
                digest: Some(Digest::new("sha256:41")),
            },
            bad: Digest::new("sha256:42"),
            put_back: PutBack::new(),
            leaves: std::collections::BTreeSet::new(),
            bad_release: Some(ReleaseVersion(42)),
            release: Some(ReleaseVersion(43)),
            release_id: Some("rel_43".to_owned()),
            after: ReleaseVersion(42),
            own: vec![ReleaseVersion(43)],
            since: jiff::Timestamp::UNIX_EPOCH,
            verified: None,
            rollback: "api-v42-1".to_owned(),
            up: true,
            stays_up: false,
            taken_down: false,
            tolerates: std::collections::BTreeSet::new(),
            ready_timeout: Duration::from_secs(60),
        }
    }

    /// Numbers no float can hold, key order, escapes and spaces all come back as they were.
    #[test]
    fn every_other_byte_comes_back() {
        let given = RawConfig(
            r#"{"z":1.00,"image":"old","big":123456789012345678901234567890,"metadata":{"own": "a\u00e9","fly_release_version":"42"},"env":{"B":"1","A":"2"},"x":[1 , 2]}"#
                .into(),
        );
        let edited = with_image(&given, &put(), None).unwrap();
        assert_eq!(
            &*edited.0,
            r#"{"z":1.00,"image":"registry.fly.io/api:v41@sha256:41","big":123456789012345678901234567890,"metadata":{"own":"a\u00e9","fly_release_version":"43","fly_release_id":"rel_43","waveoff_rollback":"api-v42-1"},"env":{"B":"1","A":"2"},"x":[1 , 2]}"#
        );
    }

    #[test]
    fn what_is_put_back_is_there_to_the_byte_and_what_stays_is_untouched() {
        let good = RawConfig(
            r#"{"image":"old","env":{"B": "1", "A":"\u00e9"},"init":{"cmd":["x"]},"checks":{"n":1.00},"guest":{"cpus":8},"mounts":[]}"#.into(),
        );
        let texts = Texts::of(&good).unwrap();
        let bad = RawConfig(
            r#"{"guest":{"cpus": 1},"env":{"A":"2"},"services":[{"internal_port":1}],"mounts":[{"volume":"v"}],"image":"bad","metadata":{},"checks":{}}"#.into(),
        );
        let edited = with_image(&bad, &put(), Some(&texts)).unwrap();
        assert_eq!(
            &*edited.0,
            r#"{"guest":{"cpus": 1},"env":{"B": "1", "A":"\u00e9"},"mounts":[{"volume":"v"}],"image":"registry.fly.io/api:v41@sha256:41","metadata":{"fly_release_version":"43","fly_release_id":"rel_43","waveoff_rollback":"api-v42-1"},"checks":{"n":1.00},"init":{"cmd":["x"]}}"#
        );
        assert!(texts.is_in(&edited) && !texts.is_in(&bad));
    }

    #[test]
    fn containers_with_the_apps_image_get_the_new_one_and_all_others_stay() {
        let given = RawConfig(
            r#"{"image":"r/web:v42","containers":[{"name":"app","image":"r/web:v42","n": 1.0},{"image":"envoy:1"},{"name":"x"}]}"#
                .into(),
        );
        let edited = with_image(&given, &put(), None).unwrap();
        assert!(
            edited.0.starts_with(
                r#"{"image":"registry.fly.io/api:v41@sha256:41","containers":[{"name":"app","image":"registry.fly.io/api:v41@sha256:41","n":1.0},{"image":"envoy:1"},{"name":"x"}],"metadata""#
            ),
            "{}",
            edited.0
        );
        for none in [r#"{"image":"a","containers":null}"#, r#"{"image":"a","containers":[]}"#] {
            assert!(with_image(&RawConfig(none.into()), &put(), None).is_ok(), "{none}");
        }
    }

    /// Whatever is written, such a machine runs what it runs.
    #[test]
    fn containers_that_an_image_does_not_come_to_are_said_before_anything_is_written() {
        let given = RawConfig(r#"{"image":"r/web:v42","containers":[{"image":"envoy:1"}]}"#.into());
        let NotEdited(why) = with_image(&given, &put(), None).unwrap_err();
        assert!(why.contains("none of its containers") && why.contains("envoy:1"), "{why}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(with_image(&RawConfig("[]".into()), &put(), None).is_err());
        assert!(with_image(&RawConfig(r#"{"metadata":3}"#.into()), &put(), None).is_err());
    }
}
