//! Benchmark of a small request over HTTP: a route to a module's function, with reused and with fresh instances, compared with
//! plain axum. Each server has one core, and the load driver another.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use axum::extract;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use watertight_testkit::bench;
use watertight_testkit::bench::compare::in_turns;
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::load::{Requests, Run, Sample, drive, once};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::{self, Server};

/// The numbers of connections of the load that are measured. The goals apply to the last number, which keeps the server's core busy.
const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// The modes of instances. Servers are measured in this order: the host in each mode, plain axum, and another build of the host in
/// each mode.
const MODES: [&str; 2] = ["reuse", "fresh"];
const AXUM: usize = MODES.len();
const BEFORE: usize = AXUM + 1;

fn main() -> anyhow::Result<()> {
    if server::is_native() {
        return server::serve_native(Router::new().route("/hello/{name}", get(greet)));
    }
    let cores = Cores::find()?;
    let [hello] = bench::application::guests(["hello"])?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let state = |side: &str| folder.path().join(format!("{side}-state"));
    let applications: Vec<PathBuf> =
        MODES.iter().map(|mode| application(folder.path(), mode, &hello)).collect::<anyhow::Result<_>>()?;
    let mut servers = Vec::new();
    for (mode, app) in MODES.iter().zip(&applications) {
        servers.push(Server::host(Some(&cores), app, &state(mode))?);
    }
    servers.push(Server::native(&cores, &state("axum"))?);
    if let Some(before) = bench::Before::find() {
        for (mode, app) in MODES.iter().zip(&applications) {
            servers.push(Server::host_of(&before.binary, Some(&cores), app, &state(&format!("{mode}-before")))?);
        }
    }
    let requests = Requests::get(["/hello/world".to_owned()]);
    let answers = servers.iter().map(|server| once(server.address, &requests)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(answers.windows(2).all(|two| two[0] == two[1]), "the servers answer differently: {answers:?}");

    let mut report =
        Report::new("http", "GET /hello/{name}: a route to a module's function / plain axum, one core each");
    for connections in CONNECTIONS {
        let main = connections == CONNECTIONS[CONNECTIONS.len() - 1];
        let (rounds, time) = if main { (bench::rounds(), 1500) } else { (3, 700) };
        let run = Run { connections, warm: Duration::from_millis(250), time: Duration::from_millis(time), spin: true };
        let measured: Vec<Vec<Sample>> = in_turns(rounds, servers.len(), |side| {
            drive(&cores, servers[side].process(), servers[side].address, &requests, run)
        })?;
        for (side, goal, floor) in [(0, 0.80, 0.70), (1, 0.30, 0.20)] {
            let name = format!("{}, {connections} connections", MODES[side]);
            report.loads(name.clone(), goal, Some(floor), &measured[side], &measured[AXUM]);
            if let Some(before) = measured.get(BEFORE + side) {
                report.cost(&name, &measured[side], before);
            }
        }
    }
    for server in servers {
        server.stop()?;
    }
    report.finish()
}

/// Creates an application of one module and one route. `mode` is the mode of its instances.
fn application(folder: &Path, mode: &str, component: &Path) -> anyhow::Result<PathBuf> {
    let root = folder.join(mode);
    std::fs::create_dir(&root)?;
    let manifest = root.join("app.toml");
    let text = format!(
        "[app]\nname = \"hello\"\nroutes = [\"routes.toml\"]\n\n[modules.hello]\ncomponent = {component:?}\n\n\
         [defaults.instances]\nmode = \"{mode}\"\n"
    );
    std::fs::write(&manifest, text)?;
    let route = "[[route]]\nmethod = \"GET\"\npath = \"/hello/{name}\"\ncall = \"hello/hello.greet\"\n";
    std::fs::write(root.join("routes.toml"), route)?;
    Ok(manifest)
}

#[derive(Serialize)]
struct Greeting {
    message: String,
    length: u32,
}

/// The request handler of the native server.
async fn greet(extract::Path(name): extract::Path<String>) -> Json<Greeting> {
    let message = format!("Hello, {name}!");
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    Json(Greeting { message, length })
}
