//! Tests of a disk that is full for a while: requests that need space are answered with 503, the others as usual, and no acknowledged data
//! is lost.
//!
//! The kernel limits the size of each file of the host, like a quota. The limit is lifted while the host runs.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use watertight_testkit::host::{Host, Launch, folder};

use crate::client::{Shop, draft, request};
use crate::ledger::Ledger;

/// Limits the size of each file of the host to `most` bytes, or lifts the limit.
pub(crate) fn leave_room(host: &Host, most: Option<u64>) {
    let process = Pid::from_raw(host.process().try_into().unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: most, maximum: None }).unwrap();
}

/// Starts a host that ignores SIGXFSZ, the signal for a write beyond the limit of a file's size. The write fails instead.
fn start(state: &std::path::Path) -> Host {
    Launch::shop().state(state).under(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).start()
}

/// Places an order with the idempotency key `key`, and returns the whole text of the answer.
fn raw(host: &Host, key: &str) -> String {
    let mut stream = TcpStream::connect(host.listen()).unwrap();
    let key = format!("idempotency-key: {key}\r\n");
    stream.write_all(request("POST", "/orders", &key, Some(&draft("ada", "tok_visa"))).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.to_ascii_lowercase()
}

#[test]
fn a_full_disk_is_answered_503_until_there_is_room_again() {
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&state);
    let shop = Shop(host.listen());
    let mut told = BTreeSet::new();
    // The limits leave space for a few orders, or for none.
    for (round, most) in [200_000, 40_000, 0].into_iter().enumerate() {
        leave_room(&host, Some(most));
        let mut refused = 0;
        for number in 0..60 {
            let key = format!("{round} {number}");
            let answer = shop.place(&draft("ada", "tok_visa"), Some(&key)).unwrap();
            match answer.status {
                201 => drop(told.insert(answer.id().to_owned())),
                503 => {
                    assert_eq!(answer.body["type"], "/problems/storage-full", "{answer:?}");
                    assert_eq!(answer.body.get("payload"), None, "{answer:?}");
                    refused += 1;
                }
                _ => panic!("{answer:?}"),
            }
        }
        assert!(refused > 3, "{refused}: the disk was never full");
        let answer = raw(&host, "once more");
        assert!(answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: "), "{answer}");
        // Requests that need no space are answered.
        for id in &told {
            let answer = shop.get(&format!("/orders/{id}")).unwrap();
            assert_eq!((answer.status, &answer.body["status"]), (200, &"paid".into()), "{answer:?}");
        }
        let unknown = shop.get("/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        assert_eq!(unknown.status, 404, "the module's own error was replaced: {unknown:?}");
        let bad = shop.place(&serde_json::json!({"customer": "ada", "lines": [], "payment": "invoice"}), None).unwrap();
        assert_eq!(bad.status, 422, "{bad:?}");

        leave_room(&host, None);
        // The same host gets the same keys again. Each refused order is placed now, once.
        for number in 0..60 {
            let answer = shop.place(&draft("ada", "tok_visa"), Some(&format!("{round} {number}"))).unwrap();
            assert_eq!(answer.status, 201, "{answer:?}");
            told.insert(answer.id().to_owned());
        }
        let ledger = Ledger::read(&state);
        ledger.check_always("after there was room again");
        let held: BTreeSet<_> = ledger.orders.iter().map(|order| order.id.clone()).collect();
        assert!(told.is_subset(&held));
    }
    host.kill();
    let host = start(&state);
    let ledger = Ledger::read(&state);
    ledger.check_settled("a start after the disk was full");
    let held: BTreeSet<_> = ledger.orders.iter().map(|order| order.id.clone()).collect();
    assert!(told.is_subset(&held), "{:?}", told.difference(&held));
    assert_eq!(ledger.orders.len(), 180 + usize::from(held.len() > 180), "some key has no order or several");
    drop(host);
}
