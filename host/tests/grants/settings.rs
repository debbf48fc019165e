//! Tests of configuration values and secrets: each module has its own, and no other module can read a module's secret.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use watertight_testkit::app::{App, guest};
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host::{self, Host, Launch};

/// The log filter under which the host and its libraries write everything.
const EVERYTHING: &str = "trace,h2=trace,hyper=trace,mio=trace,tokio=trace,wasmtime=trace,wiggle=trace";
/// A secret whose value is in a file. It may appear nowhere except in the answer of the module that has it.
const IN_A_FILE: &str = "hush-in-a-file-7c1f";
const IN_A_VARIABLE: &str = "hush-in-a-variable-93ab";
const LATER: &str = "hush-later-5e20";

/// Returns an application with a module with configuration values and secrets, a second module with other values of the same names, and a
/// module that both call. `settings` is appended to the manifest.
fn app(settings: &str) -> App {
    let (probe, pair) = (guest("probe"), guest("pair"));
    let app = App::new(&format!(
        r#"
[app]
name = "settings"
[modules.a]
component = {probe:?}
uses = ["sql", "logging", "clocks"]
[modules.mine]
component = {pair:?}
uses = ["sql", "config"]
calls = ["a"]
[modules.mine.config]
currency = "EUR"
region = {{ env = "SHOP_REGION" }}
zone = {{ env = "SHOP_ZONE", default = "west" }}
{settings}
[modules.theirs]
component = {pair:?}
uses = ["sql", "config"]
calls = ["a"]
config = {{ api_key = "not a secret" }}
"#
    ));
    fs::create_dir(app.path().join("secrets")).unwrap();
    fs::write(app.path().join("secrets/key"), format!("{IN_A_FILE}\n")).unwrap();
    app
}

const SECRETS: &str =
    "[modules.mine.secrets]\napi_key = { file = \"secrets/key\" }\ntoken = { env = \"SHOP_TOKEN\" }\n";

fn launch(app: &App) -> Launch {
    app.launch().variable("SHOP_REGION", "north").variable("SHOP_TOKEN", IN_A_VARIABLE)
}

async fn ask(host: &Host, module: &str, key: &str) -> Value {
    host.called(&format!("{module}/pair.configured"), json!([key])).await
}

/// Returns a command that runs `watertight` with these arguments, and with the environment variables that the application's manifest names.
fn watertight(words: &[&str]) -> Command {
    let mut command = host::binary();
    command.args(words).env("SHOP_REGION", "north").env("SHOP_TOKEN", IN_A_VARIABLE);
    command
}

fn on_host(host: &Host, words: &[&str]) -> CommandOutput {
    let mut command = watertight(words);
    run(command.arg("--state").arg(host.state())).expect(0)
}

/// Returns the paths of the files below a folder that contain a text.
fn found_in(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(found_in(&path, text));
        } else if fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn a_module_has_values_of_the_manifest_and_of_the_environment() {
    let app = app("");
    let host = launch(&app).start();
    let keys = json!(["currency", "region", "zone"]);
    for (key, value) in [("currency", "EUR"), ("region", "north"), ("zone", "west")] {
        assert_eq!(ask(&host, "mine", key).await, json!([value, keys]));
    }
    // A key that the manifest doesn't name is absent, whatever the host's environment has.
    for key in ["SHOP_REGION", "SHOP_TOKEN", "PATH", "api_key"] {
        assert_eq!(ask(&host, "mine", key).await, json!([null, keys]));
    }
    drop(host);
    let host = launch(&app).variable("SHOP_ZONE", "east").start();
    assert_eq!(ask(&host, "mine", "zone").await[0], "east");
}

