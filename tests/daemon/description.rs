//! The API against its own description, by schemathesis: thousands of requests, made from the description,
//! right ones and wrong ones.

use std::process::Stdio;

use tokio::process::Command;

use crate::stage::{OPERATOR_TOKEN, READ_TOKEN, Stage};

#[tokio::test]
async fn the_api_does_what_its_description_says_whatever_is_asked() {
    // Given a daemon that takes orders, whose readers need a token, and that has something to tell
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.variable("WAVEOFF_READ_TOKEN", READ_TOKEN);
    stage.start().await;
    stage.trusted().await;

    // When everything that the description allows is tried, and what it does not
    let python = std::env::var("WAVEOFF_TEST_PYTHON").expect("run scripts/test, which sets it");
    let directory = tempfile::TempDir::new().unwrap();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,\
                  response_headers_conformance,response_schema_conformance,unsupported_method,\
                  allow_header_conformance,ignored_auth";
    let run = Command::new(python)
        .current_dir(directory.path())
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("{}/api/v1/openapi.json", stage.url()))
        .args(["-H", &format!("Authorization: Bearer {OPERATOR_TOKEN}")])
        .args(["--checks", &checks.replace(' ', "")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "1"])
        .args(["--generation-database", "none", "--no-color", "--continue-on-failure"])
        .args(["--request-timeout", "10", "--warnings", "off"])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();

    // Then it answers as it says that it does
    let said = said.replace(OPERATOR_TOKEN, "***");
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    println!(
        "{}",
        said.lines()
            .rev()
            .take(25)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    );
    stage.end().await;
}
