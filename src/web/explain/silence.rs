//! Whether it would be found that an app answers nothing any more: it hangs and nothing fails.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    decide::silence::Ear,
    numbers::{duration, whole},
};

/// Whether it would be found that the app answers nothing any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Silence)]
pub struct SilenceView {
    /// After so many seconds without an answer; `null`: not, or only where two apps beside it serve.
    pub found_after_s: Option<u64>,
    /// The same in words, with what is missing and what helps.
    pub text: String,
}

/// What finds a hang whatever was answered before.
const HELPS: &str = "a check that does the work, or a probe, finds a hang";

impl From<Ear> for SilenceView {
    fn from(ear: Ear) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a silence of some days, for people")]
        let long = |seconds: u64| duration(seconds as f64);
        let text = match ear {
            Ear::Nothing => {
                format!("would not be found: no threshold counts what it answers; {HELPS}")
            }
            Ear::Unread => {
                format!("would not be found: not all machines that answer can be read; {HELPS}")
            }
            Ear::Few { answered, needed } => format!(
                "would not be found: it answers little (some {} requests lately, {} are needed); {HELPS}",
                whole(answered),
                whole(needed)
            ),
            Ear::Young { beside_from, from } => format!(
                "would be found from {} on, when it is known for a day, and from {} on where two apps beside \
                 it serve; until then {HELPS}",
                moment(from),
                moment(beside_from)
            ),
            Ear::Hears { after_s, longest_s } => format!(
                "would be found after {} (its longest in the last days: {})",
                long(after_s),
                long(longest_s)
            ),
        };
        let found_after_s = match ear {
            Ear::Hears { after_s, .. } => Some(after_s),
            _ => None,
        };
        Self { found_after_s, text }
    }
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(ear: Ear) -> String {
        SilenceView::from(ear).text
    }

    #[test]
    fn it_is_said_after_how_long_or_what_is_missing() {
        let at = |second: i64| Timestamp::from_second(1_772_366_400 + second).unwrap();
        let hears = SilenceView::from(Ear::Hears { after_s: 450, longest_s: 45 });
        assert_eq!(hears.found_after_s, Some(450));
        assert_eq!(hears.text, "would be found after 8 min (its longest in the last days: 45 s)");
        let young = Ear::Young { beside_from: at(3600), from: at(86_400) };
        assert_eq!(SilenceView::from(young).found_after_s, None);
        assert!(
            says(young).starts_with("would be found from 2026-03-02 12:00 UTC on, "),
            "{}",
            says(young)
        );
        let few = says(Ear::Few { answered: 41.3, needed: 300.0 });
        assert!(few.contains("some 41 requests lately, 300 are needed"), "{few}");
        for blind in [Ear::Nothing, Ear::Unread] {
            let said = says(blind);
            assert!(said.starts_with("would not be found: ") && said.ends_with(HELPS), "{said}");
        }
    }
}
