//! Tests the steps in `wit/README.md` for adding a field to a record: versions 1.x and 2.0 of a contract run side by side until every
//! consumer has moved.

use std::fs;

use serde_json::json;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::components::component_of;
use watertight_testkit::host::{Host, Launch, folder};
use watertight_testkit::wire::{Answer, once, request};

const WIT: &str = "
    package test:test;
    world stock-1 { export shop:stock/stock@1.0.0; }
    world stock-both { export shop:stock/stock@1.1.0; export shop:stock/stock@2.0.0; }
    world stock-2 { export shop:stock/stock@2.0.0; }
    world caller-1 { import shop:stock/stock@1.0.0; export shop:sale/sale@1.0.0; }
    world caller-2 { import shop:stock/stock@2.0.0; export shop:sale/sale@1.0.0; }
    package shop:stock@1.0.0 {
        interface stock { type amount = u32; record item { count: amount } take: func(item: item) -> u32; }
    }
    package shop:stock@1.1.0 {
        interface stock { record article { count: u32 } take: func(item: article) -> u32; left: func() -> u32; }
    }
    package shop:stock@2.0.0 {
        interface stock { record item { count: u32, pack: u32 } take: func(item: item) -> u32; left: func() -> u32; }
    }
    package shop:sale@1.0.0 { interface sale { sell: func(count: u32) -> u32; } }";

/// The core function `take` of the contract's versions 1.x: it returns the count plus 100.
const TAKE_1: &str = r#"(func (export "shop:stock/stock@{v}#take") (param i32) (result i32)
    (i32.add (local.get 0) (i32.const 100)))"#;
/// The core function `take` of the contract's version 2.0: it multiplies the count by the pack and adds 200.
const TAKE_2: &str = r#"(func (export "shop:stock/stock@{v}#take") (param i32 i32) (result i32)
    (i32.add (i32.mul (local.get 0) (local.get 1)) (i32.const 200)))"#;
const LEFT: &str = r#"(func (export "shop:stock/stock@{v}#left") (result i32) (i32.const 7))"#;

fn stock(world: &str) -> Vec<u8> {
    let one = |version: &str, left: &str| format!("{TAKE_1}{left}").replace("{v}", version);
    let two = format!("{TAKE_2}{LEFT}").replace("{v}", "2.0.0");
    let functions = match world {
        "stock-1" => one("1.0.0", ""),
        "stock-both" => one("1.1.0", LEFT) + &two,
        _ => two,
    };
    component_of(WIT, world, &format!("(module {functions})"))
}

/// Returns the component of a module that calls one version of the contract. A caller of version 2.0 takes packs of ten.
fn caller(world: &str) -> Vec<u8> {
    let (version, parameters, pack) = match world {
        "caller-1" => ("1.0.0", "i32", ""),
        _ => ("2.0.0", "i32 i32", "(i32.const 10)"),
    };
    let core = format!(
        r#"(module
             (import "shop:stock/stock@{version}" "take" (func $take (param {parameters}) (result i32)))
             (func (export "shop:sale/sale@1.0.0#sell") (param i32) (result i32) (call $take (local.get 0) {pack})))"#
    );
    component_of(WIT, world, &core)
}

const MANIFEST: &str = "[app]\nname = \"sales\"\nroutes = [\"routes.toml\"]\n[modules.stock]\ncomponent = \"stock.wasm\"\n\
    [modules.desk]\ncomponent = \"desk.wasm\"\ncalls = [\"stock\"]\n\
    [modules.till]\ncomponent = \"till.wasm\"\ncalls = [\"stock\"]\n";

/// A small application in a folder, and the host that runs it.
struct Shop {
    folder: tempfile::TempDir,
    host: Host,
}

impl Shop {
    fn start() -> Self {
        let folder = folder();
        fs::write(folder.path().join("app.toml"), MANIFEST).unwrap();
        write_routes(folder.path(), "stock/stock.take");
        for (name, component) in
            [("stock", stock("stock-1")), ("desk", caller("caller-1")), ("till", caller("caller-1"))]
        {
            fs::write(folder.path().join(format!("{name}.wasm")), component).unwrap();
        }
        let host = Launch::app(folder.path()).start();
        Self { folder, host }
    }

