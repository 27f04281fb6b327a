//! What a process takes of the machine, as Linux tells it; zero where it does not say.

use std::fs;
use std::time::Duration;

/// A process.
pub(crate) struct Process(String);

impl Process {
    pub(crate) fn this() -> Self {
        Self("/proc/self".to_owned())
    }

    pub(crate) fn of(pid: u32) -> Self {
        Self(format!("/proc/{pid}"))
    }

    /// Memory that is resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
        kilobytes.unwrap_or(0) * 1_024
    }

    /// CPU time of all threads so far, to ten milliseconds.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("{}/stat", self.0)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Behind the name: the state is field 3 of proc(5), utime and stime are fields 14 and 15.
        let ticks = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        Duration::from_millis(ticks * 10)
    }
}
