//! Tests of changes on a full disk. `strace` makes each write of a change fail with `ENOSPC`. The running generation must stay untouched,
//! also across a restart.

use std::path::{Path, PathBuf};

use watertight_model::ids::Digest;
use watertight_testkit::admin::Operator;
use watertight_testkit::host::{Launch, check_strace, folder};
use watertight_testkit::tagged::{App, Content, back, serves, with_migrations};

/// Runs the host under `strace`, which makes the system calls `calls` on `file` fail with `ENOSPC`. `calls` may end with `:` and an
/// expression that says which of the calls fail.
fn full(launch: Launch, file: &Path, calls: &str) -> Launch {
    let (calls, when) = calls.split_once(':').unwrap_or((calls, "when=1+"));
    let inject = format!("inject={calls}:error=ENOSPC:{when}");
    launch.under(&["strace", "-f", "-o", "/dev/null", "-P", file.to_str().unwrap(), "-e", &inject])
}

/// Returns the files that a swap writes in a state folder, each with every system call that writes it.
fn writes(component: &[u8]) -> Vec<(PathBuf, &'static str)> {
    let artifact = Path::new("artifacts").join(Digest::of(component).hex());
    let mut all = Vec::new();
    for aside in [artifact.with_extension("tmp"), "history.tmp".into()] {
        for calls in ["openat", "write", "fsync", "rename,renameat,renameat2"] {
            all.push((aside.clone(), calls));
        }
    }
    // The sync of the folder makes the new name durable.
    all.push(("artifacts".into(), "fsync"));
    all
}

#[test]
fn a_full_disk_refuses_the_change_that_meets_it() {
    check_strace();
    let first = Content::first(true);
    let component = back(102);
    let app = App::new(first, "");
    for (file, calls) in writes(&component) {
        let folder = folder();
        let state = folder.path().join("state");
        let host = app.launch().state(&state).start();
        host.kill();
        let file = state.join(&file);
        let when = format!("{calls} of {}", file.display());
        let host = full(app.launch().state(&state), &file, calls).start();
        let operator = Operator::of(&host);
        let answer = operator.swap("back", &component).expect(409);
        assert_eq!(answer.codes(), ["state"], "{when}");
        serves(&host, 1, first);
        let told = operator.generations();
        assert_eq!((&told["current"], told["generations"].as_array().unwrap().len()), (&1.into(), 1), "{when}");
        host.kill();
        // The next start finds no trace of the refused change. Once there is space, the same change succeeds.
        let host = app.launch().state(&state).start();
        serves(&host, 1, first);
        assert_eq!(Operator::of(&host).swapped("back", &component), 2, "{when}");
        serves(&host, 2, Content { back: 102, ..first });
    }
}

/// If compiled code or a database can't be written, the host refuses the change.
#[test]
fn code_and_databases_that_can_t_be_written_refuse_the_change() {
    check_strace();
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let code = host.state().join("code");
    std::fs::rename(&code, host.state().join("elsewhere")).unwrap();
    let operator = Operator::of(&host);
    assert_eq!(operator.swap("back", &back(7102)).expect(409).codes(), ["compile"]);
    serves(&host, 1, first);
    std::fs::rename(host.state().join("elsewhere"), &code).unwrap();
    assert_eq!(operator.swapped("back", &back(7102)), 2);

    let folder = folder();
    let state = folder.path().join("state");
    app.launch().state(&state).start().kill();
    let log = state.join("data/back.db-wal");
    let tables: String = (0..20).map(|number| format!("CREATE TABLE a{number} (id INTEGER);")).collect();
    let component = with_migrations(back(102), "back", &[("0001_a.sql", &tables)]);
    // `when` counts the calls of one thread. A start makes fewer calls when it opens the database than the migration makes.
    let host = full(app.launch().state(&state), &log, "pwrite64:when=9+").start();
    let answer = Operator::of(&host).swap("back", &component).expect(409);
    assert!(["migration", "state"].contains(&answer.codes()[0]), "{answer:?}");
    serves(&host, 1, first);
    host.kill();
    let host = app.launch().state(&state).start();
    serves(&host, 1, first);
    assert_eq!(Operator::of(&host).swapped("back", &component), 2);
    serves(&host, 2, Content { back: 102, ..first });
}
