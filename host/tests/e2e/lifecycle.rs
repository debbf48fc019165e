//! Tests of a host's start and stop.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use watertight_testkit::app::App;
use watertight_testkit::client::{Raw, client};
use watertight_testkit::host::{self, Host};
use watertight_testkit::refused;
use watertight_testkit::setup::Setup;

use crate::shop::{card, draft};
use crate::wire::{late_note, probe};

placements! {
    async fn sigterm_ends_it_in_order;
    async fn ctrl_c_ends_it_in_order;
    fn who_came_before_the_stop_is_answered;
    fn draining_has_an_end;
    fn who_asks_twice_does_not_wait;
    async fn a_hangup_reads_again_what_is_configured;
    async fn signals_for_users_are_ignored;
    fn signals_are_heard_before_the_application_is_read;
    fn a_state_folder_is_for_one_host;
    fn a_port_in_use_is_named;
    fn it_says_when_it_is_ready_and_keeps_its_code;
    fn the_environment_goes_before_the_manifest_and_flags_before_both;
    fn the_log_can_be_json;
}

/// Sends the head of a request that places an order, and waits until the host asks for the body. Returns the connection and the body that
/// must follow.
fn begun(host: &Host) -> (Raw, String) {
    let body = draft("ada", card("tok_visa")).to_string();
    let mut connection = Raw::connect(host.listen());
    let head = "POST /orders HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n";
    connection.send(format!("{head}Content-Length: {}\r\n\r\n", body.len())).answer(true).expect(100);
    (connection, body)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "timed out while waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refuses(host: &Host) -> bool {
    TcpStream::connect(host.listen()).is_err()
}

async fn finishes_what_is_in_flight(setup: Setup, signal: Signal) {
    let state = host::folder();
    let folder = state.path().join("state");
    let mut host = setup.shop().state(&folder).start();
    let (mut order, body) = begun(&host);
    // An idle connection doesn't delay the stop.
    let mut idle = Raw::connect(host.listen());
    idle.send("GET /orders?customer=x HTTP/1.1\r\nHost: a\r\n\r\n").answer(true).expect(200);

    host.signal(signal);
    until("new connections are refused", || refuses(&host));
    let ready = client().get(host.admin_url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    assert!(idle.is_closed(Duration::from_secs(5)));

    let placed = order.send(body).answer(true).expect(201);
    assert_eq!(order.rest(), b"");
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    assert!(host.has_logged("stopped"), "{}", host.log());

    let host = setup.shop().state(&folder).start();
    assert_eq!(host.get(&format!("/orders/{}", placed.at("/id"))).await.expect(200).body, placed.body);
}

async fn sigterm_ends_it_in_order(setup: Setup) {
    finishes_what_is_in_flight(setup, Signal::TERM).await;
}

async fn ctrl_c_ends_it_in_order(setup: Setup) {
    finishes_what_is_in_flight(setup, Signal::INT).await;
}

fn who_came_before_the_stop_is_answered(setup: Setup) {
    let mut host = setup.shop().start();
    // The connections are opened while the process is suspended. When it continues, it finds the signal to stop and all connections.
    host.signal(Signal::STOP);
    let crowd: Vec<Raw> = (0..300)
        .map(|_| {
            let mut connection = Raw::connect(host.listen());
            connection.send("GET /orders?customer=x HTTP/1.1\r\nHost: a\r\n\r\n");
            connection
        })
        .collect();
    host.signal(Signal::TERM);
    host.signal(Signal::CONT);
    for mut connection in crowd {
        connection.answer(true).expect(200);
    }
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
}

fn draining_has_an_end(setup: Setup) {
    let app = setup.shop_with("[http]\ndrain = \"200ms\"");
    let mut host = app.launch().start();
    let (_order, _body) = begun(&host);
    let start = Instant::now();
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(host.has_logged("did not end in time"), "{}", host.log());
}

fn who_asks_twice_does_not_wait(setup: Setup) {
    let mut host = setup.shop().start();
    let (_order, _body) = begun(&host);
    host.signal(Signal::TERM);
    until("the host stops", || refuses(&host));
    // The same signal twice within a short time, as `timeout` sends it, counts as one.
    host.signal(Signal::TERM);
    std::thread::sleep(Duration::from_secs(1));
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(1));
}

#[tokio::test]
async fn a_call_whose_client_left_is_finished_too() {
    let state = host::folder();
    let folder = state.path().join("state");
    let app = probe("");
    let mut host = app.launch().state(&folder).start();
    let mut connection = Raw::connect(host.listen());
    connection.send(late_note(600));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(50)).await;
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));

    let host = app.launch().state(&folder).start();
    let notes = host.called("a/raw.query", json!(["SELECT text FROM note", []])).await;
    assert_eq!(notes["ok"], json!([[{ "text": "late" }]]));
}

