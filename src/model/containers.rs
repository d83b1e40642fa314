//! The containers of a machine that has several: which of them run the app's own image.
//!
//! A deploy gives a container the image that the machine itself is configured with where its
//! definition says so; all others name images of their own, which no deploy of the app changes.

use super::machine::ImageRef;

/// Whether a container asks for the image that its machine is configured with. Where one of the two
/// says less than the other, name and tag decide; where they contradict each other, it does not.
pub fn is_the_apps(container: &str, configured: &str) -> bool {
    if container == configured {
        return !configured.is_empty();
    }
    let (one, other) = (ImageRef::parse(container), ImageRef::parse(configured));
    let is_named_alike = one.registry == other.registry && one.repository == other.repository;
    is_named_alike
        && match (&one.digest, &other.digest) {
            (Some(one), Some(other)) => one == other,
            _ => one.tag.is_some() && one.tag == other.tag,
        }
}

#[cfg(test)]
mod tests {
    use super::is_the_apps;

    #[test]
    fn a_container_has_the_apps_image_when_nothing_speaks_against_it() {
        let configured = "registry.fly.io/web:v42@sha256:42";
        for (container, is) in [
            (configured, true),
            ("registry.fly.io/web:v42", true),
            ("registry.fly.io/web@sha256:42", true),
            ("registry.fly.io/web:v42@sha256:41", false),
            ("registry.fly.io/web:v41", false),
            ("registry.fly.io/web", false),
            ("docker.io/web:v42", false),
            ("envoyproxy/envoy:v42", false),
            ("", false),
        ] {
            assert_eq!(is_the_apps(container, configured), is, "{container}");
        }
        assert!(!is_the_apps("", ""));
    }
}
