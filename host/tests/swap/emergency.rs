//! Tests of rollbacks in an emergency: a rollback is made at once and to the right generation, whatever compilations, backups and other
//! changes are in progress or wait.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight_control::application::Host as Application;
use watertight_control::control::{Change, ChangeError, Control, StartPlan, StartSource};
use watertight_control::state::{Requester, StateFolder};
use watertight_engine::Engines;
use watertight_model::config::{self, Overrides};
use watertight_model::ids::GenerationNumber;
use watertight_model::problem::Code;
use watertight_sql::Settings;
use watertight_telemetry::Telemetry;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::host::{Host, folder};
use watertight_testkit::refused::tangle;
use watertight_testkit::tagged::{App, Content, back, back_with, serves};

/// The maximum time to wait for an expected condition.
const TIMEOUT: Duration = Duration::from_secs(60);

#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < TIMEOUT, "timed out while waiting: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the number of child processes of a host that compile.
fn compiling(host: &Host) -> usize {
    let children = format!("/proc/{}/task", host.process());
    let of_thread = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
    std::fs::read_dir(children).unwrap().flatten().map(|task| of_thread(task).split_whitespace().count()).sum()
}

/// Returns a build of the module `back` that takes minutes to compile.
fn bomb(tag: u32) -> Vec<u8> {
    back_with(tag, &tangle(20_000, 3, 8))
}

/// A rollback is made at once although a compilation would take minutes and other changes wait for it.
#[test]
fn a_rollback_waits_for_no_compilation_and_overtakes_all_that_wait() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    assert_eq!(operator.swapped("back", &back(102)), 2);
    assert_eq!(operator.swapped("back", &back(103)), 3);
    let is_full = Arc::new(AtomicBool::new(false));
    // The host reads two uploads at a time. A client that is refused for that reason tries again, until the queue is full.
    let ask = |component: Vec<u8>| {
        let (operator, is_full) = (operator.clone(), is_full.clone());
        thread::spawn(move || {
            loop {
                let answer = operator.swap("back", &component);
                match answer.body["detail"].as_str() {
                    Some(detail) if answer.status == 503 && detail.contains("16 changes are waiting") => {
                        is_full.store(true, SeqCst);
                        return None;
                    }
                    _ if answer.status == 503 => thread::sleep(Duration::from_millis(5)),
                    _ => return Some(answer),
                }
            }
        })
    };
    let mut waiting = vec![ask(bomb(666))];
    until("the compilation has begun", || compiling(&host) > 0);
    waiting.extend((0..16).map(|_| ask(back(104))));
    until("the queue is full", || is_full.load(SeqCst));
    until("one change found the queue full", || waiting.iter().filter(|change| change.is_finished()).count() == 1);
    // Plans are still made: of a swap, and of the rollback.
    let plan = operator.ask("POST", "/modules/back/swap?dry_run=true", "application/wasm", &back(105)).expect(200);
    assert_eq!(plan.body["plan"]["modules"][0]["name"], "back");
    assert!(waiting.iter().filter(|change| !change.is_finished()).count() == 16 && compiling(&host) > 0);

    assert_eq!(published(&operator.rollback(None)), 4);
    serves(&host, 4, Content { back: 102, ..first });
    // The waiting changes are refused at once, and the compilation is killed. No request takes minutes.
    for answer in waiting.into_iter().filter_map(|change| change.join().unwrap()) {
        let answer = answer.expect(409);
        assert_eq!(answer.codes(), ["overtaken"], "{answer:?}");
        assert!(answer.body["problems"][0]["help"].as_str().unwrap().contains("request the change again"));
    }
    until("the compilation is ended", || compiling(&host) == 0);
    serves(&host, 4, Content { back: 102, ..first });
    // Changes that are requested after the rollback are made.
    assert_eq!(operator.swapped("back", &back(104)), 5);
    assert_eq!(operator.generations()["refused"].as_array().unwrap().len(), 16);
}

