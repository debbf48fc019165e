//! Tests that each module has its own database, whatever it requests, and whichever modules share its compartment's Wasmtime store.

use serde_json::{Value, json};
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::{self, Host};
use watertight_testkit::paths::repository;
use watertight_testkit::setup::{Placement, Setup};

use crate::shop::{card, draft};

placements! {
    async fn modules_have_their_own_data_even_in_one_store;
    async fn a_module_is_configured_by_its_own_values_alone;
    async fn no_statement_reaches_another_modules_data;
    async fn a_query_only_reads_and_an_execute_says_what_it_changed;
    async fn a_transaction_left_open_ends_with_its_call;
    async fn a_handle_means_nothing_after_its_end;
    async fn one_transaction_at_a_time_and_nothing_beside_it;
    async fn a_lease_ends_without_statements;
    async fn a_statement_ends_at_the_deadline;
    async fn data_belongs_to_the_name_and_outlives_the_build;
}

/// Returns an application with two modules, `a` and `b`, of the same component, and a module `pair` that calls `a`. Without other
/// `settings`, which are appended to the manifest, `setup` says which modules share a compartment.
fn three(setup: Setup, settings: &str) -> App {
    let (probe, pair) = (guest("probe"), guest("pair"));
    let uses = "uses = [\"sql\", \"logging\", \"clocks\", \"config\"]";
    setup.place(App::new(&format!(
        "[app]\nname = \"three\"\n[modules.a]\ncomponent = {probe:?}\n{uses}\nconfig = {{ colour = \"red\" }}\n[modules.b]\ncomponent = {probe:?}\n{uses}\n\
         [modules.pair]\ncomponent = {pair:?}\n{uses}\ncalls = [\"a\"]\nconfig = {{ size = \"9\" }}\n{settings}\n"
    )))
}

async fn query(host: &Host, module: &str, statement: &str) -> Value {
    host.called(&format!("{module}/raw.query"), json!([statement, []])).await
}

async fn execute(host: &Host, module: &str, statement: &str) -> Value {
    host.called(&format!("{module}/raw.execute"), json!([statement, []])).await
}

/// Runs a script of database operations in the test guest `probe`, which is the module `module`. Returns the outcome of each step.
async fn script(host: &Host, module: &str, steps: Value) -> Vec<String> {
    let said = host.called(&format!("{module}/raw.script"), json!([steps])).await;
    serde_json::from_value(said).unwrap()
}

async fn notes(host: &Host, module: &str) -> Vec<String> {
    let rows = query(host, module, "SELECT text FROM note ORDER BY id").await;
    let rows = rows["ok"].as_array().unwrap_or_else(|| panic!("{rows}"));
    rows.iter().map(|row| row[0]["text"].as_str().unwrap().to_owned()).collect()
}

fn write(text: &str) -> String {
    format!("INSERT INTO note (text) VALUES ('{text}')")
}

async fn modules_have_their_own_data_even_in_one_store(setup: Setup) {
    let host = three(setup, "").launch().start();
    let both = host.called("pair/pair.write-both", json!(["mine", "theirs"])).await;
    assert_eq!(both, json!([["mine"], ["theirs"]]));
    assert_eq!(execute(&host, "b", &write("b")).await, json!({ "ok": 1 }));
    assert_eq!(notes(&host, "a").await, ["theirs"]);
    assert_eq!(notes(&host, "b").await, ["b"]);
    // An open transaction of one module is separate from those of others, and doesn't block their writers.
    assert_eq!(host.called("pair/pair.write-within", json!(["mine-2", "theirs-2"])).await, "committed");
    assert_eq!(notes(&host, "a").await, ["theirs", "theirs-2"]);
    // A callee's trap also ends a fused caller. For a callee in another compartment whose function has no suitable error type, the host
    // answers the request.
    let fused = setup.placement == Placement::Together;
    let trapped = host.call("pair/pair.trap-other", &json!([])).await.expect(if fused { 500 } else { 503 });
    assert_eq!(trapped.problem(), if fused { "module-failed" } else { "unavailable" });
    assert_eq!(notes(&host, "a").await, ["theirs", "theirs-2"]);
}

