//! `[[freeze]]`: times in which nothing is rolled back by itself, of the whole organization in
//! `waveoff.toml`, of a policy's apps in its file.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{entry::Entry, problem::Wrong, reader::Reader};
use crate::model::{Calendar, Freeze, freeze::LONGEST};

const FREEZES_MAX: usize = 50;
/// Longest reason, in characters.
const REASON_MAX: usize = 200;

/// Reads every table; one that is wrong is reported and left out.
pub(super) fn read_all(entry: &Entry<'_>) -> Vec<Freeze> {
    let tables = entry.tables();
    if tables.len() > FREEZES_MAX {
        entry.wrong(Wrong::new(format!("there are more than {FREEZES_MAX} freezes")));
        return Vec::new();
    }
    tables.iter().filter_map(read).collect()
}

fn read(table: &Reader<'_>) -> Option<Freeze> {
    let begins = table
        .require("at", "write when it begins as in a crontab, such as at = \"0 18 * * fri\"")
        .and_then(|entry| {
            let example = "write minute, hour, day, month, day of the week: \"0 18 * * fri\"";
            entry.parse(|text| Calendar::parse(text).map_err(|why| Wrong::but(why, example)))
        });
    let lasts = table
        .require("for", "write how long it lasts, such as for = \"61h\"")
        .and_then(|entry| entry.duration(Duration::from_secs(60)..=LONGEST));
    let zone = match table.get("zone") {
        None => Some(TimeZone::UTC),
        Some(entry) => entry.parse(|text| {
            TimeZone::get(text).map_err(|_| {
                Wrong::but(
                    format!("`{text}` is no time zone that is known"),
                    "write one such as \"Europe/Berlin\", or leave it out for UTC",
                )
            })
        }),
    };
    let reason = match table.get("reason") {
        None => Some("a freeze".to_owned()),
        Some(entry) => entry.text().map(|text| text.chars().take(REASON_MAX).collect()),
    };
    table.finish();
    Some(Freeze { reason: reason?, begins: begins?, lasts: lasts?, zone: zone? })
}
