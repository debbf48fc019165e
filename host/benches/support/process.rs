//! What a process holds, as the kernel tells it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// What a host holds that changes could leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Files of compiled code that are mapped, by name; gone ones that are mapped still are among them.
    pub code: BTreeSet<String>,
    /// Mappings of them that can be run. What memories start with is mapped from them too, wherever in the engine's pool an instance
    /// stood last, so that their number says nothing.
    pub mappings: usize,
    pub threads: usize,
    /// Open files and sockets.
    pub files: usize,
    /// Bytes in memory.
    pub resident: u64,
}

impl Holdings {
    /// Of this process.
    pub fn of(process: u32) -> io::Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let code: Vec<&str> = maps.lines().filter(|line| line.contains(".cwasm")).collect();
        let name = |line: &&str| line.rsplit('/').next().unwrap_or_default().to_owned();
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok(Self {
            code: code.iter().map(name).collect(),
            mappings: code.iter().filter(|line| line.contains(" r-xp ")).count(),
            threads: usize::try_from(number("Threads:")).unwrap_or_default(),
            files: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
            resident: number("VmRSS:") * 1024,
        })
    }
}
