//! Tests of requests that race with each other, with a start, with a stop, and with clients that disconnect.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use watertight_testkit::host::{Host, Launch, binary, copy_of_shop, folder, shop};

use crate::client::{Answer, Shop, draft, request, send};
use crate::kills::Dice;
use crate::ledger::Ledger;

/// The fail point that slows every database commit down by 12 ms, so that racing requests meet at every step.
const SLOW: &str = "sql::committed=sleep(12)";
/// The maximum time to wait for work that the host does in the background.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until the shop's databases, in the state folder of a running host, satisfy `wanted`.
fn wait_for(state: &Path, wanted: impl Fn(&Ledger) -> bool) -> Ledger {
    let start = Instant::now();
    loop {
        let ledger = Ledger::read(state);
        if wanted(&ledger) {
            return ledger;
        }
        assert!(start.elapsed() < TIMEOUT, "timed out:\n{ledger}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a customer has an order. Returns the order's id.
fn wait_for_order(shop: Shop, customer: &str) -> String {
    let start = Instant::now();
    loop {
        if let Some(order) = shop.list(customer).first() {
            return order["id"].as_str().unwrap().to_owned();
        }
        assert!(start.elapsed() < TIMEOUT, "{customer} has no order");
    }
}

/// An order that is cancelled while it is placed is not charged, and no restart is needed for that.
#[test]
fn cancelling_while_placing() {
    let host = Launch::shop().variable("FAILPOINTS", SLOW).start();
    let shop = Shop(host.listen());
    // Placing takes six commits. The delays cover each of them and the time after.
    for millis in (0..100).step_by(3) {
        let customer = format!("customer-{millis}");
        let (placed, cancelled) = std::thread::scope(|scope| {
            let placing = scope.spawn(|| shop.place(&draft(&customer, "tok_visa"), Some(&customer)).unwrap());
            let id = wait_for_order(shop, &customer);
            std::thread::sleep(Duration::from_millis(millis));
            (placing.join(), shop.cancel(&id).unwrap())
        });
        let placed = placed.unwrap();
        assert_eq!((placed.status, cancelled.status), (201, 200), "{millis}: {placed:?} {cancelled:?}");
        assert_eq!(cancelled.body["status"], "cancelled", "{millis}");
        // A repeated request returns the final order and charges nothing.
        let again = shop.place(&draft(&customer, "tok_visa"), Some(&customer)).unwrap();
        assert_eq!((again.status, &again.body["status"]), (201, &"cancelled".into()), "{millis}");
    }
    let ledger = Ledger::read(host.state());
    ledger.check_settled("without a restart");
    assert!(ledger.payments.iter().all(|payment| payment.status != "captured"), "{:?}", ledger.payments);
}

/// An order is placed and cancelled at the same time, and the process is killed in the middle of both.
#[test]
fn a_kill_while_cancelling_meets_placing() {
    let mut dice = Dice::new(7);
    for _ in 0..12 {
        let folder = folder();
        let state = folder.path().join("state");
        let host = Launch::shop().state(&state).variable("FAILPOINTS", SLOW).start();
        let shop = Shop(host.listen());
        let before_cancel = Duration::from_millis(dice.below(60));
        let before_kill = Duration::from_millis(dice.below(80));
        let cancelled = std::thread::scope(|scope| {
            scope.spawn(|| shop.place(&draft("ada", "tok_visa"), Some("the key")));
            let id = wait_for_order(shop, "ada");
            let cancelling = scope.spawn(move || {
                std::thread::sleep(before_cancel);
                shop.cancel(&id)
            });
            std::thread::sleep(before_kill);
            host.kill();
            cancelling.join().unwrap()
        });
        let when = format!("cancelled after {before_cancel:?}, killed after {before_kill:?}");
        let host = Launch::shop().state(&state).start();
        let ledger = Ledger::read(host.state());
        ledger.check_settled(&when);
        if cancelled.is_ok_and(|answer| answer.status == 200) {
            assert_eq!(ledger.only().status, "cancelled", "{when}");
        }
    }
}

#[test]
fn one_key_sent_fifty_times_at_once_and_a_kill_between() {
    let folder = folder();
    let state = folder.path().join("state");
    for round in 0..4 {
        let key = format!("key {round}");
        let place = |shop: Shop| shop.place(&draft("ada", "tok_visa"), Some(&key));
        let host = Launch::shop().state(&state).variable("FAILPOINTS", SLOW).start();
        let shop = Shop(host.listen());
        let before: Vec<Answer> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..50).map(|_| scope.spawn(|| place(shop))).collect();
            std::thread::sleep(Duration::from_millis(40 * round));
            host.kill();
            clients.into_iter().filter_map(|client| client.join().unwrap().ok()).collect()
        });
        let host = Launch::shop().state(&state).start();
        Ledger::read(&state).check_settled(&key);
        let shop = Shop(host.listen());
        let after: Vec<Answer> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..50).map(|_| scope.spawn(|| place(shop).unwrap())).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        let ids: std::collections::BTreeSet<_> =
            before.iter().chain(&after).filter(|answer| answer.status == 201).map(Answer::id).collect();
        assert_eq!(ids.len(), 1, "{key}: {ids:?}");
        let refused = before.iter().chain(&after).find(|answer| ![201, 503].contains(&answer.status));
        assert!(refused.is_none(), "{key}: {refused:?}");
        let ledger = Ledger::read(&state);
        ledger.check_settled(&key);
        let count = round as usize + 1;
        assert_eq!((ledger.orders.len(), ledger.payments.len(), ledger.notices.len()), (count, count, count), "{key}");
        host.kill();
    }
}