/// A call by the admin listener is finished even if the operator has disconnected: a half-executed operation is worse than one whose answer
/// nobody reads.
#[tokio::test]
async fn a_call_whose_operator_left_is_finished_too() {
    let state = host::folder();
    let folder = state.path().join("state");
    let app = probe("");
    let mut host = app.launch().state(&folder).start();
    let steps = json!([{ "wait": 600 }, { "execute_outside": "INSERT INTO note (text) VALUES ('late')" }]);
    let body = json!({ "function": "a/raw.script", "arguments": [steps] }).to_string();
    let mut connection = Raw::connect(host.admin());
    connection.send(format!(
        "POST /call HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        host.token(),
        body.len()
    ));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(connection);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // A stop waits for the call as for any request.
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0));
    assert!(!host.log().contains("did not end in time"), "{}", host.log());

    let host = app.launch().state(&folder).start();
    let notes = host.called("a/raw.query", json!(["SELECT text FROM note", []])).await;
    assert_eq!(notes["ok"], json!([[{ "text": "late" }]]));
}

/// A running process of the command `watertight call`.
struct Calling(std::process::Child);

impl Calling {
    /// Starts `watertight call` for a function: in the host that runs on the state folder `state`, or in the command's own process if no
    /// host runs.
    fn start(app: &App, state: &std::path::Path, function: &str, argument: &serde_json::Value) -> Self {
        let mut command = host::binary();
        command.args(["call", function, &argument.to_string(), "--json", "--app"]).arg(app.path());
        command.arg("--state").arg(state).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let process = rustix::process::Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// Waits until the command ends. Returns its exit code, its standard output (the result) and its standard error (the messages).
    fn expect_end(self) -> (Option<i32>, String, String) {
        let output = self.0.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

/// The duration of a call that a test interrupts, in milliseconds. It is long enough for a slow machine to begin the call.
const LONG: u32 = 8_000;

/// Returns a script for the test guest `probe` that writes a note to its database, waits, and writes another note. `call` distinguishes the
/// notes of several calls.
fn long_script(call: &str) -> serde_json::Value {
    let note = |text: &str| json!({ "execute_outside": format!("INSERT INTO note (text) VALUES ('{text} {call}')") });
    json!([note("begun"), { "wait": LONG }, note("late")])
}

/// Returns whether the database of the test guest `probe` has this note. Other processes may use the database meanwhile.
fn has_note(state: &std::path::Path, note: &str) -> bool {
    let read = || {
        let database = rusqlite::Connection::open(state.join("data/a.db"))?;
        let mut statement = database.prepare("SELECT text FROM note")?;
        statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
    };
    read().unwrap_or_default().iter().any(|text| text == note)
}

#[test]
fn ctrl_c_lets_a_call_without_a_host_finish() {
    let state = host::folder();
    let folder = state.path().join("state");
    let app = probe("");
    // The code is compiled before, so that the call begins at once.
    drop(app.launch().state(&folder).start());
    for (call, signals) in [("one", 1), ("two", 2)] {
        let calling = Calling::start(&app, &folder, "a/raw.script", &long_script(call));
        until("the call has begun", || has_note(&folder, &format!("begun {call}")));
        calling.signal(Signal::INT);
        if signals == 2 {
            // Without the pause, two signals would count as one.
            std::thread::sleep(Duration::from_secs(2));
            calling.signal(Signal::INT);
        }
        let (code, out, said) = calling.expect_end();
        assert!(said.contains("the call is finished first"), "{said}");
        let is_whole = signals == 1;
        assert_eq!(code, Some(i32::from(!is_whole)), "{out}{said}");
        assert_eq!((!out.is_empty(), has_note(&folder, &format!("late {call}"))), (is_whole, is_whole), "{out}{said}");
    }
}

#[test]
fn ctrl_c_leaves_a_call_in_a_host_to_it() {
    let app = probe("");
    let host = app.launch().start();
    for (call, signal, code) in [("one", Signal::INT, Some(0)), ("two", Signal::KILL, None)] {
        let calling = Calling::start(&app, host.state(), "a/raw.script", &long_script(call));
        until("the call has begun", || has_note(host.state(), &format!("begun {call}")));
        calling.signal(signal);
        let (ended, out, said) = calling.expect_end();
        assert_eq!(ended, code, "{out}{said}");
        assert_eq!(said.contains("the call goes on in the host"), code.is_some(), "{said}");
        until("the call has ended", || has_note(host.state(), &format!("late {call}")));
    }
}

/// A host that is told to stop doesn't wait for its compiler process: the compiled code would never run.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_compiler() {
    let app = App::new("[app]\nname = \"a\"\n[modules.a]\ncomponent = \"a.wasm\"\n");
    std::fs::write(app.path().join("a.wasm"), refused::harmless("", "")).unwrap();
    let mut host = app.launch().start();
    let bomb = refused::harmless("", &refused::tangle(100, 100, 16).repeat(300));
    let swap = client().post(host.admin_url("/modules/a/swap")).bearer_auth(host.token());
    let swap = swap.header("Content-Type", "application/wasm").body(bomb);
    let swapping = tokio::spawn(async move { swap.send().await.map(|answer| answer.status().as_u16()) });
    let is_compiling = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", host.process())).unwrap().flatten();
        let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        children.collect::<String>().trim().to_owned()
    };
    until("it compiles", || !is_compiling().is_empty());
    let child = is_compiling();
    let start = Instant::now();
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
    // `http.drain` is 30 s, and compilation may take 5 min.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}\n{}", start.elapsed(), host.log());
    assert!(
        !std::path::Path::new("/proc").join(child.split(' ').next().unwrap()).exists(),
        "the compiler was not ended"
    );
    assert_ne!(swapping.await.unwrap().unwrap_or_default(), 200);
}

async fn a_hangup_reads_again_what_is_configured(setup: Setup) {
    let app = setup.shop_with("[log]\nlevel = \"warn\"");
    let host = app.launch().start();
    let file = app.path().join("app.toml");
    let manifest = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, manifest.replace("level = \"warn\"", "level = \"debug\"")).unwrap();
    host.signal(Signal::HUP);
    assert!(host.has_logged("SIGHUP: the configured log level was applied"), "{}", host.log());
    assert!(host.log().contains("level=\"debug\""), "{}", host.log());
    host.get("/orders?customer=x").await.expect(200);
    // A manifest that can't be read changes nothing.
    std::fs::write(&file, "this is no manifest").unwrap();
    host.signal(Signal::HUP);
    assert!(host.has_logged("SIGHUP: the manifest can't be read"), "{}", host.log());
    host.get("/orders?customer=x").await.expect(200);
}

