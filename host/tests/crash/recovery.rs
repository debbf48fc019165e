//! Tests that a serving host completes unfinished requests on its own: without a restart, without a repeated request, and in a race with
//! other requests.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use watertight_testkit::admin::Operator;
use watertight_testkit::host::{Host, Launch, copy_of_shop, folder};

use crate::client::{Shop, draft};
use crate::kills::Dice;
use crate::ledger::Ledger;

/// The maximum time to wait until the host has finished orders in the background. It is far longer than the interval at which the host does
/// so, and than the age that such orders must have.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A number of orders that is one more than a single call of the module's function `resume` tries to finish.
const OVER_A_BATCH: usize = 51;

/// Copies the shop. `resume` is the interval at which the copy's host resumes unfinished orders, and `request` the maximum duration of a
/// request.
fn shop_with(resume: &str, request: &str) -> tempfile::TempDir {
    let copy = copy_of_shop(&format!("[defaults.limits]\nrequest = \"{request}\""));
    let file = copy.path().join("app.toml");
    let manifest = std::fs::read_to_string(&file).unwrap();
    let with = manifest.replace("[modules.orders]\n", &format!("[modules.orders]\nresume = \"{resume}\"\n"));
    assert_ne!(manifest, with);
    std::fs::write(file, with).unwrap();
    copy
}

