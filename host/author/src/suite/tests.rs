//! Tests of the suite format and of comparing answers with expectations.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::expect::{KeptValues, check, differences, resolve_placeholders};

fn compare(expected: &Value, found: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
    let found = differences(expected, found, &mut KeptValues::new()).unwrap();
    found.into_iter().map(|difference| (difference.at, difference.expected, difference.found)).collect()
}

#[test]
fn every_difference_is_told_with_its_place() {
    let expected = json!({"ok": {"items": [{"id": "1"}, {"id": "2"}, {"id": "3"}], "next": null, "a/b~": 1}});
    let found = json!({"ok": {"items": [{"id": "1"}, {"id": "x"}], "more": true, "a/b~": 1.5}});
    let told = compare(&expected, &found);
    let expected = [
        ("/ok/a~1b~0", Some(json!(1)), Some(json!(1.5))),
        ("/ok/items/1/id", Some(json!("2")), Some(json!("x"))),
        ("/ok/items/2", Some(json!({"id": "3"})), None),
        ("/ok/next", Some(json!(null)), None),
        ("/ok/more", None, Some(json!(true))),
    ];
    assert_eq!(told, expected.map(|(at, expected, found)| (at.to_owned(), expected, found)));
    assert_eq!(compare(&json!({"ok": 1}), &json!({"err": 1})).len(), 2);
    assert_eq!(compare(&json!([]), &json!({})).len(), 1);
    assert!(compare(&json!([1, "a", null, {"b": true}]), &json!([1, "a", null, {"b": true}])).is_empty());
}

#[test]
fn what_varies_is_accepted_in_its_form_only() {
    let accepts = |expected: &Value, found: &Value| compare(expected, found).is_empty();
    for value in [json!(null), json!([1]), json!("text")] {
        assert!(accepts(&json!({"$any": null}), &value));
    }
    assert!(accepts(&json!({"$ulid": null}), &json!("01ARYZ6S410000000000000001")));
    for other in [
        json!(1),
        json!("01ARYZ6S41000000000000000"),
        json!("81ARYZ6S410000000000000001"),
        json!("01ARYZ6S41000000000000000U"),
        json!("01aryz6s410000000000000001"),
    ] {
        assert!(!accepts(&json!({"$ulid": null}), &other), "{other}");
    }
    assert!(accepts(&json!({"$timestamp": null}), &json!("2026-11-23T08:15:30.123Z")));
    for other in ["2026-11-23T08:15:30Z", "2026-11-23 08:15:30.123Z", "2026-13-23T08:15:30.123Z", "now"] {
        assert!(!accepts(&json!({"$timestamp": null}), &json!(other)), "{other}");
    }
    assert!(accepts(&json!({"$length": 2}), &json!([1, 2])));
    assert!(!accepts(&json!({"$length": 2}), &json!([1])) && !accepts(&json!({"$length": 2}), &json!("ab")));
}

#[test]
fn a_name_keeps_one_value() {
    let mut kept = KeptValues::new();
    let expected = json!([{"$any": "a"}, {"$any": "a"}, {"$any": "b"}]);
    assert!(differences(&expected, &json!([1, 1, 2]), &mut kept).unwrap().is_empty());
    // A later use of a name requires the kept value.
    let told = differences(&json!([{"$ulid": "a"}, {"$value": "b"}]), &json!([3, 2]), &mut kept).unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].at.as_str(), told[0].expected.as_ref()), ("/0", Some(&json!(1))));
    assert_eq!(resolve_placeholders(&json!({"x": [{"$value": "a"}]}), &kept).unwrap(), json!({"x": [1]}));
    assert!(resolve_placeholders(&json!({"$value": "c"}), &kept).unwrap_err().contains("`c`"));
    assert!(differences(&json!({"$value": "c"}), &json!(1), &mut kept).unwrap_err().contains("`c`"));
}

#[test]
fn texts_are_made_of_parts() {
    let kept = KeptValues::from([("name".to_owned(), json!("Ada")), ("number".to_owned(), json!(1))]);
    let text = json!({"$join": ["Hello ", {"$value": "name"}, {"$repeat": ["!", 3]}]});
    assert_eq!(resolve_placeholders(&text, &kept).unwrap(), "Hello Ada!!!");
    assert!(compare(&json!({"$repeat": ["é", 2]}), &json!("éé")).is_empty());
    assert!(resolve_placeholders(&json!({"$join": [{"$value": "number"}]}), &kept).is_err());
}

#[test]
fn lists_are_repeated_and_bounded() {
    let kept = KeptValues::from([("name".to_owned(), json!("Ada"))]);
    let list = json!({"$repeat": [[1, {"who": {"$value": "name"}}], 2]});
    check(&list, false).unwrap();
    assert_eq!(resolve_placeholders(&list, &kept).unwrap(), json!([1, {"who": "Ada"}, 1, {"who": "Ada"}]));
    assert!(compare(&json!({"$repeat": [["x"], 3]}), &json!(["x", "x", "x"])).is_empty());
    assert_eq!(compare(&json!({"$repeat": [["x"], 3]}), &json!(["x", "x"])).len(), 1);
    // Each `$repeat` is within the limit, but the nested result is not.
    let nested = json!({"$repeat": [[{"$repeat": ["x", 1000]}], 2000]});
    check(&nested, false).unwrap();
    assert!(resolve_placeholders(&nested, &kept).unwrap_err().contains("$repeat"));
}

