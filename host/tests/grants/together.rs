//! Tests of modules that import WASI and share a compartment: each has its own grants, its own output and its own name.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use watertight_testkit::app::{App, guest, wasi_probe};
use watertight_testkit::host::Host;

use crate::http::{provider, request};

/// Returns the names of the compartments in which the modules run.
async fn compartments(host: &Host) -> BTreeSet<String> {
    let modules = host.admin_get("/modules").await.expect(200).body["modules"].take();
    modules.as_array().unwrap().iter().map(|module| module["compartment"].as_str().unwrap().to_owned()).collect()
}

/// Returns what the guest `fetch` says of a request that the module `module` sends.
async fn fetch(host: &Host, module: &str, request: Value) -> Value {
    host.called(&format!("{module}/fetch.send"), json!([request])).await
}

#[tokio::test]
async fn each_module_of_a_compartment_reaches_its_own_destinations_only() {
    let ((one, of_one), (two, of_two)) = (provider().await, provider().await);
    let component = guest("fetch");
    let module = |name: &str, allow: &str| {
        format!(
            "[modules.{name}]\ncomponent = {component:?}\nuses = [\"http\", \"clocks\"]\n\
             [modules.{name}.http]\nallow = [{allow}]\n"
        )
    };
    let manifest = [
        "[app]\nname = \"together\"\n".to_owned(),
        module("one", &format!("\"http://{one}\"")),
        module("two", &format!("\"http://{two}\"")),
        module("none", ""),
        "[compartments.all]\nmodules = [\"one\", \"two\", \"none\"]\n".to_owned(),
    ];
    let host = App::new(&manifest.concat()).launch().start();
    assert_eq!(compartments(&host).await, BTreeSet::from(["all".to_owned()]));
    // In turns, on the same warm instance: what one call may reach must not last until the next.
    for _ in 0..3 {
        for module in ["one", "two", "none"] {
            for (address, owner) in [(one, "one"), (two, "two")] {
                let said = fetch(&host, module, request(address, "/hello")).await;
                if module == owner {
                    assert_eq!(said["ok"]["text"], "hello", "{module} to {owner}: {said}");
                } else {
                    let error = said["err"].as_str().unwrap_or_default();
                    assert!(error.contains("HttpRequestDenied"), "{module} to {owner}: {said}");
                }
            }
        }
    }
    assert_eq!((of_one.times(), of_two.times()), (3, 3));
    let denied =
        |module: &str| host.log().lines().filter(|line| line.contains(&format!("module=\"{module}\""))).count();
    assert!(host.has_logged("module=\"none\""));
    assert!(denied("one") >= 3 && denied("two") >= 3 && denied("none") >= 6, "{}", host.log());
}

#[tokio::test]
async fn each_module_of_a_compartment_prints_under_its_own_name() {
    let probe = wasi_probe();
    let module = |name: &str| {
        format!("[modules.{name}]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n")
    };
    let manifest = ["[app]\nname = \"together\"\n", &module("left"), &module("right")].concat();
    let host = App::new(&manifest).launch().start();
    // Without a word in the manifest: WASI is no reason to stand apart.
    assert_eq!(compartments(&host).await, BTreeSet::from(["main".to_owned()]));
    for round in 0..3 {
        for (module, to_error) in [("left", false), ("right", true), ("right", false), ("left", true)] {
            let text = format!("{module} {to_error} {round}");
            host.called(&format!("{module}/acts.print"), json!([text, to_error])).await;
            assert!(host.has_logged(&text));
            let log = host.log();
            let line = log.lines().find(|line| line.contains(&text)).unwrap();
            let stream = if to_error { "stderr" } else { "stdout" };
            assert!(line.contains(&format!("module=\"{module}\"")), "{line}");
            assert!(line.contains(&format!("context=\"{stream}\"")), "{line}");
        }
    }
}
