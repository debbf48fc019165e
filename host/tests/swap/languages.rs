//! One module in three languages, one after the other, while orders are placed: nobody notices.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::admin::Operator;
use crate::host::{self, Launch};
use crate::open::Load;
use crate::shop::customers;
use crate::wire::{get, once};

/// Requests in a second, while an interpreter is compiled on the same cores.
const RATE: f64 = 50.0;

/// What the customers were told, newest first, whichever build told them.
fn told(host: &host::Host) -> usize {
    let page = once(host.listen(), &get("/notifications?recipient=ada&limit=100")).unwrap().expect(200);
    let items = page.body["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["template"] == "order-placed"), "{items:?}");
    items.len()
}

#[test]
fn notifications_goes_through_three_languages_while_orders_are_placed() {
    let app = host::copy_of_shop("");
    let host = Launch::app(app.path()).start();
    let operator = Operator::of(&host);
    let load = Load::start(host.listen(), RATE, customers(&host)).unwrap();
    let mut before = told(&host);
    for (name, language) in [("notifications-go", "go"), ("notifications-js", "javascript"), ("notifications", "rust")]
    {
        operator.swapped("notifications", &std::fs::read(host::component(name)).unwrap());
        let modules = operator.get("/modules");
        let build = modules["modules"].as_array().unwrap().iter().find(|module| module["name"] == "notifications");
        assert_eq!(build.unwrap()["language"], language);
        // Further orders are told by this build, beside what the others told.
        while told(&host).min(99) <= before.min(98) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        before = told(&host);
    }
    // What was told last may still be of an order before the last swap: the load has to meet that build, too.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let run = load.stop().unwrap();
    assert!(run.broken.is_empty(), "{:?}", run.broken);
    assert!(run.wrong().is_empty(), "{:?}", run.unexpected);
    let answered: BTreeSet<u64> = run.answers.iter().map(|answer| answer.generation).collect();
    assert_eq!(answered, (1..=4).collect());
    let published: Vec<Value> =
        operator.generations()["generations"].as_array().unwrap().iter().map(|one| one["cause"].clone()).collect();
    assert_eq!(published, [json!("run"), json!("swap"), json!("swap"), json!("swap")]);
}