#[test]
fn what_is_missing_is_a_problem_with_its_place() {
    let app = app(SECRETS);
    fs::remove_file(app.path().join("secrets/key")).unwrap();
    let mut command = host::binary();
    command.args(["check", "--env", "--json"]).arg(app.path()).env_remove("SHOP_REGION").env_remove("SHOP_TOKEN");
    let problems = run(&mut command).expect(1).json()["problems"].take();
    let manifest = app.path().join("app.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let line = |key: &str| text.lines().position(|line| line.starts_with(key)).unwrap() + 1;
    let expected = [
        ("region = ", "the variable `SHOP_REGION` is not set"),
        ("api_key = ", "secrets/key can't be read: "),
        ("token = ", "the variable `SHOP_TOKEN` is not set"),
    ];
    assert_eq!(problems.as_array().unwrap().len(), expected.len(), "{problems}");
    for (problem, (key, part)) in problems.as_array().unwrap().iter().zip(expected) {
        assert_eq!((&problem["code"], &problem["module"]), (&json!("missing-value"), &json!("mine")));
        assert_eq!((&problem["file"], &problem["line"]), (&json!(manifest), &json!(line(key))), "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(part), "{problem}");
    }
    // A host doesn't start with missing values.
    let (status, log) = app.launch().expect_end();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("SHOP_REGION") && !log.contains(IN_A_VARIABLE), "{log}");
}

#[tokio::test]
async fn a_secret_is_told_to_its_module_and_stands_nowhere_else() {
    let app = app(SECRETS);
    let state = host::folder();
    let folder = state.path().join("state");
    let host = launch(&app).state(&folder).variable("WATERTIGHT_LOG", EVERYTHING).start();
    let keys = json!(["currency", "region", "zone"]);
    let mut told = 0;
    for (key, secret) in [("api_key", IN_A_FILE), ("token", IN_A_VARIABLE)] {
        // A listing of all keys contains no secret.
        assert_eq!(ask(&host, "mine", key).await, json!([secret, keys]));
        told += 1;
    }
    // A key of the same name in another module is separate.
    assert_eq!(ask(&host, "theirs", "api_key").await, json!(["not a secret", ["api_key"]]));
    assert_eq!(ask(&host, "theirs", "token").await[0], Value::Null);

    // The secret's file changes and the manifest doesn't. The change takes effect at the next `apply`.
    fs::write(app.path().join("secrets/key"), LATER).unwrap();
    assert_eq!(ask(&host, "mine", "api_key").await[0], IN_A_FILE);
    let mut said = Vec::new();
    let path = app.path().to_str().unwrap();
    for words in [&["apply", "--dry-run", path][..], &["apply", path], &["apply", path]] {
        said.push(on_host(&host, words));
    }
    assert_eq!(ask(&host, "mine", "api_key").await[0], LATER);
    told += 1;
    assert_eq!(told, 3);

    // A missing file refuses the change, and the running value stays.
    fs::remove_file(app.path().join("secrets/key")).unwrap();
    let mut refused = watertight(&["apply", path]);
    said.push(run(refused.arg("--state").arg(host.state())).expect(1));
    assert_eq!(ask(&host, "mine", "api_key").await[0], LATER);
    fs::write(app.path().join("secrets/key"), [LATER.as_bytes(), &[0xff]].concat()).unwrap();
    said.push(run(watertight(&["check", "--env", path]).args(["--json"])).expect(1));
    assert!(said.last().unwrap().out.contains("is not UTF-8"), "{}", said.last().unwrap().out);
    fs::write(app.path().join("secrets/key"), LATER).unwrap();

    // Cause failures, and call every command that reports something.
    host.call("mine/pair.trap-other", &json!([])).await;
    let pair = guest("pair");
    for words in [
        &["check", path][..],
        &["check", "--json", path],
        &["graph", "--json", path],
        &["inspect", pair.to_str().unwrap()],
    ] {
        said.push(run(&mut watertight(words)).expect(0));
    }
    for words in [&["generations"][..], &["generations", "--json"]] {
        said.push(on_host(&host, words));
    }
    let mut answers = Vec::new();
    for path in ["/modules", "/graph", "/generations", "/metrics", "/healthz", "/readyz"] {
        let asked = watertight_testkit::client::client().get(host.admin_url(path)).bearer_auth(host.token());
        let answer = asked.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answers.push(answer.text().await.unwrap());
    }
    // The log at this level is large, so the search below covers much text.
    let log = host.log();
    assert!(log.contains("TRACE") && log.contains("published"), "{log}");
    drop(host);
    for secret in [IN_A_FILE, IN_A_VARIABLE, LATER] {
        for text in answers.iter().chain(said.iter().flat_map(|said| [&said.out, &said.err])).chain([&log]) {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        assert_eq!(found_in(state.path(), secret), [""; 0]);
    }
    // The search works: it finds the names of the secrets in the recorded manifest.
    assert_ne!(found_in(state.path(), "SHOP_TOKEN"), [""; 0]);
}

#[tokio::test]
async fn a_secret_is_read_again_at_a_start() {
    let app = app(SECRETS);
    let state = host::folder();
    let folder = state.path().join("state");
    let host = launch(&app).state(&folder).start();
    assert_eq!(ask(&host, "mine", "api_key").await[0], IN_A_FILE);
    drop(host);
    fs::write(app.path().join("secrets/key"), LATER).unwrap();
    let host = launch(&app).state(&folder).start();
    assert_eq!(ask(&host, "mine", "api_key").await[0], LATER);
}
