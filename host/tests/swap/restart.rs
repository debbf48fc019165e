//! Tests of what a start resumes: the last published generation, whichever change made it, unless the disk changed since then.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::command::run;
use watertight_testkit::host::{Host, binary, folder};
use watertight_testkit::tagged::{App, Content, back, build, serves};

fn start(app: &App, state: &Path) -> Host {
    app.launch().state(state).start()
}

/// Asserts that the log has exactly one line that says what the start runs and why, and that it contains all of these words.
fn assert_start_line(host: &Host, words: &[&str]) {
    let log = host.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("resuming generation") || line.contains("the application on disk"))
        .collect();
    let [line] = lines.as_slice() else { panic!("{lines:?}: {log}") };
    assert!(words.iter().all(|words| line.contains(words)), "{line}");
}

#[test]
fn a_history_that_is_gone_is_told() {
    let app = App::new(Content::first(true), "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&app, &state);
    assert!(!host.log().contains("no history"), "{}", host.log());
    host.kill();
    fs::remove_file(state.join("history.json")).unwrap();
    fs::create_dir_all(state.join("data")).unwrap();
    rusqlite::Connection::open(state.join("data/ledger.db")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    let host = start(&app, &state);
    let log = host.log();
    let told = log.lines().find(|line| line.contains("databases but no history")).unwrap();
    assert!(told.contains("WARN") && told.contains("ledger"), "{told}");
}

#[test]
fn a_rollback_survives_a_restart() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = start(&app, &state);
    assert_start_line(&host, &["nothing was published in this state folder yet"]);
    // The disk gets a bad build. It is swapped in and rolled back.
    let bad = Content { back: 666, ..first };
    app.write(bad, 0);
    let operator = Operator::of(&host);
    assert_eq!(operator.swapped("back", &build("back", 666)), 2);
    assert_eq!(published(&operator.rollback(None)), 3);
    serves(&host, 3, first);
    host.kill();
    for _ in 0..2 {
        let host = start(&app, &state);
        serves(&host, 3, first);
        assert_start_line(&host, &["resuming generation 3", "rollback to 1", "the files on disk are the same as then"]);
        host.kill();
    }
    // A new comment is no change. Another build is.
    app.write(bad, 1);
    let host = start(&app, &state);
    serves(&host, 3, first);
    host.kill();
    let mended = Content { back: 103, ..first };
    app.write(mended, 1);
    let host = start(&app, &state);
    serves(&host, 4, mended);
    assert_start_line(&host, &["takes the place", "the component of `back` changed on disk", "since generation 3"]);
    host.kill();
    serves(&start(&app, &state), 4, mended);
}

/// Every kind of change records the content of the disk. A restart doesn't apply content that was already on the disk, but not used, at the
/// last change.
#[test]
fn what_stood_on_the_disk_when_something_was_published_is_nothing_new() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let other = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let (mut content, mut number) = (first, 1);
    let mut host = start(&app, &state);
    for (round, kind) in ["swap", "apply", "rollback"].into_iter().enumerate() {
        let tag = 200 + u32::try_from(round).unwrap();
        app.write(Content { front: tag, ..first }, 0);
        let operator = Operator::of(&host);
        let before = content;
        number += 1;
        match kind {
            "swap" => {
                content.back = tag;
                assert_eq!(operator.swapped("back", &back(tag)), number);
            }
            // An operator applies another folder.
            "apply" => {
                content = Content { back: tag, ..first };
                other.write(content, 0);
                assert_eq!(published(&operator.apply(other.path(), false)), number);
            }
            _ => {
                content = Content { back: 200, ..first };
                assert_eq!(published(&operator.rollback(Some(2))), number);
            }
        }
        assert_ne!(content, before);
        host.kill();
        host = start(&app, &state);
        serves(&host, number, content);
        assert_start_line(&host, &[&format!("resuming generation {number}")]);
    }
    // `--apply` puts the content of the disk in place.
    host.kill();
    let disk = Content { front: 202, ..first };
    let host = app.launch().state(&state).argument("--apply").start();
    serves(&host, number + 1, disk);
    assert_start_line(&host, &["`--apply` asks for it"]);
    host.kill();
    let host = app.launch().state(&state).argument("--published").start();
    assert_start_line(&host, &["resuming", "`--published` asks for it"]);
    serves(&host, number + 1, disk);
    let last = Operator::of(&host).generations()["generations"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["by"], json!({ "command": "run --apply" }));
    let mut both = binary();
    let both = both.arg("run").arg(app.path()).args(["--published", "--apply"]);
    assert_eq!(run(both).expect(2).out, "");
}

