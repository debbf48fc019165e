//! Tests of power cuts: only data that a host synced is certain to be on the disk. Any part of the other writes may be there too.
//!
//! The writes in a host's trace are replayed onto copies of its databases, up to a chosen line. A start on such a copy is a start after a
//! power cut at that line. File names are taken as durable once created; `durability.rs` tests those.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use watertight_testkit::host::{Launch, folder};

use crate::client::{Shop, draft};
use crate::kills::Dice;
use crate::ledger::Ledger;
use crate::trace::{Call, read, traced};

/// Which of a file's unsynced writes reach the disk in a simulated power cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// No unsynced write reaches the disk.
    Lost,
    /// Some unsynced writes reach the disk: each completely, by half, or not at all. The choice is random, from this seed.
    Torn(u64),
}

/// A simulated file on a disk: its durable content and its unsynced writes.
#[derive(Debug, Clone, Default)]
struct Disk {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }

    fn torn(&self, dice: &mut Dice) -> Option<Self> {
        match (dice.below(3), self) {
            (0, _) => None,
            (1, Self::Write(offset, data)) => {
                // Disks write whole sectors.
                let half = data.len() / 2 / 512 * 512;
                let halves = [(*offset, &data[..half]), (*offset + half, &data[half..])];
                let (offset, data) = halves[dice.below(2) as usize];
                Some(Self::Write(offset, data.to_vec()))
            }
            _ => Some(self.clone()),
        }
    }
}

/// Returns a new state folder whose database files are as a power cut leaves them just before the line `line` of the trace.
fn after_a_cut(calls: &[Call], state: &Path, line: usize, cut: Cut) -> TempDir {
    let data = state.join("data");
    let mut disks: BTreeMap<String, Disk> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.began < line) {
        if call.name == "unlink" && call.well {
            let removed = String::from_utf8(call.bytes().concat()).unwrap();
            disks.remove(&removed);
            continue;
        }
        if Path::new(call.file()).parent() != Some(&data) || call.file().ends_with("-shm") {
            continue;
        }
        let disk = disks.entry(call.file().to_owned()).or_default();
        match call.name.as_str() {
            // A call in progress at the cut may have been executed or not.
            "pwrite64" => disk.pending.push(Change::Write(call.number(), call.bytes().concat())),
            "ftruncate" => disk.pending.push(Change::Length(call.number())),
            "fsync" | "fdatasync" if call.ended < line && call.well => {
                disk.pending.drain(..).for_each(|change| change.apply(&mut disk.synced));
            }
            "fsync" | "fdatasync" | "openat" | "mkdir" => {}
            other => panic!("the databases are written by {other}, which can't be played back"),
        }
    }
    let folder = folder();
    let copy = folder.path().join("state/data");
    fs::create_dir_all(&copy).unwrap();
    for (name, disk) in disks {
        let mut bytes = disk.synced;
        if let Cut::Torn(seed) = cut {
            let mut dice = Dice::new(seed);
            disk.pending.iter().filter_map(|change| change.torn(&mut dice)).for_each(|change| change.apply(&mut bytes));
        }
        fs::write(copy.join(Path::new(&name).file_name().unwrap()), bytes).unwrap();
    }
    folder
}

