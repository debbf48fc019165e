//! Code that the benchmarks share: servers on a processor core of their own, a load driver on another core, interleaved measurements, and
//! reports.
//!
//! Benchmarks do not assert times. They print each result beside its goal, and whether the goal is met.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

pub mod application;
pub mod compare;
pub mod cores;
pub mod customers;
pub mod load;
pub mod operator;
pub mod report;
pub mod server;

use std::path::PathBuf;

use crate::paths;

/// Returns the folder for results and for the files of running servers: `target/bench`. It is on a real disk, because databases
/// sync to it.
pub fn folder() -> std::io::Result<PathBuf> {
    let folder = paths::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Returns whether a quick, less precise run is requested: `make bench QUICK=1`.
pub fn is_quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|word| !word.is_empty())
}

/// Returns how often a benchmark measures each pair of compared sides.
pub fn rounds() -> usize {
    if is_quick() { 3 } else { 7 }
}

/// Another checkout of the project, built with `make shop`, whose host is measured in the same rounds as this checkout's. The environment
/// variable `BEFORE` names its folder.
pub struct Before {
    /// The path of the other checkout's `watertight` binary.
    pub binary: PathBuf,
    /// The path of the manifest of the other checkout's shop.
    pub shop: PathBuf,
}

impl Before {
    /// Returns the checkout that the environment variable `BEFORE` names, if it is set.
    pub fn find() -> Option<Self> {
        let checkout = std::env::var_os("BEFORE").filter(|path| !path.is_empty()).map(PathBuf::from)?;
        Some(Self { binary: checkout.join("target/release/watertight"), shop: checkout.join("modules/app.toml") })
    }
}
