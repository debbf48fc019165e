//! Tests of malicious requests to change the application and of broken uploads: the running generation stays untouched, and the answer says
//! what was wrong.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use watertight_testkit::admin::{Operator, parts_of, published};
use watertight_testkit::host::Host;
use watertight_testkit::tagged::{App, Content, back, back_with, build, build_that_drops, front, serves};
use watertight_testkit::wire::{Answer, Connection, head, once, request};

/// Returns what the host's history reports: the numbers of the published generations, and the codes of each refused change.
fn history(host: &Host) -> (Vec<u64>, Vec<Vec<String>>) {
    let told = Operator::of(host).generations();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let codes =
        |refused: &Value| refused["problems"].as_array().unwrap().iter().map(|one| text(&one["code"])).collect();
    (
        told["generations"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect(),
        told["refused"].as_array().unwrap().iter().map(codes).collect(),
    )
}

/// Asserts that nothing was changed, and that the host remembers `refused` refused changes.
#[track_caller]
fn assert_untouched(host: &Host, refused: usize) {
    serves(host, 1, Content::first(true));
    let (published, all) = history(host);
    assert_eq!((published, all.len()), (vec![1], refused), "{all:?}");
}

fn problem(answer: &Answer) -> &str {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    answer.body["type"].as_str().unwrap().strip_prefix("/problems/").unwrap()
}

#[test]
fn changes_want_the_token() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let component = back(3);
    for path in ["/modules/back/swap", "/apply", "/rollback", "/generations"] {
        let method = if path == "/generations" { "GET" } else { "POST" };
        for token in ["", "Bearer ", "Bearer wrong"] {
            let headers = [("authorization", token), ("content-type", "application/wasm")];
            let answer = once(host.admin(), &request(method, path, &headers, &component)).unwrap().expect(401);
            assert_eq!(problem(&answer), "unauthorized");
        }
        // The data listener doesn't serve the admin API.
        assert_eq!(once(host.listen(), &request(method, path, &[], b"")).unwrap().status, 404);
    }
    assert_untouched(&host, 0);
}

#[test]
fn what_is_no_change_is_refused_before_it_is_one() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let component = back(3);
    let wasm = "application/wasm";
    let json = "application/json";
    for (path, kind, body, status, name) in [
        ("/modules/back/swap", json, &component[..], 415, "unsupported-media-type"),
        ("/modules/back/swap", "", &component, 415, "unsupported-media-type"),
        ("/modules/Back_/swap", wasm, &component, 400, "invalid-request"),
        ("/modules/back/swap?dryrun=true", wasm, &component, 400, "invalid-request"),
        ("/modules/back/swap?dry_run=perhaps", wasm, &component, 400, "invalid-request"),
        ("/modules/b%FFck/swap", wasm, &component, 400, "invalid-request"),
        ("/modules/back/else", wasm, &component, 404, "no-such-path"),
        ("/rollback", json, b"{", 400, "invalid-request"),
        ("/rollback", json, b"{\"until\":1}", 400, "invalid-request"),
        ("/rollback", json, b"{\"to\":-1}", 400, "invalid-request"),
        ("/rollback", json, &[b' '; 1025], 413, "body-too-large"),
        ("/apply", json, b"{}", 415, "unsupported-media-type"),
        ("/apply", "multipart/form-data", b"--", 400, "invalid-request"),
        ("/apply", "multipart/form-data; boundary=x", b"", 400, "invalid-request"),
        ("/apply", "multipart/form-data; boundary=x", b"--x\r\ncontent-disp", 400, "invalid-request"),
    ] {
        let answer = operator.ask("POST", path, kind, body);
        assert_eq!((answer.status, problem(&answer)), (status, name), "{path} {kind}: {answer:?}");
    }
    assert_eq!(operator.ask("GET", "/modules/back/swap", "", b"").status, 405);
    // A body that is announced as too large is refused before it is sent.
    for (path, kind, length) in [
        ("/modules/back/swap", wasm, (256 << 20) + 1),
        ("/apply", "multipart/form-data; boundary=x", (512 << 20) + 1),
        ("/rollback", json, 1025),
    ] {
        let token = format!("Bearer {}", operator.token);
        let mut connection = Connection::open(host.admin()).unwrap();
        connection
            .send(head("POST", path, &[("authorization", &token), ("content-type", kind)], length).as_bytes())
            .unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, problem(&answer)), (413, "body-too-large"), "{path}");
    }
    assert_untouched(&host, 0);
}

/// Between the 2 MB that axum takes by default and the limit of an upload.
#[test]
fn an_application_of_many_megabytes_is_applied() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let padding = "x".repeat(5 << 20);
    let large = back_with(102, &format!("(@custom \"padding\" \"{padding}\")"));
    assert!(large.len() > padding.len());
    fs::write(app.path().join("back.wasm"), large).unwrap();
    assert_eq!(published(&Operator::of(&host).apply(app.path(), false)), 2);
    serves(&host, 2, Content { back: 102, ..first });
}

