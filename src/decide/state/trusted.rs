//! Which image of a trusted release can be put back.

use super::{Revision, Trusted};

impl Trusted {
    /// Whether its image is not known to be gone, here and in the mirror.
    pub fn is_available(&self) -> bool {
        !self.image_missing || self.mirror.as_ref().is_some_and(|mirror| !mirror.missing)
    }

    /// The release with the image that can be deployed: the mirror's, when its own is gone.
    pub fn deployable(&self) -> Revision {
        let mut revision = self.revision.clone();
        if let Some(mirror) = self.mirror.as_ref().filter(|_| self.image_missing) {
            revision.image.clone_from(&mirror.image);
        }
        revision
    }
}
