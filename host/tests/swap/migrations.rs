//! Tests of swaps to builds with new migrations, which are applied while the old build serves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::Signal;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::command::run;
use watertight_testkit::host::{Host, binary, folder};
use watertight_testkit::tagged::{App, Content, back, back_with, serves, with_migrations};

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
    // An applied migration never changes, neither its text nor its place in the order.
    let changed = (TABLE.0, "CREATE TABLE a (id INTEGER PRIMARY KEY, other TEXT)");
    let moved = ("0000_z.sql", "CREATE TABLE z (id INTEGER)");
    for migrations in [&[changed, column][..], &[moved, TABLE, column]] {
        let answer = operator.swap("back", &migrating(104, migrations)).expect(409);
        assert_eq!(answer.codes(), ["migration"]);
        let problem = &answer.body["problems"][0];
        assert_eq!((&problem["module"], &problem["file"]), (&"back".into(), &serde_json::Value::Null), "{problem}");
        assert!(problem["help"].as_str().unwrap().contains("never changes"), "{problem}");
    }
    // Older builds work with newer tables.
    operator.rollback(Some(1)).expect(200);
    serves(&host, 4, first);
    assert_eq!(names(&host), expected);
    // The way back to the newer build has nothing to migrate, and the next migration is new to the database.
    let planned = |answer: &watertight_testkit::wire::Answer| answer.body["plan"]["modules"][0]["migrations"].clone();
    let more = ("0003_c.sql", "CREATE TABLE c (id INTEGER)");
    let next = migrating(105, &[TABLE, column, more]);
    let dry = operator.ask("POST", "/modules/back/swap?dry_run=true", "application/wasm", &next).expect(200);
    assert_eq!(planned(&dry), serde_json::json!(["0003_c.sql"]));
    assert_eq!(planned(&operator.rollback(None).expect(200)), serde_json::json!([]));
    serves(&host, 5, Content { back: 103, ..first });
    let generations = operator.generations();
    let last = generations["generations"].as_array().unwrap().last().unwrap();
    assert!(!last["changes"].to_string().contains("migration"), "{last}");
}

/// Runs `watertight migrations` with further arguments. It must not change the state folder `state`. Returns whether the database of `back`
/// exists, and the number, name and state of each migration.
fn told(app: &App, state: &Path, arguments: &[&str]) -> (bool, Vec<(u64, String, String)>) {
    let before = files(state);
    let mut command = binary();
    command.arg("migrations").arg(app.path()).arg("--json").args(arguments);
    let said = run(&mut command).expect(0).json();
    assert_eq!(files(state), before);
    let [module] = said["modules"].as_array().unwrap().as_slice() else { panic!("{said}") };
    assert_eq!((&module["module"], &module["error"]), (&"back".into(), &serde_json::Value::Null));
    let line = |place: &serde_json::Value| {
        let name = [&place["carried"]["name"], &place["applied"]["name"]].into_iter().find_map(|name| name.as_str());
        let is_applied = place["applied"]["at"].as_str().is_some_and(|at| at.starts_with("20"));
        assert_eq!(is_applied, place["state"] != "pending", "{place}");
        (place["number"].as_u64().unwrap(), name.unwrap().to_owned(), place["state"].as_str().unwrap().to_owned())
    };
    (module["exists"].as_bool().unwrap(), module["migrations"].as_array().unwrap().iter().map(line).collect())
}

