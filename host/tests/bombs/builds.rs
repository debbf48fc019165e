//! Tests of builds that cost the host much time or memory before they run. The host refuses each such build within a limit that an operator
//! can set, and answers every request in the meantime.

use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use watertight_testkit::admin::Operator;
use watertight_testkit::command::run;
use watertight_testkit::host::{self, Host};
use watertight_testkit::refused::{Refused, ZERO_FILE_BYTES, harmless, pairs_of_pairs, tangle};
use watertight_testkit::tagged::{App, Content, back_with, serves};
use watertight_testkit::wire::{Connection, get};

/// How much longer than its limit a refusal may take on a busy machine.
const SLACK: Duration = Duration::from_secs(30);
/// The pause between two requests that are sent while a build is refused. It leaves the processors to the compiler.
const PAUSE: Duration = Duration::from_millis(1);
/// A lock that runs the tests one by one, since they load all processors and measure time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends requests one after the other while `work` runs. Each answer must be that of the first generation. Returns the number of requests
/// and the result of `work`.
fn served_meanwhile<T>(host: &Host, work: impl FnOnce() -> T) -> (u32, T) {
    let (ended, count) = (AtomicBool::new(false), AtomicU32::new(0));
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = Connection::open(host.listen()).unwrap();
            while !ended.load(SeqCst) {
                let answer = connection.exchange(&get("/tags")).unwrap();
                assert_eq!((answer.status, answer.body), (200, Content::first(true).tags()));
                count.fetch_add(1, SeqCst);
                thread::sleep(PAUSE);
            }
        });
        // The other thread must end even if `work` panics.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        ended.store(true, SeqCst);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    (count.load(SeqCst), done)
}

/// Returns the ids of the host's child processes.
fn children(host: &Host) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.process())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default()).collect()
}

#[test]
fn a_component_that_compiles_for_ever_is_stopped_while_requests_go_on() {
    let _alone = alone();
    let bombs = [
        // The bombs are one function of 20,000 blocks, for one processor, and 300 functions of a hundred, for all of them.
        ("[compile]\ntime = \"3s\"", tangle(20_000, 3, 8), "took longer than 3s, which `compile.time` allows"),
        (
            "[compile]\ntime = \"3s\"",
            tangle(100, 100, 16).repeat(300),
            "took longer than 3s, which `compile.time` allows",
        ),
        (
            "[compile]\ntime = \"50s\"\nmemory = \"256MiB\"",
            tangle(100, 100, 3_000),
            "took more than 256 MiB of memory, which `compile.memory` allows",
        ),
    ];
    for (settings, bomb, says) in bombs {
        let app = App::new(Content::first(true), settings);
        let host = app.launch().start();
        let operator = Operator::of(&host);
        let component = back_with(3, &bomb);
        let start = Instant::now();
        let (served, answer) = served_meanwhile(&host, || operator.swap("back", &component).expect(409));
        let message = answer.body["problems"][0]["message"].as_str().unwrap();
        assert_eq!(answer.codes(), ["compile"]);
        assert!(message.contains("compartment `two`, with module `back`") && message.contains(says), "{message}");
        if settings.contains("\"3s\"") {
            assert!(start.elapsed() < Duration::from_secs(3) + SLACK, "{:?}", start.elapsed());
        }
        assert!(served > 20, "{served} requests in {:?}", start.elapsed());
        assert_eq!(children(&host), "", "the compiling process was not ended");
        serves(&host, 1, Content::first(true));
        let left: Vec<_> = fs::read_dir(host.state().join("code")).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(left.iter().all(|file| file.extension().is_none_or(|e| e != "tmp")), "{left:?}");
        // The refused build doesn't disturb the next one.
        assert_eq!(operator.swapped("back", &watertight_testkit::tagged::back(4)), 2);
    }
}

