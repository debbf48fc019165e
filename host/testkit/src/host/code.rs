//! Shares compiled code between the state folders of tests. Compiling the same components for each test would take most of the time. The
//! name of a file with compiled code is a digest of everything that the code depends on, and the file never changes. So hard links are as
//! good as copies.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::paths::temporary;

fn shared() -> PathBuf {
    temporary().join("code")
}

/// Gives a state folder the compiled code that other tests have made.
pub fn lend(state: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(state.join("code")).unwrap();
    fs::create_dir_all(shared()).unwrap();
    link(&shared(), &state.join("code"));
}

/// Keeps the compiled code of a state folder for other tests.
pub fn keep(state: &Path) {
    link(&state.join("code"), &shared());
}

fn link(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let file = entry.unwrap();
        if file.path().extension().is_some_and(|extension| extension == "cwasm") {
            // An error means that the file exists already or was just deleted. In the second case the host compiles again.
            let _ = fs::hard_link(file.path(), to.join(file.file_name()));
        }
    }
}