#[test]
fn builds_that_don_t_fit_are_refused_and_remembered() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let whole = back(3);
    let large = back_with(3, "(memory 60000)");
    let traps = back_with(3, "(func $boom unreachable) (start $boom)");
    let builds: [(&str, Vec<u8>, &str); 11] = [
        ("nobody", whole.clone(), "unknown-name"),
        ("back", Vec::new(), "not-a-component"),
        ("back", b"(component)".to_vec(), "not-a-component"),
        ("back", whole[..whole.len() / 2].to_vec(), "not-a-component"),
        ("back", [&whole[..], b"more"].concat(), "not-a-component"),
        ("back", wat::parse_str("(module)").unwrap(), "not-a-component"),
        ("back", front(3), "missing-export"),
        ("front", whole, "missing-export"),
        ("back", build_that_drops("back"), "type-mismatch"),
        ("back", large, "placement"),
        ("back", traps, "compile"),
    ];
    for (count, (module, component, code)) in builds.iter().enumerate() {
        let answer = operator.swap(module, component).expect(409);
        assert!(problem(&answer) == "refused" && answer.codes().contains(code), "{count}, {code}: {answer:?}");
        let messages = answer.body["problems"].as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap());
        assert!(messages.into_iter().all(|message| !message.is_empty()));
        assert_untouched(&host, count + 1);
        assert_eq!(history(&host).1[count], answer.codes());
    }
    // Refused builds leave no file in the state folder.
    let kept = fs::read_dir(host.state().join("artifacts")).unwrap().count();
    assert_eq!(kept, 2);
    // The host doesn't remember dry runs, whether they are refused or not.
    operator.ask("POST", "/modules/back/swap?dry_run=true", "application/wasm", &builds[8].1).expect(409);
    operator.ask("POST", "/modules/back/swap?dry_run=true", "application/wasm", &back(4)).expect(200);
    assert_untouched(&host, builds.len());
    assert_eq!(operator.swapped("back", &back(4)), 2);
}

/// If a new build lacks a function, the refusal names everything that uses the function: a module by its name, a route by file and line.
#[test]
fn a_dropped_function_is_told_with_those_who_use_it() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let answer = operator.swap("front", &build_that_drops("front")).expect(409);
    let problems = answer.body["problems"].as_array().unwrap();
    let route = problems.iter().find(|problem| problem["code"] == "unknown-function").unwrap();
    assert_eq!((route["module"].as_str(), route["line"].as_u64()), (Some("front"), Some(5)), "{route}");
    assert!(
        route["file"].as_str().unwrap().ends_with("routes/tags.toml")
            && route["message"].as_str().unwrap().contains("tags")
    );
    let answer = operator.swap("back", &build_that_drops("back")).expect(409);
    let consumer = &answer.body["problems"][0];
    assert_eq!(
        (&consumer["module"], &consumer["interface"]),
        (&json!("front"), &json!("tags:app/back@1.0.0")),
        "{answer:?}"
    );
    assert!(consumer.to_string().contains("`back`") && consumer["function"] == "tag", "{consumer}");
    assert_untouched(&host, 2);
}