/// A file that is edited while an `apply` waits is not part of that `apply`. The next start takes it.
#[test]
fn what_is_edited_while_an_apply_waits_is_not_applied() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = app.launch().state(&state).variable("FAILPOINTS", "change::linked=1*sleep(3000)->off").start();
    let operator = Operator::of(&host);
    let asked = |work: Box<dyn FnOnce(Operator) -> u64 + Send>| {
        let operator = operator.clone();
        thread::spawn(move || work(operator))
    };
    let slow = asked(Box::new(|operator| operator.swapped("back", &back(102))));
    thread::sleep(Duration::from_millis(500));
    let applied = Content { front: 101, ..first };
    app.write(applied, 0);
    let parts = watertight_testkit::admin::parts_of(app.path());
    let apply = asked(Box::new(move |operator| published(&operator.upload(&parts, false))));
    thread::sleep(Duration::from_millis(500));
    assert!(!slow.is_finished() && !apply.is_finished(), "the change before it was not slow enough for this machine");
    let edited = Content { front: 103, ..first };
    app.write(edited, 0);
    assert_eq!((slow.join().unwrap(), apply.join().unwrap()), (2, 3));
    serves(&host, 3, applied);
    host.kill();
    let host = start(&app, &state);
    serves(&host, 4, edited);
    assert_start_line(&host, &["the component of `front` changed on disk"]);
}

/// A host continues a history in the first format, which has one digest of the application on the disk, taken at the last `run` or `apply`.
#[test]
fn a_history_of_an_earlier_format_is_gone_on_with() {
    let first = Content::first(true);
    let swapped = Content { back: 102, ..first };
    let edited = Content { front: 101, ..first };
    for (kind, is_resumed) in [("rollback", true), ("swap", false)] {
        let app = App::new(first, "");
        let folder = folder();
        let state = folder.path().join("state");
        let host = start(&app, &state);
        let operator = Operator::of(&host);
        assert_eq!(operator.swapped("back", &back(102)), 2);
        let (mut number, mut content) = (2, swapped);
        if kind == "rollback" {
            (number, content) = (published(&operator.rollback(None)), first);
        }
        host.kill();
        let file = state.join("history.json");
        let mut text: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let history = text.as_object_mut().unwrap();
        assert_eq!(history.insert("format".to_owned(), json!(1)), Some(json!(2)));
        history.insert("origin".to_owned(), json!(format!("sha256:{}", "0".repeat(64))));
        history.remove("databases").unwrap();
        for published in history["published"].as_array_mut().unwrap() {
            let published = published.as_object_mut().unwrap();
            assert!(published.remove("disk").is_some());
            published.remove("by");
            published.remove("changes");
        }
        fs::write(&file, text.to_string()).unwrap();
        // The content of the disk doesn't match that digest.
        app.write(edited, 0);
        let host = start(&app, &state);
        if is_resumed {
            serves(&host, number, content);
            assert_start_line(&host, &["are not recorded", "run --apply"]);
        } else {
            (number, content) = (number + 1, edited);
            serves(&host, number, content);
        }
        assert_eq!(Operator::of(&host).swapped("back", &back(105)), number + 1);
        host.kill();
        serves(&start(&app, &state), number + 1, Content { back: 105, ..content });
    }
}
