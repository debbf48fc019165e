//! Tests of `HEAD` requests with HTTP/1.1 and HTTP/2, and of a host that is told to stop while it starts.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use watertight_control::application::{self, Host};
use watertight_control::state::StateFolder;
use watertight_edge::http::DataListener;
use watertight_edge::http::server::{Listener, ListenerLimits};
use watertight_model::config::{self, Overrides};
use watertight_telemetry::Telemetry;

const GUEST: &str = r#"
(component
  (core module $m (func (export "count") (result i32) (i32.const 42)))
  (core instance $i (instantiate $m))
  (func $count (result u32) (canon lift (core func $i "count")))
  (instance $api (export "count" (func $count)))
  (export "t:t/api@1.0.0" (instance $api)))
"#;

fn application(guest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("m.wasm"), wat::parse_str(guest).unwrap()).unwrap();
    let manifest = "[app]\nname = \"demo\"\nroutes = [\"routes.toml\"]\n[modules.m]\ncomponent = \"m.wasm\"\n";
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    let routes = "[[route]]\nmethod = \"GET\"\npath = \"/count\"\ncall = \"m/api.count\"\n";
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn head_has_get_s_headers_and_no_body() {
    let folder = application(GUEST);
    let state = StateFolder::open(&folder.path().join("state")).unwrap();
    let checked = application::check(config::load(folder.path(), &Overrides::default()).unwrap()).unwrap();
    let limits = checked.config.http;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_watertight"));
    let host = Host::with_program(program);
    let runtime = tokio::task::block_in_place(|| application::start(checked, &state, &host)).unwrap();
    let edge = DataListener::new(runtime.into(), limits, folder.path().join("state"));
    let second = Duration::from_secs(1);
    let bounds = ListenerLimits {
        streams: 256,
        connections: 10,
        tokenless: None,
        header_timeout: second,
        min_idle_before_eviction: second,
        progress_timeout: second,
        max_held_bytes: 1 << 20,
        drain_timeout: second,
    };
    let listener = Listener::bind("data", "127.0.0.1:0".parse().unwrap(), bounds).unwrap();
    let address = listener.address().unwrap();
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(async move {
        listener.serve(move |request| edge.clone().handle(request), &Telemetry::new(), stopped).await
    });

    let client = || reqwest::Client::builder().no_proxy();
    let clients = [client(), client().http2_prior_knowledge()].map(|builder| builder.build().unwrap());
    for client in &clients {
        for path in ["count", "nothing"] {
            let url = format!("http://{address}/{path}");
            let get = client.get(&url).send().await.unwrap();
            let (status, length) = (get.status(), get.text().await.unwrap().len());
            assert!(length > 0);
            for _ in 0..3 {
                let head = client.head(&url).send().await.unwrap();
                assert_eq!(
                    (head.status(), head.headers()["content-length"].to_str().unwrap()),
                    (status, &*length.to_string())
                );
                assert!(head.headers().contains_key("x-request-id"));
                assert!(head.bytes().await.unwrap().is_empty());
            }
        }
    }
    drop(clients);
    stop.send_replace(true);
    assert!(serving.await.unwrap(), "all connections ended");
}

#[test]
fn a_host_that_is_told_to_stop_while_it_compiles_stops() {
    // The component has so much code that its compilation takes seconds.
    let mut functions = String::new();
    for number in 0..40_000 {
        let _ = writeln!(
            functions,
            "(func (param i64) (result i64) local.get 0 i64.const {number} i64.mul local.get 0 i64.xor)"
        );
    }
    let folder = application(&GUEST.replace("(core module $m", &format!("(core module $m {functions}")));
    let mut host = Command::new(env!("CARGO_BIN_EXE_watertight"))
        .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .arg(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let code = folder.path().join(".watertight/code");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !code.exists() {
        assert!(Instant::now() < deadline, "the compilation does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    let told = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&host), rustix::process::Signal::TERM).unwrap();
    let status = host.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    // The cache of functions exists from the start.
    let names = fs::read_dir(code).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let compiled: Vec<_> = names.filter(|name| !name.starts_with("functions.sqlite")).collect();
    assert!(compiled.is_empty(), "the code was compiled before the stop: {compiled:?}");
}
