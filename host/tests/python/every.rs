//! Tests of a Python module that exports the contracts of the tests of JavaScript. All run on one application and one state folder, because
//! compiling CPython takes long.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;
use watertight_testkit::host::{self, Host, Launch};

use crate::table::{rust, table};
use crate::workspace::component;

/// The application's modules of the same component in Python.
const MODULES: [&str; 2] = ["one", "two"];

fn application(component: &Path, rust: &Path) -> TempDir {
    let folder = host::folder();
    // Each request runs on a new instance.
    let mut text = "[app]\nname = \"python\"\n[defaults.instances]\nmode = \"fresh\"\n".to_owned();
    text += &format!("[modules.rust]\ncomponent = {:?}\n", rust.display().to_string());
    for name in MODULES {
        let component = component.display().to_string();
        text += &format!(
            "[modules.{name}]\ncomponent = {component:?}\nuses = [\"clocks\", \"random\"]\ncalls = [\"rust\"]\n"
        );
    }
    fs::write(folder.path().join("app.toml"), text).unwrap();
    folder
}

async fn ask(host: &Host, function: &str, arguments: &Value) -> Value {
    let mut answer = host.call(function, arguments).await;
    assert!(answer.status == 200, "{function} {arguments}: {answer:?}\n{}", host.log());
    answer.body["result"].take()
}

#[tokio::test]
async fn a_module_gives_exact_integers_fresh_randomness_and_the_words_of_its_exceptions() {
    let app = application(&component(), &rust());
    let state = host::folder();
    let launch = || Launch::app(app.path()).state(&state.path().join("state")).start();
    let host = launch();
    integers_are_what_they_are_in_rust(&host).await;
    exceptions_are_logged_with_words_file_and_line(&host).await;
    what_is_loaded_later_works_or_says_why(&host).await;
    the_clock_goes(&host).await;
    let mut drawn = Drawn::default();
    drawn.draw(&host).await;
    host.kill();
    // A second process begins with the same saved interpreter.
    drawn.draw(&launch()).await;
    drawn.check();
}

async fn integers_are_what_they_are_in_rust(host: &Host) {
    for (function, arguments) in table() {
        let right = ask(host, &format!("rust/values.{function}"), &arguments).await;
        for interface in ["values", "relayed"] {
            let found = ask(host, &format!("one/{interface}.{function}"), &arguments).await;
            assert_eq!(found, right, "{interface}.{function} {arguments}");
        }
    }
}

async fn exceptions_are_logged_with_words_file_and_line(host: &Host) {
    for (how, body) in [
        ("good", json!({"ok": "good"})),
        ("bad", json!({"err": {"bad": "the contract knows this"}})),
        ("worse", json!({"err": {"worse": -1}})),
    ] {
        assert_eq!(ask(host, "one/fails.fail", &json!([how])).await, body);
    }
    for (function, how, parts) in [
        ("fail", "error", &["Fails.fail: ValueError: words that somebody reads", "error (component.py:23)"][..]),
        ("fail", "own", &["Refusal: of a class of its own", "own (component.py:27)"]),
        ("fail", "deep", &["LookupError: from another file", "deeper (deeper.py:2)", "Fails.fail (component.py:"]),
        ("fail", "recursion", &["RecursionError: maximum recursion depth exceeded", "<lambda> (component.py:49)"]),
        ("fail", "json", &["JSONDecodeError: Expecting property name", "<lambda> (component.py:50)"]),
        ("fail", "cause", &["Refusal: with a cause", "caused by KeyError: 'missing'", "cause (component.py:34)"]),
        ("fail", "exit", &["SystemExit: it leaves", "exit_ (component.py:"]),
        ("plain", "bad", &["Fails.plain: Err: the contract's function has no error", "the contract knows this"]),
        (
            "plain",
            "result",
            &[
                "Fails.plain: TypeError: the result is 5, which is of the type `int`",
                "says `string` at Fails.plain (component.py:92)",
            ],
        ),
        ("fail", "result", &["Fails.fail: TypeError: the result is 5", "at Fails.fail (component.py:89)"]),
        ("fail", "payload", &["TypeError: `worse` of the error is 'a text'", "at payload (component.py:68)"]),
        ("fail", "argument", &["TypeError: the argument `n` is '7'", "says `s64` at <lambda> (component.py:57)"]),
        ("fail", "number", &["OverflowError: the argument `n` is 9223372036854775808", "<lambda> (component.py:58)"]),
        ("fail", "nothing", &["KeyError: 'nothing'", "Fails.fail (component.py:"]),
    ] {
        let before = host.log().len();
        assert_eq!(host.call(&format!("one/fails.{function}"), &json!([how])).await.status, 500, "{how}");
        for part in parts {
            let is_told = (0..50).any(|_| host.log()[before..].contains(part));
            assert!(is_told, "{how}: {part} is not in {}", &host.log()[before..]);
        }
        // The trap's line repeats the words, and nothing tells of componentize-py's own end.
        let told = &host.log()[before..];
        assert!(told.contains("a module trapped in `one`: Fails."), "{how}: {told}");
        for noise in ["panicked", "componentize", "PyErr", "RUST_BACKTRACE"] {
            assert!(!told.contains(noise), "{how}: {noise} is in {told}");
        }
    }
}

async fn what_is_loaded_later_works_or_says_why(host: &Host) {
    for (name, words) in [
        ("function", "2"),
        ("strptime", "2026-11-30T00:00:00"),
        ("decimal", "0.3"),
        ("idna", "xn--bcher-kva"),
        ("module", "ModuleNotFoundError: the Python module `sqlite3` is not in the component"),
        ("codec", "LookupError: the codec `cp437` is not in the component"),
        ("file", "FileNotFoundError: "),
    ] {
        let told = ask(host, "one/fails.refused", &json!([name])).await;
        assert!(told.as_str().unwrap().starts_with(words), "{name}: {told}");
    }
}

async fn the_clock_goes(host: &Host) {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as f64;
    let before = now();
    let told = ask(host, "one/ambient.now", &json!([])).await.as_f64().unwrap();
    assert!((before - 1.0..=now() + 1.0).contains(&told), "{before} {told}");
    let dates = ask(host, "one/ambient.dates", &json!([])).await;
    // Midnight may pass between the requests.
    assert_eq!(dates[0].as_str().unwrap()[..8], dates[1].as_str().unwrap()[..8]);
    assert_eq!(dates[2], "1970-01-01T00:00:00+00:00");
    assert!(ask(host, "one/ambient.now", &json!([])).await.as_f64().unwrap() > told);
}

/// What the modules drew, over all instances, modules and processes.
#[derive(Default)]
struct Drawn {
    uuids: Vec<String>,
    numbers: Vec<String>,
    bytes: Vec<String>,
}

impl Drawn {
    async fn draw(&mut self, host: &Host) {
        for module in MODULES {
            for _instance in 0..4 {
                let uuids = ask(host, &format!("{module}/ambient.uuids"), &json!([10])).await;
                self.uuids.extend(uuids.as_array().unwrap().iter().map(|uuid| uuid.as_str().unwrap().to_owned()));
                self.numbers.push(ask(host, &format!("{module}/ambient.random"), &json!([])).await.to_string());
                self.bytes.push(ask(host, &format!("{module}/ambient.bytes"), &json!([24])).await.to_string());
            }
        }
    }

    fn check(&self) {
        for (drawn, count) in [(&self.uuids, 160), (&self.numbers, 16), (&self.bytes, 16)] {
            assert_eq!((drawn.len(), drawn.iter().collect::<HashSet<_>>().len()), (count, count), "{drawn:?}");
        }
    }
}
