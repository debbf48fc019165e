//! Tests of 64-bit integers in every position of a contract: JavaScript must return what Rust returns.

use serde_json::{Value, json};
use watertight_testkit::host::Launch;

use crate::table::{rust, table};
use crate::workspace::{application, component};

#[tokio::test]
async fn integers_are_what_they_are_in_rust() {
    let javascript = "calls = [\"rust\"]";
    let app = application("", &[("js", &component("exact"), javascript), ("rust", &rust(), "")]);
    let host = Launch::app(app.path()).start();
    let ask = async |module: &str, interface: &str, function: &str, arguments: &Value| {
        let mut answer = host.call(&format!("{module}/{interface}.{function}"), arguments).await;
        assert!(answer.status == 200, "{module}/{interface}.{function} {arguments}: {answer:?}\n{}", host.log());
        answer.body["result"].take()
    };
    for (function, arguments) in table() {
        let right = ask("rust", "values", function, &arguments).await;
        for interface in ["values", "relayed"] {
            let found = ask("js", interface, function, &arguments).await;
            assert_eq!(found, right, "{interface}.{function} {arguments}");
        }
    }
    // A whole number is accepted as that integer. Other values are refused, and the message has the value.
    assert_eq!(ask("js", "misfits", "give", &json!(["whole"])).await, json!(-7));
    for (name, found) in [
        ("none", "not undefined"),
        ("fraction", "not 0.5"),
        ("tooLarge", "not 9223372036854776000"),
        ("beyond", "not 9223372036854775808n"),
        ("below", "not -9223372036854775809n"),
        ("text", "not \"1\""),
    ] {
        let words = ask("js", "misfits", "hand-over", &json!([name])).await;
        let words = words.as_str().unwrap();
        assert!(
            words.starts_with("TypeError: values.signed(n) must be a BigInt from -9223372036854775808n"),
            "{words}"
        );
        assert!(words.ends_with(found), "{words}");
        let answer = host.call("js/misfits.give", &json!([name])).await.expect(500);
        assert!(answer.at("/detail").contains(found), "{name}: {answer:?}");
    }
    assert!(host.log().contains("misfits.give: TypeError: the result must be a BigInt"), "{}", host.log());
}
