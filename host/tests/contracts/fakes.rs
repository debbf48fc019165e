//! Tests of fakes: a module without a component, whose calls are answered by a script or by default values.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use watertight_json::Codec;
use watertight_model::config::{Overrides, load_manifest};
use watertight_model::problem::Code;
use watertight_suite::fake::{FakeSource, ServedFakes, default_value};
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::documents::encode;
use watertight_testkit::types::types;
use watertight_testkit::{host, kiosk};

use crate::app::App;

/// Returns the application of a kiosk. The stock that it calls is not written yet.
fn kiosk() -> App {
    let app = App::new(kiosk::MANIFEST)
        .file("routes.toml", kiosk::ROUTES)
        .file("wit/stock/stock.wit", kiosk::STOCK)
        .file("wit/kiosk/kiosk.wit", kiosk::KIOSK);
    fs::write(app.path().join("kiosk.wasm"), kiosk::component()).unwrap();
    app
}

/// Adds a suite whose only case has these fakes and steps.
fn with_case(app: App, fake: &Value, steps: &Value) -> App {
    let suite = json!({
        "interface": "field:kiosk/kiosk@1.0.0", "cases": [{ "name": "a case", "fake": fake, "steps": steps }]
    });
    app.file("wit/kiosk/suite/kiosk.json", &suite.to_string())
}

fn sell(sku: &str, answer: &Value) -> Value {
    json!({ "call": "sell", "arguments": [sku, 2], "answer": answer })
}

fn test(app: &App, more: &[&str]) -> CommandOutput {
    run(host::binary().args(["test", "kiosk", "--no-build"]).args(more).current_dir(app.path()))
}

proptest! {
    #[test]
    fn the_default_value_of_every_type_is_valid(ty in types()) {
        let codec = Codec::new("it", &ty).unwrap();
        let value = default_value(&ty).unwrap();
        let decoded = codec.decode(value.to_string().as_bytes()).unwrap();
        let back: Value = serde_json::from_slice(&encode(&codec, &decoded)).unwrap();
        prop_assert_eq!(codec.decode(back.to_string().as_bytes()).unwrap(), decoded);
    }
}

