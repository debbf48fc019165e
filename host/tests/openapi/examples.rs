//! Examples of calls in documents: how routes write them, which are left out, and that they belong to the generation.

use serde_json::{Value, json};
use watertight_openapi::format::OpenApi;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::app::App;
use watertight_testkit::command::run;
use watertight_testkit::host;
use watertight_testkit::paths::repository;

use crate::documents::{door, printed};
use crate::{document_with, with_python_package};

const WIT: &str = "
package test:test;
world stock { export demo:stock/stock@1.2.0; }
package demo:stock@1.2.0 {
    interface stock {
        record item { id: u64, big-name: string, note: option<string>, bytes: list<u8> }
        record filter { page-size: option<u32>, name: string }
        variant error { not-found(string), no-room, limited(item) }
        variant saved { created(item), unchanged }
        get: func(id: u64, shown: option<string>, filter: filter) -> result<item, error>;
        put: func(item: item, key: option<string>) -> result<saved, error>;
        parts: func(big-name: string, count: option<u32>) -> string;
        say: func(text: string) -> result<string, string>;
    }
}
";

const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/items/{id}"
call = "stock/stock.get"
query = "filter"
headers = { shown = "X-Shown" }
errors = { not-found = 404, no-room = 409, limited = 409 }

[[route]]
method = "PUT"
path = "/items"
call = "stock/stock.put"
body = "item"
cookies = { key = "key" }
json = { case = "camel", int64 = "string" }
status = { created = 201, unchanged = 200 }
errors = { not-found = 404, no-room = 409, limited = 409 }

[[route]]
method = "POST"
path = "/parts"
call = "stock/stock.parts"
body = "*"

[[route]]
method = "POST"
path = "/say"
call = "stock/stock.say"
body = { text = "text" }
answer = { type = "text/plain" }
errors = { "*" = 422 }
"#;

const EXAMPLES: &str = r#"{
    "demo:stock/stock@1.0.0": {
        "get": [
            { "arguments": [18446744073709551615, "all", { "page_size": null, "name": "a/b" }],
              "answer": { "ok": { "id": 5, "big_name": "five", "note": null, "bytes": "AAE=" } } },
            { "arguments": [6, null, { "page_size": 2, "name": "" }], "answer": { "err": "no_room" } },
            { "arguments": [6, null, { "page_size": 2, "name": "" }],
              "answer": { "err": { "limited": { "id": 6, "big_name": "six", "note": "n", "bytes": "" } } } },
            { "arguments": [7], "answer": { "err": { "not_found": "an argument is missing" } } }
        ],
        "put": [
            { "arguments": [{ "id": 7, "big_name": "seven", "note": "n", "bytes": "" }, "k"],
              "answer": { "ok": { "created": { "id": 7, "big_name": "seven", "note": null, "bytes": "" } } } },
            { "arguments": [{ "id": 7, "big_name": "seven", "bytes": "" }], "answer": { "err": { "not_found": "7" } } }
        ],
        "parts": [{ "arguments": ["a"], "answer": "done" }],
        "say": [{ "arguments": ["hello"], "answer": { "ok": "hello!" } }, { "arguments": [""], "answer": { "err": "empty" } }]
    }
}"#;

/// Returns how many examples a document has. Panics if one doesn't fit its schema.
fn valid_examples(document: &str) -> usize {
    let file = host::folder();
    let path = file.path().join("openapi.json");
    std::fs::write(&path, document).unwrap();
    let mut command = with_python_package("openapi-spec-validator");
    let said = run(command.arg(repository().join("host/tests/openapi/examples.py")).arg(&path));
    assert_eq!(said.code, 0, "{}{}\n{document}", said.out, said.err);
    said.out.trim().parse().unwrap()
}

