//! The files of a configuration: which there are, what is in them, and whether they changed.
//!
//! Everything is bounded: a directory given by mistake must not be read into memory.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// Largest file.
pub(super) const FILE_MAX: u64 = 1 << 20;
/// Most threshold files.
pub(super) const FILES_MAX: usize = 200;

/// The file with what is true for the organization.
pub(super) fn settings_path(dir: &Path) -> PathBuf {
    dir.join("waveoff.toml")
}

/// Where the threshold files are.
pub(super) fn thresholds_dir(dir: &Path) -> PathBuf {
    dir.join("thresholds")
}

/// The threshold files in the order of their names. Hidden files are an editor's.
pub(super) fn threshold_paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(thresholds_dir(dir))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(io::Error::other(format!("there are more than {FILES_MAX} files")));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Files that were probably meant to be threshold files: in the wrong directory, or with another
/// ending. At most as many as there may be threshold files.
pub(super) fn strays(dir: &Path) -> Vec<PathBuf> {
    let ending = |path: &Path| path.extension().map(|end| end.to_string_lossy().to_lowercase());
    let listed = |dir: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
        entries.filter_map(|entry| Some(entry.ok()?.path())).take(FILES_MAX).collect()
    };
    let beside = listed(dir).into_iter().filter(|path| {
        *path != settings_path(dir) && ending(path).is_some_and(|ending| ending == "toml")
    });
    let inside = listed(&thresholds_dir(dir)).into_iter().filter(|path| {
        let alike = ["toml", "tml", "tom", "yaml", "yml", "json"];
        let read = path.extension().is_some_and(|ending| ending == "toml");
        !read && ending(path).is_some_and(|ending| alike.contains(&ending.as_str()))
    });
    let mut strays: Vec<PathBuf> = beside.chain(inside).collect();
    strays.sort();
    strays
}

/// A file's bytes, if they are not too many.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it is larger than {} KiB", FILE_MAX >> 10)));
    }
    Ok(bytes)
}

/// What the configuration's files look like: differs when any of them changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads the names and contents of the files in `dir`.
    ///
    /// # Errors
    /// When `dir` cannot be read. A single file that cannot be read is part of the picture: it
    /// must be loaded, and refused, like any other change.
    pub fn of(dir: &Path) -> io::Result<Self> {
        fs::metadata(dir)?;
        let mut hash = Sha256::new();
        let mut paths = vec![settings_path(dir)];
        match threshold_paths(dir) {
            Ok(found) => paths.extend(found),
            Err(error) => hash.update(error.to_string()),
        }
        for path in paths {
            let content = match read(&path) {
                Ok(bytes) => Sha256::digest(&bytes),
                Err(error) => Sha256::digest(format!("unreadable: {error}")),
            };
            // Lengths keep one file's end apart from the next one's beginning.
            let name = path.as_os_str().as_encoded_bytes();
            hash.update(name.len().to_be_bytes());
            hash.update(name);
            hash.update(content);
        }
        Ok(Self(hash.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_shows_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("thresholds")).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let look = || Fingerprint::of(dir.path()).unwrap();
        write("waveoff.toml", "a");
        write("thresholds/web.toml", "b");
        let first = look();
        assert_eq!(look(), first);

        write("thresholds/.web.toml.swp", "editor");
        write("thresholds/notes.txt", "notes");
        write("thresholds/.hidden.toml", "editor");
        assert_eq!(look(), first);

        write("thresholds/web.toml", "c");
        let changed = look();
        assert_ne!(changed, first);
        fs::rename(dir.path().join("thresholds/web.toml"), dir.path().join("thresholds/api.toml"))
            .unwrap();
        let renamed = look();
        assert_ne!(renamed, changed);
        fs::remove_file(dir.path().join("waveoff.toml")).unwrap();
        assert_ne!(look(), renamed);
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Fingerprint::of(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waveoff.toml");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "it is not a file");
        assert!(Fingerprint::of(dir.path()).is_ok());
    }

    #[test]
    fn a_huge_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("waveoff.toml");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("larger than 1024 KiB"));
    }
}
