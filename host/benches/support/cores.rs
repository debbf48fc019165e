//! Cores, and the processor time that processes and threads took.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// The cores of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// Where the servers under test run.
    pub server: usize,
    /// Where the load comes from. The same as `server` on a machine with one core only.
    pub driver: usize,
    all: CpuSet,
}

impl Cores {
    /// The first and the last core that this process may use. To be called before any is pinned.
    pub fn find() -> io::Result<Self> {
        let all = sched_getaffinity(None)?;
        let usable = || (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let first = usable().next().ok_or_else(|| io::Error::other("no core is usable"))?;
        Ok(Self { server: first, driver: usable().next_back().unwrap_or(first), all })
    }

    /// Puts the calling thread on one core; threads and processes that it starts from now on inherit that.
    pub fn pin(core: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        set.set(core);
        Ok(sched_setaffinity(None, &set)?)
    }

    /// Does something on one core, and goes back to all.
    pub fn pinned<T>(&self, core: usize, work: impl FnOnce() -> T) -> io::Result<T> {
        Self::pin(core)?;
        let done = work();
        sched_setaffinity(None, &self.all)?;
        Ok(done)
    }
}

/// Seconds of processor time that a process took so far, user and system, all its threads.
pub fn process_seconds(process: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may hold anything; numbers begin after it, with the third field.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(14) + ticks(15)) / TICKS)
}

/// Bytes of a process that are in memory.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| io::Error::other("the process says nothing of its memory"))? * 1024)
}