async fn a_module_is_configured_by_its_own_values_alone(setup: Setup) {
    let host = three(setup, "").launch().start();
    assert_eq!(host.called("pair/pair.configured", json!(["size"])).await, json!(["9", ["size"]]));
    assert_eq!(host.called("pair/pair.configured", json!(["colour"])).await, json!([null, ["size"]]));
}

async fn no_statement_reaches_another_modules_data(setup: Setup) {
    // The module named `orders` runs any SQL, next to the real payments.
    let (probe, payments) = (guest("probe"), repository().join("target/components/payments.wasm"));
    let app = setup.place(App::new(&format!(
        "[app]\nname = \"shop\"\n[modules.orders]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [modules.payments]\ncomponent = {payments:?}\nuses = [\"sql\", \"logging\", \"clocks\", \"random\", \"config\"]\n"
    )));
    drop(host::shop());
    let host = app.launch().start();
    let charge = json!({ "amount": { "currency": "EUR", "minor": 1 }, "method": "invoice", "reference": "r" });
    let payment = host.called("payments/payments.authorize", json!([charge, "k"])).await;
    assert_eq!(payment["ok"]["status"], "authorized");

    let file = host.state().join("data/payments.db");
    assert!(file.is_file());
    let file = file.display();
    let statements = [
        "SELECT * FROM payments".to_owned(),
        "SELECT * FROM main.payments".to_owned(),
        "SELECT * FROM payments.payments".to_owned(),
        "SELECT * FROM temp.payments".to_owned(),
        format!("SELECT * FROM '{file}'.payments"),
        format!("ATTACH '{file}' AS p"),
        format!("ATTACH DATABASE 'file:{file}?mode=ro' AS p"),
        "ATTACH 'payments.db' AS p".to_owned(),
        "ATTACH ':memory:' AS m".to_owned(),
        "DETACH main".to_owned(),
        format!("VACUUM INTO '{file}.copy'"),
        format!("PRAGMA temp_store_directory = '{file}'"),
        "PRAGMA database_list".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        format!("SELECT readfile('{file}')"),
        format!("SELECT writefile('{file}', '')"),
        format!("CREATE VIRTUAL TABLE t USING csv(filename = '{file}')"),
        format!("CREATE VIRTUAL TABLE t USING zipfile('{file}')"),
        "BEGIN".to_owned(),
        "BEGIN IMMEDIATE".to_owned(),
        "COMMIT".to_owned(),
        "ROLLBACK".to_owned(),
        "SAVEPOINT s".to_owned(),
        "RELEASE s".to_owned(),
        "CREATE TABLE t (a)".to_owned(),
        "CREATE TEMP TABLE t (a)".to_owned(),
        "DROP TABLE note".to_owned(),
        "ALTER TABLE note ADD COLUMN a".to_owned(),
        "REINDEX".to_owned(),
        "ANALYZE".to_owned(),
        "SELECT 1; SELECT * FROM payments".to_owned(),
        "SELECT * FROM watertight_migrations".to_owned(),
        "\0".to_owned(),
        String::new(),
    ];
    for statement in &statements {
        for refused in [query(&host, "orders", statement).await, execute(&host, "orders", statement).await] {
            assert!(refused["err"]["syntax"].is_string(), "{statement}: {refused}");
            // The error may repeat the module's own statement, but no path of the host.
            let path = host.state().to_str().unwrap();
            assert!(
                statement.contains(path) || !refused.to_string().contains(path),
                "the error tells a path: {refused}"
            );
        }
        let step = json!(["begin", { "execute": statement }, { "query": statement }, { "execute": write(&format!("w{}", statement.len())) }, "drop"]);
        let said = script(&host, "orders", step).await;
        assert!(said[1].starts_with("syntax") && said[2].starts_with("syntax"), "{statement}: {said:?}");
        assert_eq!((&*said[3], &*said[4]), ("1", "ok"), "{statement} ends the transaction: {said:?}");
    }
    assert_eq!(notes(&host, "orders").await, [""; 0]);
    let kept = host.called("payments/payments.get-payment", json!([payment["ok"]["id"]])).await;
    assert_eq!(kept, payment);
    let files: Vec<_> = std::fs::read_dir(host.state().join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(files.iter().all(|file| !file.to_string_lossy().contains("copy")), "{files:?}");
}

async fn a_query_only_reads_and_an_execute_says_what_it_changed(setup: Setup) {
    let host = three(setup, "").launch().start();
    assert!(query(&host, "a", &write("x")).await["err"]["syntax"].is_string());
    assert_eq!(notes(&host, "a").await, [""; 0]);
    assert_eq!(execute(&host, "a", "INSERT INTO note (text) VALUES ('x'), ('y')").await, json!({ "ok": 2 }));
    let broken = execute(&host, "a", &write("x")).await;
    assert_eq!(broken, json!({ "err": { "constraint": { "kind": "unique", "detail": "note.text" } } }));
    let values = json!(["SELECT ?1, ?2, ?3, ?4, ?5", ["null", { "integer": -9007199254740993i64 }, { "real": 0.5 }, { "text": "é\0" }, { "blob": "AP8=" }]]);
    let row = host.called("a/raw.query", values.clone()).await;
    assert_eq!(row["ok"][0], values[1]);
}

async fn a_transaction_left_open_ends_with_its_call(setup: Setup) {
    for mode in ["reuse", "fresh"] {
        let host = three(setup, &format!("[defaults.instances]\nmode = \"{mode}\"")).launch().start();
        let left =
            script(&host, "a", json!(["begin", { "execute": write("lost") }, { "query": "SELECT * FROM note" }])).await;
        assert_eq!(left, ["ok", "1", "1"]);
        assert_eq!(notes(&host, "a").await, [""; 0], "{mode}");
        // The writer is free at once.
        assert_eq!(execute(&host, "a", &write("kept")).await, json!({ "ok": 1 }));
        // The same holds after a trap.
        let steps = json!([["begin", { "execute": write("lost") }, "trap"]]);
        host.call("a/raw.script", &steps).await.expect(500);
        assert_eq!(execute(&host, "a", &write("kept too")).await, json!({ "ok": 1 }));
        assert_eq!(notes(&host, "a").await, ["kept", "kept too"], "{mode}");
    }
}

async fn a_handle_means_nothing_after_its_end(setup: Setup) {
    let host = three(setup, "").launch().start();
    // Within the same call, the commit has consumed the handle, so the engine traps.
    let forged = json!([["begin", { "execute": write("x") }, "commit", "use_committed"]]);
    host.call("a/raw.script", &forged).await.expect(500);
    assert_eq!(notes(&host, "a").await, ["x"]);
    // In a later call of the same instance, the handle refers to nothing.
    assert_eq!(script(&host, "a", json!(["begin", { "execute": write("y") }, "keep"])).await, ["ok", "1", "ok"]);
    let said = script(&host, "a", json!(["take", { "query": "SELECT 1" }, { "execute": write("z") }, "commit"])).await;
    assert_eq!(said, ["ok", "closed", "closed", "closed"]);
    // It doesn't refer to a transaction of the later call either.
    assert_eq!(script(&host, "a", json!(["begin", "keep"])).await, ["ok", "ok"]);
    let steps = json!(["begin", { "execute": write("z") }, "take", { "execute": write("forged") }, "commit"]);
    assert_eq!(script(&host, "a", steps).await, ["ok", "1", "ok", "closed", "closed"]);
    assert_eq!(notes(&host, "a").await, ["x"]);
}

async fn one_transaction_at_a_time_and_nothing_beside_it(setup: Setup) {
    let host = three(setup, "").launch().start();
    let steps = json!([
        "begin", { "execute": write("in") }, "begin", { "execute_outside": write("out") },
        { "query_outside": "SELECT * FROM note" }, { "query": "SELECT * FROM note" }, "commit",
        { "query_outside": "SELECT * FROM note" }, "begin", "drop", "begin", { "execute": write("in") }, { "execute": write("two") }, "commit",
    ]);
    let said = script(&host, "a", steps).await;
    // A failed statement undoes only itself and leaves its transaction open.
    let expected = [
        "ok",
        "1",
        "busy",
        "busy",
        "0",
        "1",
        "ok",
        "1",
        "ok",
        "ok",
        "ok",
        "constraint ConstraintKind::Unique note.text",
        "1",
        "ok",
    ];
    assert_eq!(said, expected);
    assert_eq!(notes(&host, "a").await, ["in", "two"]);
}

async fn a_lease_ends_without_statements(setup: Setup) {
    let host = three(setup, "").launch().start();
    let slow = json!(["begin", { "execute": write("slow") }, { "wait": 400 }, { "execute": write("late") }, "commit"]);
    let slow = script(&host, "a", slow);
    let others = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let start = std::time::Instant::now();
        assert_eq!(execute(&host, "a", &write("quick")).await, json!({ "ok": 1 }));
        start.elapsed()
    };
    let (said, waited) = tokio::join!(slow, others);
    assert_eq!(said[..2], ["ok", "1"]);
    assert_eq!(said[3], "timeout", "{said:?}");
    assert!(said[4] == "timeout" || said[4] == "closed", "{said:?}");
    assert!(waited < std::time::Duration::from_millis(300), "{waited:?}");
    assert_eq!(notes(&host, "a").await, ["quick"]);
}