#[test]
fn a_misspelt_word_is_no_test_that_passes() {
    for good in
        [json!({"$any": "x"}), json!([{"a": {"$ulid": null}}]), json!({"$repeat": ["x", 1]}), json!({"a": "$b"})]
    {
        check(&good, true).unwrap();
    }
    for bad in [
        json!({"$anything": null}),
        json!({"$any": 1}),
        json!({"$any": null, "more": 1}),
        json!({"a": 1, "$any": null}),
        json!({"$value": null}),
        json!({"$length": -1}),
        json!({"$repeat": "x"}),
        json!({"$repeat": ["x"]}),
        json!({"$repeat": ["x", 2_000_000]}),
        json!({"$repeat": [["x"], 2_000_000]}),
        json!({"$repeat": [1, 2]}),
        json!({"$repeat": [[{"$any": null}], 2]}),
        json!({"$join": "x"}),
        json!({"$join": [{"$any": null}]}),
    ] {
        assert!(check(&bad, true).is_err(), "{bad}");
    }
    // An argument must be a definite value.
    assert!(check(&json!([{"$any": null}]), false).is_err() && check(&json!({"$length": 1}), false).is_err());
    check(&json!([{"$value": "x"}]), false).unwrap();
}

#[test]
fn suites_stand_beside_their_contracts() {
    let workspace = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = workspace.path().join("wit").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    assert!(find(workspace.path()).unwrap().is_empty());
    let suite = r#"{"interface": "a:b/c@1.0.0", "cases": [{"name": "x", "steps": [
        {"call": "f"}, {"call": "g", "arguments": [1], "answer": {"ok": null}}, {"query": "select 1", "rows": [[1]]}, {"execute": "delete from t"},
        {"restart": true}, {"execute": "delete from t", "of": "d:e/f@1.0.0"}
    ]}]}"#;
    write("b/suite/2.json", suite);
    write("b/suite/1.json", suite);
    write("b/suite/notes.md", "not a suite");
    write("b/b.wit", "package a:b;");
    let found = find(workspace.path()).unwrap();
    let names: Vec<_> = found.iter().map(|suite| suite.file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["1.json", "2.json"]);
    assert_eq!(found[0].interface.as_str(), "a:b/c@1.0.0");
    let steps = &found[0].cases[0].steps;
    let call =
        Step::Call { of: None, function: "f".to_owned(), arguments: Vec::new(), answer: Value::Null, at_once: 1 };
    assert_eq!((&steps[0], &steps[4]), (&call, &Step::Restart));
    let of = Some("d:e/f@1.0.0".parse().unwrap());
    assert_eq!(steps[5], Step::Execute { of, sql: "delete from t".to_owned() });

    let case = |steps: &str| format!(r#"{{"interface": "a:b/c", "cases": [{{"name": "x", "steps": [{steps}]}}]}}"#);
    let twice = r#"{"interface": "a:b/c", "cases": [{"name": "x", "steps": [{"call": "f"}]}, {"name": "x", "steps": [{"call": "f"}]}]}"#;
    for (text, part) in [
        ("{", "line 1"),
        (r#"{"cases": []}"#, "interface"),
        (r#"{"interface": "a:b/c", "cases": []}"#, "no cases"),
        (r#"{"interface": "a b", "cases": []}"#, "a b"),
        (
            r#"{"interface": "text", "cases": [{"name": "x", "steps": [{"restart": true}]}]}"#,
            "not the full name of an interface",
        ),
        (r#"{"interface": "a:b/c", "module": "a", "cases": []}"#, "and not both"),
        (&case(""), "without steps"),
        (twice, "two cases named `x`"),
        (&case("{}"), "a step is"),
        (&case(r#"{"call": "f", "rows": []}"#), "a step is"),
        (&case(r#"{"query": "select 1"}"#), "needs the `rows`"),
        (&case(r#"{"call": "f", "restart": true}"#), "a step is"),
        (&case(r#"{"restart": false}"#), "a step is"),
        (&case(r#"{"call": "f", "at_once": 0}"#), "between 1 and 64"),
        (&case(r#"{"call": "f", "at_once": 65}"#), "between 1 and 64"),
        (&case(r#"{"execute": "delete from t", "at_once": 2}"#), "a step is"),
        (&case(r#"{"restart": true, "of": "a:b/c"}"#), "a step is"),
        (&case(r#"{"call": "f", "of": "a b"}"#), "a b"),
        (&case(r#"{"call": "f", "anser": 1}"#), "anser"),
        (&case(r#"{"call": "f", "arguments": [{"$any": null}]}"#), "$any"),
        (&case(r#"{"call": "f", "answer": {"$uild": null}}"#), "$uild"),
    ] {
        write("a/suite/bad.json", text);
        let error = anyhow::Error::from(find(workspace.path()).unwrap_err());
        let message = format!("{error:#}");
        assert!(message.contains(part) && message.contains("bad.json"), "{text}: {message}");
    }
    write("a/suite/bad.json", &" ".repeat((1 << 20) + 1));
    assert!(matches!(find(workspace.path()).unwrap_err(), SuiteError::TooLarge { .. }));
}
