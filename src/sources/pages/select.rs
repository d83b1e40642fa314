//! Keeps the few lines of a metrics page that are wanted, while the page streams by.
//!
//! A page has hundreds of families and a policy reads three of them, so most bytes are only
//! searched for their line end. Whatever the other side sends, memory stays bounded: the page,
//! a line and the number of kept lines each have a limit.

use crate::ports::{PageError, PageReader};

/// How much one page may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole page.
    pub page: usize,
    /// Bytes of one wanted line.
    pub line: usize,
    /// Kept lines.
    pub series: usize,
    /// Bytes of all kept lines.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { page: 16 << 20, line: 64 << 10, series: 20_000, kept: 4 << 20 }
    }
}

/// A wanted line, as the page had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLine {
    /// Counted from 1.
    pub number: u64,
    pub text: String,
}

/// A wanted metric name as pages write it.
#[derive(Debug)]
struct Wanted {
    plain: String,
    /// Within braces, `{"my.metric",a="b"}`, as the `OpenMetrics` format writes any name it likes.
    quoted: String,
}

impl Wanted {
    /// How much white space may stand before a name within braces: bounded, so that the beginning
    /// of a line is enough to tell.
    const BLANKS: usize = 16;

    fn new(name: String) -> Self {
        let escaped = name.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
        Self { quoted: format!("\"{escaped}\""), plain: name }
    }

    fn begins(&self, line: &[u8]) -> bool {
        if let Some(inside) = line.strip_prefix(b"{") {
            let blanks = inside.iter().take(Self::BLANKS).take_while(|b| b.is_ascii_whitespace());
            let name = inside.get(blanks.count()..).unwrap_or_default();
            return name.starts_with(self.quoted.as_bytes());
        }
        // What cannot go on with the name ends it, be it right or not: a line that breaks off
        // after a wanted name is wanted and broken.
        line.strip_prefix(self.plain.as_bytes()).is_some_and(|rest| match rest.first() {
            Some(b'_' | b':' | b'.' | b'-' | b'/' | 0x80..) => false,
            Some(next) => !next.is_ascii_alphanumeric(),
            None => true,
        })
    }
}

/// Reads a page and keeps the samples of the wanted metric names.
#[derive(Debug)]
pub struct FamilySelector {
    wanted: Vec<Wanted>,
    /// Whether a wanted name begins with that byte.
    first_bytes: [bool; 256],
    limits: Limits,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Inside a line that is not wanted and too long to be held.
    skipping: bool,
    /// Whether a line that is not blank was seen.
    begun: bool,
    bytes: usize,
    lines: u64,
    kept: Vec<KeptLine>,
    kept_bytes: usize,
}

impl FamilySelector {
    /// A reader that keeps the lines of exactly these metric names.
    pub fn new(wanted: impl IntoIterator<Item = String>, limits: Limits) -> Self {
        let names = wanted.into_iter().filter(|name| !name.is_empty());
        let wanted: Vec<_> = names.map(Wanted::new).collect();
        let mut first_bytes = [false; 256];
        let firsts = wanted.iter().filter_map(|name| name.plain.bytes().next());
        for first in firsts.chain([b'{']) {
            if let Some(first) = first_bytes.get_mut(usize::from(first)) {
                *first = true;
            }
        }
        Self {
            wanted,
            first_bytes,
            limits,
            partial: Vec::new(),
            skipping: false,
            begun: false,
            bytes: 0,
            lines: 0,
            kept: Vec::new(),
            kept_bytes: 0,
        }
    }

