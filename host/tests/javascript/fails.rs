//! Tests of errors that JavaScript throws: errors of the contract are returned to the caller, and all others are logged with their message,
//! file and line.

use serde_json::json;
use watertight_testkit::host::Launch;

use crate::workspace::{application, component};

#[tokio::test]
async fn an_error_that_is_not_the_contracts_is_logged_with_words_file_and_line() {
    let app = application("", &[("fails", &component("fails"), "")]);
    let host = Launch::app(app.path()).start();
    for (function, ways) in [("fail", &["good"][..]), ("plain", &["good"])] {
        for how in ways {
            assert_eq!(host.call(&format!("fails/fails.{function}"), &json!([how])).await.status, 200);
        }
    }
    let answer = host.call("fails/fails.fail", &json!(["bad"])).await.expect(200);
    assert_eq!(answer.body, json!({"result": {"err": {"bad": "the contract knows this"}}}));
    let answer = host.call("fails/fails.fail", &json!(["worse"])).await.expect(200);
    assert_eq!(answer.body, json!({"result": {"err": {"worse": -1}}}));

    for (how, parts) in [
        ("error", &["fails.fail: Error: words that somebody reads", "error (src/component.js:10)"][..]),
        ("type", &["unset.missing is undefined", "type (src/component.js:12)"]),
        (
            "case",
            &[
                "one of the cases of error: { tag: 'bad' | 'worse' }, not { tag: \"no-such-case\" }",
                "at src/component.js:14",
            ],
        ),
        ("payload", &["payload.val must be a BigInt", "not 0.5", "payload (src/component.js:17)"]),
        ("own", &["Refusal: of a class of its own", "own (src/component.js:23)"]),
        ("rejected", &["RangeError: after an await", "rejected (src/component.js:27)"]),
        ("deep", &["Refusal: from another file", "deeper (src/deeper.js:7)", "deep (src/component.js:29)"]),
        ("recursion", &["InternalError: too much recursion", "recursion (src/component.js:30)"]),
        ("json", &["SyntaxError: JSON.parse", "json (src/component.js:31)"]),
        ("cause", &["Error: with a cause", "; caused by TypeError: ", "cause (src/component.js:34)"]),
        ("package", &["TypeError: from a package", "node_modules/made-up/index.js:2", "src/component.js:39"]),
        ("result", &["fails.fail: TypeError: the result must be a string, not 5"]),
        ("timer", &["setTimeout() can't be used", "timer (src/component.js:41)"]),
        ("getter", &["fails.fail: RangeError: from a getter", "src/component.js:50"]),
        ("nothing", &["is not a function", "fail (src/component.js:55)"]),
    ] {
        let before = host.log().len();
        assert_eq!(host.call("fails/fails.fail", &json!([how])).await.status, 500, "{how}");
        for part in parts {
            let is_told = (0..50).any(|_| host.log()[before..].contains(part));
            assert!(is_told, "{how}: {part} is not in {}", &host.log()[before..]);
        }
    }
    for (how, parts) in [
        ("error", &["fails.plain: Error: words that somebody reads", "error (src/component.js:10)"][..]),
        ("rejected", &["fails.plain: RangeError: after an await", "rejected (src/component.js:27)"]),
        ("deep", &["fails.plain: Refusal: from another file", "deeper (src/deeper.js:7)"]),
        (
            "text",
            &["fails.plain: a value that is no Error was thrown: \"a text, and no error\"", "at src/component.js:20"],
        ),
        (
            "bad",
            &["fails.plain: a value that is no Error was thrown", "the contract knows this", "at src/component.js:44"],
        ),
    ] {
        let before = host.log().len();
        assert_eq!(host.call("fails/fails.plain", &json!([how])).await.status, 500, "{how}");
        for part in parts {
            let is_told = (0..50).any(|_| host.log()[before..].contains(part));
            assert!(is_told, "{how}: {part} is not in {}", &host.log()[before..]);
        }
    }
}
