//! Tests of the shop while its modules are swapped under a steady load of writes and reads. No request may fail.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use watertight_testkit::admin::Operator;
use watertight_testkit::builds::with_build_id;
use watertight_testkit::host::{self, Host, Launch};
use watertight_testkit::open::{Load, Request};
use watertight_testkit::paths::repository;
use watertight_testkit::wire::{get, once, request};

/// The number of requests per second. An unoptimised host serves this rate easily on a busy machine.
const RATE: f64 = 100.0;
/// The pause between two swaps.
const PAUSE: Duration = Duration::from_millis(100);
const MODULES: [&str; 4] = ["orders", "payments", "notifications", "products"];

/// Returns a component of the shop's module `module` that is a new build, with the build id `build`.
pub(crate) fn new_build(module: &str, build: &str) -> Vec<u8> {
    host::shop();
    let bytes = std::fs::read(repository().join("target/components").join(module).with_extension("wasm")).unwrap();
    with_build_id(&bytes, build)
}

pub(crate) fn draft() -> Value {
    json!({
        "customer": "ada",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price": {"currency": "EUR", "minor": 450}}],
        "payment": {"card": "tok_visa"},
    })
}

fn place() -> Vec<u8> {
    request("POST", "/orders", &[("content-type", "application/json")], draft().to_string().as_bytes())
}

/// Returns a function from the number of a customers' request to the request: one in ten places an order, the others read one.
pub(crate) fn customers(host: &Host) -> impl Fn(u64) -> Request + Send + 'static {
    let order = once(host.listen(), &place()).unwrap().expect(201);
    let id = order.body["id"].as_str().unwrap();
    let place: Arc<[u8]> = place().into();
    let read: Arc<[u8]> = get(&format!("/orders/{id}")).into();
    move |number| match number % 10 {
        0 => Request { bytes: place.clone(), status: 201 },
        _ => Request { bytes: read.clone(), status: 200 },
    }
}

fn every_module_is_swapped_under_load(settings: &str) {
    let app = host::copy_of_shop(settings);
    let host = Launch::app(app.path()).start();
    let operator = Operator::of(&host);
    let load = Load::start(host.listen(), RATE, customers(&host)).unwrap();
    std::thread::sleep(PAUSE);
    let mut generation = 1;
    for round in 0..2 {
        for module in MODULES {
            generation += 1;
            let build = format!("{module}{round}");
            assert_eq!(operator.swapped(module, &new_build(module, &build)), generation);
            std::thread::sleep(PAUSE);
        }
    }
    let builds: Vec<Value> =
        operator.get("/modules")["modules"].as_array().unwrap().iter().map(|module| module["build"].clone()).collect();
    assert!(builds.iter().all(|build| build.as_str().unwrap().ends_with('1')), "{builds:?}");
    let run = load.stop().unwrap();
    assert!(run.broken.is_empty(), "{:?}", run.broken);
    // A transaction allows 100 ms between statements. A busy machine may exceed that.
    let busy = run.unexpected.iter().filter(|told| told.contains("the database is busy")).count();
    let wrong: u64 = run.wrong().values().sum();
    assert!(
        wrong as usize == busy && wrong * 100 <= run.answers.len() as u64,
        "{:?}: {:#?}",
        run.wrong(),
        run.unexpected
    );
    let answered: BTreeSet<u64> = run.answers.iter().map(|answer| answer.generation).collect();
    assert_eq!(answered, (1..=generation).collect(), "some generation answered no request");
    let orders = once(host.listen(), &get("/orders?customer=ada")).unwrap().expect(200);
    assert!(!orders.body["items"].as_array().unwrap().is_empty());
}

#[test]
fn every_module_is_swapped_under_load_fused() {
    every_module_is_swapped_under_load("");
}

#[test]
fn every_module_is_swapped_under_load_apart() {
    every_module_is_swapped_under_load(
        "[compartments.a]\nmodules = [\"orders\"]\n[compartments.b]\nmodules = [\"payments\"]\n\
         [compartments.c]\nmodules = [\"notifications\"]\n",
    );
}

/// An operator swaps and rolls back modules through the command line. Builds in other languages are swapped in the same way.
#[test]
fn the_command_line_swaps_rolls_back_and_tells() {
    let app = host::copy_of_shop("");
    let host = Launch::app(app.path()).start();
    let file = app.path().join("new.wasm");
    std::fs::write(&file, new_build("payments", "never-seen")).unwrap();
    let run = |arguments: &[&str]| {
        let admin = format!("--admin={}", host.admin());
        let mut command = host::binary();
        command.env("WATERTIGHT_ADMIN_TOKEN", host.token());
        let output = command.args(arguments).arg(admin).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let app = app.path().join("app.toml");
    let (file, app) = (file.to_str().unwrap(), app.to_str().unwrap());
    let (code, plan, said) = run(&["swap", "payments", file, "--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(plan.contains("module payments, build ") && plan.contains("never-seen"), "{plan}");
    assert_eq!(Operator::of(&host).generations()["current"], 1);
    let (code, _, said) = run(&["swap", "payments", file]);
    assert!(code == Some(0) && said.contains("generation 2 serves"), "{said}");
    let (code, plan, said) = run(&["swap", "payments", file]);
    assert!(code == Some(0) && said.contains("already") && plan.contains("nothing changes"), "{plan}{said}");
    // The disk still has the old build.
    let (code, plan, said) = run(&["apply", app]);
    assert!(code == Some(0) && plan.contains("payments") && said.contains("generation 3 serves"), "{plan}{said}");
    let (code, _, said) = run(&["rollback"]);
    assert!(code == Some(0) && said.contains("generation 4 serves"), "{said}");
    let (code, _, said) = run(&["rollback", "1"]);
    assert!(code == Some(0) && said.contains("generation 5 serves"), "{said}");
    let (code, _, said) = run(&["rollback", "77"]);
    assert!(code == Some(1) && said.contains("the history doesn't keep generation 77"), "{said}");
    let orders = host::component("orders");
    let (code, _, said) = run(&["swap", "payments", orders.to_str().unwrap()]);
    let first =
        said.find("the component given for module `payments` exports the interfaces of module `orders`").unwrap();
    assert!(code == Some(1) && said.find("exports nothing").is_none_or(|second| first < second), "{said}");
    // The plan names the changed limits and grants, and the settings that take effect only at the next start.
    let mut manifest = std::fs::read_to_string(app).unwrap();
    manifest.push_str("[defaults.limits]\ncpu = \"5s\"\n[http]\nin_flight = 100\n");
    std::fs::write(app, manifest.replacen("\"random\"]", "\"random\", \"config\"]", 1)).unwrap();
    for dry in [&["--dry-run"][..], &[], &[]] {
        let (code, plan, said) = run(&[&["apply", app], dry].concat());
        let limit = plan.contains("\n    limits.cpu 5s in place of 10s\n");
        let grants = plan.contains("\n    + uses config\n");
        assert!(code == Some(0) && limit == grants && limit != said.contains("already"), "{plan}{said}");
        assert!(plan.contains("`http` takes effect at the next start"), "{plan}");
    }
    let (code, told, _) = run(&["generations"]);
    assert_eq!(code, Some(0));
    for words in ["run", "swap of payments", "apply", "rollback to 2", "rollback to 1", "current", "refused"] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
}