async fn signals_for_users_are_ignored(setup: Setup) {
    let mut host = setup.shop().start();
    for signal in [Signal::USR1, Signal::USR2] {
        host.signal(signal);
        host.get("/orders?customer=x").await.expect(200);
    }
    host.signal(Signal::TERM);
    assert_eq!(host.wait().code(), Some(0), "{}", host.log());
}

#[cfg(feature = "failpoints")]
fn signals_are_heard_before_the_application_is_read(setup: Setup) {
    // Bit 0 of the caught signals in `/proc` is SIGHUP.
    let hears_hangups = |process: Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & 1 == 1
    };
    let launch = setup.shop().variable("FAILPOINTS", "start::read=sleep(3000)");
    let (status, log) = launch.expect_end_after(|process, state| {
        until("signals are heard", || hears_hangups(process));
        assert!(!state.exists(), "the host opened its state already");
        for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::TERM] {
            kill_process(process, signal).unwrap();
        }
    });
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped before the start was complete"), "{log}");
}

fn a_state_folder_is_for_one_host(setup: Setup) {
    let first = setup.shop().start();
    let (status, log) = setup.shop().state(first.state()).expect_end();
    assert_eq!(status.code(), Some(1));
    for part in ["another host is running", &first.process().to_string(), &first.admin().to_string()] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // The first host still serves.
    Raw::connect(first.listen()).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer(true).expect(404);
}

fn a_port_in_use_is_named(setup: Setup) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for flag in ["--listen", "--admin"] {
        let (status, log) = setup.shop().argument(&format!("{flag}={address}")).expect_end();
        assert_eq!(status.code(), Some(1));
        let words = format!("can't listen on {address}; choose another with {flag}");
        assert!(log.contains(&words), "{log}");
    }
}

fn it_says_when_it_is_ready_and_keeps_its_code(setup: Setup) {
    let state = host::folder();
    let folder = state.path().join("state");
    drop(setup.shop().state(&folder).start());
    let start = Instant::now();
    let host = setup.shop().state(&folder).start();
    assert!(start.elapsed() < Duration::from_secs(5));
    let log = host.log();
    assert!(log.contains("cached=true") && log.contains("ready"), "{log}");
    assert!(log.contains(&host.listen().to_string()) && log.contains(&host.admin().to_string()), "{log}");
}

fn the_environment_goes_before_the_manifest_and_flags_before_both(setup: Setup) {
    let app = setup.shop_with("");
    let folder = host::folder();
    let token = "a-token-of-the-operator";
    let host =
        app.launch().variable("WATERTIGHT_ADMIN_TOKEN", token).variable("WATERTIGHT_LISTEN", "127.0.0.1:1").start();
    // The flag overrides the environment, and a token from the environment is not written to a file.
    assert_ne!(host.listen().port(), 1);
    assert!(!host.state().join("admin.token").exists());
    let head = |token: &str| format!("GET /modules HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    Raw::connect(host.admin()).send(head(token)).answer(true).expect(200);
    Raw::connect(host.admin()).send(head("another")).answer(true).expect(401);
    drop(folder);
}

fn the_log_can_be_json(setup: Setup) {
    let app = setup.shop_with("[log]\nformat = \"json\"\nlevel = \"debug\"");
    let host = app.launch().start();
    let head = "GET /orders?customer=x HTTP/1.1\r\nHost: a\r\nX-Request-Id: json-1\r\n\r\n";
    Raw::connect(host.listen()).send(head).answer(true).expect(200);
    let has_line = || {
        host.log().lines().filter(|line| line.contains("json-1")).any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request"] == "json-1" && line["status"] == 200 && line["target"] == "request"
        })
    };
    until("a line of the request", has_line);
    assert!(host.log().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{}", host.log());
}
