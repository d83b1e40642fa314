//! What the kernel counts of this process, as `/proc` has it on Linux; nothing elsewhere.

use std::fs;

/// Clock ticks a second in `/proc`: 100 for every program, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// Numbers by the names that Prometheus' own clients give them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_s: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    /// Since 1970.
    pub(super) started_s: Option<f64>,
}

impl Process {
    /// As of now.
    pub(super) fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
        Self {
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            ..Self::of(&read("self/stat"), &read("self/status"), &read("stat"))
        }
    }

    /// From the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat`.
    fn of(stat: &str, status: &str, machine: &str) -> Self {
        // The name in parentheses may hold anything; what follows begins with the third field.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_whitespace().map(|f| f.parse().unwrap_or(f64::NAN)).collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied().filter(|f| f.is_finite());
        let line = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let booted = line(machine, "btime ");
        Self {
            cpu_s: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS),
            resident_bytes: line(status, "VmRSS:").map(|kilobytes| kilobytes << 10),
            open_files: None,
            started_s: booted.zip(field(22)).map(|(booted, ticks)| booted as f64 + ticks / TICKS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let stat = "71 (a) (b c)) S 1 71 71 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 12000 1 2";
        let status = "Name:\twaveoff\nVmHWM:\t   9000 kB\nVmRSS:\t    2048 kB\n";
        let read = Process::of(stat, status, "cpu 1 2\nbtime 1700000000\nprocesses 5\n");
        let want = Process {
            cpu_s: Some(3.0),
            resident_bytes: Some(2 << 20),
            open_files: None,
            started_s: Some(1_700_000_120.0),
        };
        assert_eq!(read, want);
        // What is not there is not said.
        assert_eq!(Process::of("", "", ""), Process::default());
    }
}