/// The code of the previous generation stays in the cache, however much is compiled in the meantime. A rollback compiles nothing.
#[test]
fn a_rollback_finds_its_code_in_the_cache() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    // These builds are new on this machine, so no cache has their code.
    let tag = std::process::id() % 1_000_000 + 1_000_000;
    assert_eq!(operator.swapped("back", &back(tag)), 2);
    assert_eq!(operator.swapped("back", &back(tag + 1_000_000)), 3);
    // As many other builds as the cache keeps were used since then.
    for number in 0..64 {
        std::fs::write(host.state().join(format!("code/{number}.cwasm")), "").unwrap();
    }
    let fails = back_with(tag, "(func $start unreachable) (start $start)");
    assert_eq!(operator.swap("back", &fails).expect(409).codes(), ["compile"]);
    let compiled = |host: &Host| host.log().matches("compiling a component").count();
    let before = compiled(&host);
    assert_eq!(published(&operator.rollback(None)), 4);
    serves(&host, 4, Content { back: tag, ..first });
    assert_eq!(compiled(&host), before);
}

/// A rollback doesn't wait for a module that starts slowly. The module's next call starts it.
#[test]
fn a_rollback_waits_for_no_slow_start() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let slow = "(func $start (local $left i32) (local.set $left (i32.const 400000000))
        (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
        (start $start)";
    assert_eq!(operator.swapped("back", &back_with(102, slow)), 2);
    assert_eq!(operator.swapped("back", &back(103)), 3);
    assert_eq!(published(&operator.rollback(None)), 4);
    assert!(host.has_logged("not every module has started again yet"), "{}", host.log());
    serves(&host, 4, Content { back: 102, ..first });
}

/// A rollback to the running generation changes nothing. It still overtakes all changes that were requested before it.
#[test]
fn a_rollback_to_what_runs_overtakes_as_well() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let swap = thread::spawn({
        let operator = operator.clone();
        move || operator.swap("back", &bomb(667))
    });
    until("the compilation has begun", || compiling(&host) > 0);
    // A refused rollback overtakes nothing.
    assert_eq!(operator.rollback(None).expect(409).codes(), ["unknown-name"]);
    assert_eq!(operator.rollback(Some(7)).expect(409).codes(), ["unknown-name"]);
    let planned = operator.ask("POST", "/rollback?dry_run=true", "application/json", b"{\"to\":1}").expect(200);
    assert_eq!(planned.body["published"], false);
    assert!(!swap.is_finished());
    let same = operator.rollback(Some(1)).expect(200);
    assert_eq!((&same.body["published"], &same.body["generation"]), (&json!(false), &json!(1)));
    assert_eq!(swap.join().unwrap().expect(409).codes(), ["overtaken"]);
    serves(&host, 1, first);
}

/// A backup delays no change. It contains the generation that is current when it ends.
#[test]
fn changes_go_on_while_a_backup_is_written() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let (folder, state) = (folder(), folder());
    let state = state.path().join("state");
    // The fail point holds the backup for 6 s once everything is copied.
    let host = app.launch().state(&state).variable("FAILPOINTS", "backup::copied=1*sleep(6000)->off").start();
    let operator = Operator::of(&host);
    assert_eq!(operator.swapped("back", &back(102)), 2);
    let to = folder.path().join("backup");
    let backup = thread::spawn({
        let (operator, to) = (operator.clone(), to.clone());
        move || operator.ask("POST", "/backup", "application/json", json!({ "to": to }).to_string().as_bytes())
    });
    until("the backup is being written", || folder.path().join(".backup.unfinished").exists());
    assert_eq!(operator.swapped("back", &back(103)), 3);
    assert_eq!(published(&operator.rollback(None)), 4);
    serves(&host, 4, Content { back: 102, ..first });
    assert!(!backup.is_finished(), "the backup was not slow enough for this machine");
    backup.join().unwrap().expect(200);
    let read: Value = serde_json::from_slice(&std::fs::read(to.join("backup.json")).unwrap()).unwrap();
    let generation = read["generation"].as_u64().unwrap();
    assert!((2..=4).contains(&generation), "{read}");
    host.kill();
    // The backup can be restored, and the restored state starts.
    let restored = folder.path().join("restored");
    let mut command = watertight_testkit::host::binary();
    let command: &mut Command = command.arg("restore").arg(&to).arg("--app").arg(app.path());
    watertight_testkit::command::run(command.arg("--state").arg(&restored)).expect(0);
    let host = app.launch().state(&restored).argument("--published").start();
    let content = Content { back: if generation == 3 { 103 } else { 102 }, ..first };
    serves(&host, generation, content);
}

