//! What the benchmarks share: servers on a core of their own, a load driver on another, interleaved pairs, and reports.
//!
//! Nothing here asserts a time: a benchmark prints what it found beside the goal, and says whether that is met.
#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part")]

pub mod application;
pub mod builds;
pub mod compare;
pub mod cores;
pub mod customers;
pub mod load;
pub mod open;
pub mod process;
pub mod report;
pub mod server;

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate stands in `host/` of the workspace")
        .to_owned()
}

/// Where results go, and what servers leave while they run: `target/bench`, on a real disk, since databases sync to it.
pub fn folder() -> std::io::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("Cargo's temporary folder stands in `target`");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Whether a rough answer is enough: `make bench QUICK=1`.
pub fn is_quick() -> bool {
    std::env::var_os("QUICK").is_some_and(|word| !word.is_empty())
}

/// How many pairs are measured.
pub fn rounds() -> usize {
    if is_quick() { 3 } else { 7 }
}

/// The binary under test.
pub fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_watertight").into()
}

/// Another checkout, built by `make shop`, whose host is measured beside this one's in the same rounds. `BEFORE` names its folder.
pub struct Before {
    /// Its host.
    pub binary: PathBuf,
    /// Its shop.
    pub shop: PathBuf,
}

impl Before {
    /// The checkout that `BEFORE` names, if it names one.
    pub fn find() -> Option<Self> {
        let checkout = std::env::var_os("BEFORE").filter(|path| !path.is_empty()).map(PathBuf::from)?;
        Some(Self { binary: checkout.join("target/release/watertight"), shop: checkout.join("modules/app.toml") })
    }
}
