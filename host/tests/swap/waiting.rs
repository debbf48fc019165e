//! Tests of the priority with which components are compiled: as the host's own where somebody waits for it and nothing is served, and with
//! idle processors where requests come first.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use watertight_testkit::admin::Operator;
use watertight_testkit::host::{binary, folder};
use watertight_testkit::refused::tangle;
use watertight_testkit::tagged::{App, Content, back_with};

/// The maximum time to wait for a compilation to begin.
const TIMEOUT: Duration = Duration::from_secs(60);

const SUITE: &str = r#"{
  "interface": "tags:app/back@1.0.0",
  "cases": [{ "name": "the tag", "steps": [{ "call": "tag", "answer": 102 }] }]
}"#;

/// Returns a build of the module `back` that takes minutes to compile.
fn slow() -> Vec<u8> {
    back_with(102, &tangle(20_000, 3, 8))
}

/// Waits until a process has a child that compiles. Returns the priority that the child's arguments name.
fn priority(process: u32) -> String {
    let start = Instant::now();
    loop {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
        let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        for child in children.collect::<String>().split_whitespace() {
            let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            if let [_, "compile-component", _, priority, ..] = line.split('\0').collect::<Vec<_>>()[..] {
                return priority.to_owned();
            }
        }
        assert!(start.elapsed() < TIMEOUT, "nothing is compiled");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A command that is killed when the test ends. Its compiler ends with it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_an_author_waits_for_is_compiled_like_any_other_work() {
    let app = App::new(Content::first(true), "");
    fs::write(app.path().join("back.wasm"), slow()).unwrap();
    fs::create_dir_all(app.path().join("wit/back/suite")).unwrap();
    fs::write(app.path().join("wit/back/suite/back.json"), SUITE).unwrap();
    let place = folder();
    let listeners = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for (command, arguments) in
        [("run", &listeners[..]), ("dev", &listeners[..]), ("test", &["--no-build", "back", "--app"][..])]
    {
        let said = place.path().join(command);
        let mut starting = binary();
        starting.arg(command).args(arguments).arg(app.path()).current_dir(place.path());
        starting.stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let running = Running::start(&mut starting);
        assert_eq!(priority(running.0.id()), "equal", "{command}");
        // Whoever waits learns for what.
        let start = Instant::now();
        let log = || fs::read_to_string(&said).unwrap();
        while !log().contains("compiling module") {
            assert!(start.elapsed() < TIMEOUT, "{command}: {}", log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_change_is_compiled_with_what_requests_leave() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    thread::scope(|scope| {
        scope.spawn(|| operator.swap("back", &slow()));
        assert_eq!(priority(host.process()), "idle");
        operator.rollback(None);
        host.signal(rustix::process::Signal::TERM);
    });
}
