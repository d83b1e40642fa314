//! A directory for files that are needed for a moment.

use std::{
    fs::{DirBuilder, remove_dir_all},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Names that are tried.
const TRIES: u32 = 100;

/// It goes when this does, and nobody else reads it.
pub(super) struct Aside(PathBuf);

impl Aside {
    /// `what`: the word in its name.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn new(what: &str) -> anyhow::Result<Self> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        let mut nth = 0;
        loop {
            let name = format!("waveoff-{what}-{}-{nth}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match private.create(&path) {
                Ok(()) => return Ok(Self(path)),
                // Of a process that was killed, and had the same number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && nth < TRIES => nth += 1,
                Err(error) => {
                    return Err(error).with_context(|| format!("make {}", path.display()));
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = remove_dir_all(&self.0) {
            tracing::warn!("{} stays behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_one_alone_and_goes_with_it() {
        let (one, other) = (Aside::new("test").unwrap(), Aside::new("test").unwrap());
        assert_ne!(one.path(), other.path());
        let path = one.path().to_owned();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(one);
        assert!(!path.exists() && other.path().is_dir());
    }
}
