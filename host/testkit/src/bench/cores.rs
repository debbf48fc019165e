//! Assigns processor cores to threads, and measures the processor time and memory of processes.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Clock ticks in a second in `/proc/PID/stat`: `USER_HZ`, which is 100 on every Linux that Rust supports.
const TICKS: f64 = 100.0;

/// The numbers of the processor cores that a measurement uses.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The core of the servers under test.
    pub server: usize,
    /// The core of the load driver. It equals `server` on a machine with only one core.
    pub driver: usize,
    all: CpuSet,
}

impl Cores {
    /// Returns the first and the last core that this process may use. Call it before any thread is pinned.
    pub fn find() -> io::Result<Self> {
        let all = sched_getaffinity(None)?;
        let usable = || (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let first = usable().next().ok_or_else(|| io::Error::other("no core is usable"))?;
        Ok(Self { server: first, driver: usable().next_back().unwrap_or(first), all })
    }

    /// Makes the calling thread run on one core only. Threads and processes that it starts afterwards inherit this.
    pub fn pin(core: usize) -> io::Result<()> {
        let mut set = CpuSet::new();
        set.set(core);
        Ok(sched_setaffinity(None, &set)?)
    }

    /// Runs `work` on one core, and then allows the calling thread to use all cores again.
    pub fn pinned<T>(&self, core: usize, work: impl FnOnce() -> T) -> io::Result<T> {
        Self::pin(core)?;
        let done = work();
        sched_setaffinity(None, &self.all)?;
        Ok(done)
    }
}

/// Returns the processor time of a process so far, in seconds: user and system time of all its threads.
pub fn process_seconds(process: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The process name in brackets may contain anything. The fields after it begin with the third.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(14) + ticks(15)) / TICKS)
}

/// Returns the resident memory of a process, in bytes.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| io::Error::other("the process says nothing of its memory"))? * 1024)
}
