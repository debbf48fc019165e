//! Checks how a JSON codec of the host decodes documents, by comparison with serde_json.

use proptest::prelude::*;
use serde_json::Value;
use wasmtime::component::Val;
use watertight_json::{Codec, Violation};

const LIMIT: usize = 10_000_000;

/// Bytes that fuzz tests insert into JSON documents to damage them.
pub const DAMAGE_BYTES: &[u8] = b"{}[]\",:\\u0e19-+. ntf\n\x00\x80\xff";

/// Tokens for random documents: valid JSON tokens, and similar text that is not valid.
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

/// Decodes a document with the codec and checks the result: serde_json must agree on the syntax, and the places of faults must exist in the
/// document. Returns whether the codec accepted the document.
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
            // If keys are repeated, serde_json keeps only the last value.
            let twins =
                |violation: &Violation| violation.detail.contains("twice") || violation.detail.contains("exactly one");
            for violation in &violations {
                let found = has_place(&value, violation) || violations.iter().any(twins);
                prop_assert!(found, "{}: {violation}", value);
            }
        }
        // A number too large for serde_json is still valid JSON, and so is a document nested one level deeper than serde_json
        // accepts.
        Err(error)
            if ["number out of range", "recursion limit"].iter().any(|part| error.to_string().contains(part)) => {}
        // After too many faults, decoding stops before the end of the document.
        Err(_) if violations.iter().any(|v| v.detail.contains("there is more") || v.detail.contains("holds more")) => {}
        Err(error) => {
            prop_assert!(syntax && violations.len() == 1, "{}: {:?}", error, violations);
        }
    }
    Ok(violations.is_empty())
}

fn has_place(value: &Value, violation: &Violation) -> bool {
    // A pointer contains only the start of a long key.
    if violation.pointer.contains('…') {
        return true;
    }
    if violation.detail.starts_with("missing field") {
        let (parent, _) = violation.pointer.rsplit_once('/').unwrap();
        return value.pointer(parent).is_some_and(Value::is_object) && value.pointer(&violation.pointer).is_none();
    }
    value.pointer(&violation.pointer).is_some()
}

/// Encodes a value as JSON.
pub fn encode(codec: &Codec, value: &Val) -> Vec<u8> {
    let mut document = Vec::new();
    codec.encode(value, &mut document, LIMIT).unwrap();
    document
}