    /// The kept lines, in the page's order. To be called when the page has ended.
    pub fn finish(mut self) -> Result<Vec<KeptLine>, PageError> {
        let last = std::mem::take(&mut self.partial);
        if !last.is_empty() {
            self.line(&last)?;
        }
        Ok(self.kept)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), PageError> {
        self.lines += 1;
        let line = line.trim_ascii_start();
        if !self.begun {
            self.begin(line)?;
        }
        if !self.is_wanted(line) {
            return Ok(());
        }
        let number = self.lines;
        if line.len() > self.limits.line {
            return Err(PageError(format!(
                "line {number} is longer than {} bytes: {}",
                self.limits.line,
                excerpt(line)
            )));
        }
        if self.kept.len() >= self.limits.series {
            return Err(PageError(format!(
                "the page has more than {} series of the wanted metrics",
                self.limits.series
            )));
        }
        self.kept_bytes = self.kept_bytes.saturating_add(line.len());
        if self.kept_bytes > self.limits.kept {
            return Err(PageError(format!(
                "the wanted metrics of the page are larger than {} bytes",
                self.limits.kept
            )));
        }
        let text = std::str::from_utf8(line.trim_ascii_end())
            .map_err(|_| PageError(format!("line {number} is not UTF-8: {}", excerpt(line))))?;
        self.kept.push(KeptLine { number, text: text.to_owned() });
        Ok(())
    }

    /// Looks at the first line that is not blank: an error page of a proxy is no metrics page.
    fn begin(&mut self, line: &[u8]) -> Result<(), PageError> {
        self.begun = !line.is_empty();
        if line.starts_with(b"<") {
            return Err(PageError(format!(
                "the page is HTML, not metrics; it begins with {}",
                excerpt(line)
            )));
        }
        Ok(())
    }

    fn is_wanted(&self, line: &[u8]) -> bool {
        let first = line.first().and_then(|b| self.first_bytes.get(usize::from(*b)));
        first.is_some_and(|wanted| *wanted) && self.wanted.iter().any(|name| name.begins(line))
    }

    /// Keeps the beginning of a line for the next chunk, if it can still matter.
    fn hold(&mut self, begin: &[u8]) -> Result<(), PageError> {
        if self.skipping {
            return Ok(());
        }
        // Without leading white space, so that the limit is the same however the page is cut.
        let begin = if self.partial.is_empty() { begin.trim_ascii_start() } else { begin };
        self.partial.extend_from_slice(begin);
        if self.partial.len() > self.limits.line {
            // Too long to be kept: `line` refuses it if it is wanted, and else it is passed over.
            let long = std::mem::take(&mut self.partial);
            self.line(&long)?;
            self.skipping = true;
        }
        Ok(())
    }
}

impl PageReader for FamilySelector {
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.limits.page {
            return Err(PageError(format!("the page is larger than {} bytes", self.limits.page)));
        }
        let mut rest = bytes;
        while let Some((line, after)) = split_line(rest) {
            rest = after;
            if self.skipping {
                self.skipping = false;
            } else if self.partial.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
        }
        self.hold(rest)
    }
}

/// Splits at the first line end; `None` when there is none.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)?)?;
    Some((line, rest.get(1..)?))
}

