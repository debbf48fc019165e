//! Tests of databases that a change created and no published generation used: a later build may have other migrations.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use watertight_testkit::admin::{Operator, multipart, parts_of};
use watertight_testkit::host::{Host, check_strace, folder};
use watertight_testkit::tagged::{App, Content, back, serves, with_migrations};
use watertight_testkit::wire::once;

/// The folder of an application, to which tests add a module `more` with a database.
struct Apps {
    app: App,
    plain: String,
}

impl Apps {
    fn new() -> Self {
        let app = App::new(Content::first(true), "");
        let plain = fs::read_to_string(app.path().join("app.toml")).unwrap();
        Self { app, plain }
    }

    /// Adds the module `more` to the application, with one migration that creates the table `table`. `tag` is the tag of its build.
    fn write(&self, tag: u32, table: &str) {
        let more = "[modules.more]\ncomponent = \"more.wasm\"\nuses = [\"sql\"]\n";
        fs::write(self.app.path().join("app.toml"), format!("{}\n{more}", self.plain)).unwrap();
        let sql = format!("CREATE TABLE {table} (id INTEGER)");
        let component = with_migrations(back(tag), "more", &[("0001_a.sql", &sql)]);
        fs::write(self.app.path().join("more.wasm"), component).unwrap();
    }

    fn write_plain(&self) {
        fs::write(self.app.path().join("app.toml"), &self.plain).unwrap();
    }
}

/// Returns the tables of the database of `more`, and whether the database is marked as unpublished.
fn tables(state: &Path) -> (Vec<String>, bool) {
    let database = rusqlite::Connection::open(state.join("data/more.db")).unwrap();
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'watertight%' ORDER BY name";
    let mut found = database.prepare(query).unwrap();
    let tables = found.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (tables, state.join("data/more.unpublished").exists())
}

/// A host is killed during a change: after it has opened the new database, and before it publishes the generation.
#[test]
fn a_killed_change_leaves_no_database_that_counts() {
    for point in ["change::opened", "change::warm", "change::migrated", "history::aside"] {
        let apps = Apps::new();
        let folder = folder();
        let state = folder.path().join("state");
        apps.app.launch().state(&state).start().kill();
        apps.write(102, "first");
        let armed = format!("{point}=return");
        let mut host = apps.app.launch().state(&state).variable("FAILPOINTS", &armed).argument("--published").start();
        let operator = Operator::of(&host);
        let kind = "multipart/form-data; boundary=----swap-tests-f3a94c71d2";
        let request = operator.request("POST", "/apply", kind, &multipart(&parts_of(apps.app.path())));
        assert!(once(host.admin(), &request).is_err(), "{point}");
        assert!(!host.wait().success());
        assert_eq!(tables(&state), (vec!["first".to_owned()], true), "{point}");
        // This build has another first migration, which the old database would refuse.
        apps.write(103, "second");
        let host = apps.app.launch().state(&state).argument("--published").start();
        serves(&host, 1, Content::first(true));
        Operator::of(&host).apply(apps.app.path(), false).expect(200);
        assert_eq!(tables(&state), (vec!["second".to_owned()], false), "{point}");
        host.kill();
        // The database now belongs to the module, since a generation was published.
        let host = apps.app.launch().state(&state).start();
        apps.write(104, "third");
        let answer = Operator::of(&host).apply(apps.app.path(), false).expect(409);
        assert_eq!(answer.codes(), ["migration"], "{point}");
    }
}

/// The host is killed at its start, before it publishes a generation.
#[test]
fn a_killed_start_leaves_no_database_that_counts() {
    let apps = Apps::new();
    let folder = folder();
    let state = folder.path().join("state");
    apps.write(102, "first");
    let (status, _) = apps.app.launch().state(&state).variable("FAILPOINTS", "history::aside=return").expect_end();
    assert!(!status.success());
    assert_eq!(tables(&state), (vec!["first".to_owned()], true));
    apps.write(103, "second");
    apps.app.launch().state(&state).start().kill();
    assert_eq!(tables(&state), (vec!["second".to_owned()], false));
}

/// A host is killed after it has written the generation to the history, and before it has removed the mark of the database as unpublished.
#[test]
fn a_database_of_a_published_generation_is_kept_whatever_its_mark_says() {
    let apps = Apps::new();
    let folder = folder();
    let state = folder.path().join("state");
    apps.app.launch().state(&state).start().kill();
    apps.write(102, "first");
    let launch = apps.app.launch().state(&state).argument("--published");
    let mut host = launch.variable("FAILPOINTS", "change::published=return").start();
    let operator = Operator::of(&host);
    let kind = "multipart/form-data; boundary=----swap-tests-f3a94c71d2";
    let request = operator.request("POST", "/apply", kind, &multipart(&parts_of(apps.app.path())));
    assert!(once(host.admin(), &request).is_err());
    assert!(!host.wait().success());
    let database = rusqlite::Connection::open(state.join("data/more.db")).unwrap();
    database.execute("INSERT INTO first VALUES (7)", []).unwrap();
    drop(database);
    assert_eq!(tables(&state), (vec!["first".to_owned()], true));
    let mut host = apps.app.launch().state(&state).start();
    assert_eq!(Operator::of(&host).generations()["current"], 2);
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    assert_eq!(tables(&state), (vec!["first".to_owned()], false));
    let database = rusqlite::Connection::open(state.join("data/more.db")).unwrap();
    let row: u32 = database.query_row("SELECT id FROM first", [], |row| row.get(0)).unwrap();
    assert_eq!(row, 7);
}

fn full(apps: &Apps, state: &Path, file: &str, calls: &str) -> Host {
    let (file, inject) = (state.join(file), format!("inject={calls}:error=ENOSPC"));
    let strace = ["strace", "-f", "-o", "/dev/null", "-P", file.to_str().unwrap(), "-e", &inject];
    apps.app.launch().state(state).argument("--published").under(&strace).start()
}

/// A change that is refused because the history can't be written also removes the database that it created. The disk lacks space or inodes.
#[test]
fn a_refused_change_takes_its_new_database_along() {
    check_strace();
    for (file, calls) in [
        ("history.tmp", "openat"),
        ("history.tmp", "write"),
        ("history.tmp", "fsync"),
        ("history.tmp", "rename,renameat,renameat2"),
        ("data/more.unpublished", "openat"),
    ] {
        let apps = Apps::new();
        let folder = folder();
        let state = folder.path().join("state");
        apps.app.launch().state(&state).start().kill();
        let host = full(&apps, &state, file, calls);
        apps.write(102, "first");
        let answer = Operator::of(&host).apply(apps.app.path(), false).expect(409);
        assert_eq!(answer.codes(), ["state"], "{calls} of {file}");
        for left in ["more.db", "more.db-wal", "more.unpublished"] {
            assert!(!state.join("data").join(left).exists(), "{calls} of {file}: {left}");
        }
        serves(&host, 1, Content::first(true));
        host.kill();
        // Once there is space, a build with another first migration is accepted.
        apps.write_plain();
        let host = apps.app.launch().state(&state).start();
        apps.write(103, "second");
        Operator::of(&host).apply(apps.app.path(), false).expect(200);
        assert_eq!(tables(&state), (vec!["second".to_owned()], false), "{calls} of {file}");
    }
}
