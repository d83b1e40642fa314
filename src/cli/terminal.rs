//! What a terminal is sent: its width, colours where they are wanted, and nothing that came from
//! outside and steers it.
//!
//! Text is written with marks for its tones, which no terminal shows and which have no width, so that
//! columns can be measured; the last step turns them into colours, or takes them out.

use std::io::{IsTerminal as _, Stdout};

use console::{Term, measure_text_width};

/// Begin a tone, and end it.
const MARKS: [(char, &str); 6] = [
    ('\u{206a}', "\u{1b}[32m"),
    ('\u{206b}', "\u{1b}[36m"),
    ('\u{206c}', "\u{1b}[1;31m"),
    ('\u{206d}', "\u{1b}[33m"),
    ('\u{206e}', "\u{1b}[2m"),
    ('\u{2064}', "\u{1b}[1m"),
];
const END: char = '\u{206f}';
const PLAIN: &str = "\u{1b}[0m";
/// Narrower than this nothing can be laid out; what is longer is cut by the terminal.
const NARROWEST: usize = 20;

/// How something is, as a colour says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Busy,
    Bad,
    Warn,
    Dim,
    Strong,
}

impl Tone {
    fn mark(self) -> char {
        match self {
            Self::Good => MARKS[0].0,
            Self::Busy => MARKS[1].0,
            Self::Bad => MARKS[2].0,
            Self::Warn => MARKS[3].0,
            Self::Dim => MARKS[4].0,
            Self::Strong => MARKS[5].0,
        }
    }
}

/// Text in a tone, cleaned. It should be on one line: a tone ends with its line.
pub(super) fn toned(tone: Tone, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{}{}{END}", tone.mark(), clean(text)) }
}

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// In columns; `None`: no terminal, lines may be as long as they are.
    pub(super) width: Option<usize>,
    pub(super) colours: bool,
}

impl Look {
    /// Standard output, as it is now.
    pub(super) fn of_stdout() -> Self {
        let out = std::io::stdout();
        let width = out.is_terminal().then(|| size().0);
        Self { width, colours: wants_colours(out.is_terminal(), variable) }
    }

    /// A pipe, or a file.
    #[cfg(test)]
    pub(super) fn plain(width: Option<usize>) -> Self {
        Self { width, colours: false }
    }

    /// Marks as colours, or without them.
    pub(super) fn paint(self, text: &str) -> String {
        paint(text, self.colours)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Columns and lines of the terminal; 80 and 24 where it does not say.
pub(super) fn size() -> (usize, usize) {
    size_of(&Term::stdout())
}

fn size_of(terminal: &Term) -> (usize, usize) {
    let (lines, columns) = terminal.size_checked().unwrap_or((24, 80));
    (usize::from(columns).max(NARROWEST), usize::from(lines))
}

/// Columns of standard error, if that is a terminal.
pub(super) fn width_of_stderr() -> Option<usize> {
    std::io::stderr().is_terminal().then(|| size_of(&Term::stderr()).0)
}

/// Whether standard output is a terminal on which a picture can be drawn anew.
pub(super) fn can_redraw(out: &Stdout) -> bool {
    out.is_terminal() && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are wanted: <https://no-color.org> and <https://bixense.com/clicolors/>.
pub(super) fn wants_colours(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, wanted: &str| variable(name).is_some_and(|value| value == wanted);
    if is_set("NO_COLOR") {
        return false;
    }
    if is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") {
        return true;
    }
    is_terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb")
}

/// Text without what a terminal obeys: control characters, and marks that turn the direction of what
/// follows. Names, tags and log lines come from apps.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|char| if steers(char) { ' ' } else { char }).collect()
}

fn steers(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}'
        )
        || matches!(char, '\u{2028}' | '\u{2029}')
}

/// The same for many lines.
pub(super) fn clean_lines(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", clean(line)),
            None => clean(line),
        })
        .collect()
}

fn paint(text: &str, colours: bool) -> String {
    let mut painted = String::with_capacity(text.len());
    let mut is_toned = false;
    for char in text.chars() {
        let tone = MARKS.iter().find(|(mark, _)| *mark == char);
        match (tone, char) {
            (Some((_, sequence)), _) if colours => {
                painted.push_str(sequence);
                is_toned = true;
            }
            (None, END | '\n') if is_toned => {
                painted.push_str(PLAIN);
                is_toned = false;
                painted.extend((char == '\n').then_some('\n'));
            }
            (Some(_), _) | (None, END) => {}
            (None, char) => painted.push(char),
        }
    }
    if is_toned {
        painted.push_str(PLAIN);
    }
    painted
}

/// How many columns text takes.
pub(super) fn columns(text: &str) -> usize {
    measure_text_width(text)
}

/// The text, cleaned, in at most so many columns, with a sign where something is missing.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let text = clean(text);
    if columns(&text) <= width {
        return text;
    }
    let (mut fitted, mut taken) = (String::new(), 0);
    for char in text.chars() {
        let wide = columns(char.encode_utf8(&mut [0; 4]));
        if taken + wide + 1 > width {
            break;
        }
        fitted.push(char);
        taken += wide;
    }
    if width > 0 {
        fitted.push('…');
    }
    fitted.push(END);
    fitted
}

/// The text and spaces after it, in exactly so many columns.
pub(super) fn padded(text: &str, width: usize) -> String {
    let text = fitted(text, width);
    let spaces = " ".repeat(width.saturating_sub(columns(&text)));
    format!("{text}{spaces}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_can_steer_the_terminal() {
        assert_eq!(clean("v1\u{1b}[2J\n\u{9b}x"), "v1 [2J  x");
        assert_eq!(clean("safe\u{202e}gpj.exe\u{2066}"), "safe gpj.exe ");
        assert_eq!(clean_lines("a\rb\nc\u{7}"), "a b\nc ");
    }

    #[test]
    fn colours_are_where_they_are_wanted_and_nowhere_else() {
        let with = |is_terminal, set: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = set.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            wants_colours(is_terminal, variable)
        };
        assert!(with(true, &[]));
        assert!(!with(false, &[]), "a pipe");
        assert!(!with(true, &[("NO_COLOR", "1")]));
        assert!(with(true, &[("NO_COLOR", "")]), "empty is not set");
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "no is no");
        assert!(!with(true, &[("CLICOLOR", "0")]));
        assert!(!with(true, &[("TERM", "dumb")]));
    }

    #[test]
    fn tones_become_colours_or_nothing_and_end_with_their_line() {
        let text = format!("a {} b\n{}x\ny", toned(Tone::Bad, "bad"), Tone::Dim.mark());
        assert_eq!(paint(&text, false), "a bad b\nx\ny");
        assert_eq!(paint(&text, true), "a \u{1b}[1;31mbad\u{1b}[0m b\n\u{1b}[2mx\u{1b}[0m\ny");
    }

    #[test]
    fn what_is_too_wide_is_cut_with_a_sign_and_tones_take_no_room() {
        assert_eq!(paint(&fitted("häuser", 6), false), "häuser");
        assert_eq!(paint(&fitted("häuser", 4), false), "häu…");
        assert_eq!(paint(&fitted("日本語", 4), false), "日…", "two columns each");
        let toned = toned(Tone::Good, "good");
        assert_eq!(columns(&toned), 4);
        assert_eq!(paint(&padded(&toned, 6), false), "good  ");
        assert_eq!(paint(&fitted(&toned, 3), true), "\u{1b}[32mgo…\u{1b}[0m");
    }
}
