//! What documents say, and whether a validator of another project accepts them.

use serde_json::{Value, json};
use watertight_openapi::format::OpenApi;
use watertight_testkit::app::{App, guest};
use watertight_testkit::command::run;
use watertight_testkit::host;
use watertight_testkit::paths::repository;

use crate::{document, folder, with_python_package};

/// Returns the applications of the door's tests, by the names of their route files.
pub(crate) fn door(routes: &str, settings: &str) -> App {
    let door = guest("door");
    let text = std::fs::read_to_string(repository().join("host/tests/door").join(routes)).unwrap();
    App::new(&format!(
        "[app]\nname = \"door\"\nroutes = [\"routes/*.toml\"]\n[modules.door]\ncomponent = {door:?}\n{settings}\n"
    ))
    .routes(&text)
}

/// Prints the document of an application by the command.
pub(crate) fn printed(app: &std::path::Path) -> String {
    run(host::binary().arg("openapi").arg(app)).expect(0).out
}

/// Returns what the validator says of a document.
fn validate(text: &str) -> Result<(), String> {
    let file = host::folder();
    let path = file.path().join("openapi.json");
    std::fs::write(&path, text).unwrap();
    let mut python = with_python_package("openapi-spec-validator");
    let said = run(python.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&path));
    assert!(!said.err.contains("No module named"), "run `make tools-test`: {}", said.err);
    if said.code == 0 { Ok(()) } else { Err(said.out + &said.err) }
}

