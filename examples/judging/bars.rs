//! How far it is: a bar on a terminal, a line per family elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub struct Bars {
    screen: Option<(MultiProgress, ProgressBar)>,
    runs: u32,
}

impl Bars {
    pub fn new(families: usize, runs: u32) -> Self {
        let screen = std::io::stderr().is_terminal().then(|| {
            let screen = MultiProgress::new();
            let all = screen.add(ProgressBar::new(u64::try_from(families).unwrap_or(0)));
            all.set_style(style("{bar:40} {pos}/{len} families, {eta} left"));
            all.enable_steady_tick(Duration::from_secs(1));
            (screen, all)
        });
        Self { screen, runs }
    }

    /// The bar of one family.
    pub fn family(&self, name: &'static str) -> ProgressBar {
        let Some((screen, all)) = &self.screen else { return ProgressBar::hidden() };
        let bar = screen.insert_before(all, ProgressBar::new(u64::from(self.runs)));
        bar.set_style(style("{bar:40} {pos}/{len} {msg}"));
        bar.set_message(name);
        bar
    }

    pub fn done(&self, bar: &ProgressBar, name: &str) {
        bar.finish_and_clear();
        match &self.screen {
            Some((_, all)) => all.inc(1),
            None => eprintln!("{name}: {} lives", self.runs),
        }
    }

    pub fn end(&self) {
        if let Some((_, all)) = &self.screen {
            all.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
