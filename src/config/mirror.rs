//! `mirror` of `[rollback]`: where trusted images are copied to.

use super::problem::Wrong;
use crate::model::MirrorRule;

/// Longest reference.
const LENGTH_MAX: usize = 200;
const EXAMPLE: &str = "write a registry and a repository in it, such as \"ghcr.io/acme/{app}\"";

/// Reads `ghcr.io/acme/{app}`.
pub(super) fn rule(text: &str) -> Result<MirrorRule, Wrong> {
    let wrong = |message: String, suggestion: String| Err(Wrong::but(message, suggestion));
    if let Some((_, rest)) = text.split_once("://") {
        return wrong(format!("`{text}` is a URL"), format!("write \"{rest}\""));
    }
    let Some((registry, repository)) = text.split_once('/') else {
        return wrong(format!("`{text}` names no repository"), EXAMPLE.to_owned());
    };
    let is_host = registry.contains(['.', ':']) || registry == "localhost";
    let host_letters =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if !is_host && registry.chars().all(host_letters) {
        let message = format!("`{text}` names no registry");
        return wrong(message, format!("write its host first, such as \"docker.io/{text}\""));
    }
    if !registry.chars().all(host_letters) || text.len() > LENGTH_MAX {
        return wrong(format!("`{text}` is not a place for images"), EXAMPLE.to_owned());
    }
    if repository.contains(['@', ':']) {
        let end = repository.find(['@', ':']).unwrap_or(repository.len());
        let name = repository.get(..end).unwrap_or_default();
        let message = format!("`{text}` has a tag or a digest; copies get their own");
        return wrong(message, format!("write \"{registry}/{name}\""));
    }
    let plain = repository.replace("{app}", "app");
    if plain.contains(['{', '}']) {
        let message = format!("`{text}` has a placeholder that is not known");
        return wrong(message, "write {app} for the app's name".to_owned());
    }
    if plain.chars().any(|c| c.is_ascii_uppercase()) {
        let message = format!("`{text}` has capitals, which no repository has");
        return wrong(message, format!("write \"{registry}/{}\"", repository.to_lowercase()));
    }
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = |part: &str| {
        part.chars().all(|c| letters(c) || matches!(c, '.' | '_' | '-'))
            && part.starts_with(letters)
            && part.ends_with(letters)
    };
    if !plain.split('/').all(fits) {
        return wrong(format!("`{text}` is not a place for images"), EXAMPLE.to_owned());
    }
    Ok(MirrorRule { registry: registry.to_owned(), repository: repository.to_owned() })
}
