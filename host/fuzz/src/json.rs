//! The target `json`: a document is decoded by one of the types of `host/tests/json/table.txt`. The first byte of an input chooses the type.

use std::fmt::Write as _;

use serde_json::Value;
use watertight_component::shape::{self, Type};
use watertight_json::{Codec, MAX_VIOLATIONS};

use crate::Target;
use crate::seeds::{component, tests};

/// The longest encoding of an input, in bytes. libFuzzer's inputs are much shorter.
const LIMIT: usize = 10_000_000;

/// The table has at least this number of types that JSON can carry.
const MIN_TYPES: usize = 30;

const WORDS: &[&str] = &[
    "null",
    "true",
    "false",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\n",
    "1e400",
    "-0",
    "1E+1",
    "\u{feff}",
    "é",
    "{\"ok\":",
    "{\"err\":",
    "18446744073709551615",
    "-9223372036854775808",
    "[[",
    "{\"a\":",
    "AQID",
    "==",
];

pub(crate) fn target() -> Target {
    let (codecs, seeds) = table();
    let words = WORDS.iter().map(|word| (*word).to_owned()).collect();
    let check = move |input: &[u8]| {
        let Some((which, document)) = input.split_first() else { return };
        check(&codecs[usize::from(*which) % codecs.len()], document);
    };
    Target { seeds, words, check: Box::new(check) }
}

/// Returns the types of the table that JSON can carry, and its documents as inputs.
fn table() -> (Vec<Codec>, Vec<Vec<u8>>) {
    let text = std::fs::read_to_string(tests("json/table.txt")).expect("the table can be read");
    let (mut declarations, mut codecs, mut seeds) = (String::new(), Vec::new(), Vec::new());
    let mut is_known = false;
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("wit", declaration)) => declarations.push_str(declaration),
            Some(("type", ty)) => {
                let codec = codec(&declarations, ty);
                is_known = codec.is_some();
                codecs.extend(codec);
            }
            Some(("in", document)) if is_known => {
                let which = u8::try_from(codecs.len() - 1).expect("the table has fewer than 256 types");
                seeds.push([&[which], document.as_bytes()].concat());
            }
            _ => {}
        }
    }
    assert!(codecs.len() >= MIN_TYPES, "only {} types", codecs.len());
    (codecs, seeds)
}

/// Prepares a type. Returns `None` if JSON can't carry it.
fn codec(declarations: &str, ty: &str) -> Option<Codec> {
    let mut wit = format!("package t:t; interface api {{ {declarations} ");
    let _ = writeln!(wit, "it: func(it: {ty}); }} world w {{ import api; }}");
    let shape = shape::read(&component(&wit)?).ok()?;
    let ty: &Type = &shape.imports.values().next()?.functions.get("it")?.parameters.first()?.ty;
    Codec::new("it", ty).ok()
}

fn check(codec: &Codec, document: &[u8]) {
    let text = String::from_utf8_lossy(document);
    assert!(codec.accepts_text() || codec.decode_text(&text).is_err(), "a type without a bare text accepted one");
    let parsed = serde_json::from_slice::<Value>(document);
    match codec.decode(document) {
        Ok(value) => {
            if let Err(error) = parsed {
                assert!(is_limit(&error), "a document was accepted that is not JSON: {error}");
            }
            let encode = |value| {
                let mut out = Vec::new();
                codec.encode(value, &mut out, LIMIT).expect("a value that was decoded can be encoded");
                out
            };
            let encoded = encode(&value);
            let again = codec.decode(&encoded).expect("a document that was encoded can be decoded");
            assert_eq!(again, value, "a value changes when it is encoded and decoded");
            assert_eq!(encode(&again), encoded, "a value has two documents");
        }
        Err(violations) => {
            assert!((1..=MAX_VIOLATIONS + 1).contains(&violations.len()), "{} violations", violations.len());
            let bytes: usize =
                violations.iter().map(|violation| violation.pointer.len() + violation.detail.len()).sum();
            assert!(bytes < 4096 * violations.len(), "{bytes} bytes of messages");
            let syntax = violations.iter().any(|violation| violation.detail.starts_with("not JSON"));
            assert!(!(syntax && parsed.is_ok()), "a document was refused as not JSON: {violations:?}");
        }
    }
}

/// Whether serde_json refuses what is JSON: it has smaller numbers and less depth.
fn is_limit(error: &serde_json::Error) -> bool {
    let error = error.to_string();
    ["number out of range", "recursion limit"].iter().any(|part| error.contains(part))
}