/// Returns the length and the modification time of every file below a folder. Shared-memory files of SQLite are left out.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let metadata = path.metadata().unwrap();
        if path.ends_with("code") {
            // The cache is hard-linked into the states of other tests, which update its times.
        } else if metadata.is_dir() {
            found.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            found.insert(path, (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

#[test]
fn migrations_are_told_beside_a_host_and_without_one() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state ?#%");
    let flags = ["--state", state.to_str().unwrap()];
    let column = ("0002_b.sql", "ALTER TABLE a ADD COLUMN more TEXT");
    let place = |number: u64, name: &str, state: &str| (number, name.to_owned(), state.to_owned());
    let applied = [place(1, TABLE.0, "applied"), place(2, column.0, "applied")];

    // Without a state folder: before the first start.
    std::fs::write(app.path().join("back.wasm"), migrating(102, &[TABLE])).unwrap();
    assert_eq!(told(&app, &state, &flags), (false, vec![place(1, TABLE.0, "pending")]));
    assert!(!state.exists(), "the command created the state folder");

    // While a host runs, the running build counts, whatever is on the disk.
    let mut host = app.launch().state(&state).start();
    let admin = host.admin().to_string();
    assert_eq!(told(&app, &state, &flags), (true, vec![place(1, TABLE.0, "applied")]));
    Operator::of(&host).swapped("back", &migrating(103, &[TABLE, column]));
    assert_eq!(told(&app, &state, &flags), (true, applied.to_vec()));
    let token = host.token();
    let elsewhere = ["--admin", &admin, "--state", "nowhere"];
    let mut command = binary();
    command.arg("migrations").arg(app.path()).args(elsewhere).env("WATERTIGHT_ADMIN_TOKEN", token);
    let text = run(&mut command).expect(0).out;
    assert!(text.contains("back, build") && text.contains("   2  applied    0002_b.sql  20"), "{text}");

    // Without a host, the swapped build counts: the next start runs it.
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    assert_eq!(told(&app, &state, &flags), (true, applied.to_vec()));
    // The same holds after a crash, which leaves the write-ahead log behind.
    let host = app.launch().state(&state).start();
    host.kill();
    assert_eq!(told(&app, &state, &flags), (true, applied.to_vec()));

    // Now the disk has another build.
    let third = ("0003_c.sql", "-- contract\nDROP TABLE a");
    let changed = (TABLE.0, "CREATE TABLE a (id INTEGER PRIMARY KEY, other TEXT)");
    for (migrations, states) in [
        (&[TABLE][..], &["applied", "unknown"][..]),
        (&[TABLE, column, third], &["applied", "applied", "pending"]),
        (&[changed, column], &["changed", "applied"]),
        (&[TABLE, third], &["applied", "reordered"]),
        (&[], &["unknown", "unknown"]),
    ] {
        std::fs::write(app.path().join("back.wasm"), migrating(104, migrations)).unwrap();
        let (exists, found) = told(&app, &state, &flags);
        let found: Vec<&str> = found.iter().map(|(.., state)| state.as_str()).collect();
        assert_eq!((exists, found.as_slice()), (true, states));
    }

    // For a database that can't be read, the report says why.
    std::fs::write(state.join("data/back.db"), "no database at all".repeat(100)).unwrap();
    let mut command = binary();
    command.arg("migrations").arg(app.path()).args(flags);
    let text = run(&mut command).expect(0).out;
    assert!(text.contains("can't be opened") && text.contains("not a database"), "{text}");
}

/// After a contraction, a migration that older builds don't survive, a start with an older build on the disk is refused, like a rollback.
#[test]
fn no_start_leads_back_beyond_a_contraction_and_none_passes_what_doesn_t_say_so() {
    let app = App::new(Content::first(true), "");
    let folder = folder();
    let state = folder.path().join("state");
    let begin = |migrations: &[(&str, &str)], tag| {
        std::fs::write(app.path().join("back.wasm"), migrating(tag, migrations)).unwrap();
        app.launch().state(&state)
    };
    begin(&[TABLE], 102).start().kill();
    let (status, log) = begin(&[TABLE, ("0002_b.sql", "DROP TABLE a")], 103).expect_end();
    assert!(!status.success() && log.contains("0002_b.sql") && log.contains("-- contract"), "{log}");
    let contraction = ("0002_b.sql", "-- contract\nDROP TABLE a");
    begin(&[TABLE, contraction], 104).start().kill();
    let (status, log) = begin(&[TABLE], 105).expect_end();
    assert!(!status.success() && log.contains("0002_b.sql") && log.contains("does not have it"), "{log}");
    begin(&[TABLE, contraction], 106).start().kill();
}

/// A contraction, a migration that older builds don't survive, is applied only by a start, when nothing serves. No change leads back across
/// it.
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

/// A rollback may bring back a module whose database no running generation has open. No change applies a contraction to it, and a refused
/// change leaves nothing of its own in the database or beside it.
#[test]
fn a_module_that_comes_back_brings_no_contraction_and_a_refused_one_leaves_nothing() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let manifest = app.path().join("app.toml");
    let with = std::fs::read_to_string(&manifest).unwrap();
    let without = with.replace("uses = [\"sql\"]", "");
    assert_ne!(with, without);
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let build = |component: &[u8]| std::fs::write(app.path().join("back.wasm"), component).unwrap();
    let apply = |text: &str, component: &[u8]| {
        std::fs::write(&manifest, text).unwrap();
        build(component);
        operator.apply(app.path(), false)
    };
    assert_eq!(operator.swapped("back", &migrating(102, &[TABLE])), 2);
    // After the second change, no generation has the database open.
    for tag in [103, 104] {
        apply(&without, &back(tag)).expect(200);
    }
    let contraction = ("0002_b.sql", "-- contract\nDROP TABLE a");
    assert_eq!(apply(&with, &migrating(105, &[TABLE, contraction])).expect(409).codes(), ["migration"]);
    assert_eq!(names(&host), ["0001_a.sql"]);
    operator.rollback(Some(2)).expect(200);
    serves(&host, 5, Content { back: 102, ..first });
    assert_eq!(names(&host), ["0001_a.sql"]);
}

/// A module whose first build is refused starts with an empty database again: its migrations were never published.
#[test]
fn what_a_refused_change_made_is_gone() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let manifest = app.path().join("app.toml");
    let host = app.launch().start();
    let operator = Operator::of(&host);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}\n[modules.more]\ncomponent = \"more.wasm\"\nuses = [\"sql\"]\n"))
        .unwrap();
    let more = |component: Vec<u8>, table: &str| {
        let sql = format!("CREATE TABLE {table} (id INTEGER)");
        std::fs::write(app.path().join("more.wasm"), with_migrations(component, "more", &[("0001.sql", &sql)]))
            .unwrap();
        operator.apply(app.path(), false)
    };
    let file = host.state().join("data/more.db");
    more(back_with(102, "(func $start unreachable) (start $start)"), "a").expect(409);
    assert!(!file.exists());
    assert_eq!(published(&more(back(103), "b")), 2);
    assert!(file.exists());
}