#[test]
fn a_client_that_goes_away_has_ordered_all_the_same() {
    let host = Launch::shop().variable("FAILPOINTS", SLOW).start();
    for (count, key) in ["", "idempotency-key: the key\r\n"].into_iter().enumerate() {
        let mut stream = TcpStream::connect(host.listen()).unwrap();
        stream.write_all(request("POST", "/orders", key, Some(&draft("ada", "tok_visa"))).as_bytes()).unwrap();
        wait_for(host.state(), |ledger| ledger.orders.len() > count);
        drop(stream);
        if count == 1 {
            // The client comes back while its first request is still in progress.
            assert_eq!(Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap().status, 201);
        }
        wait_for(host.state(), |ledger| ledger.orders.iter().all(|order| order.notice == "sent"));
    }
    let ledger = Ledger::read(host.state());
    ledger.check_settled("after two clients left");
    assert_eq!((ledger.orders.len(), ledger.payments.len()), (2, 2));
}

/// A deadline interrupts a request as a crash does, but the host's process goes on.
#[test]
fn a_request_that_ran_out_of_time_is_repeated() {
    let app = copy_of_shop("[defaults.limits]\nrequest = \"300ms\"");
    let state = app.path().join("state");
    let host = Launch::app(&app.path().join("app.toml"))
        .state(&state)
        .variable("FAILPOINTS", "sql::committed=sleep(80)")
        .start();
    let place = || Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap();
    let mut answers = vec![place()];
    while answers.last().unwrap().status != 201 {
        assert!(answers.len() < 10, "{answers:?}");
        answers.push(place());
    }
    assert!(answers.len() > 1 && answers[0].status == 504, "{answers:?}");
    let ledger = wait_for(&state, |ledger| ledger.only().notice == "sent");
    ledger.check_settled("after a deadline");
    assert_eq!((ledger.payments.len(), ledger.notices.len()), (1, 1));
}

#[test]
fn a_stop_lets_orders_finish() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = Launch::shop().state(&state).variable("FAILPOINTS", SLOW).start();
    let shop = Shop(host.listen());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| shop.place(&draft("ada", "tok_visa"), None))).collect();
        wait_for(&state, |ledger| ledger.orders.len() > 3);
        // One more client has disconnected before the stop.
        let mut stream = TcpStream::connect(host.listen()).unwrap();
        stream.write_all(request("POST", "/orders", "", Some(&draft("bob", "tok_visa"))).as_bytes()).unwrap();
        wait_for_order(shop, "bob");
        drop(stream);
        host.signal(Signal::TERM);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(host.wait().success(), "{}", host.log());
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap().status, 201);
    }
    let host = Launch::shop().state(&state).start();
    let ledger = Ledger::read(host.state());
    ledger.check_settled("after a stop");
    assert_eq!(ledger.orders.len(), answers.len() + 1);
}