#[test]
fn a_module_is_tested_without_its_neighbour() {
    let app = with_case(kiosk(), &json!({}), &json!([sell("tea", &json!({"ok": 0}))]));
    // Without a fake, the neighbour is missing.
    let said = test(&app, &[]).expect(1);
    assert!(said.err.contains("no such component file"), "{}", said.err);
    assert!(test(&app, &["--fake", "stock=default"]).expect(0).err.ends_with("1 passed, 0 failed\n"));

    // A script of its own, by its path and by its name.
    let app = app.file("wit/stock/fake/seven.json", r#"{ "answers": [{ "call": "take", "answer": { "ok": 7 } }] }"#);
    for name in ["wit/stock/fake/seven.json", "seven", "seven.json"] {
        let said = test(&app, &["--fake", &format!("stock={name}")]).expect(1);
        assert!(said.err.contains("found    7"), "{}", said.err);
    }
    let said = test(&app, &["--fake", "stock=eight"]).expect(1);
    assert!(said.err.contains("wit/stock/fake/eight.json"), "{}", said.err);
    assert!(test(&app, &["--fake", "stock=default", "--fake", "stock=seven"]).expect(1).err.contains("twice"));
    assert!(test(&app, &["--fake", "shelf=default"]).expect(1).err.contains("`shelf`"));
    assert!(test(&app, &["--fake", "kiosk=default"]).expect(1).err.contains("nothing of it to test"));
}

#[test]
fn a_script_answers_by_arguments_in_order_with_errors_traps_and_delays() {
    let fake = json!({ "stock": { "answers": [
        { "call": "take", "arguments": ["none"], "answer": { "err": { "storage": "no shelf" } } },
        { "call": "take", "arguments": ["broken"], "trap": "the shelf fell" },
        { "call": "stock.take", "arguments": ["tea", { "$any": "count" }], "answer": { "ok": { "$value": "count" } }, "times": 1 },
        { "call": "take", "arguments": ["tea"], "answer": { "err": { "unavailable": "sold out" } }, "times": 2 },
        { "call": "take", "arguments": ["tea"], "default": true, "delay": "20ms" }
    ] } });
    let trapped = json!({ "err": { "unavailable": "module `stock` is unavailable: it failed" } });
    let steps = json!([
        sell("none", &json!({ "err": { "storage": "no shelf" } })),
        sell("broken", &trapped),
        sell("tea", &json!({ "ok": 2 })),
        sell("tea", &json!({ "err": { "unavailable": "sold out" } })),
        { "called": "stock", "calls": [
            { "call": "take", "arguments": ["none", 2] }, { "call": "take", "arguments": ["broken"] },
            { "call": "take", "arguments": ["tea"], "times": 2 }
        ] },
        sell("tea", &json!({ "err": { "unavailable": "sold out" } })),
        sell("tea", &json!({ "ok": 0 })),
        sell("tea", &json!({ "ok": 0 })),
        { "called": "stock", "calls": [{ "call": "take", "times": 3 }] }
    ]);
    let app = with_case(kiosk(), &fake, &steps);
    assert!(test(&app, &[]).expect(0).err.ends_with("1 passed, 0 failed\n"));
}

#[test]
fn an_async_function_is_faked() {
    let with_async = |text: &str| text.replace(": func(sku: string, count", ": async func(sku: string, count");
    let (stock, contract) = (with_async(kiosk::STOCK), with_async(kiosk::KIOSK));
    let app = kiosk().file("wit/stock/stock.wit", &stock).file("wit/kiosk/kiosk.wit", &contract);
    fs::write(app.path().join("kiosk.wasm"), kiosk::component_for(&stock, &contract)).unwrap();
    let fake = json!({ "stock": { "answers": [
        { "call": "take", "arguments": ["tea"], "answer": { "ok": 7 }, "delay": "10ms" }, { "call": "take", "trap": "it fell" }
    ] } });
    let failed = json!({ "err": { "unavailable": "module `stock` is unavailable: it failed" } });
    let app = with_case(app, &fake, &json!([sell("tea", &json!({ "ok": 7 })), sell("cup", &failed)]));
    assert!(test(&app, &[]).expect(0).err.ends_with("1 passed, 0 failed\n"));
}

#[test]
fn what_was_called_is_checked() {
    let answers = json!([{ "call": "take", "arguments": ["tea"], "answer": { "ok": 1 }, "times": 1 }]);
    let once = json!([sell("tea", &json!({ "ok": 1 }))]);
    let fake = |calls: Value| json!({ "stock": { "answers": answers, "calls": calls } });
    for (calls, steps, said) in [
        (json!([{ "call": "take", "arguments": ["tea", 2] }]), once.clone(), "1 passed, 0 failed"),
        (json!([{ "call": "take", "arguments": ["tea", 3] }]), once.clone(), "/0/arguments/1"),
        (json!([]), once.clone(), r#"found    {"arguments":["tea",2],"call":"take"}"#),
        (json!([{ "call": "take" }, { "call": "look" }]), once.clone(), r#"expected {"arguments":[],"call":"look"}"#),
        (json!([{ "call": "look" }]), once.clone(), "/0/call"),
        // A call that no answer is left for, or that none is for.
        (
            json!([]),
            json!([sell("tea", &json!({ "ok": 1 })), sell("tea", &json!({ "ok": 1 }))]),
            r#"step 2, sell: unexpected call of `stock`: take("tea", 2); its fake in "#,
        ),
        (json!([]), json!([sell("cup", &json!({ "ok": 1 }))]), r#"expects take("tea", …) (0 of 1 times)"#),
    ] {
        let app = with_case(kiosk(), &fake(calls), &steps);
        let test = test(&app, &[]);
        assert!(test.err.contains(said), "{said}: {}", test.err);
    }
    let answer_by_value = json!({ "stock": { "answers": [
        { "call": "take", "arguments": [{ "$any": "sku" }], "answer": { "ok": { "$value": "sku" } } }
    ] } });
    let app = with_case(kiosk(), &answer_by_value, &once);
    let said = test(&app, &[]).expect(1).err;
    assert!(said.contains("to `take` doesn't fit `result<u32, variant error>`: /ok: expected an integer"), "{said}");
}

#[test]
fn each_fault_of_a_script_is_told_with_its_place_and_type() {
    for (script, faults) in [
        (json!([]), &["/: expected an object"][..]),
        (json!({ "answer": [] }), &["/answer: unknown key; the keys here are contract, answers, otherwise, calls"]),
        (json!({ "otherwise": "nothing" }), &["/otherwise: expected \"default\""]),
        (
            json!({ "answers": [
                { "call": "take", "answer": { "ok": "many" } },
                { "call": "tak", "answer": null },
                { "call": "take" },
                { "call": "take", "answer": { "ok": 1 }, "delay": "2h" },
                { "call": "look", "answer": { "sku": "a", "sizes": [1, -1] } },
                { "call": "take", "arguments": [1, 2, 3], "answer": { "ok": { "$value": "x" } }, "times": 0 },
                { "call": "take", "answer": { "ok": { "$any": null } } }
            ], "calls": [{ "call": "give" }] }),
            &[
                "/answers/0/answer/ok: expected an integer from 0 to 4294967295, found \"many\"; `take` returns `result<u32, variant error>`",
                "/answers/1/call: the contract has no function `tak`, only `stock.look`, `stock.take`",
                "/answers/2: expected one of `answer`, which is `result<u32, variant error>`, `\"default\": true`, and `trap`",
                "/answers/3/delay: expected a time of at most 60s such as \"200ms\", found \"2h\"",
                "/answers/4/answer/sizes/1: expected an integer from 0 to 4294967295, found -1; `look` returns `record piece`",
                "/answers/5/arguments: `take` has 2 parameters, found 3 arguments",
                "/answers/5/times: expected an integer from 1 to 100000, found 0",
                "/answers/5/answer: `$value` names `x`, which no placeholder in `arguments` keeps",
                "/answers/6/answer: the placeholder {\"$any\":null} matches many values",
                "/calls/0/call: the contract has no function `give`",
            ],
        ),
    ] {
        let app = kiosk().file("broken.json", &script.to_string());
        let said =
            run(host::binary().args(["fake", "stock", "--check", "broken.json"]).current_dir(app.path())).expect(1);
        for fault in faults {
            assert!(said.err.contains(fault), "{fault}\n{}", said.err);
        }
        assert!(said.err.contains("broken.json"), "{}", said.err);
    }
    // A script in a suite has its place there.
    let app = with_case(
        kiosk(),
        &json!({ "stock": { "answers": [{ "call": "take", "answer": 1 }] } }),
        &json!([sell("a", &json!(1))]),
    );
    let said = test(&app, &[]).expect(1).err;
    assert!(
        said.contains("kiosk.json` has faults:") && said.contains("/cases/0/fake/stock/answers/0/answer: "),
        "{said}"
    );
}

#[test]
fn a_starter_is_made_from_the_contract_and_fits_it() {
    let app = kiosk();
    let starter = app.out(&["fake", "stock"]);
    let script: Value = serde_json::from_str(&starter).unwrap();
    assert_eq!(script["answers"][0]["answer"], json!({ "sku": "", "note": null, "sizes": [] }));
    let app = app.file("wit/stock/fake/first.json", &starter);
    app.out(&["fake", "stock", "--check", "first"]);
    let app = with_case(app, &json!({ "stock": "first" }), &json!([sell("tea", &json!({ "ok": 0 }))]));
    assert!(test(&app, &[]).expect(0).err.ends_with("1 passed, 0 failed\n"));
}

#[test]
fn functions_of_two_versions_have_names_of_their_own() {
    let package =
        |version: &str| format!("package field:books@{version};\ninterface books {{ get: func(id: u32) -> string; }}");
    let wit =
        "package field:shelf; world component { export field:books/books@1.0.0; export field:books/books@2.1.0; }";
    let app = kiosk()
        .file("wit/books-1/books.wit", &package("1.0.0"))
        .file("wit/books-2/books.wit", &package("2.1.0"))
        .file("shelf/wit/shelf.wit", wit);
    let starter = app.out(&["fake", "shelf"]);
    assert!(starter.contains("\"books@1.get\"") && starter.contains("\"books@2.get\""), "{starter}");
    let app = app.file("starter.json", &starter);
    app.out(&["fake", "shelf", "--check", "starter.json"]);
    for (name, fault) in [
        ("books@2.1.get", None),
        ("field:books/books@1.0.0.get", None),
        ("get", Some("`get` means several functions; write one of `books@1.get`, `books@2.get`")),
        ("books.get", Some("`books.get` means several functions; write one of `books@1.get`, `books@2.get`")),
        ("books@3.get", Some("the contract has no function `books@3.get`, only `books@1.get`, `books@2.get`")),
    ] {
        let script = json!({ "answers": [{ "call": name, "answer": "" }], "calls": [{ "call": name }] });
        fs::write(app.path().join("named.json"), script.to_string()).unwrap();
        let command = ["fake", "shelf", "--check", "named.json"];
        let said = run(host::binary().args(command).current_dir(app.path())).expect(i32::from(fault.is_some()));
        assert!(said.err.contains(fault.unwrap_or("fits")), "{name}: {}", said.err);
    }
}

#[test]
fn a_changed_script_is_read_again_and_its_fault_told_once() {
    let script = |answer: &str| format!(r#"{{ "answers": [{{ "call": "take", "answer": {answer} }}] }}"#);
    let app = kiosk().file("wit/stock/fake/mine.json", &script(r#"{ "ok": 7 }"#));
    let config = load_manifest(app.path(), &Overrides::default()).unwrap();
    let sources = [("stock".parse().unwrap(), FakeSource::named("mine", Path::new("")))].into();
    let served = ServedFakes::read(&config, &sources).unwrap();
    assert_eq!(served.renew().len(), 0);
    let write = |text: &str| {
        let file = app.path().join("wit/stock/fake/mine.json");
        let before = file.metadata().unwrap().modified().unwrap();
        fs::write(&file, text).unwrap();
        let later = before + Duration::from_secs(1);
        fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    };
    write(&script("7"));
    let changed = served.renew();
    assert_eq!((changed.len(), served.renew().len()), (1, 0));
    assert_eq!(changed[0].module.as_str(), "stock");
    assert!(changed[0].fault.as_ref().unwrap().contains("/answers/0/answer"), "{changed:?}");
    write(&script(r#"{ "ok": 8 }"#));
    let changed = served.renew();
    assert!(changed.len() == 1 && changed[0].fault.is_none(), "{changed:?}");
}

#[test]
fn a_suite_of_a_version_that_no_module_has_is_told() {
    let suite = |version: &str| {
        let interface = format!("field:kiosk/kiosk@{version}");
        json!({ "interface": interface, "cases": [{ "name": "a case", "steps": [sell("tea", &json!({"ok": 0}))] }] })
            .to_string()
    };
    let app =
        kiosk().file("wit/kiosk/suite/kiosk.json", &suite("1.0.0")).file("wit/kiosk/suite/later.json", &suite("2.0.0"));
    let said = test(&app, &["--fake", "stock=default"]).expect(0).err;
    let told = "later.json`: it is for `field:kiosk/kiosk@2.0.0`, and modules export `field:kiosk/kiosk@1.0.0`";
    assert!(said.contains(told) && said.ends_with("1 passed, 0 failed\n"), "{said}");
}

#[test]
fn what_a_fake_cannot_make_is_refused_in_plain_words() {
    for (body, said) in [
        ("resource shelf; open: func() -> shelf;", "has the resource `shelf`, and a fake can't make handles"),
        ("take: func() -> stream<u8>;", "a type that a fake can't make: `result`: a stream"),
        ("take: func(x: option<option<u8>>);", "an option directly in an option"),
        ("record r { a: u8 }", "exports no interface with functions"),
    ] {
        let app =
            kiosk().file("wit/stock/stock.wit", &format!("package field:stock@1.0.0;\ninterface stock {{ {body} }}"));
        let refused = run(host::binary().args(["fake", "stock"]).current_dir(app.path())).expect(1);
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    let app = kiosk();
    fs::remove_dir_all(app.path().join("wit/stock")).unwrap();
    let refused = run(host::binary().args(["fake", "stock"]).current_dir(app.path())).expect(1);
    assert!(refused.err.contains("name the package in the fake: \"contract\""), "{}", refused.err);
}

#[test]
fn a_misspelt_name_is_told_with_the_nearest() {
    let app = kiosk();
    // A contract without a module has a first script, too.
    let app = app.file("wit/shelf/shelf.wit", "package field:shelf;\ninterface shelf { look: func(); }");
    app.out(&["fake", "shelf"]);
    for (arguments, said) in [
        (&["fake", "stok"][..], "no module and no contract has the name `stok`; did you mean `stock`?"),
        (&["fake", "shef"], "did you mean `shelf`?"),
        (&["fake", "xyz"], "no contract has the name `xyz`; the known names are `kiosk`, `shelf`, `stock`"),
        (&["test", "kiosk", "--fake", "stok=default"], "`stok` can't be faked: the manifest has no such module"),
        (&["test", "kiosk", "--fake", "stok=default"], "did you mean `stock`?; a faked module needs its table"),
        (&["dev", "--fake", "stok=default"], "did you mean `stock`?"),
        (&["check", "--fake", "stok=default"], "did you mean `stock`?"),
        (&["test", "--fake", "shelf=default"], "a faked module needs its table [modules.shelf] as well"),
        (
            &["test", "kiosc"],
            "`kiosc` is neither a module of `kiosk`, nor a file, nor a folder beside the manifest; did",
        ),
        (&["test", "kiosk.wasm", "--as", "kioks"], "`kiosk` has no module `kioks`; did you mean `kiosk`?"),
    ] {
        let refused = run(host::binary().args(arguments).current_dir(app.path())).expect(1);
        assert!(refused.err.contains(said), "{arguments:?}: {}", refused.err);
    }
}

#[test]
fn check_and_graph_take_fakes_and_production_refuses_them() {
    let app = kiosk();
    assert_eq!(app.problems()[0].0, "unreadable");
    app.out(&["check", "--fake", "stock=default"]);
    let graph = app.out(&["graph", "--fake", "stock=default"]);
    assert!(graph.contains("its module is faked"), "{graph}");
    for command in ["run", "apply"] {
        let refused = run(host::binary().args([command, "--fake", "stock=default"]).current_dir(app.path())).expect(1);
        assert!(refused.err.contains("serves no fakes"), "{}", refused.err);
    }
    // The component of a fake has no code, and a host says so.
    fs::copy(app.path().join("target/fakes/stock.wasm"), app.path().join("stock.wasm")).unwrap();
    let manifest = fs::read_to_string(app.path().join("app.toml")).unwrap();
    let app = app.file("app.toml", &manifest.replace("component = \"stock\"", "component = \"stock.wasm\""));
    let problems = app.problems();
    assert_eq!(problems[0].0, Code::NotAComponent.as_str());
    assert!(problems[0].1.contains("is a fake: it has no code"), "{problems:?}");
}

#[test]
fn cases_that_look_into_a_faked_module_leave_that_out() {
    let stock = "field:stock/stock@1.0.0";
    let app = kiosk();
    let suite = json!({ "interface": "field:kiosk/kiosk@1.0.0", "cases": [
        { "name": "looks", "steps": [
            sell("tea", &json!({ "ok": 0 })), { "query": "select 1", "of": stock, "rows": [[{ "$any": "n" }]] }
        ] },
        { "name": "writes", "steps": [{ "execute": "delete from t", "of": stock }] },
        { "name": "depends", "steps": [
            { "query": "select 1", "of": stock, "rows": [[{ "$any": "n" }]] }, sell("tea", &json!({ "ok": { "$value": "n" } }))
        ] },
        { "name": "needs it", "fake": { "stock": false }, "steps": [sell("tea", &json!({ "ok": 0 }))] }
    ] });
    let app = app.file("wit/kiosk/suite/kiosk.json", &suite.to_string());
    let said = test(&app, &["--fake", "stock=default"]).expect(0).err;
    for part in [
        "without 1 step that looks into a faked module",
        "skipped writes: step 1 writes to the database of `stock`, which is faked",
        "skipped depends: step 2 needs `n`, which a faked module can't tell",
        "skipped needs it: it needs the real `stock`",
        "1 passed, 0 failed, 3 skipped\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
