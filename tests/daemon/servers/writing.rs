//! Writes samples to a real server, with times of its own, by remote write.

use jiff::Timestamp;
use waveoff::model::MachineId;

use super::*;

/// The real servers' time.
#[expect(clippy::disallowed_methods, reason = "real servers keep the world's time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A field of a protocol buffers message whose value has a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    varint(value.len() as u64, &mut bytes);
    bytes.extend(value);
    bytes
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// Snappy's block format, without compressing anything.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    varint(bytes.len() as u64, &mut packed);
    for chunk in bytes.chunks(60) {
        packed.push(u8::try_from(chunk.len() - 1).unwrap() << 2);
        packed.extend(chunk);
    }
    packed
}

/// One sample of one machine's answers with a status.
pub struct Sample<'a> {
    pub app: &'a str,
    pub machine: &'a MachineId,
    pub status: &'a str,
    pub at: Timestamp,
    pub value: f64,
}

impl Sample<'_> {
    pub fn series(&self) -> Vec<u8> {
        let labels = [
            ("__name__", "fly_app_http_responses_count"),
            ("app", self.app),
            ("instance", self.machine.as_str()),
            ("status", self.status),
        ];
        let label = |(name, value): (&str, &str)| {
            field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
        };
        let mut sample = vec![1 << 3 | 1];
        sample.extend(self.value.to_le_bytes());
        sample.push(2 << 3);
        varint(u64::try_from(self.at.as_millisecond()).unwrap(), &mut sample);
        let mut series: Vec<u8> = labels.into_iter().flat_map(label).collect();
        series.extend(field(2, &sample));
        field(1, &series)
    }
}

/// Gives a server samples at its address for remote write.
pub async fn write(url: &str, series: &[Vec<u8>]) {
    until("the server takes samples", s(20), async || {
        let request = client().post(url).body(snappy(&series.concat()));
        let request = request
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0");
        let answer = request.send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
}