fn call(host: &Host, function: &str, arguments: &[Value]) -> Answer {
    let headers = format!("authorization: Bearer {}\r\n", host.token());
    let body = json!({"function": function, "arguments": arguments});
    send(host.admin(), "POST", "/call", &headers, Some(&body)).unwrap()
}

/// A module's function `resume` relies on it that no other call of the function runs. So an operator can't call it while a host runs.
#[test]
fn nobody_resumes_while_requests_are_served() {
    let host = Launch::shop().variable("FAILPOINTS", SLOW).start();
    let shop = Shop(host.listen());
    std::thread::scope(|scope| {
        let resuming = scope.spawn(|| {
            for interface in ["resume", "watertight:lifecycle/resume", "watertight:lifecycle/resume@1.0.0"] {
                let answer = call(&host, &format!("orders/{interface}.resume"), &[]);
                assert_eq!((answer.status, &answer.body["type"]), (409, &"/problems/reserved".into()), "{answer:?}");
            }
        });
        for order in 0..6 {
            let customer = format!("customer-{order}");
            let placing = scope.spawn({
                let customer = customer.clone();
                move || shop.place(&draft(&customer, "tok_visa"), None).unwrap()
            });
            shop.cancel(&wait_for_order(shop, &customer)).unwrap();
            placing.join().unwrap();
        }
        resuming.join().unwrap();
    });
    Ledger::read(host.state()).check_settled("with an operator who resumes");
    let found = call(&host, "orders/orders.list-orders", &[json!("customer-3"), json!(null), json!(null)]);
    assert_eq!(
        (found.status, found.body["result"]["ok"]["items"].as_array().map(Vec::len)),
        (200, Some(1)),
        "{found:?}"
    );
}

/// While a starting host resumes unfinished orders, it refuses other calls.
#[test]
fn nobody_calls_anything_before_the_host_is_ready() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=return").start();
    Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap_err();
    host.wait();
    let token = std::fs::read_to_string(state.join("admin.token")).unwrap();
    let (launched, refused) = std::thread::scope(|scope| {
        // Six commits of 150 ms make the start take nearly a second.
        let slow = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=sleep(150)");
        let starting = scope.spawn(|| slow.start());
        let mut refused = 0;
        while !starting.is_finished() {
            refused += u32::from(place_by_admin(&state, &token) == Some(503));
            std::thread::sleep(Duration::from_millis(20));
        }
        (starting.join().unwrap(), refused)
    });
    assert!(refused > 5, "the start was too fast for this test: {refused} refusals");
    Ledger::read(launched.state()).check_settled("after a slow start");
    assert_eq!(Shop(launched.listen()).list("ada")[0]["status"], "paid");
}

/// Asks a starting host, through its admin listener, to place an order. Returns the HTTP status, or `None` if the host doesn't listen yet
/// or is ready already.
fn place_by_admin(state: &Path, token: &str) -> Option<u16> {
    let text = std::fs::read_to_string(state.join("lock")).ok()?;
    let info: watertight_control::state::HostInfo = serde_json::from_str(&text).ok()?;
    if Shop(info.admin).get("/readyz").ok()?.status == 200 {
        return None;
    }
    let headers = format!("authorization: Bearer {token}\r\n");
    let draft = draft("bob", "tok_visa");
    let body = json!({"function": "orders/orders.place-order", "arguments": [draft, null]});
    let answer = send(info.admin, "POST", "/call", &headers, Some(&body)).ok()?;
    (answer.status == 503).then_some(503)
}

/// If no host runs, an operator may call `resume`, which finishes the orders that a crash left unfinished.
#[test]
fn an_operator_resumes_where_no_host_runs() {
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=2*off->return").start();
    Shop(host.listen()).place(&draft("ada", "tok_visa"), Some("the key")).unwrap_err();
    host.wait();
    let output = binary()
        .args(["call", "orders/resume.resume", "--json", "--app"])
        .arg(shop())
        .arg("--state")
        .arg(&state)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), r#"{"ok":false}"#, "{output:?}");
    let host = Launch::shop().state(&state).start();
    assert!(!host.log().contains("unfinished"), "the operator left something unfinished:\n{}", host.log());
    Ledger::read(&state).check_settled("after an operator resumed");
    assert_eq!(Shop(host.listen()).list("ada")[0]["status"], "paid");
}