/// The beginning of a line, quoted, for a message.
pub(super) fn excerpt(line: &[u8]) -> String {
    const SHOWN: usize = 120;
    let shown = line.get(..SHOWN).unwrap_or(line);
    let more = if shown.len() < line.len() { "…" } else { "" };
    format!("`{}`{more}", String::from_utf8_lossy(shown).trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(page: &[u8], chunk: usize, limits: Limits) -> Result<Vec<KeptLine>, PageError> {
        let wanted = ["http_requests_total", "up", "job:errors:rate5m", "größe.\"x\""];
        let mut selector = FamilySelector::new(wanted.map(str::to_owned), limits);
        for bytes in page.chunks(chunk) {
            selector.chunk(bytes)?;
        }
        selector.finish()
    }

    fn texts(kept: &[KeptLine]) -> Vec<(u64, &str)> {
        kept.iter().map(|line| (line.number, line.text.as_str())).collect()
    }

    const PAGE: &str = "# TYPE http_requests_total counter\n\
        http_requests_total{code=\"500\"} 7\r\n\
        http_requests_total_created 1\n\
        http_requests 3\n\
        \n\
        \t up 1\n\
        upstream 1\n\
        job:errors:rate5m{a=\"b\"} 0.5 1700000000000\n\
        http_requests_total 9";

    #[test]
    fn exactly_the_wanted_names_are_kept_whatever_the_chunks() {
        for chunk in [1, 2, 3, 7, 64, 4096] {
            let kept = read(PAGE.as_bytes(), chunk, Limits::default()).unwrap();
            let want = [
                (2, "http_requests_total{code=\"500\"} 7"),
                (6, "up 1"),
                (8, "job:errors:rate5m{a=\"b\"} 0.5 1700000000000"),
                (9, "http_requests_total 9"),
            ];
            assert_eq!(texts(&kept), want, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_quoted_name_is_wanted_like_a_plain_one() {
        let page = r#"{"up",a="b"} 1
            { "größe.\"x\"" , a="b" } 2
            {"upstream"} 3
            {"other","up"} 4
            {a="up"} 5
            größe.x 6"#;
        for chunk in [1, 2, 3, 7, 64, 4096] {
            let kept = read(page.as_bytes(), chunk, Limits::default()).unwrap();
            let want = [(1, r#"{"up",a="b"} 1"#), (2, r#"{ "größe.\"x\"" , a="b" } 2"#)];
            assert_eq!(texts(&kept), want, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_line_that_breaks_off_after_a_wanted_name_is_wanted() {
        for line in ["up", "up=1", "up\"a\" 1", "up}", "up\x0b1"] {
            let kept = read(format!("a 1\n{line}\n").as_bytes(), 64, Limits::default()).unwrap();
            assert_eq!(texts(&kept), [(2, line)]);
        }
        for line in ["up.time 1", "up-to-date", "up/x", "upä 1", "up:x 1", "up_ 1", "up0"] {
            let kept = read(line.as_bytes(), 64, Limits::default()).unwrap();
            assert_eq!(kept, [], "{line} is another name");
        }
    }

    #[test]
    fn an_html_page_is_refused_by_name() {
        for page in ["<!DOCTYPE html>\n<html>", "\n\n  <html><body>404", "<HTML>"] {
            let error = read(page.as_bytes(), 5, Limits::default()).unwrap_err();
            assert!(error.0.contains("HTML, not metrics"), "{error}");
        }
    }

    #[test]
    fn an_endless_page_is_cut_off() {
        let limits = Limits { page: 100, ..Limits::default() };
        let error = read(&[b'x'; 101], 10, limits).unwrap_err();
        assert_eq!(error.0, "the page is larger than 100 bytes");
    }

    #[test]
    fn a_long_line_is_refused_only_when_it_is_wanted() {
        let limits = Limits { line: 40, ..Limits::default() };
        let page = format!("# HELP up {}\nup 1\nother{{a=\"{0}\"}} 1\nup 2\n", "h".repeat(200));
        for chunk in [1, 30, 4096] {
            let kept = read(page.as_bytes(), chunk, limits).unwrap();
            assert_eq!(texts(&kept), [(2, "up 1"), (4, "up 2")]);
        }
        let page = format!("a 1\nup{{a=\"{}\"}} 1\n", "v".repeat(200));
        for chunk in [1, 30, 4096] {
            let error = read(page.as_bytes(), chunk, limits).unwrap_err();
            assert!(error.0.starts_with("line 2 is longer than 40 bytes: `up{"), "{error}");
        }
    }

    #[test]
    fn too_many_series_are_refused() {
        let limits = Limits { series: 2, ..Limits::default() };
        let error = read(b"up 1\nup 2\nup 3\n", 4, limits).unwrap_err();
        assert_eq!(error.0, "the page has more than 2 series of the wanted metrics");
        let limits = Limits { kept: 9, ..Limits::default() };
        assert_eq!(read(b"up 1\nother 1\nup 2\n", 4, limits).unwrap().len(), 2);
        let error = read(b"up 1\nup 200\n", 4, limits).unwrap_err();
        assert_eq!(error.0, "the wanted metrics of the page are larger than 9 bytes");
    }

    #[test]
    fn a_wanted_line_that_is_not_utf8_is_an_error() {
        let error = read(b"up{a=\"\xff\"} 1\n", 64, Limits::default()).unwrap_err();
        assert!(error.0.starts_with("line 1 is not UTF-8"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunks_give_the_same(
            page in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"  up{}\n\r ".to_vec())],
                0..300,
            ),
            chunk in 1..40_usize,
        ) {
            let limits = Limits { page: 280, line: 50, series: 5, kept: 100 };
            prop_assert_eq!(
                read(&page, chunk, limits).ok(),
                read(&page, 1, limits).ok()
            );
        }
    }
}
