//! Applications whose components are built from text, and helpers that run commands on them and send requests to their host.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;
use watertight_testkit::components::component_of;
use watertight_testkit::host::{self, Host, Launch};

/// The text with which each core module of these tests begins: a memory, and an allocator that never frees.
pub(crate) const MEMORY: &str = r#"
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func $allocate (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.set $next (i32.and
            (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
        (global.get $next)
        (global.set $next (i32.add (global.get $next) (local.get 3))))
"#;

/// An application in a temporary folder, which is also its workspace.
pub(crate) struct App {
    folder: TempDir,
}

impl App {
    pub(crate) fn new(manifest: &str) -> Self {
        let app = Self { folder: host::folder() };
        fs::create_dir(app.path().join("wit")).unwrap();
        app.file("app.toml", manifest)
    }

    /// Adds a module's component for the world `component` of the WIT text `wit`. The text of its core module consists of `imports`,
    /// [`MEMORY`] and `functions`.
    pub(crate) fn component(self, name: &str, wit: &str, imports: &str, functions: &str) -> Self {
        let core = format!("(module {imports} {MEMORY} {functions})");
        let bytes = component_of(wit, "component", &core);
        fs::write(self.path().join(name).with_extension("wasm"), bytes).unwrap();
        self
    }

    /// Adds a module's component for the world `component` of the WIT text `wit`. All its functions trap.
    pub(crate) fn dummy(self, name: &str, wit: &str) -> Self {
        let bytes = watertight_testkit::components::component(wit, "component");
        fs::write(self.path().join(name).with_extension("wasm"), bytes).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let file = self.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start(&self) -> Host {
        Launch::app(self.path()).start()
    }

    /// Runs a `watertight` command in the application's folder.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        host::binary().args(arguments).current_dir(self.path()).output().unwrap()
    }

    /// Runs a `watertight` command that must succeed. Returns its standard output.
    pub(crate) fn out(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{error}");
        out
    }

    /// Runs a `watertight` command that must succeed. Returns its output as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.out(arguments)).unwrap()
    }

    /// Returns the code and message of each problem that `check` reports.
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let output = self.run(&["check", "--json", "."]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problems = pairs(&found["problems"]);
        assert_eq!(output.status.success(), problems.is_empty());
        problems
    }

    /// Returns the code and message of each note that `check` reports. There must be no problems.
    pub(crate) fn notes(&self) -> Vec<(String, String)> {
        pairs(&self.json(&["check", "--json", "."])["notes"])
    }
}

fn pairs(problems: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems.as_array().unwrap().iter().map(|problem| (text(&problem["code"]), text(&problem["message"]))).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends one request and returns the status and the body. `head` is the request line without its version, followed by header fields.
pub(crate) fn ask(host: &Host, head: &str, body: &str) -> (u16, String) {
    let (line, fields) = head.split_once('\n').unwrap_or((head, ""));
    let fields: String = fields.lines().map(|field| format!("{field}\r\n")).collect();
    let typed = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    let request = format!("{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{fields}{typed}\r\n{body}");
    let mut stream = TcpStream::connect(host.listen()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").unwrap_or_default().1.to_owned())
}
