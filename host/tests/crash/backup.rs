//! Tests of backups: what a backup contains while requests write, and what is left when a backup is interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::Value;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host::{Host, Launch, binary, folder, shop};

use crate::client::{Shop, draft};
use crate::kills::Dice;
use crate::ledger::Ledger;

/// The number of customers that order while a backup is written.
const CUSTOMERS: usize = 4;

pub(crate) fn backup_command(state: &Path, to: &Path) -> Command {
    let mut command = binary();
    command.arg("backup").arg(shop()).arg("--state").arg(state).arg("--to").arg(to).arg("--json");
    command
}

pub(crate) fn backup(state: &Path, to: &Path) -> Value {
    run(&mut backup_command(state, to)).expect(0).json()
}

pub(crate) fn restore_command(from: &Path, state: &Path) -> Command {
    let mut command = binary();
    command.arg("restore").arg(from).arg("--app").arg(shop()).arg("--state").arg(state);
    command
}

pub(crate) fn restore(from: &Path, state: &Path) -> CommandOutput {
    run(&mut restore_command(from, state))
}

pub(crate) fn start(state: &Path) -> Host {
    Launch::shop().state(state).start()
}

pub(crate) fn place(host: &Host, key: &str) -> String {
    let answer = Shop(host.listen()).place(&draft("ada", "tok_visa"), Some(key)).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.id().to_owned()
}

pub(crate) fn generation(host: &Host) -> Value {
    let mut command = binary();
    let command = command.args(["generations", "--json", "--app"]).arg(shop()).arg("--state").arg(host.state());
    run(command).expect(0).json()["current"].clone()
}

pub(crate) fn ids(ledger: &Ledger) -> Vec<&str> {
    ledger.orders.iter().map(|order| order.id.as_str()).collect()
}

/// Reads the shop's databases in a backup. It reads a copy of the backup, because reading changes files.
pub(crate) fn read(backup: &Path) -> Ledger {
    let copy = folder();
    copy_folder(&backup.join("data"), &copy.path().join("data"));
    for module in ["orders", "payments", "notifications"] {
        let database = rusqlite::Connection::open(copy.path().join(format!("data/{module}.db"))).unwrap();
        let sound: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "{module}");
    }
    Ledger::read(copy.path())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Returns the names of the files and folders in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_under_load_has_what_was_acknowledged_and_is_of_one_moment() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&state);
    // There is enough data for the copy to take several steps.
    for number in 0..300 {
        place(&host, &format!("before {number}"));
    }
    let (told, closing) = (Mutex::new(Vec::<String>::new()), AtomicBool::new(false));
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        let (told, closing, host) = (&told, &closing, &host);
        let customers: Vec<_> = (0..CUSTOMERS)
            .map(|customer| {
                scope.spawn(move || {
                    let mut slowest = Duration::ZERO;
                    for number in 0.. {
                        if closing.load(SeqCst) {
                            break;
                        }
                        let start = Instant::now();
                        let id = place(host, &format!("{customer} {number}"));
                        slowest = slowest.max(start.elapsed());
                        told.lock().unwrap().push(id);
                    }
                    slowest
                })
            })
            .collect();
        for round in 0..8 {
            let before = told.lock().unwrap().clone();
            let to = folder.path().join(format!("backup-{round}"));
            let manifest = backup(&state, &to);
            assert_eq!((&manifest["app"], &manifest["generation"]), (&"shop".into(), &1.into()));
            taken.push((to, before, told.lock().unwrap().len()));
        }
        closing.store(true, SeqCst);
        for customer in customers {
            let slowest = customer.join().unwrap();
            assert!(slowest < Duration::from_secs(5), "an order took {slowest:?}");
        }
    });
    let total = told.lock().unwrap().len();
    host.kill();
    let mut meanwhile = 0;
    for (backup, before, after) in &taken {
        let when = format!("{} with {} orders before it", backup.display(), before.len());
        let ledger = read(backup);
        ledger.check_always(&when);
        let held = ids(&ledger);
        let missing: Vec<_> = before.iter().filter(|id| !held.contains(&id.as_str())).collect();
        assert!(missing.is_empty(), "{when}: {missing:?}");
        meanwhile += after - before.len();
    }
    assert!(meanwhile > 20, "only {meanwhile} of {total} orders came during backups");
    // A start on the last backup leaves nothing unfinished.
    let (backup, before, _) = taken.last().unwrap();
    let restored = folder.path().join("restored");
    restore(backup, &restored).expect(0);
    let host = start(&restored);
    assert_eq!(generation(&host), 1);
    let ledger = Ledger::read(&restored);
    ledger.check_settled("a start on the restored state");
    assert!(before.iter().all(|id| ids(&ledger).contains(&id.as_str())));
    for id in before.iter().take(20) {
        assert_eq!(Shop(host.listen()).get(&format!("/orders/{id}")).unwrap().status, 200);
    }
    place(&host, "after the restore");
    eprintln!("{total} orders, {meanwhile} of them during {} backups", taken.len());
}

