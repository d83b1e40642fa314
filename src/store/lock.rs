//! One daemon per data directory: whoever holds the lock file's lock, and who that is.
//!
//! The lock is the operating system's and ends with its process, however that ended. What is
//! written in the file is for people.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const FILE: &str = "waveoff.lock";
/// More than a lock file says.
const TEXT_MAX: u64 = 4096;

/// Who holds a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub host: String,
    pub since: Timestamp,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.since.strftime("%Y-%m-%d %H:%M:%S UTC");
        write!(f, "process {} on {} since {since}", self.pid, self.host)
    }
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon works there; `None`: it has not said who it is yet.
    #[error(
        "{} is in use by {}; stop that one first, or give this one a data_dir of its own",
        path.display(),
        named(holder.as_ref())
    )]
    Held { path: PathBuf, holder: Option<Holder> },
    #[error(
        "no lock on {}: {error}; give the daemon's user the right to write there, or name another \
         data_dir",
        path.display()
    )]
    Failed { path: PathBuf, error: io::Error },
}

fn named(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another waveoff".to_owned(), |holder| format!("waveoff, {holder}"))
}

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `dir`, which must be there, and writes who we are. Does not wait.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn take(dir: &Path, now: Timestamp) -> Result<Self, LockError> {
        let path = dir.join(FILE);
        let failed = |error| LockError::Failed { path: path.clone(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: dir.to_owned(), holder: read(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let us = Holder { pid: std::process::id(), host: host(), since: now };
        // Held either way: on a full disk nobody can read who we are, and that is all.
        if let Err(error) = write(&mut file, &us) {
            tracing::warn!("{} cannot be written: {error}", path.display());
        }
        Ok(Self { _file: file })
    }
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.take(TEXT_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(holder)?.as_bytes())?;
    file.sync_data()
}

/// This machine's name, as Linux and containers have it.
fn host() -> String {
    let named = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = named.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    name.unwrap_or("an unnamed host").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_there_and_the_first_keeps_it_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-03-01T02:03:04.567891234Z".parse().unwrap();
        let first = DirectoryLock::take(dir.path(), now).unwrap();
        for _ in 0..2 {
            let refused = DirectoryLock::take(dir.path(), now).unwrap_err();
            let LockError::Held { holder: Some(holder), .. } = &refused else {
                panic!("{refused}");
            };
            assert_eq!((holder.pid, holder.since), (std::process::id(), now));
            assert!(refused.to_string().contains("is in use by waveoff, process"), "{refused}");
            assert!(refused.to_string().contains(" since 2026-03-01 02:03:04 UTC; "), "{refused}");
            assert!(refused.to_string().contains("stop that one first"), "{refused}");
        }
        drop(first);
        drop(DirectoryLock::take(dir.path(), now).unwrap());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let refused = DirectoryLock::take(Path::new("/nonexistent"), Timestamp::UNIX_EPOCH);
        let said = refused.unwrap_err().to_string();
        assert!(said.starts_with("no lock on /nonexistent/waveoff.lock: "), "{said}");
        assert!(said.ends_with("name another data_dir"), "{said}");
    }
}
