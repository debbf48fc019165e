//! Tests of `wasi:keyvalue`, by which a module stores values under keys in its own database.

use serde_json::{Value, json};
use watertight_testkit::app::{App, guest};
use watertight_testkit::host::{self, Host};

/// Returns an application with two modules, `a` and `b`, of the test guest `keeps` in one compartment. Both may also use SQL. `settings` is
/// appended to the manifest.
fn two(settings: &str) -> App {
    let keeps = guest("keeps");
    App::new(&format!(
        "[app]\nname = \"two\"\n[modules.a]\ncomponent = {keeps:?}\nuses = [\"keyvalue\", \"sql\"]\n\
         [modules.b]\ncomponent = {keeps:?}\nuses = [\"keyvalue\", \"sql\"]\n{settings}\n"
    ))
}

async fn take(host: &Host, module: &str, bucket: &str, steps: Value) -> Vec<String> {
    let said = host.called(&format!("{module}/keeps.do"), json!([bucket, steps])).await;
    serde_json::from_value(said).unwrap()
}

/// The Base64 of a short text, `one`.
const ONE: &str = "b25l";
const TWO: &str = "dHdv";

#[tokio::test]
async fn a_value_is_kept_under_its_key_for_its_module_and_bucket_alone_over_a_restart() {
    let (app, state) = (two(""), host::folder());
    let host = app.launch().state(state.path()).start();
    let said = take(
        &host,
        "a",
        "first",
        json!([
            { "get": "k" }, { "exists": "k" }, { "delete": "k" }, { "set": ["k", ONE] }, { "get": "k" }, { "set": ["k", TWO] }, { "get": "k" },
            { "exists": "k" }, { "set": ["", ""] }, { "get": "" }, { "list_keys": null }, { "delete": "" }, { "list_keys": null }
        ]),
    )
    .await;
    let some = |text: &str| format!("Ok(Some({text:?}))");
    assert_eq!(
        said,
        [
            "Ok(None)",
            "Ok(false)",
            "Ok(())",
            "Ok(())",
            &some("one"),
            "Ok(())",
            &some("two"),
            "Ok(true)",
            "Ok(())",
            &some(""),
            "Ok(([\"\", \"k\"], None))",
            "Ok(())",
            "Ok(([\"k\"], None))"
        ]
    );
    for (module, bucket) in [("a", "second"), ("b", "first")] {
        assert_eq!(
            take(&host, module, bucket, json!([{ "get": "k" }, { "list_keys": null }])).await,
            ["Ok(None)", "Ok(([], None))"]
        );
    }
    host.kill();
    let host = app.launch().state(state.path()).start();
    assert_eq!(take(&host, "a", "first", json!([{ "get": "k" }])).await, [some("two")]);
}

#[tokio::test]
async fn keys_come_in_pages() {
    let host = two("[defaults.limits.sql]\nrows = 3").launch().start();
    let set: Vec<Value> = (0..7).map(|key| json!({ "set": [format!("k{key}"), ONE] })).collect();
    take(&host, "a", "b", json!(set)).await;
    let pages =
        take(&host, "a", "b", json!([{ "list_keys": null }, { "list_keys": "k2" }, { "list_keys": "k5" }])).await;
    assert_eq!(
        pages,
        [
            "Ok(([\"k0\", \"k1\", \"k2\"], Some(\"k2\")))",
            "Ok(([\"k3\", \"k4\", \"k5\"], Some(\"k5\")))",
            "Ok(([\"k6\"], None))"
        ]
    );
}

#[tokio::test]
async fn it_is_part_of_a_transaction_that_is_open_and_of_no_other() {
    let host = two("").launch().start();
    let said = take(
        &host,
        "a",
        "b",
        json!([
            "begin", { "set": ["k", ONE] }, { "get": "k" }, "roll_back", { "get": "k" },
            "begin", { "set": ["k", TWO] }, { "execute": "UPDATE watertight_keyvalue SET value = CAST('sql' AS BLOB)" }, "commit", { "get": "k" }
        ]),
    )
    .await;
    assert_eq!(said[2], "Ok(Some(\"one\"))");
    assert_eq!((&*said[4], &*said[9]), ("Ok(None)", "Ok(Some(\"sql\"))"), "{said:?}");
}

