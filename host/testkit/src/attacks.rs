//! Hostile modules. Each file of `hostile/` is the core code of one module; its function `attack` makes the attack. The first lines
//! of the file state the expected outcome:
//!
//! | line | meaning |
//! | --- | --- |
//! | `;; status 500 trap` | the status of the response, and the metric that counts the failure: see [`Why`] |
//! | `;; result string` | the result type of `attack`; without the line, it has no result |
//! | `;; limits request = "300ms"` | limits of the module's compartment that differ from `LIMITS` |
//! | `;; sql INSERT …` | an SQL statement; see `sql.wat` in this folder. The module is granted a database with a table `note` |
//! | `;; fine 500` | the status of the next call, of the harmless function `fine`; 200 without the line |
//! | `;; streams` | the module has intrinsics for streams of bytes: `$stream-new`, `$stream-read`, `$stream-write`, `$stream-cancel-write` |
//! | `;; callee fused` | the module calls a module that traps, in its own compartment or in another one (`apart`) |

use std::fmt::Write;
use std::fs;
use std::path::Path;

use watertight_component::artifact::{Docs, ModuleSection};
use watertight_model::migration::Migration;

use crate::paths::repository;

/// The limits of a hostile module's compartment, as keys and values of the manifest. They are small, so that attacks exceed them soon.
const LIMITS: [(&str, &str); 7] = [
    ("memory", "\"16MiB\""),
    ("cpu", "\"100ms\""),
    ("request", "\"10s\""),
    ("transfer", "\"5MiB\""),
    ("handles", "1000"),
    ("log", "\"64KiB\""),
    ("result", "\"64KiB\""),
];

/// The text that a hostile module with a database needs: imports for its component and supporting functions for its core module.
const SQL: &str = include_str!("sql.wat");

/// The text that a hostile module with streams needs: intrinsics of its component, their imports in its core module, and their exports to it.
const STREAMS: (&str, &str, &str) = (
    r#"(type $bytes (stream u8))
       (core func $stream-new (canon stream.new $bytes))
       (core func $stream-read (canon stream.read $bytes async (memory $shared)))
       (core func $stream-write (canon stream.write $bytes async (memory $shared)))
       (core func $stream-cancel-write (canon stream.cancel-write $bytes))"#,
    r#"(import "host" "stream-new" (func $stream-new (result i64)))
       (import "host" "stream-read" (func $stream-read (param i32 i32 i32) (result i32)))
       (import "host" "stream-write" (func $stream-write (param i32 i32 i32) (result i32)))
       (import "host" "stream-cancel-write" (func $stream-cancel-write (param i32) (result i32)))"#,
    r#"(export "stream-new" (func $stream-new)) (export "stream-read" (func $stream-read))
       (export "stream-write" (func $stream-write)) (export "stream-cancel-write" (func $stream-cancel-write))"#,
);

/// A hostile module and its expected outcome.
#[derive(Debug)]
pub struct Attack {
    pub name: String,
    /// The HTTP status of the response to a call of the function `attack`.
    pub status: u16,
    pub why: Why,
    /// The HTTP status of the response to the next call, of the harmless function `fine`.
    pub fine: u16,
    pub component: Vec<u8>,
    /// Whether the module has a database.
    pub sql: bool,
    limits: Vec<(String, String)>,
    /// The component of the module that the hostile module calls, and whether the called module has a compartment of its own. `None` if it
    /// calls none.
    callee: Option<(Vec<u8>, bool)>,
}

/// How an attack ends. Metrics count calls by this reason.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    Trap,
    Limit(String),
    /// The call did not end before its deadline.
    Deadline,
    /// A module of another compartment, which the hostile module called, failed.
    Callee,
    /// The result of the call was too large.
    Result,
    /// The host refused an operation with an error of the operation's interface, and the call continued.
    Denied,
}

