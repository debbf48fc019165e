//! Builds that bring migrations along, while the old build serves.

use rustix::process::Signal;

use crate::admin::Operator;
use crate::app::{App, Content, back, serves, with_migrations};
use crate::host::{Host, folder};

const TABLE: (&str, &str) = ("0001_a.sql", "CREATE TABLE a (id INTEGER PRIMARY KEY)");

fn migrating(tag: u32, migrations: &[(&str, &str)]) -> Vec<u8> {
    with_migrations(back(tag), "back", migrations)
}

fn names(host: &Host) -> Vec<String> {
    let file = host.state().join("data/back.db");
    let database = rusqlite::Connection::open(file).unwrap();
    let mut found = database.prepare("SELECT name FROM watertight_migrations ORDER BY place").unwrap();
    found.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_adds_is_applied_and_what_does_not_is_refused() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let column = ("0002_b.sql", "ALTER TABLE a ADD COLUMN more TEXT; CREATE INDEX more_a ON a (more)");
    for (tag, migrations, generation) in [(102, &[TABLE][..], 2), (103, &[TABLE, column], 3)] {
        assert_eq!(operator.swapped("back", &migrating(tag, migrations)), generation);
    }
    let expected = ["0001_a.sql", "0002_b.sql"];
    assert_eq!(names(&host), expected);
    for (sql, about) in [
        ("DROP TABLE a", "removes"),
        ("CREATE UNIQUE INDEX only ON a (more)", "unique"),
        ("ALTER TABLE a RENAME TO c", "changes"),
        ("ALTER TABLE a ADD COLUMN must TEXT NOT NULL", "without a default"),
        ("CREATE TABLE a (id INTEGER)", "already exists"),
        ("CREATE TABLE c (id INTEGER); INSERT INTO nowhere VALUES (1)", "no such table"),
        ("UPDATE a SET more = 1", ""),
        ("PRAGMA user_version = 7", ""),
        ("not SQL", "syntax"),
    ] {
        let answer = operator.swap("back", &migrating(104, &[TABLE, column, ("0003_c.sql", sql)])).expect(409);
        assert_eq!(answer.codes(), ["migration"], "{sql}: {answer:?}");
        let message = answer.body["problems"][0]["message"].as_str().unwrap();
        assert!(message.contains("0003_c.sql") && message.contains(about), "{sql}: {message}");
        assert_eq!(names(&host), expected, "{sql}");
        serves(&host, 3, Content { back: 103, ..first });
    }
    // One that was applied never changes, and has its place.
    let changed = (TABLE.0, "CREATE TABLE a (id INTEGER PRIMARY KEY, other TEXT)");
    let moved = ("0000_z.sql", "CREATE TABLE z (id INTEGER)");
    for migrations in [&[changed, column][..], &[moved, TABLE, column]] {
        assert_eq!(operator.swap("back", &migrating(104, migrations)).expect(409).codes(), ["migration"]);
    }
    // Older builds live with newer tables.
    operator.rollback(Some(1)).expect(200);
    serves(&host, 4, first);
    assert_eq!(names(&host), expected);
}

/// What says of itself that older builds don't survive it is applied where nothing serves; there is no way back beyond it.
#[test]
fn there_is_no_way_back_beyond_a_contraction() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let mut host = app.launch().state(&state).start();
    let operator = Operator::of(&host);
    let contraction = ("0002_b.sql", "-- contract\nDROP TABLE a");
    assert_eq!(operator.swapped("back", &migrating(102, &[TABLE])), 2);
    let contracted = migrating(103, &[TABLE, contraction]);
    assert_eq!(operator.swap("back", &contracted).expect(409).codes(), ["migration"]);
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    std::fs::write(app.path().join("back.wasm"), &contracted).unwrap();
    let host = app.launch().state(&state).start();
    let operator = Operator::of(&host);
    let now = Content { back: 103, ..first };
    serves(&host, 3, now);
    for answer in [
        operator.rollback(None),
        operator.rollback(Some(1)),
        operator.swap("back", &migrating(104, &[TABLE])),
        operator.swap("back", &back(105)),
    ] {
        assert_eq!(answer.expect(409).codes(), ["migration"]);
        serves(&host, 3, now);
    }
    assert_eq!(operator.swapped("back", &migrating(106, &[TABLE, contraction])), 4);
    operator.rollback(None).expect(200);
    serves(&host, 5, now);
}
