//! Tests of a host that ends in the middle of a change, at each fail point and at random moments. The next start serves a whole generation,
//! the old one or the new one, and the history says which.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watertight_testkit::admin::{Operator, multipart, parts_of};
use watertight_testkit::host::{Host, folder};
use watertight_testkit::tagged::{App, Content, back, build, serves, with_migrations};
use watertight_testkit::wire::{Connection, get, once};

/// The fail points at which a change can end the host's process, each with the number of the generation that the next start serves.
const POINTS: [(&str, u64); 4] =
    [("change::linked", 1), ("change::kept", 1), ("change::migrated", 1), ("change::published", 2)];
/// The number of times that the host is killed at a random moment.
const KILLS: u64 = 12;

fn start(app: &App, state: &Path) -> Host {
    app.launch().state(state).start()
}

fn numbers(host: &Host) -> Vec<u64> {
    let told = Operator::of(host).generations();
    assert_eq!((&told["draining"], &told["refused"]), (&json!([]), &json!([])));
    let published = told["generations"].as_array().unwrap();
    let numbers: Vec<u64> = published.iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(told["current"], *numbers.last().unwrap());
    numbers
}

/// Starts a host that ends at the fail point `point` of a change, and sends it the request that `change` returns.
fn ends_at(app: &App, state: &Path, point: &str, change: impl FnOnce(&Operator) -> Vec<u8>) {
    let mut host = app.launch().state(state).variable("FAILPOINTS", &format!("{point}=return")).start();
    let operator = Operator::of(&host);
    once(host.admin(), &change(&operator)).unwrap_err();
    assert!(!host.wait().success(), "{point}: the host did not end");
}

#[test]
fn a_swap_that_ends_at_any_point_is_made_or_not() {
    for (apart, (point, serving)) in [false, true].into_iter().flat_map(|apart| POINTS.map(|point| (apart, point))) {
        let first = Content::first(apart);
        let second = Content { back: 102, ..first };
        let app = App::new(first, "");
        let folder = folder();
        let state = folder.path().join("state");
        let component = with_migrations(back(102), "back", &[("0001_a.sql", "CREATE TABLE a (id INTEGER)")]);
        ends_at(&app, &state, point, |operator| {
            operator.request("POST", "/modules/back/swap", "application/wasm", &component)
        });
        let host = start(&app, &state);
        assert_eq!(numbers(&host), (1..=serving).collect::<Vec<_>>(), "{point}");
        serves(&host, serving, if serving == 1 { first } else { second });
        // No temporary file is left over, and further changes work.
        let leftovers = ["artifacts", "configurations", "code", "."].map(|name| state.join(name));
        let aside = leftovers.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let aside: Vec<_> = aside
            .map(|file| file.unwrap().path())
            .filter(|file| file.extension().is_some_and(|e| e == "tmp"))
            .collect();
        assert!(aside.is_empty(), "{point}: {aside:?}");
        let operator = Operator::of(&host);
        if serving == 1 {
            assert_eq!(operator.swapped("back", &component), 2, "{point}");
            serves(&host, 2, second);
        }
        operator.rollback(None).expect(200);
        serves(&host, 3, first);
        host.kill();
        let host = start(&app, &state);
        serves(&host, 3, first);
        Operator::of(&host).rollback(Some(2)).expect(200);
        serves(&host, 4, second);
    }
}

#[test]
fn an_application_that_ends_at_any_point_is_applied_or_not() {
    for (point, serving) in POINTS {
        let first = Content::first(false);
        let second = Content { front: 101, back: 102, apart: true, extra: true };
        let app = App::new(first, "");
        let folder = folder();
        let state = folder.path().join("state");
        let next = App::new(second, "");
        ends_at(&app, &state, point, |operator| {
            let kind = "multipart/form-data; boundary=----swap-tests-f3a94c71d2";
            operator.request("POST", "/apply", kind, &multipart(&parts_of(next.path())))
        });
        let host = start(&app, &state);
        assert_eq!(numbers(&host), (1..=serving).collect::<Vec<_>>(), "{point}");
        serves(&host, serving, if serving == 1 { first } else { second });
        let operator = Operator::of(&host);
        let (to, number) =
            if serving == 1 { (operator.apply(next.path(), false), 2) } else { (operator.rollback(None), 3) };
        to.expect(200);
        serves(&host, number, if serving == 1 { second } else { first });
    }
}