async fn a_statement_ends_at_the_deadline(setup: Setup) {
    let host = three(setup, "[defaults.limits]\nrequest = \"400ms\"").launch().start();
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let start = std::time::Instant::now();
    let answer = host.call("a/raw.query", &json!([endless, []])).await;
    // Either the database reports a typed error, or the call's own deadline ends it first.
    assert!(answer.status == 504 || answer.body["result"]["err"] == "timeout", "{answer:?}");
    assert!(start.elapsed() < std::time::Duration::from_secs(3));
    let endless = format!("INSERT INTO note (text) {endless}");
    let answer = host.call("a/raw.execute", &json!([endless, []])).await;
    assert!(answer.status == 504 || answer.body["result"]["err"] == "timeout", "{answer:?}");
    assert_eq!(execute(&host, "a", &write("after")).await, json!({ "ok": 1 }));
    assert_eq!(notes(&host, "a").await, ["after"]);
}

#[tokio::test]
async fn a_module_without_the_grant_does_not_start() {
    let probe = guest("probe");
    let app = App::new(&format!("[app]\nname = \"x\"\n[modules.a]\ncomponent = {probe:?}\nuses = [\"logging\"]\n"));
    let (status, log) = app.launch().expect_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("[ungranted]") && log.contains("watertight:sql/sql@1.0.0"), "{log}");
    assert!(log.contains("wasi:clocks/wall-clock"), "{log}");
}

async fn data_belongs_to_the_name_and_outlives_the_build(setup: Setup) {
    let state = host::folder();
    let folder = state.path().join("state");
    let shop = setup.shop().state(&folder).start();
    shop.post("/orders", &draft("ada", card("t"))).await.expect(201);
    drop(shop);
    let shop = setup.shop_with("[defaults.instances]\nmode = \"fresh\"").launch().state(&folder).start();
    assert_eq!(shop.get("/orders?customer=ada").await.expect(200).body["items"].as_array().unwrap().len(), 1);
    for name in ["orders", "payments", "notifications", "products"] {
        assert!(folder.join(format!("data/{name}.db")).is_file());
    }
}
