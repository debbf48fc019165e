//! Tests of a disk that fails: `strace` makes each sync or write of a database fail in turn.
//!
//! The host acknowledges nothing that the disk didn't keep. Once the disk works again, a start finds all data complete.

use std::path::Path;

use rustix::process::Signal;
use watertight_testkit::host::{Host, Launch, check_strace, folder};

use crate::client::{Answer, Shop, draft};
use crate::ledger::Ledger;

/// The modules with a database, each with the number of times that one order syncs the database to the disk.
const SYNCS: [(&str, u32); 3] = [("orders", 3), ("payments", 2), ("notifications", 1)];

/// Returns the settings for a host for which system calls on the database of `module` fail. `inject` says which fail, as an expression of
/// `strace` such as `fdatasync:error=EIO:when=2`. `strace` counts calls per thread.
fn failing(state: &Path, module: &str, inject: &str) -> Launch {
    check_strace();
    let wal = state.join("data").join(format!("{module}.db-wal"));
    let (wal, inject) = (wal.to_str().unwrap(), format!("inject={inject}"));
    Launch::shop().state(state).under(&["strace", "-f", "-o", "/dev/null", "-P", wal, "-e", &inject])
}

fn place(host: &Host, key: &str) -> Answer {
    Shop(host.listen()).place(&draft("ada", "tok_visa"), Some(key)).unwrap()
}

/// Creates a state folder with one order, so that all database files exist.
fn with_an_order(state: &Path) {
    let host = Launch::shop().state(state).start();
    assert_eq!(place(&host, "first").status, 201);
    host.kill();
}

#[test]
fn a_sync_that_fails_is_told_as_a_failure_and_ends_the_database() {
    for (module, syncs) in SYNCS {
        for sync in 1..=syncs {
            let folder = folder();
            let state = folder.path().join("state");
            with_an_order(&state);
            // `strace` counts the syncs of the writer thread. The syncs of the second order come after those of the first.
            let inject = format!("fdatasync:error=EIO:when={}", syncs + sync);
            let host = failing(&state, module, &inject).start();
            let when = format!("sync {sync} of {module}");
            let second = place(&host, "second");
            assert_eq!(second.status, 201, "{when}: {second:?}");
            let third = place(&host, "third");
            // Once the order is paid it stands, even if the customer got no answer.
            let paid = module == "notifications" || (module == "orders" && sync == 3);
            assert_eq!(third.status == 201, paid, "{when}: {third:?}");
            assert!(host.has_logged("could not be synced"), "{when}:\n{}", host.log());
            if paid {
                assert_eq!(third.body["notice"], "pending", "{when}");
            } else {
                assert!([500, 503].contains(&third.status), "{when}: {third:?}");
                assert!(
                    !third.body.to_string().contains("wal"),
                    "{when}: the answer tells of the host's inside: {third:?}"
                );
                // The database answers no further request, since nothing it reads is known to be durable.
                assert_ne!(place(&host, "fourth").status, 201, "{when}");
            }
            if module == "orders" {
                let read = Shop(host.listen()).get(&format!("/orders/{}", second.id())).unwrap();
                assert_eq!(read.status, 500, "{when}: {read:?}");
            }
            host.kill();
            let host = Launch::shop().state(&state).start();
            Ledger::read(&state).check_settled(&when);
            let again = place(&host, "third");
            assert_eq!((again.status, &again.body["notice"]), (201, &"sent".into()), "{when}");
            if paid {
                assert_eq!(again.id(), third.id(), "{when}");
            }
            assert_eq!(place(&host, "second").body, second.body, "{when}");
            Ledger::read(&state).check_settled(&when);
        }
    }
}

