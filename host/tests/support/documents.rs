//! Documents that are checked: what a codec makes of them, beside what serde_json does.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "several test binaries include this file")]

use proptest::prelude::*;
use serde_json::Value;
use wasmtime::component::Val;
use watertight::json::{Codec, Violation};

const LIMIT: usize = 10_000_000;

/// Bytes that spoil documents.
pub const SPOIL: &[u8] = b"{}[]\",:\\u0e19-+. ntf\n\x00\x80\xff";

/// What documents are made of, and what looks like it.
pub const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"b\":",
    "0",
    "-",
    "1",
    "1.5",
    "e",
    "E+1",
    ".",
    "null",
    "true",
    "false",
    "nul",
    " ",
    "\n",
    "\"",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\n",
    "\u{feff}",
    "é",
    "\t",
    "\"\\\"\"",
    "\u{1}",
    "\u{7f}",
];

/// Decodes, and checks what is said about it: syntax against serde_json, places against the document. Whether it was taken.
pub fn check(codec: &Codec, document: &[u8]) -> Result<bool, TestCaseError> {
    let violations = match codec.decode(document) {
        Ok(value) => {
            let again = codec.decode(&encode(codec, &value));
            prop_assert_eq!(again.unwrap(), value);
            vec![]
        }
        Err(violations) => {
            prop_assert!(!violations.is_empty());
            violations
        }
    };
    let syntax = violations.iter().any(|violation| violation.detail.starts_with("not JSON"));
    match serde_json::from_slice::<Value>(document) {
        Ok(value) => {
            prop_assert!(!syntax, "{:?}", violations);
            // Of members with the same key, serde_json keeps only the last.
            let twins =
                |violation: &Violation| violation.detail.contains("twice") || violation.detail.contains("exactly one");
            for violation in &violations {
                let found = has_place(&value, violation) || violations.iter().any(twins);
                prop_assert!(found, "{}: {violation}", value);
            }
        }
        // A number that is too large for serde_json is JSON all the same; so is one level more than it follows.
        Err(error)
            if ["number out of range", "recursion limit"].iter().any(|part| error.to_string().contains(part)) => {}
        // Where too much is wrong, or there, nothing is read any more.
        Err(_) if violations.iter().any(|v| v.detail.contains("there is more") || v.detail.contains("holds more")) => {}
        Err(error) => {
            prop_assert!(syntax && violations.len() == 1, "{}: {:?}", error, violations);
        }
    }
    Ok(violations.is_empty())
}

fn has_place(value: &Value, violation: &Violation) -> bool {
    // Of a long key, only the start stands in a pointer.
    if violation.pointer.contains('…') {
        return true;
    }
    if violation.detail.starts_with("missing field") {
        let (parent, _) = violation.pointer.rsplit_once('/').unwrap();
        return value.pointer(parent).is_some_and(Value::is_object) && value.pointer(&violation.pointer).is_none();
    }
    value.pointer(&violation.pointer).is_some()
}

/// The document of a value.
pub fn encode(codec: &Codec, value: &Val) -> Vec<u8> {
    let mut document = Vec::new();
    codec.encode(value, &mut document, LIMIT).unwrap();
    document
}