#[test]
fn applications_with_wrong_parts_are_refused() {
    let app = App::new(Content::first(true), "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let next = App::new(Content { back: 3, ..Content::first(true) }, "");
    let parts = parts_of(next.path());
    let without = |name: &str| parts.iter().filter(|(part, _)| part != name).cloned().collect::<Vec<_>>();
    let with = |name: &str, bytes: &[u8]| {
        let mut more = without(name);
        more.push((name.to_owned(), bytes.to_vec()));
        more
    };
    let twice = |name: &str| {
        let again = parts.iter().filter(|(part, _)| part == name);
        parts.iter().chain(again).cloned().collect::<Vec<_>>()
    };
    for (parts, about) in [
        (without("@files"), "the part `@files` with manifest and routes is missing"),
        (with("@files", b"no JSON"), "the part `@files` is not a JSON object"),
        (with("@files", b"{}"), "missing field"),
        (with("No_Name", b""), "No_Name"),
        (twice("back"), "`back` is sent twice"),
        (twice("@files"), "`@files` is sent twice"),
    ] {
        let answer = operator.upload(&parts, false).expect(400);
        assert!(answer.body["detail"].as_str().unwrap().contains(about), "{about}: {answer:?}");
    }
    assert_untouched(&host, 0);
    let mut files: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let manifest = files["manifest"]["text"].as_str().unwrap().replace("[app]", "[app]\ncolour = \"red\"");
    files["manifest"]["text"] = manifest.into();
    let bad_manifest = with("@files", files.to_string().as_bytes());
    let refused = [
        (without("back"), "unreadable"),
        (with("else", &back(3)), "unknown-name"),
        (with("back", b"nothing"), "not-a-component"),
        (bad_manifest, "unknown-key"),
    ];
    for (count, (parts, code)) in refused.iter().enumerate() {
        let answer = operator.upload(parts, false).expect(409);
        assert_eq!(answer.codes(), [*code]);
        assert_untouched(&host, count + 1);
    }
    let answer = operator.upload(&parts, true).expect(200);
    assert_eq!(
        (&answer.body["published"], &answer.body["plan"]["modules"][0]["name"]),
        (&json!(false), &json!("back"))
    );
    assert_untouched(&host, refused.len());
    operator.upload(&parts, false).expect(200);
    serves(&host, 2, Content { back: 3, ..Content::first(true) });
}

/// Sends the first half of an upload of the module `back`. The request's head announces the whole length.
fn half_an_upload(operator: &Operator) -> Connection {
    let component = back(9);
    let token = format!("Bearer {}", operator.token);
    let head = head(
        "POST",
        "/modules/back/swap",
        &[("authorization", &token), ("content-type", "application/wasm")],
        component.len(),
    );
    let mut connection = Connection::open(operator.address).unwrap();
    connection.send(head.as_bytes()).unwrap();
    connection.send(&component[..component.len() / 2]).unwrap();
    thread::sleep(Duration::from_millis(100));
    connection
}

#[test]
fn an_upload_that_stalls_or_breaks_off_holds_up_nobody() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let mut stalled = half_an_upload(&operator);
    assert_eq!(operator.swapped("front", &front(101)), 2);
    let broken = half_an_upload(&operator);
    // The host reads two uploads at a time. A rollback needs no upload.
    assert_eq!(problem(&operator.swap("front", &front(102)).expect(503)), "overloaded");
    operator.rollback(None).expect(200);
    serves(&host, 3, first);
    drop(broken);
    let patient = || {
        let answer = operator.swap("front", &front(103));
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        thread::sleep(Duration::from_millis(10));
        answer.status == 200
    };
    while !patient() {}
    assert_eq!(problem(&stalled.answer().unwrap().expect(408)), "body-too-slow");
    assert_eq!(history(&host), (vec![1, 2, 3, 4], vec![]));
    serves(&host, 4, Content { front: 103, ..first });
}

/// Once an upload is complete, the change is made even if the client no longer waits for the answer.
#[test]
fn a_client_that_goes_away_leaves_no_half_of_a_swap() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let (mut current, mut content) = (1, first);
    for round in 0..6_u64 {
        let tag = 101 + u32::try_from(round).unwrap();
        let mut connection = Connection::open(host.admin()).unwrap();
        let swap = operator.request("POST", "/modules/back/swap", "application/wasm", &back(tag));
        connection.send(&swap).unwrap();
        // The clients disconnect at different moments of the change.
        thread::sleep(Duration::from_millis(7 * round));
        drop(connection);
        // A client that disconnected before its upload was read changed nothing. Every other change is finished.
        let published = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            operator.generations()["current"] == current + 1
        });
        if published {
            (current, content) = (current + 1, Content { back: tag, ..first });
        }
        serves(&host, current, content);
    }
    assert!(current > 1, "no change was begun");
}

#[test]
fn changes_that_come_at_once_are_made_one_after_the_other() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    thread::scope(|scope| {
        let two = [("front", 101), ("back", 102)].map(|(module, tag)| {
            let operator = &operator;
            scope.spawn(move || operator.swapped(module, &build(module, tag)))
        });
        let mut numbers = two.map(|change| change.join().unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, [2, 3]);
    });
    serves(&host, 3, Content { front: 101, back: 102, ..first });

    // Of seventeen changes, those whose upload was read are made. The others are refused.
    let answers: Vec<Answer> = thread::scope(|scope| {
        let operator = &operator;
        let all: Vec<_> =
            (0..17).map(|number| scope.spawn(move || operator.swap("back", &back(200 + number)))).collect();
        all.into_iter().map(|change| change.join().unwrap()).collect()
    });
    let (made, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(made.len() >= 2 && refused.iter().all(|answer| answer.status == 503), "{answers:?}");
    let mut numbers: Vec<u64> = made.iter().map(|answer| answer.body["generation"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (4..4 + made.len() as u64).collect::<Vec<_>>());
    let last = *numbers.last().unwrap();
    let winner = answers.iter().position(|answer| answer.status == 200 && answer.body["generation"] == last).unwrap();
    serves(&host, last, Content { front: 101, back: 200 + u32::try_from(winner).unwrap(), ..first });
}