#[test]
fn examples_are_written_as_routes_read_and_write_them() {
    let document: OpenApi = document_with(WIT, ROUTES, "", EXAMPLES);
    let text = String::from_utf8(document.to_json().to_vec()).unwrap();
    assert_eq!(OpenApi::parse(text.as_bytes()).unwrap(), document);
    assert_eq!(valid_examples(&text), 15);
    let value: Value = serde_json::from_str(&text).unwrap();
    let get = &value["paths"]["/items/{id}"]["get"];
    let parameters: Vec<(&str, &Value)> = get["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), &one["example"]))
        .collect();
    assert_eq!(
        parameters,
        [("id", &json!(u64::MAX)), ("x-shown", &json!("all")), ("page_size", &Value::Null), ("name", &json!("a/b"))]
    );
    let body = |operation: &Value, status: &str, media_type: &str| {
        operation["responses"][status]["content"][media_type]["examples"].clone()
    };
    assert_eq!(
        body(get, "200", "application/json"),
        json!({ "example": { "value": { "id": 5, "big_name": "five", "note": null, "bytes": "AAE=" } } })
    );
    // An example whose arguments don't fit is left out.
    assert_eq!(body(get, "404", "application/problem+json"), Value::Null);
    let errors = body(get, "409", "application/problem+json");
    assert_eq!(errors.as_object().unwrap().keys().collect::<Vec<_>>(), ["limited", "no-room"]);
    let limited = &errors["limited"]["value"];
    assert_eq!((&limited["type"], &limited["status"]), (&json!("/problems/limited"), &json!(409)));
    assert_eq!((&limited["case"], &limited["payload"]["big_name"]), (&json!("limited"), &json!("six")));

    let put = &value["paths"]["/items"]["put"];
    let sent = &put["requestBody"]["content"]["application/json"]["examples"]["example"]["value"];
    assert_eq!(*sent, json!({ "id": "7", "bigName": "seven", "note": "n", "bytes": "" }));
    assert_eq!(body(put, "200", "application/json"), Value::Null);
    let created = &body(put, "201", "application/json")["example"]["value"];
    assert_eq!(created["created"]["bigName"], "seven");
    let missing = &body(put, "404", "application/problem+json")["not-found"]["value"];
    assert_eq!((&missing["detail"], &missing["payload"]), (&json!("7"), &json!("7")));
    let parts = &value["paths"]["/parts"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    assert_eq!(parts["example"]["value"], json!({ "big_name": "a" }));
    let say = &value["paths"]["/say"]["post"];
    assert_eq!(say["requestBody"]["content"]["text/plain"]["examples"]["example"]["value"], "hello");
    assert_eq!(body(say, "200", "text/plain")["example"]["value"], "hello!");
    assert_eq!(body(say, "422", "application/problem+json")["error"]["value"]["payload"], "empty");
}

#[test]
fn the_shop_has_examples() {
    let text = printed(&repository());
    assert!(valid_examples(&text) > 40, "{text}");
    let shop: Value = serde_json::from_str(&text).unwrap();
    let place = &shop["paths"]["/orders"]["post"];
    let draft = &place["requestBody"]["content"]["application/json"]["examples"]["example"]["value"];
    assert_eq!(draft["customer"], "ada");
    let checked = run(host::binary().arg("check").arg(repository())).expect(0);
    assert!(!checked.err.contains("stale-example"), "{}", checked.err);
}

#[test]
fn examples_belong_to_the_generation() {
    let app = door("requests-routes.toml", "");
    let write = |app: &App, argument: &str| {
        let call = json!({ "arguments": [argument, null, [], null], "answer": "a text" });
        let examples = json!({ "test:door/requests@1.0.0": { "plain": [call] } });
        std::fs::create_dir_all(app.path().join("examples")).unwrap();
        std::fs::write(app.path().join("examples/door.json"), examples.to_string()).unwrap();
    };
    write(&app, "first");
    let manifest = app.path().join("app.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(manifest, text.replace("[app]\n", "[app]\nexamples = [\"examples/*.json\"]\n")).unwrap();
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let shown = || operator.get("/openapi.json")["paths"]["/plain"]["get"]["parameters"][0]["example"].clone();
    assert_eq!(shown(), "first");
    write(&app, "second");
    assert_eq!(shown(), "first");
    let plan = operator.apply(app.path(), true).expect(200).body["plan"].clone();
    assert_eq!(plan["door"], json!([{ "what": "app.examples", "change": "changed" }]));
    assert_eq!(plan["clients"], Value::Null, "examples are nothing to clients");
    published(&operator.apply(app.path(), false));
    assert_eq!(shown(), "second");
    operator.rollback(None).expect(200);
    assert_eq!(shown(), "first");
}

#[test]
fn suites_record_examples_beside_their_contracts() {
    let folder = host::folder();
    let path = folder.path().join("wit");
    host::copy_folder(&repository().join("wit"), &path);
    let file = path.join("notifications/examples.json");
    std::fs::remove_file(&file).unwrap();
    let manifest = format!(
        "[app]\nname = \"demo\"\n[modules.notifications]\ncomponent = {:?}\nuses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n",
        host::component("notifications")
    );
    std::fs::write(folder.path().join("app.toml"), manifest).unwrap();
    let record = || {
        let mut command = host::binary();
        command.args(["test", "notifications", "--no-build", "--record", "--app"]).arg(folder.path());
        run(&mut command).expect(0).err
    };
    assert!(record().contains("recorded "));
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let committed = std::fs::read_to_string(repository().join("wit/notifications/examples.json")).unwrap();
    let committed: Value = serde_json::from_str(&committed).unwrap();
    let functions = |examples: &Value| -> Vec<String> {
        let interfaces = examples.as_object().unwrap().iter();
        let all = interfaces.flat_map(|(interface, functions)| {
            let functions = functions.as_object().unwrap().iter();
            functions.map(move |(name, calls)| format!("{interface}.{name}: {}", calls.as_array().unwrap().len()))
        });
        all.collect()
    };
    assert_eq!(functions(&recorded), functions(&committed), "run `watertight test --record`");
    // Ids and times are others each time, and change nothing.
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(!record().contains("recorded "));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    std::fs::write(&file, "{ \"a\": 1 }").unwrap();
    let mut command = host::binary();
    command.args(["test", "notifications", "--no-build", "--record", "--app"]).arg(folder.path());
    let refused = run(&mut command).expect(1).err;
    assert!(refused.contains("is no file of examples; remove it"), "{refused}");
}
