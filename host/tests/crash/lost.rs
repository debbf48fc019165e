//! Tests of database files that are removed or replaced while a host runs: the host notices it, and acknowledges nothing more.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight_testkit::host::{Host, Launch, folder};

use crate::client::{Answer, Shop, draft, send};
use crate::ledger::Ledger;

/// The maximum time until the host notices that a file is lost. On an idle machine, the host notices within one second.
const NOTICED: Duration = Duration::from_secs(10);

fn place(host: &Host, key: &str) -> Answer {
    Shop(host.listen()).place(&draft("ada", "tok_visa"), Some(key)).unwrap()
}

fn readiness(host: &Host) -> Answer {
    send(host.admin(), "GET", "/readyz", "", None).unwrap()
}

/// Waits until the host reports that it lost its state folder or a database. `what` names the loss for a failure's message.
#[track_caller]
fn wait_until_noticed(host: &Host, what: &str) {
    let start = Instant::now();
    while readiness(host).status == 200 {
        assert!(start.elapsed() < NOTICED, "{what}: the host did not notice");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(readiness(host).body["type"], "/problems/state-lost", "{what}");
    assert!(host.has_logged("while the host runs"), "{what}:\n{}", host.log());
    // The host logs the loss once, however long it lasts.
    assert_eq!(host.log().matches("while the host runs").count(), 1, "{what}");
}

fn empty(file: &Path) {
    fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap();
}

/// The ways in which a test removes or replaces one database or all, each with a name.
const LOSSES: [(&str, fn(&Path)); 8] = [
    ("the state folder is removed", |state| fs::remove_dir_all(state).unwrap()),
    ("the databases' folder is removed", |state| fs::remove_dir_all(state.join("data")).unwrap()),
    ("a database is replaced by a copy", |state| {
        let (file, copy) = (state.join("data/orders.db"), state.join("data/copy"));
        fs::copy(&file, &copy).unwrap();
        fs::rename(copy, file).unwrap();
    }),
    ("a log is removed", |state| fs::remove_file(state.join("data/payments.db-wal")).unwrap()),
    ("a log is emptied", |state| empty(&state.join("data/payments.db-wal"))),
    ("a database is emptied", |state| empty(&state.join("data/orders.db"))),
    ("the state folder is moved away", |state| fs::rename(state, state.with_extension("moved")).unwrap()),
    ("another folder takes its place", |state| {
        fs::rename(state, state.with_extension("moved")).unwrap();
        fs::create_dir(state).unwrap();
    }),
];

#[test]
fn what_is_lost_while_customers_order_is_noticed_and_no_order_is_taken_into_it() {
    for (what, lose) in LOSSES {
        let folder = folder();
        let state = folder.path().join("state");
        let host = Launch::shop().state(&state).start();
        assert_eq!(place(&host, "before").status, 201);
        lose(&state);
        // The commit itself notices the loss, so even the next request is refused.
        let answer = place(&host, "after");
        assert!([500, 503].contains(&answer.status), "{what}: {answer:?}");
        assert!(!answer.body.to_string().contains("state"), "the answer tells of the host's inside: {answer:?}");
        wait_until_noticed(&host, what);
        assert_ne!(place(&host, "later").status, 201, "{what}");
        host.kill();
    }
}

#[test]
fn what_is_lost_while_nobody_orders_is_noticed_too() {
    for (what, lose) in LOSSES {
        let folder = folder();
        let state = folder.path().join("state");
        let host = Launch::shop().state(&state).start();
        // The log needs content, since the loss of an empty log is no loss.
        assert_eq!(place(&host, "before").status, 201);
        lose(&state);
        wait_until_noticed(&host, what);
        // The host still reports that it is alive: a restart would not help.
        assert_eq!(send(host.admin(), "GET", "/healthz", "", None).unwrap().status, 200, "{what}");
        assert_ne!(place(&host, "after").status, 201, "{what}");
        host.kill();
    }
}

#[test]
fn a_start_refuses_a_database_whose_log_is_gone() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    let placed = place(&host, "in the log");
    assert_eq!(placed.status, 201);
    host.kill();
    let (log, aside) = (state.join("data/orders.db-wal"), folder.path().join("aside"));
    fs::rename(&log, &aside).unwrap();
    let (status, text) = Launch::shop().state(&state).expect_end();
    assert!(!status.success() && text.contains("orders.db-wal") && text.contains("--accept-empty orders"), "{text}");
    // Both ways out that the help names succeed.
    fs::rename(&aside, &log).unwrap();
    let host = Launch::shop().state(&state).start();
    assert_eq!(place(&host, "in the log").body["id"], placed.body["id"]);
    host.kill();
    fs::remove_file(&log).unwrap();
    let host = Launch::shop().state(&state).argument("--accept-empty").argument("orders").start();
    assert!(host.has_logged("write-ahead log of the module's database is missing"), "{}", host.log());
    assert_eq!(place(&host, "goes on").status, 201);
    host.kill();
    // The next start finds the log.
    Launch::shop().state(&state).start().kill();
}

