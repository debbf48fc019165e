//! Runs the cases of `table.txt`: types in WIT, JSON documents, and the outcomes of decoding them. `BLESS=1` rewrites the outcomes.
//!
//! The first word of a line is its kind: `wit` declares a type, and `type` selects one. `in` is a JSON document, `hex` a document in
//! hexadecimal, `style` is how types from there on are written (`int64` and `case`), and `text` a text without JSON's quotes, as in a path. The outcome follows: `val` is the decoded value, `as` the document
//! to which it is encoded, `bad` a fault with its JSON pointer, and `refused` a part of the type that JSON can't express. Other lines are
//! comments.

use std::fmt::Write as _;
use std::path::Path;

use watertight_json::Codec;
use watertight_model::config::JsonStyle;

use crate::wit;

const OUTCOMES: [&str; 4] = ["val", "as", "bad", "refused"];

#[test]
fn every_row_is_as_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/json/table.txt");
    let written = std::fs::read_to_string(&path).unwrap();
    let (actual, rows) = run(&written);
    assert!(rows >= 80, "only {rows} rows");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
        return;
    }
    for (line, (written, actual)) in written.lines().zip(actual.lines()).enumerate() {
        assert_eq!(written, actual, "table.txt:{}; BLESS=1 rewrites it", line + 1);
    }
    assert_eq!(written, actual);
}

fn run(table: &str) -> (String, usize) {
    let (mut out, mut declarations, mut rows) = (String::new(), String::new(), 0);
    let (mut codec, mut style) = (None, JsonStyle::default());
    for line in table.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if OUTCOMES.contains(&word) {
            continue;
        }
        writeln!(out, "{line}").unwrap();
        match word {
            "wit" => writeln!(declarations, "{rest}").unwrap(),
            "type" => codec = choose(&mut out, &wit::parse(&declarations, rest), style),
            "style" => {
                let (int64, case) = rest.split_once(' ').unwrap();
                style = JsonStyle { int64: int64.parse().unwrap(), case: case.parse().unwrap() };
                continue;
            }
            "in" => decode(&mut out, codec.as_ref().unwrap(), rest.as_bytes()),
            "hex" => {
                let bytes: Vec<u8> = rest.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
                decode(&mut out, codec.as_ref().unwrap(), &bytes);
            }
            "text" => match codec.as_ref().unwrap().decode_text(rest) {
                Ok(value) => writeln!(out, "val {value:?}").unwrap(),
                Err(detail) => writeln!(out, "bad {detail}").unwrap(),
            },
            _ => continue,
        }
        rows += 1;
    }
    (out, rows)
}

fn choose(out: &mut String, ty: &watertight_component::shape::Type, style: JsonStyle) -> Option<Codec> {
    let unsupported = match Codec::with_style("it", ty, style) {
        Ok(codec) => return Some(codec),
        Err(unsupported) => unsupported,
    };
    for part in unsupported {
        writeln!(out, "refused {part}").unwrap();
    }
    None
}

fn decode(out: &mut String, codec: &Codec, document: &[u8]) {
    match codec.decode(document) {
        Ok(value) => {
            let mut encoded = Vec::new();
            codec.encode(&value, &mut encoded, 10_000).unwrap();
            writeln!(out, "val {value:?}\nas {}", String::from_utf8(encoded).unwrap()).unwrap();
        }
        Err(violations) => {
            assert!(!violations.is_empty());
            for violation in violations {
                writeln!(out, "bad {:?} {}", violation.pointer, violation.detail).unwrap();
            }
        }
    }
}
