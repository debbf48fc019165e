//! The folders and files that tests and benchmarks use.

use std::path::{Path, PathBuf};

/// Returns the root folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate stands in `host/`").to_owned()
}

/// Returns the path of the `watertight` binary that Cargo built for this test or benchmark.
///
/// `cargo test` and `cargo bench` set the path in the environment. Without them, the binary stands beside the folder of the test's
/// executable.
pub fn binary() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_watertight").map_or_else(beside_this_executable, PathBuf::from)
}

fn beside_this_executable() -> PathBuf {
    let executable = std::env::current_exe().expect("Linux tells a process its executable");
    let profile = executable.ancestors().nth(2).expect("Cargo puts tests into `deps` of the profile's folder");
    profile.join("watertight")
}

/// Returns the folder into which Cargo builds.
pub fn target() -> PathBuf {
    binary().ancestors().nth(2).expect("the binary stands in a profile's folder").to_owned()
}

/// Returns the folder for temporary files of tests. It is the folder `CARGO_TARGET_TMPDIR`, whose path Cargo gives only to the tests
/// themselves.
pub fn temporary() -> PathBuf {
    target().join("tmp")
}
