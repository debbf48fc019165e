//! Tests, from the system calls of a host, that data was on the disk before the answer that acknowledged it was sent.

use std::path::PathBuf;
use std::process::Command;

use watertight_testkit::host::{Launch, binary, check_strace, folder, shop};

use crate::client::{Shop, draft};
use crate::trace::{Call, STRACE, read, traced};

/// Returns the system calls of a host that placed one order and answered every kind of read, and the path of its state folder.
fn trace_of_an_order() -> (Vec<Call>, String) {
    let folder = folder();
    let (file, state) = (folder.path().join("trace"), folder.path().join("state"));
    let host = traced(Launch::shop().state(&state), &file).start();
    let shop = Shop(host.listen());
    let order = shop.place(&draft("ada", "tok_visa"), None).unwrap();
    assert_eq!(order.status, 201, "{order:?}");
    let payment = order.body["payment_id"].as_str().unwrap();
    let (order, payment) = (format!("/orders/{}", order.id()), format!("/payments/{payment}"));
    for path in [order.as_str(), payment.as_str(), "/orders?customer=ada", "/notifications?recipient=ada"] {
        assert_eq!(shop.get(path).unwrap().status, 200, "{path}");
    }
    host.kill();
    (read(&file), state.to_str().unwrap().to_owned())
}

fn answer<'a>(calls: &'a [Call], start: &str) -> &'a Call {
    calls.iter().find(|call| call.answer().is_some_and(|text| text.starts_with(start))).unwrap()
}

/// Returns whether a sync of `file` to the disk began after the line `after` of the trace and ended before the line `before`.
fn synced(calls: &[Call], file: &str, after: usize, before: usize) -> bool {
    calls.iter().any(|call| call.is_sync() && call.file() == file && call.began > after && call.ended < before)
}

#[test]
fn what_an_order_writes_is_synced_before_its_answer_leaves() {
    let (calls, state) = trace_of_an_order();
    let created = answer(&calls, "HTTP/1.1 201");
    // The lock file gets the host's addresses once the databases are open and idle.
    let ready =
        calls.iter().rfind(|call| call.name == "write" && call.file() == format!("{state}/lock")).unwrap().ended;
    let mut first_writes = Vec::new();
    for (module, commits) in [("orders", 3), ("payments", 2), ("notifications", 1)] {
        let wal = format!("{state}/data/{module}.db-wal");
        let writes = calls.iter().filter(|call| call.name == "pwrite64" && call.file() == wal && call.began > ready);
        let writes: Vec<_> = writes.collect();
        let last = writes.last().unwrap_or_else(|| panic!("{module} wrote nothing"));
        assert!(last.ended < created.began, "{module} wrote after the answer");
        assert!(synced(&calls, &wal, last.ended, created.began), "{module}'s log was not synced before the answer");
        let syncs = calls.iter().filter(|call| call.name == "fdatasync" && call.file() == wal && call.began > ready);
        assert_eq!(syncs.count(), commits, "{module}: the number of syncs differs from the number of commits");
        first_writes.push((wal, writes[0].began));
    }
    // The order is durable before payments is called, and the payment is durable before the answer.
    for pair in first_writes.windows(2) {
        let [(wal, began), (next, next_began)] = pair else { unreachable!() };
        assert!(synced(&calls, wal, *began, *next_began), "{next} was written before {wal} was synced");
    }
}

#[test]
fn reads_sync_nothing() {
    let (calls, _) = trace_of_an_order();
    let created = answer(&calls, "HTTP/1.1 201").began;
    let answers = calls.iter().filter(|call| call.began > created && call.answer().is_some());
    assert_eq!(answers.count(), 4, "not every read was answered");
    let syncs: Vec<_> = calls.iter().filter(|call| call.began > created && call.name.contains("sync")).collect();
    assert!(syncs.is_empty(), "{syncs:?}");
}

/// The name of a new folder or file is durable only once its parent folder is synced.
#[test]
fn the_names_of_new_folders_and_files_are_synced() {
    check_strace();
    let folder = folder();
    let (file, state) = (folder.path().join("trace"), folder.path().join("new/deep/state"));
    let draft = draft("ada", "tok_visa").to_string();
    let call = ["call", "orders/orders.place-order", &draft, "--app"];
    // The host creates the folder itself, as on a new machine.
    let mut command = Command::new("strace");
    command.args(STRACE).arg(&file).arg(binary().get_program()).args(call).arg(shop()).arg("--state").arg(&state);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let calls = read(&file);
    let answered = calls.iter().rfind(|call| call.name == "write" && call.arguments.starts_with("1<")).unwrap().began;
    let data = state.join("data");
    let made = ["orders", "payments", "notifications"].map(|name| data.join(name).with_extension("db"));
    for path in state.ancestors().take(3).chain([data.as_path()]).chain(made.iter().map(PathBuf::as_path)) {
        let name = path.to_str().unwrap();
        let makes = |call: &&Call| {
            let is_new = call.name == "mkdir" || call.arguments.contains("O_EXCL");
            is_new && call.well && call.bytes().concat() == name.as_bytes()
        };
        let call = calls.iter().find(makes).unwrap_or_else(|| panic!("nothing made {name}"));
        let parent = path.parent().unwrap().to_str().unwrap();
        assert!(synced(&calls, parent, call.ended, answered), "{name} is new, and {parent} was not synced");
    }
}