/// The state that is shared by a client that swaps without pause and a client that sends requests.
#[derive(Default)]
struct Swaps {
    asked: AtomicU32,
    told: AtomicU32,
    ended: AtomicBool,
    /// How long the last swap took, in milliseconds.
    millis: AtomicU64,
}

impl Swaps {
    /// Swaps the module `back` again and again, until the host ends. The tag of each build is 1000 plus the number of its generation.
    fn swap(&self, operator: &Operator, mut number: u32) {
        while !self.ended.load(SeqCst) {
            number += 1;
            self.asked.store(number, SeqCst);
            let swap =
                operator.request("POST", "/modules/back/swap", "application/wasm", &build("back", 1000 + number));
            let begun = Instant::now();
            let answer = match once(operator.address, &swap) {
                Ok(answer) => answer,
                Err(error) => return self.must_have_ended(&error),
            };
            self.millis.store(u64::try_from(begun.elapsed().as_millis()).unwrap(), SeqCst);
            assert_eq!((answer.status, &answer.body["generation"]), (200, &json!(number)), "{answer:?}");
            self.told.store(number, SeqCst);
        }
    }

    /// Panics unless the test has ended the host. That is the only expected reason for the error of a connection.
    fn must_have_ended(&self, error: &std::io::Error) {
        assert!(self.ended.load(SeqCst), "{error}");
    }

    /// Sends requests without pause, until the host ends. Each must be answered by one generation, and the generations' numbers must not
    /// decrease.
    fn ask(&self, host: std::net::SocketAddr) {
        let mut connection = match Connection::open(host) {
            Ok(connection) => connection,
            Err(error) => return self.must_have_ended(&error),
        };
        let mut last = 0;
        while !self.ended.load(SeqCst) {
            let answer = match connection.exchange(&get("/tags")) {
                Ok(answer) => answer,
                Err(error) => return self.must_have_ended(&error),
            };
            assert_eq!((answer.status, &answer.body), (200, &tags(answer.generation())), "{answer:?}");
            assert!(answer.generation() >= last, "{answer:?} after {last}");
            last = answer.generation();
        }
    }
}

fn tags(generation: u64) -> Value {
    let back = if generation == 1 { 2 } else { 1000 + generation };
    json!([1, back, back])
}

#[test]
fn killed_at_any_moment_it_serves_what_was_told() {
    let app = App::new(Content::first(true), "");
    let folder = folder();
    let state = folder.path().join("state");
    let mut number = 1;
    // A swap takes seconds where others keep the processors busy. Every fourth host makes a swap before it is killed, whatever that takes; the
    // others are killed within the time of two swaps.
    let mut millis = 0;
    for kill in 0..KILLS {
        let host = start(&app, &state);
        let swaps = Swaps {
            told: AtomicU32::new(number),
            asked: AtomicU32::new(number),
            millis: AtomicU64::new(millis),
            ..Swaps::default()
        };
        let before = number;
        let operator = Operator::of(&host);
        thread::scope(|scope| {
            scope.spawn(|| swaps.swap(&operator, number));
            scope.spawn(|| swaps.ask(host.listen()));
            while kill % 4 == 0 && swaps.told.load(SeqCst) == before {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis(20 + 2 * millis * ((kill * 71) % 230) / 230));
            swaps.ended.store(true, SeqCst);
            let process = rustix::process::Pid::from_raw(host.process().try_into().unwrap()).unwrap();
            rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
        });
        host.kill();
        let host = start(&app, &state);
        let answer = once(host.listen(), &get("/tags")).unwrap().expect(200);
        let (told, asked) = (swaps.told.load(SeqCst), swaps.asked.load(SeqCst));
        millis = swaps.millis.load(SeqCst);
        number = u32::try_from(answer.generation()).unwrap();
        assert!((told..=asked).contains(&number), "told {told}, asked for {asked}, serves {number}");
        assert_eq!(answer.body, tags(answer.generation()));
        assert_eq!(Operator::of(&host).generations()["current"], number);
        host.kill();
    }
    assert!(number > 3, "too few swaps for this test: {number}");
    let host = start(&app, &state);
    Operator::of(&host).rollback(None).expect(200);
    let answer = once(host.listen(), &get("/tags")).unwrap().expect(200);
    assert_eq!((answer.generation(), answer.body), (u64::from(number) + 1, tags(u64::from(number) - 1)));
}