fn wait_for(state: &Path, wanted: impl Fn(&Ledger) -> bool) -> Ledger {
    let start = Instant::now();
    loop {
        let ledger = Ledger::read(state);
        if wanted(&ledger) {
            return ledger;
        }
        assert!(start.elapsed() < TIMEOUT, "timed out:\n{ledger}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns how many scheduled runs of the function `resume` of orders had this outcome.
fn resumed(host: &Host, outcome: &str) -> u64 {
    let metrics = Operator::of(host).ask("GET", "/metrics", "text/plain", b"").text;
    let name = format!("watertight_resumes_total{{module=\"orders\",moment=\"schedule\",outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

/// A deadline interrupts a request after its first commit. The client never comes back.
#[test]
fn an_order_that_ran_out_of_time_is_finished_while_the_host_serves() {
    let (app, folder) = (shop_with("1s", "500ms"), folder());
    let state = folder.path().join("state");
    let slow = "sql::committed=2*sleep(700)->off";
    let host = Launch::app(app.path()).state(&state).variable("FAILPOINTS", slow).start();
    let answer = Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap();
    assert_eq!(answer.status, 504, "{answer:?}");
    let ledger = wait_for(&state, |ledger| ledger.only().status == "paid" && ledger.only().notice == "sent");
    ledger.check_settled("after a deadline, without a start");
    assert_eq!((ledger.payments.len(), ledger.notices.len()), (1, 1));
    assert!(resumed(&host, "finished") > 0, "the run was not counted");
    assert!(host.has_logged("1 of 1 unfinished orders were finished"), "{}", host.log());
}

#[test]
fn a_module_that_is_resumed_at_starts_only_is() {
    let (app, folder) = (shop_with("off", "500ms"), folder());
    let state = folder.path().join("state");
    let slow = "sql::committed=2*sleep(700)->off";
    let host = Launch::app(app.path()).state(&state).variable("FAILPOINTS", slow).start();
    assert_eq!(Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap().status, 504);
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(resumed(&host, "finished") + resumed(&host, "failed"), 0);
    assert_eq!(Ledger::read(&state).only().status, "pending");
    host.kill();
    let _host = Launch::app(app.path()).state(&state).start();
    Ledger::read(&state).check_settled("after a start");
}

/// One run of the function `resume` takes longer than the interval between runs, and lasts during two swaps. No other run begins meanwhile:
/// each order is tried once.
#[test]
fn a_module_is_never_resumed_twice_at_once_whatever_builds_are_at_work() {
    let (app, folder) = (shop_with("1s", "20s"), folder());
    let state = folder.path().join("state");
    // The orders get an old date, so that no request can still be working on them.
    let host = Launch::app(app.path()).state(&state).start();
    for key in 0..OVER_A_BATCH {
        let answer = Shop(host.listen()).place(&draft("ada", "tok_timeout"), Some(&format!("key {key}"))).unwrap();
        assert_eq!(answer.status, 503);
    }
    let orders = rusqlite::Connection::open(state.join("data/orders.db")).unwrap();
    orders.busy_timeout(Duration::from_secs(10)).unwrap();
    let old = "update orders set created_at = '2016-07-30T22:36:16.385Z', token = 'tok_visa'";
    // Each order takes seven commits, which the reads and writes of the test slow down.
    orders.execute(old, []).unwrap();
    drop(orders);
    let operator = Operator::of(&host);
    let build = std::fs::read(watertight_testkit::host::component("orders")).unwrap();
    for round in 0..2_u8 {
        let other = watertight_testkit::builds::with_build_id(&build, &format!("resumed{round}"));
        let answer = operator.swap("orders", &other);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    wait_for(&state, |ledger| ledger.orders.iter().all(|order| order.notice == "sent"));
    let ledger = Ledger::read(&state);
    ledger.check_settled("resumed through two swaps");
    assert_eq!((ledger.orders.len(), ledger.payments.len()), (OVER_A_BATCH, OVER_A_BATCH));
    let orders = rusqlite::Connection::open(state.join("data/orders.db")).unwrap();
    let tries: (i64, i64) = orders
        .query_row("select min(attempts), max(attempts) from orders", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(tries, (1, 1));
}

/// Requests that exceed their deadline, cancellations, scheduled runs of `resume`, and kills of the host race with each other. Afterwards a
/// host that isn't restarted completes every order.
#[test]
fn kills_requests_and_the_schedule_race() {
    let (app, folder) = (shop_with("1s", "250ms"), folder());
    let state = folder.path().join("state");
    let mut dice = Dice::new(11);
    for round in 0..4_u64 {
        let slow = "sql::committed=30%sleep(90)";
        let host = Launch::app(app.path()).state(&state).variable("FAILPOINTS", slow).start();
        let shop = Shop(host.listen());
        std::thread::scope(|scope| {
            for customer in 0..4_u64 {
                scope.spawn(move || {
                    for order in 0.. {
                        let name = format!("{round}-{customer}");
                        let key = format!("{name}-{order}");
                        let key = (order % 3 > 0).then_some(key.as_str());
                        let Ok(_) = shop.place(&draft(&name, "tok_visa"), key) else { return };
                        if order % 4 == 0 {
                            let Ok(page) = shop.get(&format!("/orders?customer={name}")) else { return };
                            let Some(id) = page.body["items"][0]["id"].as_str() else { continue };
                            let Ok(_) = shop.cancel(id) else { return };
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(1_500 + dice.below(2_500)));
            host.kill();
        });
        Ledger::read(&state).check_always(&format!("round {round}"));
    }
    // Now requests exceed their deadline while the schedule has enough time. A start may have too little time for everything that was left.
    let app = shop_with("1s", "1s");
    let slow = "sql::committed=60*sleep(400)->off";
    let host = Launch::app(app.path()).state(&state).variable("FAILPOINTS", slow).start();
    let shop = Shop(host.listen());
    std::thread::scope(|scope| {
        for customer in 0..4 {
            scope.spawn(move || {
                for order in 0..8 {
                    let _ = shop.place(&draft("late", "tok_visa"), Some(&format!("late {customer} {order}")));
                }
            });
        }
    });
    let is_whole = |ledger: &Ledger| {
        let open = |order: &crate::ledger::Order| {
            order.status == "pending" || order.refund_due || (order.status == "paid" && order.notice != "sent")
        };
        !ledger.orders.iter().any(open)
    };
    wait_for(&state, is_whole).check_settled("while the host serves");
}

/// A host that is told to stop while it resumes orders at its start lets the current call end, and closes all databases.
#[test]
fn a_stop_while_a_start_resumes_is_one_in_order() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=return").start();
    Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap_err();
    host.wait();
    let log = folder.path().join("resuming.log");
    let mut command = watertight_testkit::host::binary();
    command.arg("run").arg(watertight_testkit::host::shop()).arg("--state").arg(&state);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).env("FAILPOINTS", "sql::committed=sleep(400)");
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    // The number of attempts is in the first commit of `resume`.
    let start = Instant::now();
    let attempts = || {
        let orders = rusqlite::Connection::open(state.join("data/orders.db")).unwrap();
        orders.query_row("select max(attempts) from orders", [], |row| row.get::<_, i64>(0)).unwrap_or_default()
    };
    while attempts() == 0 {
        assert!(start.elapsed() < TIMEOUT && child.try_wait().unwrap().is_none(), "the start does not resume");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    let status = child.wait().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success() && said.contains("stopped") && !said.contains(" ready "), "{said}");
    // Each database was closed: SQLite then leaves no log.
    for module in ["orders", "payments", "notifications"] {
        let file = state.join("data").join(format!("{module}.db-wal"));
        let is_empty = std::fs::metadata(&file).map_or(true, |file| file.len() == 0);
        assert!(is_empty, "{} is left", file.display());
    }
    // The current call was not interrupted.
    let ledger = Ledger::read(&state);
    ledger.check_settled("after a stop in the middle");
    assert_eq!(ledger.only().status, "paid");
}
