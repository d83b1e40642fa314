//! Times in which nothing is rolled back by itself: they begin by the calendar, as a crontab writes it,
//! and last for so long.

use std::time::Duration;

use jiff::{SignedDuration, Span, Timestamp, civil::Date, tz::TimeZone};

/// Longest freeze: whoever wants longer holds the app.
pub const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A time in which nothing is begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Freeze {
    /// Why, for people.
    pub reason: String,
    pub begins: Calendar,
    pub lasts: Duration,
    pub zone: TimeZone,
}

impl Freeze {
    /// When the freeze that is on ends; `None`: there is none now.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let lasts = SignedDuration::try_from(self.lasts.min(LONGEST)).ok()?;
        let today = now.to_zoned(self.zone.clone()).date();
        // The one that began last is the one that ends last.
        let days = lasts.as_hours() / 24 + 2;
        (0..=days).find_map(|back| {
            let date = today.checked_sub(Span::new().days(back)).ok()?;
            let began = self.begins.last_on(date, &self.zone, now)?;
            let ends = began.checked_add(lasts).ok()?;
            Some((now < ends).then_some(ends))
        })?
    }
}

/// The freeze that is on, by its reason, and its end; of several the one that ends last.
pub fn on(freezes: &[Freeze], now: Timestamp) -> Option<(&str, Timestamp)> {
    let on = freezes.iter().filter_map(|one| Some((one.reason.as_str(), one.until(now)?)));
    on.max_by_key(|(_, until)| *until)
}

/// A line of a crontab: minute, hour, day of the month, month, day of the week. As there, a day fits
/// when either of the two day fields does, unless one of them is `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    minutes: Vec<u8>,
    hours: Vec<u8>,
    days: Option<Vec<u8>>,
    months: Vec<u8>,
    /// From 0, which is Sunday.
    weekdays: Option<Vec<u8>>,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Calendar {
    /// Reads a line such as `0 18 * * fri`.
    ///
    /// # Errors
    /// What is wrong with it, as a phrase.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!(
                "has {} fields instead of five: minute, hour, day of the month, month, day of the \
                 week",
                fields.len()
            ));
        };
        let whole = |field: &str| field == "*";
        let mut weekdays = values(weekday, "day of the week", 0, 7, &WEEKDAYS)?;
        for day in &mut weekdays {
            *day %= 7;
        }
        let days = values(day, "day of the month", 1, 31, &[])?;
        Ok(Self {
            minutes: values(minute, "minute", 0, 59, &[])?,
            hours: values(hour, "hour", 0, 23, &[])?,
            days: (!whole(day)).then_some(days),
            months: values(month, "month", 1, 12, &MONTHS)?,
            weekdays: (!whole(weekday)).then_some(weekdays),
        })
    }

    fn fits(&self, date: Date) -> bool {
        let number = |value: i8| u8::try_from(value).unwrap_or(0);
        let day = self.days.as_ref().map(|days| days.contains(&number(date.day())));
        let weekday = number(date.weekday().to_sunday_zero_offset());
        let weekday = self.weekdays.as_ref().map(|days| days.contains(&weekday));
        let fits = match (day, weekday) {
            (Some(day), Some(weekday)) => day || weekday,
            (Some(fits), None) | (None, Some(fits)) => fits,
            (None, None) => true,
        };
        fits && self.months.contains(&number(date.month()))
    }

    /// The last time on a day that is not after `now`.
    fn last_on(&self, date: Date, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        if !self.fits(date) {
            return None;
        }
        let times = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |m| (hour, m)));
        times
            .filter_map(|(hour, minute)| {
                let time = date.at(i8::try_from(*hour).ok()?, i8::try_from(*minute).ok()?, 0, 0);
                // What the clocks skip in spring comes an hour later.
                Some(time.to_zoned(zone.clone()).ok()?.timestamp())
            })
            .filter(|began| *began <= now)
            .max()
    }
}

