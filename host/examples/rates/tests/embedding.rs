//! Runs the example as its users would: the real binary with its capability, over real sockets, and inside of another program.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use watertight::Embedding;
use watertight::capability::Capabilities;

#[path = "../src/capability.rs"]
#[allow(dead_code, reason = "the program's own file; `main` is not here")]
mod capability;

/// How long a host may take to start.
const START: Duration = Duration::from_secs(120);

fn rates() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rates"))
}

/// Returns a temporary copy of the example's application, with its component built.
fn application() -> TempDir {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    // The application is built where Cargo finds its module, and runs in a folder of its own.
    run(rates().args(["build", "--app"]).arg(source).arg("--out").arg(folder.path()));
    std::fs::create_dir(folder.path().join("routes")).unwrap();
    std::fs::copy(source.join("routes/prices.toml"), folder.path().join("routes/prices.toml")).unwrap();
    let manifest = std::fs::read_to_string(source.join("app.toml")).unwrap();
    write_manifest(&folder, &manifest.replace("component = \"prices\"", "component = \"prices.wasm\""));
    folder
}

fn manifest(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("app.toml")).unwrap()
}

fn write_manifest(folder: &TempDir, text: &str) {
    std::fs::write(folder.path().join("app.toml"), text).unwrap();
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Checks the application in `folder`, which must have problems, and returns them as a text.
fn refused(folder: &TempDir) -> String {
    let output = rates().arg("check").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A running host of the example's application.
struct Host {
    process: Child,
    listen: Option<SocketAddr>,
    state: PathBuf,
}

impl Host {
    fn start(folder: &TempDir) -> Self {
        let (state, log) = (folder.path().join("state"), folder.path().join("log"));
        let mut command = rates();
        command.arg("run").arg(folder.path()).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state"]);
        let process = command.arg(&state).stderr(File::create(&log).unwrap()).spawn().unwrap();
        // The guard ends the process if it does not start in time.
        let mut host = Self { process, listen: None, state };
        let start = Instant::now();
        while host.listen.is_none() {
            let text = std::fs::read_to_string(&log).unwrap();
            assert!(start.elapsed() < START, "the host does not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
            host.listen = text.split_once("listen=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        }
        host
    }

    /// Asks the module `prices` for the sum of `amounts` in `currency`. Returns the status and the JSON body of the answer.
    fn total(&self, amounts: &Value, currency: &str) -> (u16, Value) {
        let url = format!("http://{}/totals/{currency}", self.listen.unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let response = reqwest::Client::new().post(url).json(amounts).send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        })
    }

    fn operator(&self, command: &str, folder: &TempDir) {
        run(rates().arg(command).arg(folder.path()).arg("--state").arg(&self.state));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn euros(count: usize) -> Value {
    Value::Array(vec![json!({ "amount": 1000, "currency": "EUR" }); count])
}

#[test]
fn a_host_serves_a_capability_of_its_own() {
    let folder = application();
    let host = Host::start(&folder);
    let mixed = json!([{ "amount": 1000, "currency": "EUR" }, { "amount": 500, "currency": "USD" }]);
    assert_eq!(host.total(&mixed, "EUR"), (200, json!({ "amount": 1430, "currency": "EUR" })));

    // The limit holds for each call, and a call that met it does not spoil the next.
    let (status, problem) = host.total(&euros(4), "EUR");
    assert_eq!((status, &problem["type"], &problem["payload"]), (422, &json!("/problems/too-many"), &json!(3)));
    assert_eq!(host.total(&euros(3), "EUR").0, 200);

    // Settings belong to the generation: they change while the host serves, and a rollback brings the old ones back.
    write_manifest(&folder, &manifest(&folder).replace("conversions = 3", "conversions = 4"));
    host.operator("apply", &folder);
    assert_eq!(host.total(&euros(4), "EUR").0, 200);
    run(rates().args(["rollback", "--app"]).arg(folder.path()).arg("--state").arg(&host.state));
    assert_eq!(host.total(&euros(4), "EUR").0, 422);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = application();
    let good = manifest(&folder);
    write_manifest(&folder, &good.replace("uses      = [\"rates\"]", "uses      = []"));
    let told = refused(&folder);
    assert!(told.contains("imports `acme:rates/rates@1.0.0`, which the manifest doesn't grant"), "{told}");
    assert!(told.contains("add \"rates\" to `uses` of [modules.prices]"), "{told}");

    write_manifest(&folder, &good.replace("conversions = 3", "conversions = 0"));
    let told = refused(&folder);
    assert!(told.contains("app.toml:12") && told.contains("`0` is not within 1 and 10000"), "{told}");

    write_manifest(&folder, &good.replace("conversions = 3", "conversion = 3"));
    let told = refused(&folder);
    assert!(told.contains("there is no key `modules.prices.rates.conversion`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_runs_inside_of_another_program() {
    let folder = tokio::task::block_in_place(application);
    let capabilities = Capabilities::with([Arc::new(capability::Rates) as _]).unwrap();
    let embedding = Embedding::new(folder.path(), folder.path().join("embedded")).capabilities(capabilities);
    let application = embedding.compiler(env!("CARGO_BIN_EXE_rates")).start().await.unwrap();
    let amounts = euros(2).to_string();
    let result = application.call("prices/prices.total", &[&amounts, "\"JPY\""]).await.unwrap();
    let yen = json!({ "ok": { "amount": 350_876, "currency": "JPY" } });
    assert_eq!(serde_json::from_str::<Value>(result.get()).unwrap(), yen);
    application.close().await;

    // Without the capability, the manifest names something that this host does not have.
    let without = Embedding::new(folder.path(), folder.path().join("without")).start().await;
    let problems = without.err().unwrap().to_string();
    assert!(problems.contains("`rates` is none of `sql`"), "{problems}");
}
