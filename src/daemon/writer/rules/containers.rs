//! The containers of a machine that has several: those with the app's image get the new one as well,
//! and every other byte of theirs goes back as it came.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::model::{RawConfig, containers::is_the_apps};

type Fields = IndexMap<String, Box<RawValue>>;

/// What putting an image on a machine does to its containers.
pub(super) enum Put {
    /// It has none.
    None,
    /// None of them has the app's image: the images that they have instead.
    NotReached(Vec<String>),
    Reached(Box<RawValue>),
}

/// Replaces the image of each container that has the one the machine is configured with.
///
/// # Errors
///
/// When it is no list of objects.
pub(super) fn with_image(raw: &RawValue, configured: &str, new: &str) -> serde_json::Result<Put> {
    let Some(mut containers) = serde_json::from_str::<Option<Vec<Fields>>>(raw.get())? else {
        return Ok(Put::None);
    };
    let (mut reached, mut others) = (false, Vec::new());
    for container in &mut containers {
        let Some(image) = container.get_mut("image") else { continue };
        let Some(named) = serde_json::from_str::<Option<String>>(image.get())? else { continue };
        if is_the_apps(&named, configured) {
            *image = to_raw_value(new)?;
            reached = true;
        } else {
            others.push(named);
        }
    }
    if containers.is_empty() {
        return Ok(Put::None);
    }
    Ok(if reached { Put::Reached(to_raw_value(&containers)?) } else { Put::NotReached(others) })
}

/// The images that a configuration's containers ask for; none: it has no containers.
pub(super) fn images(config: &RawConfig) -> Vec<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        containers: Option<Vec<Container>>,
    }
    #[derive(Deserialize)]
    struct Container {
        #[serde(default)]
        image: Option<String>,
    }
    let config = serde_json::from_str::<Config>(&config.0).ok();
    let containers = config.and_then(|config| config.containers).unwrap_or_default();
    containers.into_iter().map(|container| container.image.unwrap_or_default()).collect()
}

/// Why an image that the machine is configured with is not what it runs, if it is not: none of its
/// containers asks for it.
pub(super) fn is_passed_by(config: &RawConfig, reference: &str) -> Option<String> {
    let images = images(config);
    let runs = images.is_empty() || images.iter().any(|image| is_the_apps(image, reference));
    (!runs).then(|| not_reached(&images))
}

/// What people are told of a machine whose containers an image does not come to.
pub(super) fn not_reached(images: &[String]) -> String {
    let named = images.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    format!("none of its containers runs the app's image, so that it cannot be replaced: {named}")
}