#[test]
fn a_backup_holds_no_secret_and_is_this_user_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&state);
    let to = folder.path().join("backup");
    let manifest = backup(&state, &to);
    let token = host.token();
    let found = files(&to);
    for file in &found {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        let bytes = fs::read(file).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()), "{}", file.display());
    }
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    // The manifest lists exactly the files of the backup.
    let listed = manifest["files"].as_object().unwrap();
    assert_eq!(listed.len() + 1, found.len(), "{found:?}");
    assert!(found.iter().all(|file| {
        let name = file.strip_prefix(&to).unwrap().to_str().unwrap();
        name == "backup.json" || listed.contains_key(name)
    }));
    assert_eq!(names(&to), ["artifacts", "backup.json", "configurations", "data", "history.json"]);
    // Without a running host, the backup has the same content.
    let id = place(&host, "one");
    host.kill();
    let stopped = folder.path().join("stopped");
    backup(&state, &stopped);
    assert_eq!(ids(&read(&stopped)), [id]);
    assert_eq!(names(&stopped), names(&to));
}

/// Neither customers nor operators wait for a backup.
#[test]
fn nobody_waits_while_a_backup_is_written() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).variable("FAILPOINTS", "backup::copied=sleep(6000)").start();
    let to = folder.path().join("backup");
    let copying = {
        let (state, to) = (state.clone(), to.clone());
        std::thread::spawn(move || backup(&state, &to))
    };
    let begun = Instant::now();
    while !folder.path().join(".backup.unfinished/data/orders.db").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the backup doesn't begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Orders are served in the meantime.
    for number in 0..5 {
        place(&host, &format!("{number}"));
    }
    assert!(!to.exists(), "an unfinished backup has its final name");
    let mut command = binary();
    let said = run(command.args(["rollback", "--app"]).arg(shop()).arg("--state").arg(&state));
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(!to.exists(), "the change waited for the backup");
    copying.join().unwrap();
}

#[test]
fn a_host_that_ends_during_a_backup_leaves_none() {
    let folder = folder();
    let state = folder.path().join("state");
    let to = folder.path().join("backup");
    let mut placed = Vec::new();
    for point in ["backup::copied", "backup::written"] {
        let mut host = Launch::shop().state(&state).variable("FAILPOINTS", &format!("{point}=return")).start();
        placed.push(place(&host, point));
        run(&mut backup_command(&state, &to)).expect(1);
        assert!(!host.wait().success(), "{point}: the host did not abort");
        assert!(!to.exists(), "{point}");
    }
    let mut dice = Dice::new(7);
    for kill in 0..12 {
        let host = start(&state);
        placed.push(place(&host, &format!("kill {kill}")));
        let mut command = backup_command(&state, &to);
        let mut copying =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        host.kill();
        copying.wait().unwrap();
        if to.exists() {
            // A backup that has its name is whole, whatever happened to the host.
            let held = read(&to);
            assert!(placed.iter().all(|id| ids(&held).contains(&id.as_str())), "kill {kill}");
            restore(&to, &folder.path().join(format!("whole-{kill}"))).expect(0);
            fs::remove_dir_all(&to).unwrap();
        }
    }
    // The remains of interrupted backups disturb nothing, and the next backup removes them.
    let _host = start(&state);
    backup(&state, &to);
    assert!(names(folder.path()).iter().all(|name| !name.ends_with(".unfinished")), "{:?}", names(folder.path()));
    let ledger = read(&to);
    assert!(placed.iter().all(|id| ids(&ledger).contains(&id.as_str())));
}

