//! What pages load: compiled in, named by its content, so that browsers keep it for good.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

/// A file, and what it is.
struct Asset {
    /// With a piece of its digest in it.
    name: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, ending: &str, kind: &'static str, text: &'static str) -> Self {
        let digest = Sha256::digest(text);
        let digest: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{stem}.{digest}.{ending}"), kind, text }
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page", "css", "text/css; charset=utf-8", include_str!("page.css"))
});
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page", "js", "text/javascript; charset=utf-8", include_str!("page.js"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("icon.svg")));

/// Where the style is.
pub(super) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// Where the script is.
pub(super) fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

/// Where the picture is.
pub(super) fn icon() -> String {
    format!("/assets/{}", ICON.name)
}

pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let all = [&*STYLE, &*SCRIPT, &*ICON];
    let Some(asset) = all.into_iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.text).into_response()
}