#[test]
fn a_validator_accepts_the_documents() {
    assert!(validate(r#"{"openapi": "3.1.0", "info": {"title": "a"}, "paths": {}}"#).is_err(), "it accepts anything");
    let wide = "[json]\nint64 = \"string\"\n";
    let apps = [door("requests-routes.toml", ""), door("cors-routes.toml", ""), door("requests-routes.toml", wide)];
    let texts = apps.iter().map(|app| printed(app.path())).chain([printed(&repository())]);
    for text in texts {
        validate(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        assert_eq!(OpenApi::parse(text.as_bytes()).unwrap().to_json(), text, "a document that is read is another one");
    }
    let cases: toml::Table = std::fs::read_to_string(folder().join("edits.toml")).unwrap().parse().unwrap();
    let (wit, routes) = (cases["wit"].as_str().unwrap(), cases["routes"].as_str().unwrap());
    let text = document(wit, routes, "").to_json();
    validate(std::str::from_utf8(&text).unwrap()).unwrap();
}

#[test]
fn the_document_of_the_shop_says_what_its_contracts_say() {
    let text = printed(&repository());
    assert_eq!(text, printed(&repository()), "two documents of one application differ");
    let shop: Value = serde_json::from_str(&text).unwrap();
    let place = &shop["paths"]["/orders"]["post"];
    assert_eq!(place["operationId"], "orders.place-order");
    assert_eq!(place["summary"], "Places an order: stores it, charges it, and notifies the customer");
    assert!(place["description"].as_str().unwrap().contains("With an idempotency key"));
    assert_eq!(place["requestBody"]["required"], true);
    assert_eq!(place["requestBody"]["x-watertight-max-bytes"], 1 << 20);
    assert_eq!(
        place["requestBody"]["content"]["application/json"]["schema"],
        json!({ "$ref": "#/components/schemas/draft" })
    );
    let key = &place["parameters"][0];
    assert_eq!(
        (&key["name"], &key["in"], &key["required"]),
        (&json!("idempotency-key"), &json!("header"), &json!(false))
    );
    assert_eq!(place["responses"]["400"], json!({ "$ref": "#/components/responses/invalid-request" }));
    assert_eq!(
        place["responses"]["201"]["content"]["application/json"]["schema"],
        json!({ "$ref": "#/components/schemas/order" })
    );
    // Six interfaces have a type `error`, and types of the same package are one.
    let schemas = shop["components"]["schemas"].as_object().unwrap();
    let of_errors = |case: &str| schemas.keys().filter(|name| name.ends_with(case)).cloned().collect::<Vec<_>>();
    let of_each = ["documents", "notes", "notifications", "orders", "payments", "pictures"];
    let of_each = of_each.map(|interface| format!("{interface}.error.invalid"));
    assert_eq!(of_errors("error.invalid"), of_each);
    assert_eq!(schemas.keys().filter(|name| name.contains("money")).collect::<Vec<_>>(), ["money"]);
    let line = &schemas["line"];
    assert_eq!(line["properties"]["quantity"]["description"], "The number of pieces: 1 to 10,000.");
    assert_eq!(line["properties"]["quantity"]["maximum"], u32::MAX);
    assert_eq!(line["required"], json!(["sku", "quantity", "unit_price"]));
    assert!(schemas["money"]["properties"]["currency"]["description"].is_string(), "{}", schemas["money"]);
    assert!(schemas["order-status"]["description"].as_str().unwrap().contains("- `paid`: The order is charged."));
    let invoice =
        json!({ "description": "The customer pays later, by invoice.", "type": "string", "const": "invoice" });
    assert_eq!(schemas["payment-method"]["oneOf"][2], invoice);
    // Generated clients tell errors of the application from those of the host by `case`.
    assert_eq!(schemas["Problem"]["properties"].get("case"), None);
    assert_eq!(schemas["orders.error.invalid"]["allOf"][1]["required"], json!(["case", "payload"]));
    let unavailable = &place["responses"]["503"]["content"]["application/problem+json"]["schema"]["anyOf"];
    assert_eq!(unavailable[1], json!({ "$ref": "#/components/schemas/Problem" }));
}

#[test]
fn each_part_of_a_request_is_described() {
    let text = printed(door("requests-routes.toml", "").path());
    let door: Value = serde_json::from_str(&text).unwrap();
    let operation = |path: &str, method: &str| door["paths"][path][method].clone();
    let parameters = |path: &str, method: &str| -> Vec<String> {
        let found = operation(path, method)["parameters"].as_array().cloned().unwrap_or_default();
        let describe = |one: &Value| {
            let mark = if one["required"] == true { "" } else { "?" };
            format!("{} {}{mark}", one["in"].as_str().unwrap(), one["name"].as_str().unwrap())
        };
        found.iter().map(describe).collect()
    };
    assert_eq!(parameters("/renamed", "get"), ["query q", "query b?", "query tag[]?", "query sizeClass?"]);
    assert_eq!(parameters("/cookies", "get"), ["cookie sid", "cookie n?", "query tag?", "query size?"]);
    assert_eq!(parameters("/filtered", "get"), ["query tag?", "query page_size?", "query size?", "query is_new"]);
    assert_eq!(parameters("/constant", "get"), [""; 0]);
    assert_eq!(parameters("/said/{b}", "put"), ["path b", "query tag?", "query size?"]);
    let media = |path: &str, method: &str| -> Vec<String> {
        operation(path, method)["requestBody"]["content"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(media("/picture", "put"), ["application/pdf", "image/*"]);
    assert_eq!(media("/raw", "post"), ["*/*"]);
    assert_eq!(media("/text", "post"), ["text/plain"]);
    assert_eq!(media("/patch", "patch"), ["application/json", "application/merge-patch+json"]);
    assert_eq!(media("/patch/{id}", "patch"), ["application/json", "application/merge-patch+json"]);
    assert_eq!(media("/patch", "put"), ["application/json"]);
    let schemas = &door["components"]["schemas"];
    assert_eq!(schemas["book.request.camel"]["required"], json!(["title", "tag", "size", "isNew", "bigId"]), "{text}");
    assert_eq!(schemas["book.request"]["required"], json!(["title", "tag", "size", "is_new", "big_id"]));
    // A route to a function that another route calls, too, has a longer name.
    assert_eq!(operation("/plain", "get")["operationId"], "door.plain");
    assert_eq!(operation("/renamed", "get")["operationId"], "door.plain.get.renamed");
}
