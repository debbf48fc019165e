//! Tests of time and random numbers in JavaScript. If the module imports them, each instance gets its own. Otherwise their use throws an
//! error with a message.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use watertight_testkit::host::{Host, Launch, folder};

use crate::workspace::{Workspace, application, component};

const MODULES: [&str; 3] = ["one", "three", "two"];

async fn ask(host: &Host, module: &str, function: &str, arguments: Value) -> Value {
    let mut answer = host.call(&format!("{module}/ambient.{function}"), &arguments).await;
    assert!(answer.status == 200, "{module}/{function}: {answer:?}\n{}", host.log());
    answer.body["result"].take()
}

/// No two instances get the same random numbers. The host has three modules of one component, and each request runs on a new instance.
#[tokio::test]
async fn no_two_instances_draw_the_same() {
    let (file, uses) = (component("ambient"), "uses = [\"clocks\", \"random\"]");
    let modules = MODULES.map(|name| (name, file.as_path(), uses));
    let app = application("[defaults.instances]\nmode = \"fresh\"", &modules);
    let state = folder();
    let (mut uuids, mut numbers, mut bytes) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut drawn = 0;
    for _start in 0..3 {
        let host = Launch::app(app.path()).state(&state.path().join("state")).start();
        for module in MODULES {
            for _instance in 0..12 {
                let some = ask(&host, module, "uuids", json!([10])).await;
                uuids.extend(some.as_array().unwrap().iter().map(|uuid| uuid.as_str().unwrap().to_owned()));
                drawn += 10;
            }
            for _instance in 0..3 {
                numbers.insert(ask(&host, module, "random", json!([])).await.to_string());
                bytes.insert(ask(&host, module, "bytes", json!([24])).await.to_string());
            }
        }
        host.kill();
    }
    assert_eq!((drawn, uuids.len(), numbers.len(), bytes.len()), (1080, 1080, 27, 27));
    for uuid in &uuids {
        let parts: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
        assert!(uuid.as_bytes()[14] == b'4' && b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
    assert!(numbers.iter().all(|number| (0.0..1.0).contains(&number.parse::<f64>().unwrap())), "{numbers:?}");
}

#[tokio::test]
async fn the_clock_goes() {
    let app = application("", &[("one", &component("ambient"), "uses = [\"clocks\", \"random\"]")]);
    let host = Launch::app(app.path()).start();
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as f64;
    let before = now();
    let told = ask(&host, "one", "now", json!([])).await.as_f64().unwrap();
    assert!((before - 1.0..=now() + 1.0).contains(&told), "{before} {told}");
    let dates = ask(&host, "one", "dates", json!([])).await;
    let today = dates[0].as_str().unwrap()[..10].to_owned();
    for date in &dates.as_array().unwrap()[..3] {
        // Midnight may pass between the requests.
        assert!(date.as_str().unwrap()[..8] == today[..8], "{dates}");
    }
    assert_eq!(dates[3], "1970-01-01T00:00:00.000Z");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(ask(&host, "one", "now", json!([])).await.as_f64().unwrap() > told);
    let elapsed = ask(&host, "one", "elapsed", json!([])).await;
    assert!(elapsed[0].as_f64() <= elapsed[1].as_f64(), "{elapsed}");
    // The engine would take these functions from its snapshot, or never complete them.
    for (name, part) in [("key", "crypto.subtle.generateKey"), ("timer", "setTimeout")] {
        let words = ask(&host, "one", "refused", json!([name])).await;
        assert!(words.as_str().unwrap().contains(part), "{words}");
    }
    assert_eq!(ask(&host, "one", "refused", json!(["original"])).await, "it works");
}

#[tokio::test]
async fn without_an_import_it_throws_and_names_the_grant() {
    let app = application("", &[("fails", &component("fails"), "")]);
    let host = Launch::app(app.path()).start();
    for (name, interface, uses) in [
        ("uuid", "wasi:random/random", "uses = [\"random\"]"),
        ("random", "wasi:random/random", "uses = [\"random\"]"),
        ("bytes", "wasi:random/random", "uses = [\"random\"]"),
        ("now", "wasi:clocks/wall-clock", "uses = [\"clocks\"]"),
        ("date", "wasi:clocks/wall-clock", "uses = [\"clocks\"]"),
        ("original", "wasi:clocks/wall-clock", "uses = [\"clocks\"]"),
        ("elapsed", "wasi:clocks/wall-clock", "uses = [\"clocks\"]"),
    ] {
        let answer = host.call("fails/fails.refused", &json!([name])).await;
        let words = answer.at("/result");
        assert!(words.contains(interface) && words.contains(uses), "{name}: {words}");
    }
}

/// `build` refuses a module whose top level asks for a random number: it would be the same in every instance.
#[test]
fn at_the_top_level_it_is_refused_by_build() {
    let code = "import { explain } from './explain.js';\n\nconst seed = Math.random();\nexport const one = { f: () => explain(seed) };\n";
    let workspace = Workspace::new("f: func() -> string;", code);
    workspace.write("modules/one/explain.js", "export const explain = String;\n");
    let said = workspace.build().expect(1);
    for part in ["Math.random() at the top level", "component.js:3"] {
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
    }
}
