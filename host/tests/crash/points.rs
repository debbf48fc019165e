//! Tests of a host that ends between any two steps of an order. The next start completes the order: there is one order, one charge and one
//! notice.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use watertight_testkit::host::{Host, Launch, binary, folder, shop};

use crate::client::{Shop, draft};
use crate::ledger::Ledger;

/// The names of the crash points in the code that writes to databases. See `host/disk/src/failpoint.rs`.
const POINTS: [&str; 3] = ["sql::before-commit", "sql::committed", "sql::synced"];
/// The maximum number of database commits of each scenario.
const MOST_COMMITS: u32 = 30;
/// The maximum time that a host may take to become ready or to end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a host end at the crash point `point` of its database commit number `passes + 1`.
fn crash_after(launch: Launch, point: &str, passes: u32) -> Launch {
    launch.variable("FAILPOINTS", &failpoints(point, passes))
}

fn failpoints(point: &str, passes: u32) -> String {
    if passes == 0 { format!("{point}=return") } else { format!("{point}={passes}*off->return") }
}

/// Runs a scenario once for each of its database commits, with a host that ends at this commit, until the scenario ends before the host
/// does. Returns the number of commits. `told` sends the scenario's request and returns whether it was answered. `check` examines the next
/// host once it is ready.
fn at_every_commit(
    point: &str,
    prepare: impl Fn(Shop),
    told: impl Fn(Shop) -> bool,
    check: impl Fn(&Host, &str),
) -> u32 {
    for passes in 0..MOST_COMMITS {
        let folder = folder();
        let state = folder.path().join("state");
        let before = Launch::shop().state(&state).start();
        prepare(Shop(before.listen()));
        before.kill();
        let mut host = crash_after(Launch::shop().state(&state), point, passes).start();
        let through = told(Shop(host.listen()));
        if through {
            host.kill();
        } else {
            assert!(!host.wait().success(), "{point} {passes}: the host did not end");
        }
        let after = Launch::shop().state(&state).start();
        let when = format!("after {passes} times {point}");
        Ledger::read(&state).check_settled(&when);
        check(&after, &when);
        if through {
            return passes;
        }
    }
    panic!("the scenario never completes");
}

fn one_of_each(host: &Host, when: &str) {
    let ledger = Ledger::read(host.state());
    assert_eq!((ledger.only().status.as_str(), ledger.payments.len(), ledger.notices.len()), ("paid", 1, 1), "{when}");
}

fn placing_with_a_key(point: &str) {
    let place = |shop: Shop| shop.place(&draft("ada", "tok_visa"), Some("the key"));
    let commits = at_every_commit(
        point,
        |_| {},
        |shop| place(shop).is_ok(),
        |host, when| {
            // Before its first commit, nothing of the order is written.
            let found = Ledger::read(host.state()).orders.len();
            assert_eq!(found, usize::from(!when.starts_with("after 0 times sql::before-commit")), "{when}");
            let shop = Shop(host.listen());
            let (first, again) = (place(shop).unwrap(), place(shop).unwrap());
            assert_eq!((first.status, &first), (201, &again), "{when}");
            assert_eq!((&first.body["status"], &first.body["notice"]), (&"paid".into(), &"sent".into()), "{when}");
            assert_eq!(shop.get(&format!("/orders/{}", first.id())).unwrap().body, first.body, "{when}");
            let payment = first.body["payment_id"].as_str().unwrap();
            assert_eq!(shop.get(&format!("/payments/{payment}")).unwrap().body["status"], "captured", "{when}");
            let other = shop.place(&draft("ada", "tok_other"), Some("the key")).unwrap();
            assert_eq!(other.status, 409, "{when}");
            one_of_each(host, when);
        },
    );
    // The commits are: the order, the authorization, the capture, the paid order, the notice, and the order with its notice sent.
    assert_eq!(commits, 6, "the steps of placing an order");
}

#[test]
fn placing_with_a_key_before_commits() {
    placing_with_a_key(POINTS[0]);
}

#[test]
fn placing_with_a_key_after_commits() {
    placing_with_a_key(POINTS[1]);
}