#[test]
fn backups_that_can_t_be_are_refused_and_leave_nothing() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&state);
    place(&host, "first");
    fs::create_dir(folder.path().join("there")).unwrap();
    fs::write(folder.path().join("file"), "mine").unwrap();
    fs::create_dir(folder.path().join(".taken.unfinished")).unwrap();
    fs::write(folder.path().join(".taken.unfinished/mine"), "mine").unwrap();
    std::os::unix::fs::symlink(&state, folder.path().join("link")).unwrap();
    let refused = [
        ("there", "it exists already"),
        ("file", "it exists already"),
        ("state", "it exists already"),
        ("state/backup", "inside the state folder"),
        ("state/data/backup", "inside the state folder"),
        ("link/backup", "inside the state folder"),
        ("no/such/backup", "create it first"),
        ("taken", "in use by something else"),
        ("..", "not the absolute path of a new folder"),
    ];
    let look = || (names(folder.path()), names(&state), names(&state.join("data")));
    let before = look();
    let try_all = || {
        for (to, why) in refused {
            let said = run(&mut backup_command(&state, &folder.path().join(to))).expect(1);
            assert!(said.err.contains(why), "{to}: {}", said.err);
        }
    };
    try_all();
    assert_eq!(look(), before);
    assert_eq!(fs::read_to_string(folder.path().join(".taken.unfinished/mine")).unwrap(), "mine");
    // A full disk, as a limit on file sizes: the backup fails, and the host goes on.
    let limited = folder.path().join("limited");
    let host = {
        host.kill();
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        Launch::shop().state(&state).under(&["sh", "-c", script]).start()
    };
    crate::full::leave_room(&host, Some(60_000));
    let said = run(&mut backup_command(&state, &limited)).expect(1);
    assert!(said.err.contains("File too large"), "{}", said.err);
    crate::full::leave_room(&host, None);
    assert!(names(folder.path()).iter().all(|name| !name.contains("limited")), "{:?}", names(folder.path()));
    place(&host, "second");
    backup(&state, &limited);
    // A damaged component of the running generation: no backup is made.
    let artifact = files(&state.join("artifacts")).remove(0);
    let whole = fs::read(&artifact).unwrap();
    fs::write(&artifact, "spoilt").unwrap();
    let said = run(&mut backup_command(&state, &folder.path().join("spoilt"))).expect(1);
    assert!(said.err.contains("recorded digest"), "{}", said.err);
    fs::write(&artifact, whole).unwrap();
    host.kill();
    // Without a running host, the same targets are refused.
    try_all();
    let said = run(&mut backup_command(&folder.path().join("nowhere"), &folder.path().join("b"))).expect(1);
    assert!(said.err.contains("nothing to back up"), "{}", said.err);
    assert!(!folder.path().join("nowhere").exists());
}

/// Adds rows of `megabytes` MB to the database of orders. No host may have it open.
fn fill(state: &Path, megabytes: u32) {
    let database = rusqlite::Connection::open(state.join("data/orders.db")).unwrap();
    database.execute_batch("CREATE TABLE filler (bytes BLOB); BEGIN;").unwrap();
    for _ in 0..megabytes {
        database.execute("INSERT INTO filler VALUES (randomblob(1000000))", []).unwrap();
    }
    database.execute_batch("COMMIT;").unwrap();
}

#[test]
fn a_large_database_is_copied_beside_its_customers_and_a_stopping_host_gives_it_up() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = start(&state);
    place(&host, "first");
    host.signal(rustix::process::Signal::TERM);
    assert!(host.wait().success());
    fill(&state, 200);
    let mut host = start(&state);
    let ended = AtomicBool::new(false);
    let (slowest, placed, took) = std::thread::scope(|scope| {
        let (host, ended) = (&host, &ended);
        let customer = scope.spawn(move || {
            let (mut slowest, mut placed) = (Duration::ZERO, 0);
            while !ended.load(SeqCst) {
                let start = Instant::now();
                place(host, &format!("{placed}"));
                (slowest, placed) = (slowest.max(start.elapsed()), placed + 1);
            }
            (slowest, placed)
        });
        let start = Instant::now();
        backup(&state, &folder.path().join("large"));
        let took = start.elapsed();
        ended.store(true, SeqCst);
        let (slowest, placed) = customer.join().unwrap();
        (slowest, placed, took)
    });
    eprintln!("200 MB in {took:?}; beside it {placed} orders, the slowest in {slowest:?}");
    assert!(placed > 5, "{placed} orders in {took:?}");
    assert!(slowest < Duration::from_secs(3), "an order took {slowest:?}");
    let log = state.join("data/orders.db-wal").metadata().unwrap().len();
    assert!(log < 64_000_000, "the log has {log} bytes");
    // The host stops in the middle of another backup.
    let to = folder.path().join("given-up");
    let mut command = backup_command(&state, &to);
    let mut copying = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !folder.path().join(".given-up.unfinished/data/orders.db").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the backup doesn't begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    host.signal(rustix::process::Signal::TERM);
    assert!(host.wait().success(), "{}", host.log());
    assert!(start.elapsed() < Duration::from_secs(4), "the host stopped after {:?}", start.elapsed());
    assert_eq!(copying.wait().unwrap().code(), Some(1));
    assert!(names(folder.path()).iter().all(|name| !name.contains("given-up")), "{:?}", names(folder.path()));
    assert!(!host.log().contains("still busy"), "{}", host.log());
}
