//! Tests that dry runs try migrations on copies of the data, and that no start or change gives a module an empty database in place of a
//! lost one.

use std::path::Path;

use rustix::process::Signal;
use watertight_testkit::admin::{Operator, published};
use watertight_testkit::host::{Host, folder};
use watertight_testkit::tagged::{App, Content, back, serves, with_migrations};
use watertight_testkit::wire::Answer;

const TABLE: (&str, &str) = ("0001_a.sql", "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT)");

fn migrating(tag: u32, migrations: &[(&str, &str)]) -> Vec<u8> {
    with_migrations(back(tag), "back", migrations)
}

/// Starts an application whose module `back` has a table `a` with two rows of the same name.
fn with_rows(state: &Path) -> (App, Host) {
    let app = App::new(Content::first(true), "");
    std::fs::write(app.path().join("back.wasm"), migrating(102, &[TABLE])).unwrap();
    let host = app.launch().state(state).start();
    let rows = rusqlite::Connection::open(state.join("data/back.db")).unwrap();
    rows.execute_batch("INSERT INTO a (name) VALUES ('same'), ('same')").unwrap();
    (app, host)
}

fn dry_run(operator: &Operator, component: &[u8]) -> Answer {
    operator.ask("POST", "/modules/back/swap?dry_run=true", "application/wasm", component)
}

/// Returns the messages and helps of a refusal as one text.
fn told(answer: &Answer) -> String {
    answer.body["problems"].to_string()
}

#[test]
fn a_dry_run_tries_migrations_on_a_copy_of_the_data_or_says_that_it_did_not() {
    let folder = folder();
    let state = folder.path().join("state");
    let (app, host) = with_rows(&state);
    let operator = Operator::of(&host);
    let notes = |answer: &Answer| answer.body["notes"].as_array().map_or(0, Vec::len);

    // A migration that only adds succeeds on a copy. The database itself is unchanged.
    let adds = migrating(103, &[TABLE, ("0002_b.sql", "ALTER TABLE a ADD COLUMN more TEXT")]);
    let answer = dry_run(&operator, &adds).expect(200);
    assert_eq!((&answer.body["published"], notes(&answer)), (&false.into(), 1), "{answer:?}");
    assert!(
        answer.body["notes"][0].as_str().unwrap().contains("`back` were applied to a copy of its data"),
        "{answer:?}"
    );
    let there = rusqlite::Connection::open(state.join("data/back.db")).unwrap();
    assert!(there.prepare("SELECT more FROM a").is_err());
    assert!(!state.join("dry-run").exists(), "the copy was not removed");
    // A build without new migrations has nothing to try.
    assert_eq!(notes(&dry_run(&operator, &migrating(104, &[TABLE])).expect(200)), 0);

    // A migration that fails on an empty database is refused before anything is copied or compiled, with the message of the change itself.
    let broken = migrating(105, &[TABLE, ("0002_b.sql", "not SQL")]);
    let (planned, made) = (dry_run(&operator, &broken).expect(409), operator.swap("back", &broken).expect(409));
    assert_eq!(planned.body["problems"], made.body["problems"]);

    // A contraction is refused, since only a start applies it. The refusal also says whether it would succeed on the data.
    let contraction = |sql: &str| migrating(106, &[TABLE, ("0002_b.sql", &format!("-- contract\n{sql}"))]);
    let fine = told(&dry_run(&operator, &contraction("DELETE FROM a")).expect(409));
    assert!(fine.contains("only a start applies this migration") && fine.contains("as a start applies them"), "{fine}");
    assert!(fine.contains("the change waits for a start, which would be accepted"), "{fine}");
    let unique = told(&dry_run(&operator, &contraction("CREATE UNIQUE INDEX a_name ON a (name)")).expect(409));
    assert!(
        unique.contains("only a start applies this migration")
            && unique.contains("UNIQUE constraint failed: a.name")
            && !unique.contains("the change waits for a start"),
        "{unique}"
    );

    // A database that is too large is not copied, and the answer says so.
    let file = std::fs::File::options().append(true).open(state.join("data/back.db-wal")).unwrap();
    file.set_len((256 << 20) + 1).unwrap();
    let answer = dry_run(&operator, &adds).expect(200);
    assert!(answer.body["notes"][0].as_str().unwrap().contains("were not tried on its data: it has 25"), "{answer:?}");
    serves(&host, 1, Content { back: 102, ..Content::first(true) });
    drop((host, app));
}

/// The ways in which a test takes a database away from a stopped host, each with a name.
const LOSSES: [(&str, fn(&Path)); 4] = [
    ("removed", |data| std::fs::remove_file(data.join("back.db")).unwrap()),
    ("emptied", |data| std::fs::write(data.join("back.db"), "").unwrap()),
    ("replaced by an empty one", |data| {
        std::fs::remove_file(data.join("back.db")).unwrap();
        rusqlite::Connection::open(data.join("back.db")).unwrap().execute_batch("CREATE TABLE z (x)").unwrap();
    }),
    ("all removed", |data| std::fs::remove_dir_all(data).unwrap()),
];

#[test]
fn a_start_refuses_a_missing_database_of_a_module_that_had_one() {
    for (what, lose) in LOSSES {
        let folder = folder();
        let state = folder.path().join("state");
        let (app, mut host) = with_rows(&state);
        host.signal(Signal::TERM);
        assert!(host.wait().success());
        lose(&state.join("data"));
        for launch in
            [app.launch(), app.launch().argument("--published"), app.launch().argument("--accept-empty=front")]
        {
            let (status, log) = launch.state(&state).expect_end();
            assert!(!status.success() && log.contains("database of `back` is missing or empty"), "{what}: {log}");
            assert!(log.contains("--accept-empty back") && log.contains("watertight restore"), "{what}: {log}");
        }
        // The start follows the help. Once the module has begun with an empty database, later starts need no confirmation.
        let mut host = app.launch().state(&state).argument("--accept-empty=back").start();
        assert!(host.has_logged("starts with an empty one"), "{what}: {}", host.log());
        host.signal(Signal::TERM);
        assert!(host.wait().success());
        app.launch().state(&state).start().kill();
    }
}

/// A change that brings a removed module back uses the module's database, and is refused if the database is lost.
#[test]
fn a_change_refuses_it_too() {
    let folder = folder();
    let state = folder.path().join("state");
    let (app, host) = with_rows(&state);
    let operator = Operator::of(&host);
    let manifest = app.path().join("app.toml");
    let with = std::fs::read_to_string(&manifest).unwrap();
    for tag in [103, 104] {
        // After the second change, no generation has the database open.
        std::fs::write(&manifest, with.replace("uses = [\"sql\"]", "")).unwrap();
        std::fs::write(app.path().join("back.wasm"), back(tag)).unwrap();
        published(&operator.apply(app.path(), false));
    }
    std::fs::rename(state.join("data/back.db"), state.join("aside")).unwrap();
    std::fs::write(&manifest, &with).unwrap();
    std::fs::write(app.path().join("back.wasm"), migrating(105, &[TABLE])).unwrap();
    let refused = operator.apply(app.path(), false).expect(409);
    assert_eq!(refused.codes(), ["state"]);
    assert!(told(&refused).contains("is missing or empty"), "{refused:?}");
    assert!(!state.join("data/back.db").exists());
    std::fs::rename(state.join("aside"), state.join("data/back.db")).unwrap();
    published(&operator.apply(app.path(), false));
}
