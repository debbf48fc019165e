//! Tests of restoring a backup: when a restore is refused, and what an interrupted restore leaves.

use std::fs;
use std::path::Path;
use std::process::Command;

use watertight_testkit::command::run;
use watertight_testkit::host::{Host, Launch, binary, component, folder};

use crate::backup::{
    backup, backup_command, copy_folder, files, generation, ids, names, place, read, restore, restore_command, start,
};
use crate::ledger::Ledger;

/// Replaces the module of notifications by a build that differs only in its digest. `mark` distinguishes such builds.
fn swap(host: &Host, mark: u8) {
    let mut bytes = fs::read(component("notifications")).unwrap();
    bytes.extend_from_slice(&[0, 6, 4, b'm', b'a', b'r', b'k', mark]);
    let folder = folder();
    let file = folder.path().join("notifications.wasm");
    fs::write(&file, bytes).unwrap();
    let mut command = binary();
    run(command.args(["swap", "notifications"]).arg(&file).arg("--state").arg(host.state())).expect(0);
}

/// The entries of a state folder that a restore replaces.
const CONTENT: [&str; 4] = ["data", "artifacts", "configurations", "history.json"];

#[test]
fn a_restore_that_ends_anywhere_leaves_the_old_state_or_none_that_starts() {
    for (point, old) in
        [("restore::copied", true), ("restore::marked", false), ("restore::moved", false), ("restore::placed", false)]
    {
        let folder = folder();
        let state = folder.path().join("state");
        let to = folder.path().join("backup");
        let host = start(&state);
        swap(&host, 1);
        let first = place(&host, "first");
        backup(&state, &to);
        let second = place(&host, "second");
        swap(&host, 2);
        host.kill();
        let mut command = restore_command(&to, &state);
        let ended = command.arg("--replace").env("FAILPOINTS", format!("{point}=return")).output().unwrap();
        assert_eq!(ended.status.code(), None, "{point}: the restore did not abort");
        if old {
            let host = start(&state);
            assert_eq!(ids(&Ledger::read(&state)), [&*first, &*second], "{point}");
            assert_eq!(generation(&host), 3, "{point}");
            host.kill();
            run(restore_command(&to, &state).arg("--replace")).expect(0);
        } else {
            let (status, log) = Launch::shop().state(&state).expect_end();
            assert!(!status.success() && log.contains("was interrupted"), "{point}: {log}");
            run(&mut backup_command(&state, &folder.path().join("no"))).expect(1);
            // A restore that was begun needs no second confirmation.
            restore(&to, &state).expect(0);
        }
        let host = start(&state);
        assert_eq!(ids(&Ledger::read(&state)), [&*first], "{point}");
        // The build that was swapped in before the backup runs, and the history continues from there.
        assert_eq!(generation(&host), 2, "{point}");
        swap(&host, 3);
        assert_eq!(generation(&host), 3, "{point}");
        place(&host, "on the next");
        host.kill();
        // The replaced state was moved, not removed.
        let moved: Vec<_> = files(&state).into_iter().filter(|file| file.ends_with("data/orders.db")).collect();
        let held = moved.iter().any(|orders| {
            let database = rusqlite::Connection::open(orders).unwrap();
            let count = "SELECT count(*) FROM orders WHERE id = ?1";
            database.query_row(count, [&second], |row| row.get::<_, i64>(0)).unwrap() == 1
        });
        assert!(held, "{point}: the second order is gone from {moved:?}");
        assert!(!state.join("restore.tmp").exists() && !state.join("restoring").exists());
    }
}

#[test]
fn restores_that_would_do_harm_are_refused_and_change_nothing() {
    let folder = folder();
    let state = folder.path().join("state");
    let to = folder.path().join("backup");
    let host = start(&state);
    let first = place(&host, "first");
    backup(&state, &to);
    let refuse = |from: &Path, into: &Path, why: &str| {
        let said = restore(from, into).expect(1);
        assert!(said.err.contains(why), "{why}: {}", said.err);
    };
    refuse(&to, &state, "another host is running");
    host.kill();
    refuse(&to, &state, "isn't empty");
    let fresh = folder.path().join("fresh");
    // Each file in turn is changed by one bit, cut off, and removed.
    for file in files(&to) {
        let spoilt = folder.path().join("spoilt");
        let _ = fs::remove_dir_all(&spoilt);
        copy_folder(&to, &spoilt);
        let file = spoilt.join(file.strip_prefix(&to).unwrap());
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        let is_manifest = file.ends_with("backup.json");
        if !is_manifest {
            fs::write(&file, &bytes).unwrap();
            refuse(&spoilt, &fresh, "is not a backup that can be restored");
        }
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        refuse(&spoilt, &fresh, "is not a backup that can be restored");
        fs::remove_file(&file).unwrap();
        let why =
            if is_manifest { "is not a backup that can be restored: it has no `backup.json`" } else { "can't be used" };
        refuse(&spoilt, &fresh, why);
    }
    // The manifest has other content.
    let manifest = fs::read_to_string(to.join("backup.json")).unwrap();
    for (old, new, why) in [
        ("\"format\": 1", "\"format\": 2", "format 2"),
        ("\"app\": \"shop\"", "\"app\": \"stall\"", "of the application `stall`"),
        ("\"generation\": 1", "\"generation\": 2", "name different generations"),
        ("data/orders.db", "../orders.db", "is not a file that a backup can have"),
        ("data/orders.db", "/etc/hostname", "is not a file that a backup can have"),
        ("history.json", "admin.token", "is not a file that a backup can have"),
        ("\"left_out\"", "\"left_over\"", "left_over"),
    ] {
        let spoilt = folder.path().join("spoilt");
        let _ = fs::remove_dir_all(&spoilt);
        copy_folder(&to, &spoilt);
        assert!(manifest.contains(old), "{old}");
        fs::write(spoilt.join("backup.json"), manifest.replace(old, new)).unwrap();
        refuse(&spoilt, &fresh, why);
    }
    // The backup is unfinished.
    let unfinished = folder.path().join("unfinished");
    copy_folder(&to, &unfinished);
    fs::remove_file(unfinished.join("backup.json")).unwrap();
    refuse(&unfinished, &fresh, "it has no `backup.json`");
    // The disk has too little space.
    let mut full = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
    let plain = restore_command(&to, &fresh);
    full.args(["-c", script]).arg(plain.get_program()).args(plain.get_args());
    let said = run(&mut full).expect(1);
    assert!(said.err.contains("File too large"), "{}", said.err);
    let left: Vec<String> = files(&fresh).iter().map(|file| file.display().to_string()).collect();
    assert_eq!(left, [fresh.join("lock").display().to_string()], "refused restores left files");
    restore(&to, &fresh).expect(0);
    assert_eq!(ids(&read(&fresh)), [&*first]);
    // With `--replace`, the old content is moved aside and kept.
    let said = run(restore_command(&to, &state).arg("--replace")).expect(0);
    assert!(said.err.contains("before-restore-"), "{}", said.err);
    let moved = names(&state).into_iter().find(|name| name.starts_with("before-restore-")).unwrap();
    assert_eq!(names(&state.join(moved)), {
        let mut all = CONTENT;
        all.sort();
        all
    });
}