/// Damaged files of an earlier generation must not become part of a later one.
#[test]
fn what_is_kept_of_a_generation_is_whole_whatever_was_there() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&app, &state);
    let operator = Operator::of(&host);
    operator.swapped("back", &back(102));
    operator.rollback(None).expect(200);
    for kept in ["artifacts", "configurations"] {
        for file in std::fs::read_dir(state.join(kept)).unwrap() {
            let file = file.unwrap().path();
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    assert_eq!(operator.swapped("back", &back(102)), 4);
    host.kill();
    serves(&start(&app, &state), 4, Content { back: 102, ..first });
}

/// A host that is told to stop finishes a change that it has begun, even if no client waits for the answer.
#[test]
fn a_host_that_stops_finishes_the_change_in_work() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let (mut number, mut content, mut made) = (1, first, 0);
    for round in 0..6 {
        let mut host = start(&app, &state);
        let operator = Operator::of(&host);
        for tag in [200 + round, 300 + round] {
            let mut connection = Connection::open(host.admin()).unwrap();
            let component = build("back", tag);
            connection.send(&operator.request("POST", "/modules/back/swap", "application/wasm", &component)).unwrap();
        }
        thread::sleep(Duration::from_millis(u64::from(round) * 100));
        host.signal(rustix::process::Signal::TERM);
        assert!(host.wait().success(), "{}", host.log());
        let log = host.log();
        assert!(!log.contains("ERROR") && !log.contains("refused"), "{log}");
        let host = start(&app, &state);
        let published = numbers(&host);
        let now = *published.last().unwrap();
        assert!((number..=number + 2).contains(&now), "{published:?} after {number}");
        made += now - number;
        let answer = once(host.listen(), &get("/tags")).unwrap().expect(200);
        assert_eq!(answer.generation(), now);
        if now > number {
            content.back = u32::try_from(answer.body[1].as_u64().unwrap()).unwrap();
            assert!([200 + round, 300 + round].contains(&content.back), "{answer:?}");
        }
        serves(&host, now, content);
        number = now;
    }
    assert!(made > 0, "no change was made");
}

/// A start checks the application on the disk like any other change.
#[test]
fn a_start_on_a_changed_disk_is_checked_like_any_change() {
    let first = Content::first(false);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&app, &state);
    assert_eq!(Operator::of(&host).swapped("front", &build("front", 101)), 2);
    let swapped = Content { front: 101, ..first };
    host.kill();
    // A new comment is no change.
    app.write(first, 1);
    let host = start(&app, &state);
    serves(&host, 2, swapped);
    host.kill();
    // A build that doesn't fit: the host doesn't start, and the history stays as it is.
    std::fs::write(app.path().join("back.wasm"), watertight_testkit::tagged::build_that_drops("back")).unwrap();
    let (status, log) = app.launch().state(&state).expect_end();
    assert!(status.code() == Some(1) && log.contains("type-mismatch"), "{log}");
    // The refusal names the generation that could run, and `--published` starts that generation.
    assert!(log.contains("generation 2") && log.contains("run --published"), "{log}");
    for _ in 0..2 {
        let host = app.launch().state(&state).argument("--published").start();
        serves(&host, 2, swapped);
        host.kill();
    }
    let (status, _) = app.launch().state(&state).expect_end();
    assert_eq!(status.code(), Some(1), "the failed application on disk was recorded as the running one");
    app.write(first, 0);
    let host = start(&app, &state);
    serves(&host, 2, swapped);
    host.kill();
    // A change on the disk takes effect, also for the module that was swapped.
    app.write(Content { back: 102, ..first }, 0);
    let host = start(&app, &state);
    serves(&host, 3, Content { back: 102, ..first });
    assert!(host.has_logged("takes the place") && host.has_logged("~ module back"), "{}", host.log());
    // A rollback to the swapped build is still possible.
    Operator::of(&host).rollback(Some(2)).expect(200);
    serves(&host, 4, swapped);
    host.kill();
    serves(&start(&app, &state), 4, swapped);
}