#[test]
fn placing_with_a_key_after_syncs() {
    placing_with_a_key(POINTS[2]);
}

#[test]
fn placing_without_a_key() {
    at_every_commit(
        POINTS[1],
        |_| {},
        |shop| shop.place(&draft("ada", "tok_visa"), None).is_ok(),
        |host, when| {
            // The client got no answer, but the order was written, so the start placed it.
            one_of_each(host, when);
            assert_eq!(Shop(host.listen()).list("ada").len(), 1, "{when}");
        },
    );
}

#[test]
fn declining() {
    let place = |shop: Shop| shop.place(&draft("ada", "tok_declined"), Some("the key"));
    at_every_commit(
        POINTS[1],
        |_| {},
        |shop| place(shop).is_ok_and(|answer| answer.status == 402),
        |host, when| {
            assert_eq!(place(Shop(host.listen())).unwrap().status, 402, "{when}");
            let ledger = Ledger::read(host.state());
            assert_eq!((ledger.only().status.as_str(), ledger.notices.len()), ("declined", 0), "{when}");
        },
    );
}

#[test]
fn cancelling() {
    let id = |shop: Shop| shop.list("ada")[0]["id"].as_str().unwrap().to_owned();
    let commits = at_every_commit(
        POINTS[1],
        |shop| assert_eq!(shop.place(&draft("ada", "tok_visa"), None).unwrap().status, 201),
        |shop| shop.cancel(&id(shop)).is_ok(),
        |host, when| {
            // The settled check covers the state after the start, whether or not there was a refund. Now the order is cancelled for
            // certain.
            let shop = Shop(host.listen());
            let answer = shop.cancel(&id(shop)).unwrap();
            assert_eq!((answer.status, &answer.body["status"]), (200, &Value::from("cancelled")), "{when}");
            let ledger = Ledger::read(host.state());
            assert_eq!((ledger.payments.len(), ledger.payments[0].status.as_str()), (1, "refunded"), "{when}");
            assert_eq!(ledger.notices.len(), 2, "{when}");
        },
    );
    // The commits are: the cancelled order, the refund, the notice, and the settled order.
    assert_eq!(commits, 4, "the steps of cancelling an order");
}

#[test]
fn a_start_that_crashes_while_it_resumes() {
    for placed in 0..6 {
        for resumed in 0..MOST_COMMITS {
            let folder = folder();
            let state = folder.path().join("state");
            let mut host = crash_after(Launch::shop().state(&state), POINTS[1], placed).start();
            Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap_err();
            host.wait();
            let ready = is_ready_with(&state, &failpoints(POINTS[1], resumed));
            let host = Launch::shop().state(&state).start();
            let when = format!("after {placed} commits of placing and {resumed} of resuming");
            Ledger::read(&state).check_settled(&when);
            one_of_each(&host, &when);
            if ready {
                break;
            }
            assert!(resumed < 10, "{when}: resuming never ends");
        }
    }
}

/// Starts a host that may end at a crash point before it is ready. Returns whether it became ready. If so, kills it.
fn is_ready_with(state: &Path, failpoints: &str) -> bool {
    let mut command = binary();
    command.arg("run").arg(shop()).arg("--state").arg(state).args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    let log = std::fs::File::create(state.with_extension("resuming.log")).unwrap();
    let mut child = command.env("FAILPOINTS", failpoints).stderr(log).spawn().unwrap();
    let start = Instant::now();
    let ready = loop {
        assert!(start.elapsed() < TIMEOUT, "the host neither ends nor is ready");
        if child.try_wait().unwrap().is_some() {
            break false;
        }
        if admin(state, child.id())
            .is_some_and(|admin| Shop(admin).get("/readyz").is_ok_and(|answer| answer.status == 200))
        {
            break true;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    // The process may have ended already.
    let _ = child.kill();
    child.wait().unwrap();
    ready
}

/// Returns the admin listener's address of the host with the process id `process`. Returns `None` until the lock file of the state folder
/// has it.
fn admin(state: &Path, process: u32) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(state.join("lock")).ok()?;
    let info: watertight_control::state::HostInfo = serde_json::from_str(&text).ok()?;
    (info.process == process).then_some(info.admin)
}
