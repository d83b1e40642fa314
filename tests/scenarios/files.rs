//! The configuration of a scenario's daemon, as files and their environment.

use waveoff::config::{self, Config};

use crate::world::SECRET;

pub fn environment(name: &str) -> Option<String> {
    match name {
        "OPS_SECRET" => Some(SECRET.to_owned()),
        "BEAT_URL" => Some("https://beat.test/secret".to_owned()),
        _ => None,
    }
}

pub fn write_config(dir: &std::path::Path, policy: &str) -> Config {
    let dir = dir.join("config");
    std::fs::create_dir_all(dir.join("thresholds")).unwrap();
    let head = r#"
organization = "acme"
heartbeat_url_env = "BEAT_URL"

[[receiver]]
name = "ops"
format = "standard"
url = "https://receiver.test/hook"
secrets_env = ["OPS_SECRET"]
"#;
    std::fs::write(dir.join("waveoff.toml"), head).unwrap();
    std::fs::write(dir.join("thresholds/api.toml"), policy).unwrap();
    config::load(&dir, environment).unwrap_or_else(|errors| panic!("{errors}"))
}
