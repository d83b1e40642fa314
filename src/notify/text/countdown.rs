//! Why a rollback counts down.

use crate::model::AppName;

/// What stands after the seconds of a countdown; nothing where the policy alone wants it.
pub(super) fn why(together: &[AppName], unvouched: bool, passed_before: bool) -> String {
    if !together.is_empty() {
        let apps: Vec<&str> = together.iter().map(AppName::as_str).collect();
        let apps = apps.join(", ");
        return format!(" unless it recovers, because {apps} degraded at the same time");
    }
    if !unvouched {
        return String::new();
    }
    let spell = if passed_before {
        ", and the release before was above the limit as well for a while, and recovered"
    } else {
        ""
    };
    format!(
        " unless it recovers: nothing it could be compared with says yet that it is the release{spell}"
    )
}
