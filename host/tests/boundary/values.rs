//! Tests of values: what a module gives back must be what a module in Rust gives back, and no two instances draw the same random numbers.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use watertight_testkit::host::{Host, Launch};

use crate::modules::{LANGUAGES, application, component};
use crate::table::{rust, table};

async fn ask(host: &Host, function: &str, arguments: &Value) -> Value {
    let mut answer = host.call(function, arguments).await;
    assert!(answer.status == 200, "{function} {arguments}: {answer:?}\n{}", host.log());
    answer.body["result"].take()
}

#[tokio::test]
async fn values_of_every_type_are_what_they_are_in_rust() {
    let files = LANGUAGES.map(|language| component("exact", language));
    let app = application("", &[("c", &files[0], ""), ("ts", &files[1], ""), ("rust", &rust(), "")]);
    let host = Launch::app(app.path()).start();
    for (function, arguments) in table() {
        let right = ask(&host, &format!("rust/values.{function}"), &arguments).await;
        for language in LANGUAGES {
            let found = ask(&host, &format!("{language}/values.{function}"), &arguments).await;
            assert_eq!(found, right, "{language}: {function} {arguments}");
        }
    }
}

#[tokio::test]
async fn no_two_instances_draw_the_same_and_the_clock_goes() {
    for language in LANGUAGES {
        let (file, uses) = (component("ambient", language), "uses = [\"clocks\", \"random\"]");
        let modules = ["one", "two"].map(|name| (name, file.as_path(), uses));
        let app = application("[defaults.instances]\nmode = \"fresh\"", &modules);
        let state = watertight_testkit::host::folder();
        let (mut drawn, mut uuids) = (0, HashSet::new());
        for _start in 0..2 {
            let host = Launch::app(app.path()).state(&state.path().join("state")).start();
            for module in ["one", "two"] {
                for _instance in 0..6 {
                    let some = ask(&host, &format!("{module}/ambient.uuids"), &json!([10])).await;
                    uuids.extend(some.as_array().unwrap().iter().map(|uuid| uuid.as_str().unwrap().to_owned()));
                    drawn += 10;
                }
            }
            let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as f64;
            let before = now();
            let told = ask(&host, "one/ambient.now", &json!([])).await.as_f64().unwrap();
            assert!((before - 1.0..=now() + 1.0).contains(&told), "{language}: {before} {told}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(ask(&host, "one/ambient.now", &json!([])).await.as_f64().unwrap() > told);
            host.kill();
        }
        assert_eq!((uuids.len(), drawn), (240, 240), "{language}");
    }
}
