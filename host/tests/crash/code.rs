//! Tests of the folder of compiled code: damaged code is compiled again, and a folder that other users can reach is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use watertight_testkit::host::{Launch, folder};

use crate::client::{Shop, draft};

/// Returns the files of compiled code in a state folder.
fn code(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state.join("code")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

#[test]
fn spoilt_code_is_compiled_again() {
    let folder = folder();
    let state = folder.path().join("state");
    Launch::shop().state(&state).start().kill();
    let good = fs::read(&code(&state)[0]).unwrap();
    let spoilt: [&[u8]; 4] = [b"", b"not code", &good[..1000], &good[..good.len() / 2]];
    for bytes in spoilt {
        for file in code(&state) {
            // Other state folders have hard links to the same file, so it must not be changed in place.
            fs::remove_file(&file).unwrap();
            fs::write(&file, bytes).unwrap();
        }
        let host = Launch::shop().state(&state).start();
        assert!(host.has_logged("compiled again"), "{} bytes:\n{}", bytes.len(), host.log());
        assert_eq!(Shop(host.listen()).place(&draft("ada", "tok_visa"), None).unwrap().status, 201);
        host.kill();
        // The folder may also have code that the test harness shared. The shop doesn't load it, and it stays damaged.
        let made = code(&state).iter().filter(|file| fs::read(file).unwrap() != bytes).count();
        assert_eq!(made, 2, "the code of a compartment is still damaged");
    }
}

#[test]
fn code_that_others_could_write_is_refused() {
    let folder = folder();
    let state = folder.path().join("state");
    Launch::shop().state(&state).start().kill();
    let code = state.join("code");

    fs::set_permissions(&code, Permissions::from_mode(0o755)).unwrap();
    refused(&state, &["other users can reach it", "chmod 700"]);
    fs::set_permissions(&code, Permissions::from_mode(0o770)).unwrap();
    refused(&state, &["other users can reach it"]);

    fs::set_permissions(&code, Permissions::from_mode(0o700)).unwrap();
    // Only root can change a folder's owner. Other users can't get into this state folder on their own.
    if chown(&code, Some(1), None).is_ok() {
        refused(&state, &["belongs to another user"]);
    }

    fs::rename(&code, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &code).unwrap();
    refused(&state, &["it is not a folder"]);
    fs::remove_file(&code).unwrap();
    fs::write(&code, "").unwrap();
    refused(&state, &[]);
}

/// Asserts that a start on the state folder `state` fails with a message that names the folder of compiled code and contains these words.
fn refused(state: &Path, words: &[&str]) {
    let (status, log) = Launch::shop().state(state).expect_end();
    assert_eq!(status.code(), Some(1), "{log}");
    let folder = state.join("code").display().to_string();
    for word in words.iter().copied().chain([folder.as_str(), "nothing was started"]) {
        assert!(log.contains(word), "`{word}` is not in:\n{log}");
    }
}

#[test]
fn a_host_that_was_killed_while_it_compiled_leaves_nothing_behind() {
    let folder = folder();
    let state = folder.path().join("state");
    let code = state.join("code");
    for millis in [150, 300, 600] {
        let mut command = watertight_testkit::host::binary();
        command.arg("run").arg(watertight_testkit::host::shop()).arg("--state").arg(&state);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    fs::create_dir_all(&code).unwrap();
    fs::set_permissions(&code, Permissions::from_mode(0o700)).unwrap();
    fs::write(code.join("0123-reuse-4567.999999.tmp"), "what a killed host had compiled").unwrap();
    let host = Launch::shop().state(&state).start();
    assert_eq!(Shop(host.listen()).place(&draft("ada", "tok_visa"), None).unwrap().status, 201);
    let names = fs::read_dir(&code).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Compiled functions are kept on purpose, together with SQLite's files beside them.
    let left: Vec<_> =
        names.filter(|name| !name.ends_with(".cwasm") && !name.starts_with("functions.sqlite")).collect();
    assert!(left.is_empty(), "{left:?}");
}
