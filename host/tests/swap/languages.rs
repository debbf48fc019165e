//! Tests swaps of one module through builds in six languages while orders are placed. No request may fail.

use std::collections::BTreeSet;

use serde_json::Value;
use watertight_testkit::admin::Operator;
use watertight_testkit::host::{self, Launch};
use watertight_testkit::open::Load;
use watertight_testkit::wire::{get, once};

use crate::shop::customers;

/// The builds of the module in the order of the swaps, each with its language. At the start the one in Rust runs.
const BUILDS: [(&str, &str); 6] = [
    ("notifications-go", "go"),
    ("notifications-c", "c"),
    ("notifications-js", "javascript"),
    ("notifications-ts", "typescript"),
    ("notifications-py", "python"),
    ("notifications", "rust"),
];

/// The number of requests per second. It is low because the host compiles interpreters on the same cores in the meantime.
const RATE: f64 = 50.0;

/// Returns the number of notifications that a customer got from all builds together.
fn told(host: &host::Host) -> usize {
    let page = once(host.listen(), &get("/notifications?recipient=ada&limit=100")).unwrap().expect(200);
    let items = page.body["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["template"] == "order-placed"), "{items:?}");
    items.len()
}

#[test]
fn notifications_goes_through_all_languages_while_orders_are_placed() {
    let app = host::copy_of_shop("");
    let host = Launch::app(app.path()).start();
    let operator = Operator::of(&host);
    let load = Load::start(host.listen(), RATE, customers(&host)).unwrap();
    let mut before = told(&host);
    for (name, language) in BUILDS {
        operator.swapped("notifications", &std::fs::read(host::component(name)).unwrap());
        let modules = operator.get("/modules");
        let build = modules["modules"].as_array().unwrap().iter().find(|module| module["name"] == "notifications");
        assert_eq!(build.unwrap()["language"], language);
        // The new build handles further notifications, and still lists those of the builds before it.
        while told(&host).min(99) <= before.min(98) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        before = told(&host);
    }
    // The last notification may belong to an order from before the last swap. The load must also reach the new build.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let run = load.stop().unwrap();
    assert!(run.broken.is_empty(), "{:?}", run.broken);
    assert!(run.wrong().is_empty(), "{:?}", run.unexpected);
    let answered: BTreeSet<u64> = run.answers.iter().map(|answer| answer.generation).collect();
    assert_eq!(answered, (1..=BUILDS.len() as u64 + 1).collect());
    let published: Vec<Value> =
        operator.generations()["generations"].as_array().unwrap().iter().map(|one| one["cause"].clone()).collect();
    assert_eq!(published.len(), BUILDS.len() + 1);
    assert!(published[0] == "run" && published[1..].iter().all(|cause| cause == "swap"), "{published:?}");
}
