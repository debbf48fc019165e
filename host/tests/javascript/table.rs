//! Calls with integers of 64 bits, and other numbers, in every position of a contract.

use std::path::PathBuf;

use serde_json::{Value, json};
use watertight_testkit::command::run;
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// Returns the component of the Rust module that exports the same contract. Modules in other languages must give the same answers.
pub(crate) fn rust() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("exact");
    let app = repository().join("host/tests/guests");
    run(host::binary().args(["build", "exact", "--app"]).arg(app).arg("--out").arg(&folder)).expect(0);
    folder.join("exact.wasm")
}

const SIGNED: [i64; 11] =
    [0, 1, -1, -5, 42, i64::MAX, i64::MIN, (1 << 53) + 1, -(1 << 53) - 1, u32::MAX as i64 + 1, i32::MIN as i64 - 1];
const UNSIGNED: [u64; 7] = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 53) + 1, u32::MAX as u64 + 1];

/// Returns the calls that all modules get: each is a function and its arguments.
pub(crate) fn table() -> Vec<(&'static str, Value)> {
    let mut calls = Vec::new();
    let money = |minor: i64, cents: u64| json!({"minor": minor, "cents": cents, "name": "ß"});
    for n in SIGNED {
        let partner = n as u64;
        calls.extend([
            ("signed", json!([n])),
            ("words", json!([n])),
            ("parsed", json!([n.to_string()])),
            ("in-record", json!([money(n, partner)])),
            ("in-short-record", json!([{"minor": n}])),
            ("in-variant", json!([{"minor": n}])),
            ("in-variant", json!([{"both": [n, partner]}])),
            ("in-variant", json!([{"money": money(n, partner)}])),
            ("in-tuple", json!([[n, partner, 255]])),
            ("in-option", json!([n])),
            ("in-list", json!([[n, 0, n]])),
            ("in-list-of-records", json!([[money(n, partner), money(0, 0)]])),
            ("in-list-of-results", json!([[{"ok": n}, {"err": partner}]])),
            ("as-result", json!([{"ok": n}])),
            ("as-error", json!([n])),
            ("as-problem", json!([{"low": n}])),
            ("as-problem", json!([{"odd": money(n, partner)}])),
        ]);
    }
    for n in UNSIGNED {
        calls.extend([
            ("unsigned", json!([n])),
            ("unsigned-words", json!([n])),
            ("unsigned-parsed", json!([n.to_string()])),
            ("in-variant", json!([{"cents": n}])),
            ("in-unsigned-option", json!([n])),
            ("in-unsigned-list", json!([[n, 0, n]])),
            ("as-result", json!([{"err": n}])),
            ("as-problem", json!([{"high": n}])),
        ]);
    }
    let many: Vec<Value> = (0..17)
        .map(|index| if index % 2 == 0 { json!(i64::MIN + index) } else { json!(u64::MAX - index as u64) })
        .collect();
    for n in [0, 1, i32::MAX as u32, 1 << 31, u32::MAX - 1, u32::MAX] {
        let (negative, real) = (n as i32, -f64::from(n) / 3.0);
        calls.extend([
            ("half", json!([n])),
            ("signed-half", json!([negative])),
            ("real", json!([n])),
            ("real", json!([real])),
            ("single", json!([n as f32])),
            ("in-mixed", json!([{"small": n}])),
            ("in-mixed", json!([{"negative": negative}])),
            ("in-mixed", json!([{"real": real}])),
            ("in-mixed", json!([{"single": -(n as f32)}])),
            ("in-narrow", json!([{"small": n}])),
            ("in-narrow", json!([{"negative": negative}])),
            ("in-narrow", json!([{"single": -(n as f32)}])),
            ("in-floating", json!([{"small": n}, n])),
            ("in-floating", json!([{"negative": negative}, null])),
            ("in-floating", json!([{"real": real}, n])),
            ("in-plain", json!([{"real": real, "single": n as f32, "small": n, "negative": negative}])),
        ]);
    }
    for n in SIGNED {
        calls.extend([("in-mixed", json!([{"big": n}])), ("in-mixed", json!([{"wide": n as u64}]))]);
    }
    calls.extend([
        ("in-mixed", json!([{"text": "ß"}])),
        ("in-mixed", json!([{"tiny": -128}])),
        ("in-mixed", json!([{"short": 65535}])),
        ("in-mixed", json!([{"truth": true}])),
        ("in-mixed", json!([{"letter": "🦀"}])),
    ]);
    calls.extend([
        ("in-option", json!([null])),
        ("in-unsigned-option", json!([null])),
        ("in-variant", json!(["none"])),
        ("in-list", json!([[]])),
        ("in-many", json!(many)),
        (
            "in-small",
            json!([
                -128,
                255,
                -32768,
                65535,
                i32::MIN,
                u32::MAX,
                true,
                "🦀",
                "AP8=",
                [i32::MIN, -1, i32::MAX],
                [true, false]
            ]),
        ),
        ("in-small", json!([127, 0, 32767, 0, i32::MAX, 0, false, "a", "", [], []])),
    ]);
    calls
}
