//! Tests of the drain of a replaced generation: its requests end on it, and then the host frees all resources of the generation.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::host::Host;
use watertight_testkit::process::Holdings;
use watertight_testkit::tagged::{App, Content, ask, back, build, serves};
use watertight_testkit::wire::{Answer, Connection, get, head};

/// The maximum time to wait for an expected condition.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The time after which a request that was sent has certainly begun.
const BEGUN: Duration = Duration::from_millis(150);

#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < TIMEOUT, "timed out while waiting: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn draining(host: &Host) -> Vec<u64> {
    let told = Operator::of(host).generations();
    told["draining"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

fn holdings(host: &Host) -> Holdings {
    Holdings::of(host.process()).unwrap()
}

/// Sends a `GET` request and waits until it has begun. Returns the thread that waits for the answer.
fn begin(host: &Host, path: &str) -> JoinHandle<Answer> {
    let mut connection = Connection::open(host.listen()).unwrap();
    connection.send(&get(path)).unwrap();
    let answer = thread::spawn(move || connection.answer().unwrap());
    thread::sleep(BEGUN);
    answer
}

/// Makes the host compile builds in advance, so that compilation takes no time in the test. `builds` has a module and a tag for each.
/// Returns the number of the generation that serves afterwards, which has the content of the first.
fn compile(operator: &Operator, builds: &[(&str, u32)]) -> u64 {
    for (module, tag) in builds {
        operator.swapped(module, &build(module, *tag));
    }
    published(&operator.rollback(Some(1)))
}

fn slow_requests_end_where_they_began(apart: bool) {
    let first = Content::first(apart);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let number = compile(&operator, &[("back", 102), ("front", 101)]);
    serves(&host, number, first);
    until("all drained generations are freed", || draining(&host).is_empty());
    let before = holdings(&host);
    assert_eq!(before.code.len(), if apart { 2 } else { 1 }, "{before:?}");

    let slow = [begin(&host, "/compute?millis=4000"), begin(&host, "/wait?millis=4000")];
    // Each request has read the first tag. It reads the second one after the swaps.
    let content = Content { front: 101, back: 102, ..first };
    assert_eq!(operator.swapped("back", &build("back", 102)), number + 1);
    assert_eq!(operator.swapped("front", &build("front", 101)), number + 2);
    serves(&host, number + 2, content);
    assert!(draining(&host).contains(&number));
    assert!(slow.iter().all(|request| !request.is_finished()), "the requests are not slow enough for this machine");
    for request in slow {
        let answer = request.join().unwrap().expect(200);
        assert_eq!((answer.generation(), answer.body), (number, first.tags()));
    }
    until("all drained generations are freed", || draining(&host).is_empty());
    until("their code is unmapped", || {
        let now = holdings(&host);
        now.code.len() == before.code.len() && now.mappings == before.mappings
    });
    assert!(holdings(&host).code.is_disjoint(&before.code), "both modules were swapped");
    serves(&host, number + 2, content);
}

#[test]
fn a_slow_request_ends_where_it_began_fused() {
    slow_requests_end_where_they_began(false);
}

#[test]
fn a_slow_request_ends_where_it_began_apart() {
    slow_requests_end_where_they_began(true);
}

/// The drain deadline ends three kinds of requests: in one a module computes, in one it waits in the host, and in one the client doesn't
/// send its whole body.
fn the_drain_deadline_ends_what_is_left(apart: bool) {
    let first = Content::first(apart);
    let app = App::new(first, "[http]\ndrain = \"300ms\"\n");
    let host = app.launch().start();
    serves(&host, 1, first);
    let mut half = Connection::open(host.listen()).unwrap();
    half.send(head("POST", "/take", &[("content-type", "application/json")], 5).as_bytes()).unwrap();
    half.send(b"12").unwrap();
    let half = thread::spawn(move || half.answer().unwrap());
    let slow = [begin(&host, "/compute?millis=20000"), begin(&host, "/wait?millis=20000"), half];
    let start = Instant::now();
    assert_eq!(Operator::of(&host).swapped("back", &back(102)), 2);
    for (request, (status, problem)) in
        slow.into_iter().zip([(504, "deadline"), (504, "deadline"), (408, "body-too-slow")])
    {
        let answer = request.join().unwrap().expect(status);
        assert_eq!((answer.generation(), &answer.body["type"]), (1, &json!(format!("/problems/{problem}"))));
    }
    until("it is freed", || draining(&host).is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "the requests were not ended at the deadline: {:?}",
        start.elapsed()
    );
    until("its code is unmapped", || holdings(&host).code.len() == if apart { 2 } else { 1 });
    assert!(!host.log().contains("still counts as draining"), "{}", host.log());
    serves(&host, 2, Content { back: 102, ..first });
}

#[test]
fn the_drain_deadline_ends_what_is_left_fused() {
    the_drain_deadline_ends_what_is_left(false);
}

#[test]
fn the_drain_deadline_ends_what_is_left_apart() {
    the_drain_deadline_ends_what_is_left(true);
}

#[test]
fn four_drain_at_once_and_sixteen_changes_wait() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let number = compile(&operator, &[101, 102, 103, 104, 105].map(|tag| ("back", tag)));
    until("all drained generations are freed", || draining(&host).is_empty());
    let mut slow = Vec::new();
    for (tag, millis) in [(101, 3000), (102, 8000), (103, 8000), (104, 8000)] {
        slow.push(begin(&host, &format!("/wait?millis={millis}")));
        operator.swapped("back", &back(tag));
    }
    let last = begin(&host, "/wait?millis=8000");
    assert_eq!(draining(&host), [number, number + 1, number + 2, number + 3]);

    // The fifth change waits for a free place among the draining generations. Fifteen more wait for the fifth. One more is refused.
    let waiting = operator.clone();
    let fifth = thread::spawn(move || waiting.swap("back", &back(105)));
    thread::sleep(BEGUN);
    let (told, answers) = mpsc::channel();
    for _ in 0..15 {
        let (operator, told) = (operator.clone(), told.clone());
        thread::spawn(move || told.send(operator.swap("back", &back(105))));
    }
    drop(told);
    thread::sleep(BEGUN);
    // A plan doesn't wait.
    let planned = operator.ask("POST", "/rollback?dry_run=true", "application/json", b"{\"to\":1}").expect(200);
    assert_eq!((&planned.body["published"], fifth.is_finished()), (&json!(false), false));
    let refused = operator.swap("back", &back(106)).expect(503);
    assert_eq!(refused.body["type"], "/problems/overloaded");
    assert_eq!((operator.generations()["current"].as_u64(), fifth.is_finished()), (Some(number + 4), false));
    // Requests don't wait.
    assert_eq!(ask(&host, "/tags").expect(200).generation(), number + 4);

    assert_eq!(published(&fifth.join().unwrap()), number + 5);
    let finished: Vec<bool> = slow.iter().map(JoinHandle::is_finished).collect();
    assert!(draining(&host).len() <= 4 && finished[1..] == [false; 3], "{finished:?}");
    // When their turn comes, they request what already runs.
    let same: Vec<Answer> = answers.iter().collect();
    assert_eq!(same.len(), 15);
    assert!(same.iter().all(|answer| answer.status == 200 && answer.body["published"] == false), "{same:?}");
    for (number, request) in (number..).zip(slow.into_iter().chain([last])) {
        assert_eq!(request.join().unwrap().expect(200).generation(), number);
    }
    until("all drained generations are freed", || draining(&host).is_empty());
    serves(&host, number + 5, Content { back: 105, ..first });
}

