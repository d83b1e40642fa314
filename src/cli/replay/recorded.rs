//! Recorded metrics pages: `MACHINE/TIME`, where a time is written as `2026-03-01T12:00:00Z` or in
//! seconds since 1970, with any ending. Read in the order of their times.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    model::{Machine, MachineId, Readings, Wanted},
    ports::PageReader as _,
    sources::{
        pages::{
            counters::{Counters, wanted_names},
            parse,
            select::{FamilySelector, Limits},
        },
        servers::unknown_machine,
    },
};

/// Pages that are read, in all.
const PAGES_MAX: usize = 1_000_000;

/// What the pages of one moment say.
pub(super) type Moment = (Timestamp, Vec<(Machine, Readings)>);

pub(super) struct Recorded {
    /// The times, the next one last, each with the pages of its machines.
    times: Vec<(Timestamp, Vec<(MachineId, PathBuf)>)>,
    wanted: Vec<Wanted>,
    counters: Counters,
    machines: BTreeMap<MachineId, Machine>,
    began: (Instant, Timestamp),
}

impl Recorded {
    pub(super) fn open(dir: &Path, wanted: Vec<Wanted>) -> anyhow::Result<Self> {
        let mut times: BTreeMap<Timestamp, Vec<(MachineId, PathBuf)>> = BTreeMap::new();
        let (mut machines, mut pages) = (BTreeMap::new(), 0);
        for machine in listed(dir)? {
            if !machine.is_dir() {
                continue;
            }
            let id = name(&machine);
            for page in listed(&machine)? {
                pages += 1;
                if pages > PAGES_MAX {
                    bail!("{} holds more than {PAGES_MAX} pages", dir.display());
                }
                let at = time(&name(&page)).with_context(|| {
                    format!("{}: its name is no time, such as 2026-03-01T12:00:00Z", page.display())
                })?;
                times.entry(at).or_default().push((id.as_str().into(), page));
            }
            machines.insert(MachineId::new(&id), unknown_machine(&id, Timestamp::MIN));
        }
        let Some(first) = times.keys().next().copied() else {
            bail!("{} holds no page: it has to be MACHINE/TIME", dir.display());
        };
        Ok(Self {
            times: times.into_iter().rev().collect(),
            wanted,
            counters: Counters::default(),
            machines,
            began: (Instant::now(), first),
        })
    }

    /// The pages of the next moment; `None`: that was all.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Moment>> {
        let Some((at, pages)) = self.times.pop() else { return Ok(None) };
        let since = Duration::try_from(at.duration_since(self.began.1)).unwrap_or_default();
        let now = self.began.0 + since;
        let mut read = Vec::new();
        for (id, path) in pages {
            let Some(machine) = self.machines.get(&id) else { continue };
            let names = wanted_names(&self.wanted);
            let mut selector = FamilySelector::new(names, Limits::default());
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            selector.chunk(&text).with_context(|| path.display().to_string())?;
            let lines = selector.finish().with_context(|| path.display().to_string())?;
            let series = parse::parse(&lines).with_context(|| path.display().to_string())?;
            let which = (&machine.instance, None);
            let reading = self.counters.read(&id, which, &series, &self.wanted, now);
            read.push((machine.clone(), reading.readings));
        }
        Ok(Some((at, read)))
    }
}

fn listed(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Result<Vec<_>, _> = paths.collect();
    let mut paths = paths.with_context(|| format!("read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

/// The last part of a path.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn time(name: &str) -> Option<Timestamp> {
    let stem = |text: &str| text.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let read =
        |text: &str| text.parse().ok().or_else(|| Timestamp::from_second(text.parse().ok()?).ok());
    read(name).or_else(|| read(&stem(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Count, Selection, Selector, Since};

    #[test]
    fn pages_are_read_in_the_order_of_their_times_machine_by_machine() {
        // Given two machines, of which one was read twice
        let dir = tempfile::TempDir::new().unwrap();
        let write = |machine: &str, name: &str, all: u32, bad: u32| {
            let machine = dir.path().join(machine);
            fs::create_dir_all(&machine).unwrap();
            let page = format!("requests_total {all}\nerrors_total {bad}\n");
            fs::write(machine.join(name), page).unwrap();
        };
        write("m1", "1772366415", 250, 7);
        write("m1", "1772366400", 100, 2);
        write("m2", "2026-03-01T12:00:15Z", 40, 0);
        let selection = Selection::Share {
            bad: Selector::metric("errors_total"),
            total: Selector::metric("requests_total"),
        };
        let wanted = vec![Wanted { threshold: "5xx".to_owned(), selection, by: Vec::new() }];

        // When they are read
        let mut recorded = Recorded::open(dir.path(), wanted).unwrap();
        let (first, machines) = recorded.next().unwrap().unwrap();
        assert_eq!((first.as_second(), machines.len()), (1_772_366_400, 1));
        let (second, machines) = recorded.next().unwrap().unwrap();

        // Then increments come of them as of those of now
        assert_eq!((second.as_second(), machines.len()), (1_772_366_415, 2));
        let count = machines[0].1.counts["5xx"];
        assert_eq!(count, Count { n: 150.0, k: 5.0, since: Since::LastScrape });
        assert!(recorded.next().unwrap().is_none());

        // and what is no page is named
        fs::write(dir.path().join("m1/notes.txt"), "x").unwrap();
        let error = Recorded::open(dir.path(), Vec::new()).err().unwrap();
        assert!(error.to_string().contains("notes.txt"), "{error}");
    }

    #[test]
    fn a_time_is_written_as_people_or_programs_do() {
        let at: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        for name in
            ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z.prom", "1772366400", "1772366400.txt"]
        {
            assert_eq!(time(name), Some(at), "{name}");
        }
        assert_eq!(time("notes.txt"), None);
    }
}