impl Attack {
    fn read(name: &str, text: &str) -> Self {
        let lines = |key: &str| {
            let start = format!(";; {key} ");
            text.lines().filter_map(move |line| line.strip_prefix(&start).map(str::to_owned)).collect::<Vec<_>>()
        };
        let status = lines("status").remove(0);
        let mut words = status.split(' ');
        let status = words.next().unwrap().parse().unwrap();
        let why = match (words.next().unwrap(), words.next()) {
            ("trap", None) => Why::Trap,
            ("result", None) => Why::Result,
            ("deadline", None) => Why::Deadline,
            ("callee", None) => Why::Callee,
            ("denied", None) => Why::Denied,
            ("limit", Some(limit)) => Why::Limit(limit.to_owned()),
            other => panic!("{name}: {other:?}"),
        };
        let limits = lines("limits").into_iter().map(|line| {
            let (key, value) = line.split_once(" = ").unwrap();
            (key.to_owned(), value.to_owned())
        });
        let callee = lines("callee").pop().map(|placed| (callee(), placed == "apart"));
        let statements = lines("sql");
        let component = component(name, text, &lines("result"), &statements, callee.is_some());
        let sql = !statements.is_empty();
        let fine = lines("fine").pop().map_or(200, |fine| fine.parse().unwrap());
        Self { name: name.to_owned(), status, why, fine, component, sql, limits: limits.collect(), callee }
    }

    /// Returns all hostile modules, sorted by name.
    pub fn all() -> Vec<Self> {
        let folder = repository().join("host/tests/hostile");
        let mut attacks: Vec<Self> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|file| Self::read(file.file_stem().unwrap().to_str().unwrap(), &fs::read_to_string(&file).unwrap()))
            .collect();
        attacks.sort_by(|one, other| one.name.cmp(&other.name));
        attacks
    }

    /// Writes the components of the attack into the manifest's folder. Returns the text for these modules that the manifest needs.
    pub fn put(&self, folder: &Path) -> String {
        let Self { name, component, sql, limits, callee, .. } = self;
        fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
        let (uses, calls) =
            (if *sql { ", \"sql\"" } else { "" }, if callee.is_some() { "calls = [\"@\"]\n" } else { "" });
        let mut text = format!("[modules.{name}]\ncomponent = \"{name}.wasm\"\nuses = [\"logging\"{uses}]\n");
        let other = format!("{name}-callee");
        text += &calls.replace('@', &other);
        let mut modules = format!("\"{name}\"");
        if let Some((bytes, apart)) = callee {
            fs::write(folder.join(format!("{other}.wasm")), bytes).unwrap();
            let _ = write!(text, "[modules.{other}]\ncomponent = \"{other}.wasm\"\n");
            if *apart {
                let _ = write!(text, "[compartments.{other}]\nmodules = [\"{other}\"]\n");
            } else {
                let _ = write!(modules, ", \"{other}\"");
            }
        }
        let _ = write!(text, "[compartments.{name}]\nmodules = [{modules}]\n[compartments.{name}.limits]\n");
        let own = |key: &str| limits.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str());
        for (key, value) in LIMITS {
            let _ = writeln!(text, "{key} = {}", own(key).unwrap_or(value));
        }
        text
    }

    /// Returns a route at `path` to the module's function `attack` or `fine`, as TOML.
    pub fn route(&self, path: &str, function: &str) -> String {
        // The status of a route applies to results only. Failures have statuses of their own.
        let status = if function == "attack" && self.status < 300 { self.status } else { 200 };
        let name = &self.name;
        format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"\ncall = \"{name}/api.{function}\"\nstatus = {status}\n")
    }

    /// Writes the components of all attacks into the manifest's folder. Returns the text for these modules that the manifest needs.
    pub fn put_all(attacks: &[Self], folder: &Path) -> String {
        attacks.iter().map(|attack| attack.put(folder)).collect()
    }

    /// Returns routes to the function `attack` of each module, with the module's name as the path.
    pub fn routes(attacks: &[Self]) -> String {
        attacks.iter().map(|attack| attack.route(&format!("/{}", attack.name), "attack")).collect()
    }

    /// Returns a description of the attack's expected outcome, for a table.
    pub fn effect(&self) -> String {
        match &self.why {
            Why::Trap => "trap".to_owned(),
            Why::Limit(limit) => format!("limit `{limit}`"),
            Why::Deadline => "deadline".to_owned(),
            Why::Callee => "callee unavailable".to_owned(),
            Why::Result => "result too large".to_owned(),
            Why::Denied => "denied by the interface's own error".to_owned(),
        }
    }
}

/// Returns the component of a module that a hostile module calls. It traps at each call.
fn callee() -> Vec<u8> {
    wat::parse_str(
        r#"(component
          (core module $m (func (export "attack") unreachable))
          (core instance $i (instantiate $m))
          (func $attack (canon lift (core func $i "attack")))
          (instance $api (export "attack" (func $attack)))
          (export "t:t/victim@1.0.0" (instance $api)))"#,
    )
    .unwrap()
}

