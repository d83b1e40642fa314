//! Whatever is in a file: no panic, and every problem names a line that exists.

use proptest::prelude::*;

use super::*;

/// The text with a piece taken out and another put in its place.
fn damaged(text: &str, at: usize, length: usize, piece: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = at % chars.len();
    let end = (at + length).min(chars.len());
    let mut damaged: String = chars[..at].iter().collect();
    damaged.push_str(piece);
    damaged.extend(&chars[end..]);
    damaged
}

fn is_fine(settings: &str, policy: &str) -> Result<(), TestCaseError> {
    let place = Place::new(settings, &[("web.toml", policy)]);
    let Err(errors) = place.load() else { return Ok(()) };
    prop_assert!(!errors.problems().is_empty());
    for problem in errors.problems() {
        let text = if problem.file.ends_with("web.toml") { policy } else { settings };
        let lines = text.lines().count() + 1;
        prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}");
        prop_assert!(!problem.to_string().contains(char::is_control), "{problem}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_understood(
        at in any::<usize>(),
        length in 0..12_usize,
        piece in prop::collection::vec(
            prop::sample::select("[]{}\"'=,.019amsz%*\n\u{1b}é -#".chars().collect::<Vec<_>>()),
            0..6,
        ),
    ) {
        let piece: String = piece.into_iter().collect();
        is_fine(ACME, &damaged(EVERYTHING, at, length, &piece))?;
        let settings = format!(
            "{ACME}listen = \"[::]:9\"\nkeep_history = \"30d\"\n[[receiver]]\nname = \"ops\"\n\
             format = \"standard\"\nurl = \"https://a.b\"\nevents = [\"rollback.started\"]\n"
        );
        is_fine(&damaged(&settings, at, length, &piece), PLAIN)?;
    }

    #[test]
    fn any_text_is_refused_or_understood(text in "\\PC{0,80}") {
        is_fine(&text, PLAIN)?;
        is_fine(ACME, &text)?;
        let gauge = format!("gauge = '''{text}'''\nmax = \"{text}\"\nfor = \"{text}\"\n");
        is_fine(ACME, &format!("{PLAIN}[[threshold]]\nname = \"x\"\n{gauge}"))?;
    }
}