    /// Writes a new build of a module to the application's folder, and swaps the module to the build. Returns the number of the new
    /// generation.
    fn swap(&self, module: &str, component: &[u8]) -> u64 {
        fs::write(self.folder.path().join(format!("{module}.wasm")), component).unwrap();
        Operator::of(&self.host).swapped(module, component)
    }

    /// Requests a swap that the host must refuse. Returns the code, module and file of each problem.
    fn refused(&self, module: &str, component: &[u8]) -> Vec<String> {
        let answer = Operator::of(&self.host).swap(module, component).expect(409);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let problems = answer.body["problems"].as_array().unwrap().iter();
        let file =
            |problem: &serde_json::Value| text(&problem["file"]).rsplit('/').next().unwrap_or_default().to_owned();
        problems.map(|p| format!("{} {} {}", text(&p["code"]), text(&p["module"]), file(p))).collect()
    }

    /// Changes the function that the route `/take` calls to `call`, and applies the change. Returns the number of the generation.
    fn route(&self, call: &str) -> u64 {
        write_routes(self.folder.path(), call);
        published(&Operator::of(&self.host).apply(self.folder.path(), false))
    }

    fn take(&self, body: &serde_json::Value) -> Answer {
        let kind = [("content-type", "application/json")];
        once(self.host.listen(), &request("POST", "/take", &kind, body.to_string().as_bytes())).unwrap()
    }

    /// Returns the answers of the three routes that lead to the function `take`, each for a count of 5. `item` is the body for the first.
    fn answers(&self, item: &serde_json::Value) -> [u64; 3] {
        let sold = |path: &str| once(self.host.listen(), &request("GET", path, &[], b"")).unwrap();
        [self.take(item), sold("/desk/5"), sold("/till/5")].map(|answer| answer.expect(200).body.as_u64().unwrap())
    }
}

fn write_routes(folder: &std::path::Path, call: &str) {
    let routes = format!(
        "[[route]]\nmethod = \"POST\"\npath = \"/take\"\ncall = \"{call}\"\nbody = \"item\"\n\
         [[route]]\nmethod = \"GET\"\npath = \"/desk/{{count}}\"\ncall = \"desk/sale.sell\"\n\
         [[route]]\nmethod = \"GET\"\npath = \"/till/{{count}}\"\ncall = \"till/sale.sell\"\n"
    );
    fs::write(folder.join("routes.toml"), routes).unwrap();
}

#[test]
fn a_field_is_added_while_requests_are_served() {
    let shop = Shop::start();
    let (old, new) = (json!({ "count": 5 }), json!({ "count": 5, "pack": 3 }));
    assert_eq!(shop.answers(&old), [105, 105, 105]);

    // A swap to 2.0 alone would break every consumer. The refusal names each of them.
    let both = ["missing-export desk app.toml", "missing-export till app.toml"];
    assert_eq!(shop.refused("stock", &stock("stock-2")), both);

    // 1. Routes name their version. Until then, a build with both versions is refused.
    assert_eq!(shop.refused("stock", &stock("stock-both")), ["ambiguous stock routes.toml"]);
    assert_eq!(shop.route("stock/stock@1.take"), 2);
    assert_eq!(shop.answers(&old), [105, 105, 105]);

    // 2. The provider serves both versions. Its 1.1 renames types and adds a function.
    assert_eq!(shop.swap("stock", &stock("stock-both")), 3);
    assert_eq!(shop.answers(&old), [105, 105, 105]);

    // 3. Consumers move, one by one. The last consumer of 1.x keeps it alive.
    assert_eq!(shop.swap("desk", &caller("caller-2")), 4);
    assert_eq!(shop.answers(&old), [105, 250, 105]);
    let left = ["missing-export till app.toml", "unknown-function stock routes.toml"];
    assert_eq!(shop.refused("stock", &stock("stock-2")), left);
    assert_eq!(shop.swap("till", &caller("caller-2")), 5);
    assert_eq!(shop.answers(&old), [105, 250, 250]);

    // 4. Routes move.
    assert_eq!(shop.refused("stock", &stock("stock-2")), ["unknown-function stock routes.toml"]);
    assert_eq!(shop.route("stock/stock@2.take"), 6);
    assert_eq!(shop.take(&old).status, 400, "the route must require the new field");
    assert_eq!(shop.answers(&new), [215, 250, 250]);

    // 5. Version 1.x is removed.
    assert_eq!(shop.swap("stock", &stock("stock-2")), 7);
    assert_eq!(shop.answers(&new), [215, 250, 250]);
}