fn component(name: &str, text: &str, result: &[String], statements: &[String], calls: bool) -> Vec<u8> {
    let result = result.first().map_or_else(String::new, |result| format!("(result {result})"));
    let (outside, inside) = SQL.split_once(";; ----\n").unwrap();
    let (outside, inside) = if statements.is_empty() { ("", "") } else { (outside, inside) };
    let (sql_instance, fine) = if statements.is_empty() {
        ("", "(func (export \"fine\") (result i32) (i32.const 7))")
    } else {
        (r#"(with "sql" (instance $sql-core))"#, "")
    };
    let (callee, lowered, imported, given) = if calls {
        (
            r#"(import "t:t/victim@1.0.0" (instance $callee (export "attack" (func))))"#,
            r#"(core func $callee (canon lower (func $callee "attack")))"#,
            r#"(import "host" "callee" (func $callee))"#,
            r#"(export "callee" (func $callee))"#,
        )
    } else {
        ("", "", "", "")
    };
    let has_streams = text.lines().any(|line| line == ";; streams");
    let (streams, imported_streams, given_streams) = if has_streams { STREAMS } else { ("", "", "") };
    let mut numbered = String::new();
    for (number, statement) in statements.iter().enumerate() {
        let (at, length) = (1024 * (number + 1), statement.len());
        let given = format!("(i32.const {at}) (i32.const {length}) (i32.const 0) (i32.const 0) (i32.const 256)");
        let _ = write!(
            numbered,
            r#"(data (i32.const {at}) "{statement}")
               (func $query{number} (result i32) (call $query {given}) (call $said (i32.const 4)))
               (func $execute{number} (result i32) (call $execute {given}) (call $said (i32.const 8)))
               (func $query-within{number} (param i32) (result i32)
                 (call $query-within (local.get 0) {given}) (call $said (i32.const 4)))
               (func $execute-within{number} (param i32) (result i32)
                 (call $execute-within (local.get 0) {given}) (call $said (i32.const 8)))"#
        );
    }
    let component = format!(
        r#"(component
          (import "wasi:logging/logging@0.1.0-draft" (instance $logging
            (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
            (export "level" (type $level (eq $l)))
            (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
          {callee}
          (type $handle (resource (rep i32)))
          (core func $new (canon resource.new $handle))
          (core module $memory
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 32768))
            (func (export "reset") (global.set $next (i32.const 32768)))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
              (global.set $next (i32.add (local.get $at) (local.get 3)))
              (loop $grow
                (if (i32.gt_u (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
                  (then (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $grow))))
              (local.get $at)))
          (core instance $memory (instantiate $memory))
          (alias core export $memory "memory" (core memory $shared))
          (alias core export $memory "realloc" (core func $realloc))
          (alias core export $memory "reset" (core func $reset))
          (core func $log (canon lower (func $logging "log") (memory $shared)))
          {lowered}
          {streams}
          {outside}
          (core module $m
            (import "host" "new" (func $new (param i32) (result i32)))
            (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
            (import "host" "memory" (memory 1))
            {imported}
            {imported_streams}
            {inside}
            {fine}
            {numbered}
            {text})
          (core instance $host
            (export "new" (func $new)) (export "log" (func $log)) (export "memory" (memory $shared)) {given} {given_streams})
          (core instance $i (instantiate $m (with "host" (instance $host)) {sql_instance}))
          (func $attack {result} (canon lift (core func $i "attack") (memory $shared)))
          (func $fine (result u32) (canon lift (core func $i "fine")))
          (instance $api (export "attack" (func $attack)) (export "fine" (func $fine)))
          (export "t:t/api@1.0.0" (instance $api)))"#
    );
    let mut component = wat::parse_str(&component).unwrap_or_else(|error| panic!("{name}: {error}"));
    if !statements.is_empty() {
        let migration = Migration::new("0001_note.sql".to_owned(), "CREATE TABLE note (text)".to_owned());
        let section = ModuleSection::new(&component, name.parse().unwrap(), "wat", vec![migration], Docs::default());
        section.unwrap().append_to(&mut component).unwrap();
    }
    component
}
