//! A picture on a terminal, drawn anew in its place. It is drawn on the terminal's other screen, so that
//! whatever the window's size becomes nothing is left of it; what stays is written when it ends.

use std::io::{Stdout, Write as _};

use crate::cli::terminal::{Look, clean, size};

/// To the other screen without a cursor, and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// While it lives the terminal shows the picture; it is left as it was, however that ends.
pub(in crate::cli) struct Screen {
    out: Stdout,
    look: Look,
    is_open: bool,
}

impl Screen {
    pub(in crate::cli) fn open() -> std::io::Result<Self> {
        let mut out = std::io::stdout();
        restore_when_it_panics();
        write!(out, "{ENTER}")?;
        out.flush()?;
        Ok(Self { out, look: Look::of_stdout(), is_open: true })
    }

    /// Draws what `frame` makes of the terminal's size.
    pub(in crate::cli) fn draw(
        &mut self,
        frame: impl FnOnce(usize, usize) -> Vec<String>,
    ) -> std::io::Result<()> {
        let (width, height) = size();
        let lines = frame(width, height);
        let mut picture = HOME.to_owned();
        for (nth, line) in lines.iter().take(height).enumerate() {
            if nth > 0 {
                picture.push_str("\r\n");
            }
            picture.push_str(&self.look.paint(&clean(line)));
            picture.push_str(CLEAR_LINE);
        }
        picture.push_str(CLEAR_BELOW);
        write!(self.out, "{picture}")?;
        self.out.flush()
    }

    /// Leaves the picture; what is written from now on stays.
    pub(in crate::cli) fn close(&mut self) -> std::io::Result<()> {
        if std::mem::take(&mut self.is_open) {
            write!(self.out, "{LEAVE}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Leaves the picture, and writes the lines that `frame` makes of the terminal's width.
    pub(in crate::cli) fn end_with(
        &mut self,
        frame: impl FnOnce(usize) -> Vec<String>,
    ) -> std::io::Result<()> {
        self.close()?;
        for line in frame(size().0) {
            writeln!(self.out, "{}", self.look.paint(&clean(&line)))?;
        }
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _gone = self.close().is_err();
    }
}

/// What ships ends at once when it panics: nothing is dropped then.
fn restore_when_it_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let mut out = std::io::stdout();
        let _gone = write!(out, "{LEAVE}").and_then(|()| out.flush()).is_err();
        before(info);
    }));
}
