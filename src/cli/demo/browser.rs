//! Shows an address in the browser of whoever sits here.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
};

/// What opens an address, the likeliest first.
const OPENERS: [&str; 3] = ["xdg-open", "wslview", "open"];

/// Asks the desktop for it. `false`: there is none, or nothing that would open it.
pub(super) fn open(url: &str) -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_desktop = cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"].into_iter().any(set);
    let Some(program) = env::var_os("PATH").filter(|_| has_desktop).and_then(|path| opener(&path))
    else {
        return false;
    };
    let mut command = Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    // It may go on for as long as the browser does; somebody has to hear of its end.
    std::thread::spawn(move || child.wait().is_ok());
    true
}

/// The first opener that is there.
fn opener(path: &OsStr) -> Option<OsString> {
    let dirs: Vec<_> = env::split_paths(path).collect();
    let found = OPENERS.iter().find_map(|name| {
        dirs.iter().map(|dir| dir.join(name)).find(|program| Path::new(program).is_file())
    });
    found.map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_opener_that_is_there_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(opener(dir.path().as_os_str()), None);
        std::fs::write(dir.path().join("open"), "").unwrap();
        assert_eq!(opener(dir.path().as_os_str()), Some(dir.path().join("open").into()));
        std::fs::write(dir.path().join("xdg-open"), "").unwrap();
        assert_eq!(opener(dir.path().as_os_str()), Some(dir.path().join("xdg-open").into()));
    }
}