#[test]
fn power_cuts_while_an_order_is_placed() {
    let folder = folder();
    let (file, state) = (folder.path().join("trace"), folder.path().join("state"));
    let place = |shop: Shop| shop.place(&draft("ada", "tok_visa"), Some("the key")).unwrap();
    let host = traced(Launch::shop().state(&state), &file).start();
    let answered = place(Shop(host.listen()));
    host.kill();

    let calls = read(&file);
    let ready = calls.iter().rfind(|call| call.file().ends_with("state/lock")).unwrap().ended;
    let created = calls.iter().find(|call| call.answer().is_some_and(|text| text.starts_with("HTTP/1.1 201"))).unwrap();
    // The cuts are before, during and after each sync, and in the middle of the writes between them.
    let syncs = calls.iter().filter(|call| call.began > ready && call.name == "fdatasync");
    let mut cuts: Vec<_> = syncs.flat_map(|call| [(call.began, Cut::Lost), (call.ended + 1, Cut::Lost)]).collect();
    let torn: Vec<_> = cuts.iter().map(|&(line, _)| (line, Cut::Torn(line as u64))).collect();
    cuts.extend(torn.into_iter().step_by(2));
    assert!(cuts.len() >= 18, "fewer cuts than six commits give: {cuts:?}");

    for (line, cut) in cuts {
        let folder = after_a_cut(&calls, &state, line, cut);
        let state = folder.path().join("state");
        let host = Launch::shop().state(&state).start();
        let when = format!("after a power cut at line {line}, {cut:?}");
        Ledger::read(&state).check_settled(&when);
        let again = place(Shop(host.listen()));
        assert_eq!(again.status, 201, "{when}");
        if line > created.began {
            assert_eq!(again, answered, "{when}");
        }
        let ledger = Ledger::read(&state);
        assert_eq!(
            (ledger.only().status.as_str(), ledger.payments.len(), ledger.notices.len()),
            ("paid", 1, 1),
            "{when}"
        );
    }
}

/// No power cut undoes what an answer told a client, about the client's own order or another's.
#[test]
fn nothing_is_told_that_a_power_cut_could_take_back() {
    let folder = folder();
    let (file, state) = (folder.path().join("trace"), folder.path().join("state"));
    // Slow syncs let many writes and reads happen between them.
    let launch = Launch::shop().state(&state).variable("FAILPOINTS", "sql::committed=sleep(3)");
    let host = traced(launch, &file).start();
    let shop = Shop(host.listen());
    std::thread::scope(|scope| {
        for customer in ["ada", "bob", "eve"] {
            scope.spawn(move || {
                for order in 0..4 {
                    let card = if order == 2 { "tok_declined" } else { "tok_visa" };
                    let placed = shop.place(&draft(customer, card), None).unwrap();
                    if order == 3 {
                        assert_eq!(shop.cancel(placed.id()).unwrap().status, 200);
                    }
                }
            });
        }
        for customer in ["ada", "bob", "eve"] {
            scope.spawn(move || (0..25).for_each(|_| drop(shop.list(customer))));
        }
    });
    host.kill();

    let calls = read(&file);
    let ready = calls.iter().rfind(|call| call.file().ends_with("state/lock")).unwrap().ended;
    let mut told = 0;
    for call in calls.iter().filter(|call| call.began > ready) {
        let Some(answer) = call.answer() else { continue };
        let orders = orders_in(&answer);
        if orders.is_empty() {
            continue;
        }
        let folder = after_a_cut(&calls, &state, call.began, Cut::Lost);
        let ledger = Ledger::read(&folder.path().join("state"));
        ledger.check_always(&format!("at line {}", call.began));
        for order in orders {
            told += 1;
            let kept = ledger.orders.iter().find(|kept| order["id"] == *kept.id);
            let kept = kept.unwrap_or_else(|| panic!("line {}: {order} was in an answer and is lost", call.began));
            let moved_on = rank(&kept.status) >= rank(order["status"].as_str().unwrap());
            assert!(moved_on, "line {}: {order} was in an answer, and {kept:?} is what the disk has", call.began);
        }
    }
    assert!(told > 50, "only {told} orders were in answers");
}

/// Returns the orders in an answer.
fn orders_in(answer: &str) -> Vec<Value> {
    let body: Value =
        answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()).unwrap_or_default();
    match body.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None if body.get("lines").is_some() => vec![body],
        None => Vec::new(),
    }
}

/// Returns the position of a status in the life of an order. A later status has a higher number.
fn rank(status: &str) -> u8 {
    match status {
        "pending" => 0,
        "paid" | "declined" => 1,
        "cancelled" => 2,
        _ => panic!("{status} is no status"),
    }
}
