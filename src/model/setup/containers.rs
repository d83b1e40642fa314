//! What a rollback cannot reach of machines that have several containers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Part, Print, Setups, without};
use crate::model::containers::is_the_apps;

/// What a container's image is noted as that is the app's own, whichever that is.
const OWN: &str = ".";

fn image_of(name: &str) -> String {
    format!("image of container {name}")
}

/// Names each container and its image: the app's own is what a release is about, and the same in all.
pub(super) fn add(
    containers: &[Value],
    configured: &str,
    add: &mut impl FnMut(Part, &str, &Value),
) {
    for container in containers {
        let text = |key: &str| container.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let image = text("image");
        let image = if is_the_apps(image, configured) { OWN } else { image };
        add(Part::Setting, &image_of(name), &json!(image));
        add(Part::Setting, &format!("container {name}"), &without(container, "image"));
    }
}

/// The containers that ran the app's image in the earlier setup and run another one in the later, and those
/// of machines of which none runs it: an image that is put on the machine does not come to them.
pub fn out_of_reach(earlier: &Setups, later: &Setups) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (group, was) in &earlier.groups {
        let is = later.groups.get(group).and_then(|is| is.parts.as_ref());
        let settings = |parts: &super::Parts| parts.get(&Part::Setting).cloned();
        let (Some(was), Some(is)) = (was.parts.as_ref().and_then(settings), is.and_then(settings))
        else {
            continue;
        };
        names.extend(was.iter().filter_map(|(key, print)| {
            let name = key.strip_prefix(&image_of(""))?;
            let own = Print::of(Part::Setting, key, &json!([OWN]));
            let is = is.get(key)?;
            (*print == own && is.differs_from(&own)).then(|| name.to_owned())
        }));
    }
    if !names.is_empty() {
        return names;
    }
    for is in later.groups.values().filter_map(|is| is.parts.as_ref()) {
        let settings = is.get(&Part::Setting).into_iter().flatten();
        let images: Vec<(&str, bool)> = settings
            .filter_map(|(key, print)| {
                let own = Print::of(Part::Setting, key, &json!([OWN]));
                Some((key.strip_prefix(&image_of(""))?, !print.differs_from(&own)))
            })
            .collect();
        if !images.iter().any(|(_, is_own)| *is_own) {
            names.extend(images.iter().map(|(name, _)| (*name).to_owned()));
        }
    }
    names
}