/// Starts a host within this process, and returns the value that controls its application.
fn control(app: &App, state: &Path) -> Arc<Control> {
    let config = config::load(app.path(), &Overrides::default()).unwrap();
    let state = StateFolder::open(state).unwrap();
    let initial =
        StartPlan::find(config, app.path().to_owned(), &Overrides::default(), state, StartSource::Newest).unwrap();
    let program = env!("CARGO_BIN_EXE_watertight").into();
    let (engines, database, telemetry) = (Engines::new(), Settings::default(), Telemetry::new());
    let host = Application { engines, database, telemetry, ..Application::with_program(program) };
    Arc::new(tokio::task::block_in_place(|| initial.start(&host).unwrap()))
}

fn swap(tag: u32) -> Change {
    Change::Swap { module: "back".parse().unwrap(), component: back(tag).into() }
}

/// The generation to which a rollback leads is chosen when the request arrives, not when the rollback is made.
#[test]
fn a_rollback_goes_to_what_was_before_the_current_one_when_it_arrived() {
    let app = App::new(Content::first(true), "");
    let state = folder();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let control = control(&app, &state.path().join("state"));
        for (tag, number) in [(102, 2), (103, 3)] {
            let outcome = control.change(swap(tag), false).await.unwrap();
            assert_eq!((outcome.generation, outcome.published), (GenerationNumber(number), true));
        }
        let by = Some(Requester::new(None, Some("a test")));
        let (rollback, late) = (control.receive(by), control.receive(None));
        // Generation 4 is published before the rollback's turn comes. The rollback leaves that generation as well.
        assert_eq!(control.change(swap(104), false).await.unwrap().generation, GenerationNumber(4));
        let outcome = control.change_from(rollback, Change::Rollback(None), false).await.unwrap();
        assert!(outcome.published);
        let history = control.history();
        let last = history.last().unwrap();
        assert_eq!(last.cause.to_string(), "rollback to 2");
        assert_eq!(last.by.as_ref().unwrap().to_string(), "a test");
        assert_eq!(last.modules, history.find(GenerationNumber(2)).unwrap().modules);
        // A change that arrived before the rollback and is executed after it is refused. A dry run is not.
        let Err(ChangeError::Refused(problems)) = control.change_from(late, swap(105), false).await else { panic!() };
        assert_eq!(problems.as_slice()[0].code, Code::Overtaken);
        let planned = control.change(swap(105), true).await.unwrap();
        assert!(!planned.published && planned.generation == GenerationNumber(5));
        // Two rollbacks that arrive during the same generation roll back once.
        let both = [control.receive(None), control.receive(None)];
        let mut published = Vec::new();
        for arrival in both {
            published.push(control.change_from(arrival, Change::Rollback(None), false).await.unwrap().published);
        }
        assert_eq!(published, [true, false]);
        assert_eq!(control.history().last().unwrap().number, GenerationNumber(6));
        control.close().await;
        assert!(matches!(control.change(swap(106), false).await, Err(ChangeError::Stopping)));
        assert!(matches!(control.change(Change::Rollback(None), false).await, Err(ChangeError::Stopping)));
    });
}
