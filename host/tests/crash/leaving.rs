//! Tests of clients that disconnect at random moments, from both listeners and the command line: every order is completed within a minute,
//! without a restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use watertight_testkit::host::{Host, Launch, binary, shop};

use crate::client::{draft, request};
use crate::kills::Dice;
use crate::ledger::Ledger;

/// The number of orders that clients place, unless the environment variable below sets another number.
const ORDERS: u64 = 1_000;
const ORDERS_VARIABLE: &str = "LEAVING_ORDERS";
/// The number of clients that place orders at the same time.
const CLIENTS: u64 = 4;
/// One in this many orders is placed through the command line, which starts a process for each.
const BY_COMMAND_LINE: u64 = 25;
/// The maximum time until every order is complete.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns the address and the text of the request that places the order with this number: to the data listener, or to the admin listener.
fn sent(host: &Host, token: &str, order: u64) -> (SocketAddr, String) {
    let draft = draft(&format!("customer {order}"), "tok_visa");
    // Every third order has no key, so it can't be requested again.
    let key = (!order.is_multiple_of(3)).then(|| format!("key {order}"));
    if order.is_multiple_of(2) {
        let header = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        return (host.listen(), request("POST", "/orders", &header, Some(&draft)));
    }
    let call = json!({ "function": "orders/orders.place-order", "arguments": [draft, key] });
    (host.admin(), request("POST", "/call", &format!("authorization: Bearer {token}\r\n"), Some(&call)))
}

/// Sends a request and closes the connection after `time`. If `reset` is true, closes it with a TCP reset. Returns whether the whole
/// request was sent.
fn send_and_leave((address, text): &(SocketAddr, String), time: Duration, reset: bool) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    if stream.write_all(text.as_bytes()).is_err() {
        return false;
    }
    stream.set_read_timeout(Some(time.max(Duration::from_micros(1)))).unwrap();
    // An answer that comes earlier ends the wait.
    let _ = stream.read(&mut [0; 64]);
    if reset {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    true
}

/// Places an order through the command line, and ends the process after `time` with the signal of a closed terminal or of `kill -9`.
fn call_and_leave(host: &Host, order: u64, time: Duration) {
    let draft = draft(&format!("customer {order}"), "tok_visa").to_string();
    let mut command = binary();
    command.args(["call", "orders/orders.place-order", &draft, "null", "--app"]).arg(shop());
    let mut child =
        command.arg("--state").arg(host.state()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time);
    let process = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let signal = if order.is_multiple_of(2) { rustix::process::Signal::KILL } else { rustix::process::Signal::HUP };
    // The process may have ended already.
    let _ = rustix::process::kill_process(process, signal);
    child.wait().unwrap();
}

#[test]
fn clients_that_leave_leave_whole_orders() {
    let orders = std::env::var(ORDERS_VARIABLE).map_or(ORDERS, |text| text.parse().unwrap());
    let host = Launch::shop().start();
    let (token, next, sent_whole) = (host.token(), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (host, token, next, sent_whole) = (&host, &token, &next, &sent_whole);
            scope.spawn(move || {
                let mut dice = Dice::new(client);
                loop {
                    let order = next.fetch_add(1, Relaxed);
                    if order >= orders {
                        return;
                    }
                    if order % BY_COMMAND_LINE == 0 {
                        call_and_leave(host, order, Duration::from_millis(dice.below(400)));
                        continue;
                    }
                    let time = Duration::from_micros(dice.below(4_000));
                    let whole = send_and_leave(&sent(host, token, order), time, dice.below(2) == 0);
                    sent_whole.fetch_add(u64::from(whole), Relaxed);
                }
            });
        }
    });
    let start = Instant::now();
    let (mut seen, mut since) = (0, Instant::now());
    let (ledger, time) = loop {
        let ledger = Ledger::read(host.state());
        let is_open =
            |order: &&crate::ledger::Order| order.status == "pending" || order.notice != "sent" || order.refund_due;
        let open = ledger.orders.iter().filter(is_open).count();
        if ledger.orders.len() != seen {
            (seen, since) = (ledger.orders.len(), Instant::now());
        }
        // The last requests may have been read without having begun, so wait one more second.
        if open == 0 && since.elapsed() > Duration::from_secs(1) {
            break (ledger, start.elapsed());
        }
        assert!(start.elapsed() < TIMEOUT, "{open} of {seen} orders are not complete:\n{ledger}");
        std::thread::sleep(Duration::from_millis(100));
    };
    ledger.check_settled("after clients that left");
    assert!(ledger.orders.iter().all(|order| order.status == "paid"), "{ledger}");
    assert_eq!(ledger.orders.len(), ledger.payments.len());
    // Enough requests must have been read before their clients disconnected.
    let most = sent_whole.load(Relaxed);
    assert!(seen as u64 * 2 > most, "{seen} orders of {most} requests");
    eprintln!("{seen} orders of {orders} clients, all complete {time:?} after the last one left");
}
