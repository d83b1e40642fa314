//! A daemon whose readers need a token, as a person in a terminal meets it.

use crate::stage::{OPERATOR_TOKEN, READ_TOKEN, Stage};

#[tokio::test]
async fn who_reads_in_a_terminal_is_told_of_the_token_and_reads_with_it() {
    // Given a daemon that asks for a token, also of those who only read
    let mut stage = Stage::set().await;
    stage.variable("WAVEOFF_OPERATOR_TOKEN", OPERATOR_TOKEN);
    stage.variable("WAVEOFF_READ_TOKEN", READ_TOKEN);
    stage.start().await;
    stage.trusted().await;

    // When somebody asks without it, then they are told what to set
    let commands = [["status"].as_slice(), &["history", "api"], &["webhook", "list"]];
    for command in commands {
        let (code, said, complaint) = stage.waveoff(command).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            complaint.contains("`export WAVEOFF_READ_TOKEN=…`") && said.is_empty(),
            "{complaint}"
        );
        assert!(!complaint.contains("browser") && !complaint.contains("Bearer"), "{complaint}");
    }

    // with either token it is answered, and for reading an order needs the operator's
    for command in commands {
        let (code, _, complaint) =
            stage.waveoff_with("WAVEOFF_READ_TOKEN", READ_TOKEN, command).await;
        assert_eq!(code, 0, "{complaint}");
        let (code, _, complaint) = stage.waveoff_as(OPERATOR_TOKEN, command).await;
        assert_eq!(code, 0, "{complaint}");
    }
    let hold = ["hold", "api", "--reason", "a sale"];
    let (code, _, complaint) = stage.waveoff_with("WAVEOFF_READ_TOKEN", READ_TOKEN, &hold).await;
    assert!(code == 1 && complaint.contains("WAVEOFF_OPERATOR_TOKEN"), "{complaint}");

    // and health is told to the platform, which has none
    assert_eq!(stage.get("/healthz").await.0, 200);
    assert_eq!(stage.get("/metrics").await.0, 401);
    stage.end().await;
}
