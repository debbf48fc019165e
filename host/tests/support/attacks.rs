//! Hostile modules. Each file of `hostile/` is the core code of one, whose function `attack` does it. Its first line says what is
//! answered and why; a second one what type `attack` has, where it returns anything.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each user uses a part; tests and benchmarks fail by panicking"
)]

use std::fs;
use std::path::Path;

/// What a hostile module must come to.
#[derive(Debug)]
pub struct Attack {
    pub name: String,
    /// What its caller is answered.
    pub status: u16,
    pub why: Why,
    pub component: Vec<u8>,
}

/// What counts it.
#[derive(Debug)]
pub enum Why {
    Trap,
    Limit(String),
    /// The answer itself was too large, after the call.
    Result,
}

impl Attack {
    fn read(name: &str, text: &str) -> Self {
        let mut words = text.lines().next().unwrap().strip_prefix(";; status ").unwrap().split(' ');
        let status = words.next().unwrap().parse().unwrap();
        let why = match (words.next().unwrap(), words.next()) {
            ("trap", None) => Why::Trap,
            ("result", None) => Why::Result,
            ("limit", Some(limit)) => Why::Limit(limit.to_owned()),
            other => panic!("{name}: {other:?}"),
        };
        let result = text.lines().nth(1).and_then(|line| line.strip_prefix(";; result "));
        let result = result.map_or_else(String::new, |result| format!("(result {result})"));
        let component = format!(
            r#"(component
              (import "wasi:logging/logging@0.1.0-draft" (instance $logging
                (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
                (export "level" (type $level (eq $l)))
                (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
              (type $handle (resource (rep i32)))
              (core func $new (canon resource.new $handle))
              (core module $memory (memory (export "memory") 1))
              (core instance $memory (instantiate $memory))
              (alias core export $memory "memory" (core memory $shared))
              (core func $log (canon lower (func $logging "log") (memory $shared)))
              (core module $m
                (import "host" "new" (func $new (param i32) (result i32)))
                (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
                (import "host" "memory" (memory 1))
                (func (export "fine") (result i32) (i32.const 7))
                {text})
              (core instance $host
                (export "new" (func $new)) (export "log" (func $log)) (export "memory" (memory $shared)))
              (core instance $i (instantiate $m (with "host" (instance $host))))
              (func $attack {result} (canon lift (core func $i "attack") (memory $shared)))
              (func $fine (result u32) (canon lift (core func $i "fine")))
              (instance $api (export "attack" (func $attack)) (export "fine" (func $fine)))
              (export "t:t/api@1.0.0" (instance $api)))"#
        );
        let component = wat::parse_str(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), status, why, component }
    }

    /// All of them, by name.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
        let mut attacks: Vec<Self> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|file| Self::read(file.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(&file).unwrap()))
            .collect();
        attacks.sort_by(|one, other| one.name.cmp(&other.name));
        attacks
    }
}
