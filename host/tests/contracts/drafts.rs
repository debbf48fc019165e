//! Tests of WASI interfaces that exist only as drafts, under the names by which published components import them.

use crate::app::{App, ask};

/// The WIT text of the draft of `wasi:config` in which the interface `store` was still named `runtime`.
const RUNTIME: &str = "
    package wasi:config@0.2.0-draft {
        interface runtime {
            variant config-error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, config-error>;
            get-all: func() -> result<list<tuple<string, string>>, config-error>;
        }
    }
";
const STORE: &str = "
    package wasi:config@0.2.0-draft-2024-09-27 {
        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
        }
    }
";
/// The WIT text of `wasi:logging`, whose draft was published without a version.
const LOGGING: &str = "
    package wasi:logging {
        interface logging {
            enum level { trace, debug, info, warn, error, critical }
            log: func(level: level, context: string, message: string);
        }
    }
";
const READS: &str = "package field:reads@1.0.0 { interface reads { value: func(key: string) -> string; } }";

/// The core function of a module. It logs the key that it gets, and returns the configured value of the key.
const CORE: &str = r#"
    (func (export "field:reads/reads@1.0.0#value") (param i32 i32) (result i32)
        (call $log (i32.const 3) (local.get 0) (local.get 1) (local.get 0) (local.get 1))
        (call $get (local.get 0) (local.get 1) (i32.const 16))
        (i32.add (i32.const 16) (i32.const 8)))
"#;

#[test]
fn drafts_are_served_under_the_same_grants() {
    for (config, text) in
        [("wasi:config/runtime@0.2.0-draft", RUNTIME), ("wasi:config/store@0.2.0-draft-2024-09-27", STORE)]
    {
        let manifest = |uses: &str| {
            format!(
                "[app]\nname = \"drafts\"\nroutes = [\"routes.toml\"]\n[modules.reads]\ncomponent = \"reads.wasm\"\n\
                 uses = [{uses}]\nconfig = {{ currency = \"EUR\" }}\n"
            )
        };
        let wit = format!(
            "package field:a; world component {{ import {config}; import wasi:logging/logging; export field:reads/reads@1.0.0; }}
             {text} {LOGGING} {READS}"
        );
        let imports = format!(
            r#"(import "{config}" "get" (func $get (param i32 i32 i32)))
               (import "wasi:logging/logging" "log" (func $log (param i32 i32 i32 i32 i32)))"#
        );
        let route = "[[route]]\nmethod = \"GET\"\npath = \"/{key}\"\ncall = \"reads/reads.value\"\n";
        let app = App::new(&manifest("")).file("routes.toml", route).component("reads", &wit, &imports, CORE);
        let codes: Vec<String> = app.problems().into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, ["ungranted", "ungranted"], "{config}");
        let app = app.file("app.toml", &manifest("\"config\", \"logging\""));
        assert_eq!(app.problems(), [], "{config}");
        let host = app.start();
        assert_eq!(ask(&host, "GET /currency", ""), (200, "\"EUR\"".to_owned()), "{config}");
        assert!(host.has_logged("currency"), "{}", host.log());
    }
}

#[test]
fn a_draft_of_other_types_is_refused_with_the_difference() {
    let app = App::new("[app]\nname = \"a\"\n[modules.a]\ncomponent = \"a.wasm\"\nuses = [\"logging\"]\n").dummy(
        "a",
        "package t:t; world component { import wasi:logging/logging; }
         package wasi:logging { interface logging { log: func(message: string); } }",
    );
    let problems = app.problems();
    assert!(!problems.is_empty() && problems.iter().all(|(code, _)| code == "type-mismatch"), "{problems:?}");
}

#[test]
fn atomics_and_batches_are_refused_with_the_reason() {
    let app = App::new("[app]\nname = \"a\"\n[modules.a]\ncomponent = \"a.wasm\"\nuses = [\"keyvalue\"]\n").dummy(
        "a",
        "package t:t; world component { import wasi:keyvalue/atomics@0.2.0-draft2; import wasi:keyvalue/batch@0.2.0-draft2; }
         package wasi:keyvalue@0.2.0-draft2 {
            interface store { resource bucket {} }
            interface atomics { use store.{bucket}; increment: func(bucket: borrow<bucket>, key: string, by: u64) -> u64; }
            interface batch { use store.{bucket}; delete-many: func(bucket: borrow<bucket>, keys: list<string>); }
         }",
    );
    let problems = app.problems();
    for interface in ["atomics", "batch"] {
        let words =
            format!("`wasi:keyvalue/{interface}@0.2.0-draft2`, which this host can't serve: its buckets are those of");
        assert!(
            problems.iter().any(|(code, message)| code == "missing-export" && message.contains(&words)),
            "{problems:?}"
        );
    }
}