#[test]
fn what_is_refused_is_told_why_while_requests_go_on() {
    let _alone = alone();
    let settings = "[compile]\ntime = \"2s\"\n[defaults.limits]\ncpu = \"300ms\"\n\
                    [modules.target]\ncomponent = \"target.wasm\"\nuses = [\"logging\"]\n";
    let app = App::new(Content::first(true), settings);
    fs::write(app.path().join("target.wasm"), harmless("", "")).unwrap();
    let route = "[[route]]\nmethod = \"GET\"\npath = \"/attack\"\ncall = \"target/api.attack\"\nstatus = 204\n";
    fs::write(app.path().join("routes/target.toml"), route).unwrap();
    let host = app.launch().start();
    let operator = Operator::of(&host);
    for Refused { name, code, component } in Refused::all() {
        let (served, answer) = served_meanwhile(&host, || operator.swap("target", &component).expect(409));
        assert!(answer.codes().contains(&code), "{name}: {:?}", answer.body);
        assert!(served > 0, "{name}");
        assert_eq!(children(&host), "", "{name}");
    }
    serves(&host, 1, Content::first(true));
    assert_eq!(operator.swapped("target", &harmless("", "(func)")), 2);
}

#[test]
fn a_start_function_that_never_ends_is_refused_with_its_module() {
    let _alone = alone();
    for apart in [true, false] {
        let app = App::new(Content::first(apart), "[defaults.limits]\ncpu = \"300ms\"\n");
        let host = app.launch().start();
        let operator = Operator::of(&host);
        let endless = back_with(3, "(func $on (loop (br 0))) (start $on)");
        let start = Instant::now();
        let answer = operator.swap("back", &endless).expect(409);
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        assert_eq!((answer.codes(), &answer.body["problems"][0]["module"]), (vec!["compile"], &"back".into()));
        let message = answer.body["problems"][0]["message"].as_str().unwrap();
        assert!(message.contains("doesn't start") && message.contains("300ms of processor time"), "{message}");
        serves(&host, 1, Content::first(apart));
        drop(host);
        fs::write(app.path().join("back.wasm"), &endless).unwrap();
        let start = Instant::now();
        let (status, log) = app.launch().expect_end();
        assert!(start.elapsed() < SLACK, "{:?}", start.elapsed());
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("module    back") && log.contains("300ms of processor time"), "{log}");
    }
}

#[test]
fn types_without_end_are_looked_at_in_no_time() {
    let _alone = alone();
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    for (interfaces, depth) in [(1, 17), (200, 17), (1, 60)] {
        let component = pairs_of_pairs(interfaces, depth);
        let (start, before) = (Instant::now(), most_memory(&host));
        let (served, _) = served_meanwhile(&host, || operator.swap("back", &component).expect(409));
        let took = most_memory(&host) - before;
        assert!(start.elapsed() < SLACK && took < MORE, "{interfaces} of {depth}: {took} MiB, {:?}", start.elapsed());
        assert!(served > 20 || start.elapsed() < Duration::from_millis(500), "{served}");
    }
}

/// Returns the peak resident memory of the host in MiB.
fn most_memory(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// The memory that the host may use in addition to twice the size of an uploaded file, in MiB.
const MORE: u64 = 64;

#[test]
fn two_hundred_megabytes_of_zeros_are_refused_at_once() {
    let _alone = alone();
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let zeros = vec![0; ZERO_FILE_BYTES];
    let before = most_memory(&host);
    for _ in 0..3 {
        let start = Instant::now();
        let (served, answer) = served_meanwhile(&host, || operator.swap("back", &zeros).expect(409));
        assert_eq!((answer.codes(), &answer.body["problems"][0]["module"]), (vec!["not-a-component"], &"back".into()));
        assert!(start.elapsed() < SLACK && served > 20, "{served} in {:?}", start.elapsed());
    }
    let took = most_memory(&host) - before;
    assert!(took < ((2 * ZERO_FILE_BYTES as u64) >> 20) + MORE, "{took} MiB");
    serves(&host, 1, Content::first(true));
    drop(host);

    // The same component as a file, with a limit of the process's memory.
    let file = app.path().join("back.wasm");
    File::create(&file).unwrap().set_len(ZERO_FILE_BYTES as u64).unwrap();
    for command in ["check", "run"] {
        let limited = format!("ulimit -d {}; exec \"$@\"", ((2 * ZERO_FILE_BYTES) >> 10) + (256 << 10));
        let state = host::folder();
        let start = Instant::now();
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_watertight"), command]).arg(app.path());
        if command == "run" {
            shell.arg("--state").arg(state.path().join("state")).args([
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ]);
        }
        let said = run(&mut shell).expect(1);
        assert!(start.elapsed() < SLACK, "{command}: {:?}", start.elapsed());
        let all = format!("{}{}", said.out, said.err);
        assert!(all.contains("not-a-component") && all.contains("back.wasm"), "{command}: {all}");
    }
}
