//! The examples of docs/api.md, as somebody would paste them into a shell.

use serde_json::Value;
use tokio::process::Command;

use crate::stage::{OPERATOR_TOKEN, READ_TOKEN, Stage};

/// Fenced blocks: their language, their text, and the line in which they begin.
fn blocks(text: &str) -> Vec<(String, String, usize)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String, usize)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), String::new(), number)),
            (Some(_), Some(done)) => blocks.push(done),
            (None, Some((language, text, at))) => {
                open = Some((language, format!("{text}{line}\n"), at));
            }
            (None, None) => {}
        }
    }
    blocks
}

#[tokio::test]
async fn every_example_of_the_api_answers_what_stands_below_it() {
    // Given a daemon as the page describes it
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.variable("WAVEOFF_READ_TOKEN", READ_TOKEN);
    stage.start().await;
    stage.trusted().await;

    // When each example is given to a shell, in order
    let blocks = blocks(include_str!("../../docs/api.md"));
    let mut said = None;
    let mut tried = 0;
    for (language, text, line) in blocks {
        match language.as_str() {
            "sh" => {
                tried += 1;
                let script = text.replace("http://localhost:8080", stage.url());
                let run = Command::new("sh")
                    .args(["-eu", "-c", &script])
                    .env("WAVEOFF_READ_TOKEN", READ_TOKEN)
                    .env("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN)
                    .output()
                    .await
                    .expect("a shell and curl");
                let out = String::from_utf8_lossy(&run.stdout).into_owned();
                assert!(run.status.success(), "api.md:{line}: {:?} {out}", run.status);
                said = Some(out);
            }
            // Then it is answered with the fields that stand there, and with the values that are told
            "json" => {
                let want: Value = serde_json::from_str(&text).unwrap();
                let said = said.take().unwrap_or_else(|| panic!("api.md:{line}: of nothing"));
                let said: Value = serde_json::from_str(&said).unwrap();
                for (key, value) in want.as_object().unwrap() {
                    let got = said.get(key).unwrap_or_else(|| panic!("api.md:{line}: no {key}"));
                    let is_told = matches!(key.as_str(), "status" | "detail" | "title" | "openapi");
                    assert!(!is_told || got == value, "api.md:{line}: {key}: {got}");
                    assert_eq!(got.is_array(), value.is_array(), "api.md:{line}: {key}: {got}");
                }
            }
            other => panic!("api.md:{line}: {other}"),
        }
    }
    assert!(tried > 8, "{tried}");
    stage.end().await;
}