#[tokio::test]
async fn what_is_too_large_is_told_and_the_host_s_own_tables_stay_its_own() {
    let host = two("[defaults.limits.sql]\nbytes = \"8KiB\"").launch().start();
    let long = "k".repeat(1_025);
    let said = take(
        &host,
        "a",
        "b",
        json!([
            { "set": [long, ONE] }, { "fill": ["k", 10_000] }, { "get": long }, { "get": "k" },
            { "execute": "DELETE FROM watertight_migrations" }, { "execute": "DROP TABLE watertight_keyvalue" },
            { "execute": "ALTER TABLE watertight_keyvalue ADD COLUMN more" }
        ]),
    )
    .await;
    assert!(said[0].contains("at most 1024 bytes"), "{said:?}");
    assert!(said[1].contains("more than 8192 bytes"), "{said:?}");
    assert_eq!(said[2..4], ["Ok(None)", "Ok(None)"]);
    assert!(said[4..].iter().all(|said| said.starts_with("Err(Error::Syntax")), "{said:?}");
    assert!(take(&host, "a", &long, json!([])).await[0].contains("NoSuchStore"));
}

#[tokio::test]
async fn buckets_that_are_never_closed_end_with_their_instance() {
    let host = two("").launch().start();
    host.call("a/keeps.do", &json!(["b", [{ "hoard": 2_000 }]])).await.expect(500);
    let said = take(&host, "a", "b", json!([{ "set": ["k", ONE] }, { "hoard": 900 }])).await;
    assert_eq!(said[0], "Ok(())");
    assert_eq!(take(&host, "b", "b", json!([{ "get": "k" }])).await, ["Ok(None)"]);
}

#[tokio::test]
async fn it_needs_its_own_grant() {
    let keeps = guest("keeps");
    let app = App::new(&format!("[app]\nname = \"one\"\n[modules.a]\ncomponent = {keeps:?}\nuses = [\"sql\"]\n"));
    let (status, text) = app.launch().expect_end();
    assert!(!status.success());
    assert!(text.contains("wasi:keyvalue/store@0.2.0-draft2") && text.contains("keyvalue"), "{text}");
}

#[tokio::test]
async fn odd_keys_are_told_apart_and_listed_whatever_one_answer_may_have() {
    let host = two("[defaults.limits.sql]\nbytes = \"4KiB\"").launch().start();
    let mut keys = vec![
        "\0".to_owned(),
        "a".into(),
        "a\0".into(),
        "a\0b".into(),
        "A".into(),
        "%".into(),
        "\u{10ffff}".into(),
        "é".into(),
    ];
    keys.extend((0..12).map(|key| format!("{key:01024}")));
    for key in &keys {
        assert_eq!(take(&host, "a", "b\0", json!([{ "set": [key, ONE] }])).await, ["Ok(())"]);
    }
    assert_eq!(take(&host, "a", "b", json!([{ "list_keys": null }])).await, ["Ok(([], None))"]);
    assert_eq!(
        take(&host, "a", "b\0", json!([{ "delete": "a\0" }, { "get": "a\0" }, { "get": "a" }, { "get": "a\0b" }]))
            .await,
        ["Ok(())", "Ok(None)", "Ok(Some(\"one\"))", "Ok(Some(\"one\"))"]
    );
    keys.retain(|key| key != "a\0");
    keys.sort();
    // Each page has as many keys as fit, and each cursor leads to the next page.
    let (mut found, mut cursor) = (Vec::new(), Value::Null);
    for _ in 0..=keys.len() {
        let said = take(&host, "a", "b\0", json!([{ "list_keys": cursor }])).await;
        let text = said[0].strip_prefix("Ok((").unwrap_or_else(|| panic!("{said:?}"));
        let (page, next) = text.rsplit_once(", ").unwrap();
        let last = page.matches("\", \"").count() + 1;
        found.extend(keys.iter().skip(found.len()).take(last).cloned());
        if next.starts_with("None") {
            break;
        }
        assert_eq!(next, format!("Some({:?})))", found.last().unwrap()));
        cursor = json!(found.last().unwrap());
    }
    assert_eq!(found, keys);
}