/// Runs `watertight check` with the state folder `state`. Returns whether it succeeded, and the message and the help of each problem. All
/// problems must be about migrations.
fn checked(app: &App, state: &Path) -> (bool, Vec<(String, String)>) {
    let mut command = binary();
    command.arg("check").arg(app.path()).args(["--json", "--state", state.to_str().unwrap()]);
    let output = command.output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |problem: &serde_json::Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let problems = said["problems"].as_array().unwrap();
    assert!(problems.iter().all(|problem| problem["code"] == "migration" && problem["module"] == "back"), "{said}");
    (
        output.status.success(),
        problems.iter().map(|problem| (text(problem, "message"), text(problem, "help"))).collect(),
    )
}

/// `watertight check` reports the problems with migrations that `run` and `swap` would report. An operator who follows the help texts
/// succeeds.
#[test]
fn check_tries_migrations_and_its_helps_end_well() {
    let first = Content::first(true);
    let app = App::new(first, "");
    let folder = folder();
    let (state, nowhere) = (folder.path().join("state"), folder.path().join("nowhere"));
    let build = |tag, migrations: &[(&str, &str)]| {
        let component = migrating(tag, migrations);
        std::fs::write(app.path().join("back.wasm"), &component).unwrap();
        component
    };
    build(102, &[TABLE]);
    let mut host = app.launch().state(&state).start();
    let operator = Operator::of(&host);
    for (sql, part) in [
        ("not SQL", "syntax error"),
        ("ALTER TABLE a ADD COLUMN x NO SUCH; DROP", "0002_b.sql"),
        ("DROP TABLE a", "doesn't say `-- contract`"),
        ("UPDATE a SET id = 2", "changes rows"),
    ] {
        let component = build(103, &[TABLE, ("0002_b.sql", sql)]);
        let (fine, with_state) = checked(&app, &state);
        assert!(!fine && with_state.len() == 1 && with_state[0].0.contains(part), "{sql}: {with_state:?}");
        assert_eq!(
            checked(&app, &nowhere).1,
            with_state,
            "{sql}: without a state, the earlier migrations of the build itself must count"
        );
        let answer = operator.swap("back", &component).expect(409);
        assert_eq!(answer.body["problems"][0]["message"], with_state[0].0, "{sql}");
    }
    assert!(!nowhere.exists(), "the command created the state folder");

    // Follow the help for the unmarked migration, and add the mark. Then follow the help for the marked one, and start the host.
    build(104, &[TABLE, ("0002_b.sql", "DROP TABLE a")]);
    assert!(checked(&app, &state).1[0].1.contains("write `-- contract` as the first line"));
    let component = build(104, &[TABLE, ("0002_b.sql", "-- contract\nDROP TABLE a")]);
    assert_eq!(checked(&app, &state), (true, vec![]));
    let answer = operator.swap("back", &component).expect(409);
    assert!(
        answer.body["problems"][0]["help"].as_str().unwrap().contains("only a start applies this migration"),
        "{answer:?}"
    );
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    let mut host = app.launch().state(&state).start();
    serves(&host, 2, Content { back: 104, ..first });
    host.signal(Signal::TERM);
    assert!(host.wait().success());

    // File names that break the order of migrations are refused by name. The change that the help names makes them acceptable.
    let contraction = ("0002_b.sql", "-- contract\nDROP TABLE a");
    let between = ("0001_c.sql", "CREATE TABLE c (id INTEGER)");
    let (fine, said) = {
        std::fs::write(app.path().join("back.wasm"), migrating(105, &[("0000_c.sql", between.1), TABLE, contraction]))
            .unwrap();
        checked(&app, &state)
    };
    assert!(!fine && said[0].0.contains("`0000_c.sql` stands before `0001_a.sql`"), "{said:?}");
    let (status, log) = app.launch().state(&state).expect_end();
    assert!(!status.success() && log.contains(&said[0].0), "{log}");
    build(105, &[TABLE, contraction, ("0003_c.sql", between.1)]);
    assert_eq!(checked(&app, &state), (true, vec![]));
    let host = app.launch().state(&state).start();
    serves(&host, 3, Content { back: 105, ..first });
}