/// The values of one field: `*`, numbers or names, ranges, steps, and lists of them.
fn values(field: &str, what: &str, least: u8, most: u8, names: &[&str]) -> Result<Vec<u8>, String> {
    let wrong = |part: &str| format!("`{part}` is no {what}: write {least} to {most}, or *");
    let value = |text: &str| -> Result<u8, String> {
        let name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = name.and_then(|index| u8::try_from(index).ok()) {
            return Ok(index + least);
        }
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.filter(|value| (least..=most).contains(value)).ok_or_else(|| wrong(text))
    };
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step: u8 = step.parse().map_err(|_| wrong(part))?;
                (range, Some(step).filter(|step| *step > 0).ok_or_else(|| wrong(part))?)
            }
            None => (part, 1),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (value(from)?, value(to)?),
            None if part.contains('/') => (value(range)?, most),
            None => (value(range)?, value(range)?),
        };
        if from > to {
            return Err(wrong(part));
        }
        all.extend((from..=to).step_by(usize::from(step)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(begins: &str, hours: u64, zone: &str) -> Freeze {
        Freeze {
            reason: "the weekend".to_owned(),
            begins: Calendar::parse(begins).unwrap(),
            lasts: Duration::from_secs(hours * 3600),
            zone: TimeZone::get(zone).unwrap(),
        }
    }

    fn until(freeze: &Freeze, now: &str) -> Option<String> {
        freeze.until(now.parse().unwrap()).map(|until| until.to_string())
    }

    #[test]
    fn a_weekend_is_from_friday_evening_in_its_zone_to_monday_morning() {
        let weekend = freeze("0 18 * * fri", 61, "Europe/Berlin");
        // 2026-03-06 is a Friday; Berlin is an hour ahead.
        assert_eq!(until(&weekend, "2026-03-06T16:59:59Z"), None);
        let monday = Some("2026-03-09T06:00:00Z".to_owned());
        for within in ["2026-03-06T17:00:00Z", "2026-03-08T12:00:00Z", "2026-03-09T05:59:59Z"] {
            assert_eq!(until(&weekend, within), monday, "{within}");
        }
        assert_eq!(until(&weekend, "2026-03-09T06:00:00Z"), None);
        assert_eq!(until(&weekend, "2026-03-11T12:00:00Z"), None);
    }

    /// On 29 March 2026 the clocks of Berlin go from two to three.
    #[test]
    fn what_the_clocks_skip_comes_an_hour_later() {
        let nightly = freeze("30 2 * * *", 1, "Europe/Berlin");
        assert_eq!(until(&nightly, "2026-03-28T01:30:00Z"), Some("2026-03-28T02:30:00Z".into()));
        assert_eq!(until(&nightly, "2026-03-29T01:00:00Z"), None);
        assert_eq!(until(&nightly, "2026-03-29T01:30:00Z"), Some("2026-03-29T02:30:00Z".into()));
    }

    #[test]
    fn the_last_one_that_began_ends_last() {
        let often = freeze("*/20 9-17 * * 1-5", 1, "UTC");
        assert_eq!(until(&often, "2026-03-06T17:45:00Z"), Some("2026-03-06T18:40:00Z".into()));
        assert_eq!(until(&often, "2026-03-06T08:59:59Z"), None);
        let christmas = freeze("0 0 20 12 *", 24 * 14, "UTC");
        assert_eq!(until(&christmas, "2027-01-02T23:59:59Z"), Some("2027-01-03T00:00:00Z".into()));
        assert_eq!(until(&christmas, "2027-01-03T00:00:00Z"), None);
    }

    #[test]
    fn either_of_two_days_fits_as_in_a_crontab() {
        let both = freeze("0 0 13 * 5", 1, "UTC");
        assert!(until(&both, "2026-03-13T00:30:00Z").is_some(), "Friday the 13th");
        assert!(until(&both, "2026-03-06T00:30:00Z").is_some(), "a Friday");
        assert!(until(&both, "2026-04-13T00:30:00Z").is_some(), "a Monday, the 13th");
        assert!(until(&both, "2026-04-14T00:30:00Z").is_none());
        assert_eq!(Calendar::parse("0 0 * * 7"), Calendar::parse("0 0 * * sun"));
        assert_eq!(Calendar::parse("0 0 1 jan *"), Calendar::parse("0 0 1 1 *"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("0 18 * *", "has 4 fields"),
            ("60 18 * * *", "`60` is no minute: write 0 to 59"),
            ("0 25 * * *", "`25` is no hour"),
            ("0 0 0 * *", "`0` is no day of the month"),
            ("0 0 * 13 *", "`13` is no month"),
            ("0 0 * * fryday", "`fryday` is no day of the week"),
            ("0 5-3 * * *", "`5-3` is no hour"),
            ("*/0 * * * *", "`*/0` is no minute"),
            ("+1 * * * *", "`+1` is no minute"),
        ] {
            let wrong = Calendar::parse(text).unwrap_err();
            assert!(wrong.starts_with(want), "{text}: {wrong}");
        }
    }
}