/// An order without an idempotency key, whose request fails, can't be repeated. It is cancelled, and the next start refunds its payment.
#[test]
fn an_order_without_a_key_whose_payment_could_not_be_synced_is_given_back() {
    for sync in 1..=2 {
        let folder = folder();
        let state = folder.path().join("state");
        with_an_order(&state);
        let host = failing(&state, "payments", &format!("fdatasync:error=EIO:when={}", 2 + sync)).start();
        assert_eq!(place(&host, "second").status, 201, "{sync}");
        let answer = Shop(host.listen()).place(&draft("bob", "tok_visa"), None).unwrap();
        assert_eq!(answer.status, 503, "{sync}: {answer:?}");
        host.kill();
        let host = Launch::shop().state(&state).start();
        Ledger::read(&state).check_settled(&format!("sync {sync} of payments"));
        assert_eq!(Shop(host.listen()).list("bob")[0]["status"], "cancelled", "{sync}");
    }
}

/// If a sync within a commit fails, the host closes the database. SQLite makes such a sync for the header of a new write-ahead log.
#[test]
fn a_sync_within_a_commit_that_fails_ends_the_database() {
    let folder = folder();
    let state = folder.path().join("state");
    // A host that stops in order leaves no log behind.
    let mut host = Launch::shop().state(&state).start();
    assert_eq!(place(&host, "first").status, 201);
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    let host = failing(&state, "orders", "fsync:error=EIO:when=1").start();
    for key in ["second", "second", "third"] {
        let answer = place(&host, key);
        assert_eq!((answer.status, &answer.body["type"]), (500, &"/problems/storage".into()), "{answer:?}");
    }
    host.kill();
    let host = Launch::shop().state(&state).start();
    Ledger::read(&state).check_settled("after a failed sync of a log's header");
    assert_eq!(place(&host, "second").status, 201);
    assert_eq!(place(&host, "first").body["status"], "paid");
    let orders = Ledger::read(&state).orders.len();
    assert!((2..=3).contains(&orders), "{orders}: the first, the second, and perhaps the third");
}

/// A full disk, an exhausted quota or another failed write loses no data: nothing was acknowledged yet, so only the request fails.
#[test]
fn a_write_that_fails_fails_the_request_that_met_it_and_no_other() {
    for (error, (module, _)) in ["ENOSPC", "EDQUOT", "EIO"].into_iter().flat_map(|e| SYNCS.map(|module| (e, module))) {
        let folder = folder();
        let state = folder.path().join("state");
        with_an_order(&state);
        // The log's header and a few pages of the second order are written. The next write fails, and later writes succeed.
        let host = failing(&state, module, &format!("pwrite64:error={error}:when=4")).start();
        let second = place(&host, "second");
        if module == "notifications" {
            assert_eq!(
                (second.status, &second.body["notice"]),
                (201, &"pending".into()),
                "{error} {module}: {second:?}"
            );
        } else {
            let full = (503, &"/problems/storage-full".into());
            assert_eq!((second.status, &second.body["type"]), full, "{error} {module}: {second:?}");
        }
        let again = place(&host, "second");
        assert_eq!((again.status, &again.body["notice"]), (201, &"sent".into()), "{error} {module}: {again:?}");
        assert_eq!(place(&host, "third").status, 201, "{error} {module}");
        let ledger = Ledger::read(&state);
        ledger.check_settled(&format!("{error} at a write of {module}"));
        assert_eq!(ledger.orders.len(), 3, "{error} {module}");
        host.kill();
        let _host = Launch::shop().state(&state).start();
        Ledger::read(&state).check_settled(&format!("a start after {error} at a write of {module}"));
    }
}

/// If the disk fails while a start opens databases, the start fails and says so.
#[test]
fn a_disk_that_fails_at_the_start_is_said() {
    let folder = folder();
    let state = folder.path().join("state");
    with_an_order(&state);
    let (status, log) = failing(&state, "orders", "fdatasync:error=EIO").expect_end();
    assert!(!status.success(), "{log}");
    assert!(log.contains("orders") && log.contains("nothing was started"), "{log}");
    let host = Launch::shop().state(&state).start();
    assert_eq!(Shop(host.listen()).list("ada").len(), 1);
}
