//! What changed, by its name, for who reads the API then.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// The stream's next events, each as its data.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(served: &Served) -> Self {
        let response = reqwest::get(format!("{}/events?names=true", served.address)).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    async fn next(&mut self) -> serde_json::Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                let data = data.map(|data| serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                match data {
                    Some(data) => return data,
                    // A sign of life.
                    None => continue,
                }
            }
            let chunk = timeout(Duration::from_secs(20), self.response.chunk()).await;
            let chunk = chunk.expect("it says something").unwrap().expect("it goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_reader_of_names_is_told_of_each_app_that_changed_and_of_no_other() {
    // Given a board with two apps, and a reader
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("api", Phase::Steady));
    served.board.publish(view("web", Phase::Steady));
    let mut reader = Reader::open(&served).await;
    let first = reader.next().await;
    assert_eq!(first, json!({ "apps": ["api", "web"], "organization": true }));

    // When one says what it said, and the other something new
    served.board.publish(view("api", Phase::Steady));
    served.board.publish(view("web", Phase::RollingBack));
    // Then that one is named
    assert_eq!(reader.next().await, json!({ "apps": ["web"], "organization": false }));

    // and when an app is gone, that is a change of the whole
    served.board.remove(&"web".into());
    assert_eq!(reader.next().await, json!({ "apps": [], "organization": true }));
}