#[test]
fn a_host_whose_state_was_replaced_leaves_the_other_one_s_alone() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut first = Launch::shop().state(&state).start();
    assert_eq!(place(&first, "first").status, 201);
    fs::rename(&state, folder.path().join("moved")).unwrap();
    wait_until_noticed(&first, "moved away");
    let second = Launch::shop().state(&state).start();
    assert_eq!(place(&second, "second").status, 201);
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    assert_eq!(place(&second, "third").status, 201);
    second.kill();
    let third = Launch::shop().state(&state).start();
    let ledger = Ledger::read(&state);
    ledger.check_settled("beside a host that lost its state");
    assert_eq!(ledger.orders.len(), 2);
    drop(third);
}

#[test]
fn a_removed_lock_lets_nobody_in_and_a_link_overwrites_nothing() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = Launch::shop().state(&state).start();
    let lock = state.join("lock");
    let text = fs::read_to_string(&lock).unwrap();
    fs::remove_file(&lock).unwrap();
    let (status, log) = Launch::shop().state(&state).expect_end();
    assert!(!status.success() && log.contains("another host is running"), "{log}");
    assert!(host.has_logged("was written again"), "{}", host.log());
    assert_eq!(fs::read_to_string(&lock).unwrap(), text);
    assert_eq!((readiness(&host).status, place(&host, "goes on").status), (200, 201));
    host.kill();

    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    for name in ["lock", "admin.token", "data/orders.db"] {
        let file = state.join(name);
        let aside = folder.path().join("aside");
        fs::rename(&file, &aside).unwrap();
        symlink(&precious, &file).unwrap();
        let (status, log) = Launch::shop().state(&state).expect_end();
        assert!(!status.success() && log.contains("regular file"), "{name}: {log}");
        fs::remove_file(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
    }
    for name in ["data", "artifacts"] {
        let (folder_there, aside) = (state.join(name), folder.path().join("aside"));
        fs::rename(&folder_there, &aside).unwrap();
        symlink(&aside, &folder_there).unwrap();
        let (status, log) = Launch::shop().state(&state).expect_end();
        assert!(!status.success() && log.contains("is a symbolic link"), "{name}: {log}");
        fs::remove_file(&folder_there).unwrap();
        fs::rename(&aside, &folder_there).unwrap();
    }
    // Temporary files replace a symbolic link and don't follow it.
    for name in ["history.tmp", "admin.token.new", "lock.new"] {
        symlink(&precious, state.join(name)).unwrap();
    }
    Launch::shop().state(&state).start().kill();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

#[test]
fn what_others_may_read_or_write_is_refused_or_warned_of() {
    let folder = folder();
    let state = folder.path().join("state");
    Launch::shop().state(&state).start().kill();
    let set = |name: &str, mode| fs::set_permissions(state.join(name), fs::Permissions::from_mode(mode)).unwrap();
    for (name, mode, good, help) in [
        ("", 0o770, 0o700, "chmod 700"),
        ("", 0o707, 0o700, "chmod 700"),
        ("data", 0o722, 0o700, "chmod 700"),
        ("admin.token", 0o640, 0o600, "remove it"),
        ("admin.token", 0o602, 0o600, "remove it"),
    ] {
        set(name, mode);
        let (status, log) = Launch::shop().state(&state).expect_end();
        assert!(!status.success() && log.contains(help) && log.contains("other users"), "{name} {mode:o}: {log}");
        set(name, good);
    }
    let weak = Launch::shop().state(&state).variable("WATERTIGHT_ADMIN_TOKEN", "secret");
    let (status, log) = weak.expect_end();
    assert!(!status.success() && log.contains("128 bits"), "{log}");
    set("", 0o755);
    let host = Launch::shop().state(&state).start();
    assert!(host.has_logged("other users can read the state folder"), "{}", host.log());
}