/// A rollback doesn't wait until fewer generations drain than the maximum. It ends the oldest draining generation, whatever time its
/// requests have left.
#[test]
fn a_rollback_ends_the_oldest_generation_that_drains() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let number = compile(&operator, &[101, 102, 103, 104].map(|tag| ("back", tag)));
    until("all drained generations are freed", || draining(&host).is_empty());
    let mut slow = Vec::new();
    // A guest may compute for 10 s.
    let paths = ["/wait?millis=15000", "/wait?millis=15000", "/compute?millis=6000", "/wait?millis=15000"];
    for (tag, path) in (101..).zip(paths) {
        slow.push(begin(&host, path));
        operator.swapped("back", &back(tag));
    }
    slow.push(begin(&host, "/wait?millis=15000"));
    assert_eq!(draining(&host), [number, number + 1, number + 2, number + 3]);
    assert_eq!(published(&operator.rollback(None)), number + 5);
    serves(&host, number + 5, Content { back: 103, ..first });
    let oldest = slow.remove(0).join().unwrap().expect(504);
    assert_eq!((oldest.generation(), &oldest.body["type"]), (number, &json!("/problems/deadline")));
    // The other generations go on. The next rollback again ends the oldest of them.
    assert!(slow.iter().all(|request| !request.is_finished()), "the requests are not slow enough for this machine");
    for round in 1..=2 {
        assert_eq!(published(&operator.rollback(Some(number))), number + 4 + 2 * round);
        assert_eq!(published(&operator.rollback(None)), number + 5 + 2 * round);
    }
    assert!(slow.iter().any(|request| !request.is_finished()), "the rollback ended more generations than necessary");
    let ended = |answer: Answer| [200, 504].contains(&answer.status);
    assert!(slow.into_iter().all(|request| ended(request.join().unwrap())));
    until("all drained generations are freed", || draining(&host).is_empty());
}

/// After many swaps, the host's process must hold no more resources than after few.
#[test]
fn many_swaps_hold_no_more_than_few() {
    const FEW: u32 = 3;
    const MANY: u32 = 30;
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let mut few = None;
    for number in 0..MANY {
        let module = if number % 2 == 0 { "back" } else { "front" };
        operator.swapped(module, &build(module, 1000 + number));
        ask(&host, "/tags").expect(200);
        if number + 1 == FEW {
            until("all drained generations are freed", || draining(&host).is_empty());
            few = Some(holdings(&host));
        }
    }
    until("all drained generations are freed", || draining(&host).is_empty());
    let few = few.unwrap();
    // Threads for blocking work end on their own, 10 s after their last work.
    until("threads and files are what they were", || {
        let now = holdings(&host);
        now.threads <= few.threads && now.files <= few.files
    });
    let many = holdings(&host);
    assert_eq!((many.code.len(), many.mappings), (few.code.len(), few.mappings));
    let more = few.resident / 10;
    assert!(many.resident <= few.resident + more.max(16 << 20), "{few:?}, then {many:?}");
}
