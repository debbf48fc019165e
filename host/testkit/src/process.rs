//! The resources of a process, as the kernel reports them.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// The resources of a host's process that could leak with each change of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// The files of compiled code that are mapped, by name. Deleted files that are still mapped are included.
    pub code: BTreeSet<String>,
    /// The number of executable mappings of these files. Initial contents of linear memories are mapped from the files too, but are not
    /// counted: their number only depends on which slots of the engine's pool instances have used.
    pub mappings: usize,
    pub threads: usize,
    /// The number of open files and sockets.
    pub files: usize,
    /// The resident memory, in bytes.
    pub resident: u64,
}

impl Holdings {
    /// Reads the resources of a process.
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
