//! Tests of `watertight dev` with a fake in the place of a module that isn't written yet.

use watertight_testkit::kiosk;

use crate::author::Author;
use crate::get;

#[test]
fn a_neighbour_that_is_not_written_yet_is_faked_and_its_script_followed() {
    let mut author = Author::new(&[
        ("app.toml", kiosk::MANIFEST.as_bytes()),
        ("routes.toml", kiosk::ROUTES.as_bytes()),
        ("wit/stock/stock.wit", kiosk::STOCK.as_bytes()),
        (
            "wit/stock/fake/some.json",
            br#"{ "answers": [{ "call": "take", "arguments": ["tea"], "answer": { "ok": 7 } }] }"#,
        ),
        ("kiosk.wasm", &kiosk::component()),
    ]);
    author.start_with(&["--fake", &format!("stock={}", author.path("wit/stock/fake/some.json").display())]);
    author.hears(&["stock is faked"]);
    let address = author.serves();
    assert_eq!(get(address, "/sell/tea/2"), (200, "7".to_owned()));

    // A call that the script doesn't foresee is a failure of the module, with a line that shows it.
    assert_eq!(get(address, "/sell/cup/2").0, 503);
    author.hears(&["unexpected call of `stock`: take(\"cup\", 2)", "expects take(\"tea\", …)"]);

    author.write("wit/stock/fake/some.json", r#"{ "answers": [{ "call": "take", "answer": { "ok": 8 } }] }"#);
    assert_eq!(get(address, "/sell/cup/2"), (200, "8".to_owned()));

    author.write("wit/stock/fake/some.json", r#"{ "answers": [{ "call": "take", "answer": { "ok": "many" } }] }"#);
    assert_eq!(get(address, "/sell/cup/2"), (200, "8".to_owned()));
    author.hears(&["the last good script goes on"]);
    author.stop();
}
