//! Tests of migrations: each is applied once, in order, and completely or not at all.

use watertight_sql::OpenError;

use super::*;

/// A time limit that no migration here exceeds on purpose.
const LONG: Duration = Duration::from_secs(30);
/// A migration that never ends.
const ENDLESS: &str =
    "CREATE TABLE c (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

fn open(case: &Case, migrations: &[Migration]) -> Result<Database, OpenError> {
    Database::open(&case.path(), Settings::default(), migrations)
}

fn list(sqls: &[&str]) -> Vec<Migration> {
    let named = sqls.iter().enumerate().map(|(i, sql)| Migration::new(format!("{:04}_step.sql", i + 2), *sql));
    tables().into_iter().chain(named).collect()
}

/// Returns migrations that are all marked as contractions: older builds don't run after them.
fn contractions(sqls: &[&str]) -> Vec<Migration> {
    let marked: Vec<String> = sqls.iter().map(|sql| format!("-- contract\n{sql}")).collect();
    list(&marked.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Returns a closed database that has a row in each of its tables, `a` and `b`.
async fn closed() -> Case {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    case.execute("INSERT INTO b VALUES (1, 1, NULL)").await.unwrap();
    case.database.close().await;
    case
}

async fn count(database: &Database, sql: &str) -> i64 {
    number(&database.query(sql, Vec::new(), soon()).await.unwrap())
}

#[tokio::test]
async fn are_applied_once_and_an_older_build_runs_on_newer_ones() {
    let case = closed().await;
    let more = list(&[
        "ALTER TABLE a ADD COLUMN note TEXT DEFAULT 'n'; CREATE INDEX a_size ON a (size);",
        "ALTER TABLE a ADD COLUMN rank INTEGER",
    ]);
    for _ in 0..3 {
        let database = open(&case, &more).unwrap();
        assert_eq!(count(&database, "SELECT count(note) FROM a").await, 1);
        database.close().await;
    }
    let older = open(&case, &tables()).unwrap();
    assert_eq!(count(&older, "SELECT count(*) FROM a").await, 1);
    older.close().await;
}

#[tokio::test]
async fn a_failing_one_changes_nothing_and_is_named() {
    let case = closed().await;
    let error =
        open(&case, &contractions(&["CREATE TABLE c (x)", "CREATE TABLE d (x);\n\nINSERT INTO nowhere VALUES (1)"]))
            .unwrap_err();
    assert_eq!(error.to_string(), "the migration `0003_step.sql` failed: no such table: nowhere");
    let error = open(&case, &contractions(&["CREATE TABLE c (x);\n\nINSERT INTOO c VALUES (1)"])).unwrap_err();
    assert_eq!(error.to_string(), "the migration `0002_step.sql` failed: near \"INTOO\": syntax error (line 4)");
    let error = open(&case, &contractions(&["INSERT INTO a VALUES (1, 'z', 1)"])).unwrap_err();
    assert_eq!(error.to_string(), "the migration `0002_step.sql` failed: UNIQUE constraint failed: a.id");
    let database = open(&case, &list(&["CREATE TABLE c (y)"])).unwrap();
    assert_eq!(count(&database, "SELECT count(y) FROM c").await, 0);
}

#[tokio::test]
async fn changed_missing_and_reordered_ones_are_refused() {
    let case = closed().await;
    let database = open(&case, &list(&["CREATE TABLE c (x)", "CREATE TABLE d (x)"])).unwrap();
    database.close().await;
    let error = open(&case, &list(&["CREATE TABLE c (x)", "CREATE TABLE d (y)"])).unwrap_err();
    assert!(matches!(&error, OpenError::ChangedMigration { name } if name == "0003_step.sql"), "{error}");
    let mut missing = list(&["CREATE TABLE c (x)", "CREATE TABLE d (x)"]);
    missing.remove(1);
    let error = open(&case, &missing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the migration `0002_step.sql` was applied at position 2, where the module now has `0003_step.sql`"
    );
    let mut swapped = list(&["CREATE TABLE c (x)", "CREATE TABLE d (x)"]);
    swapped.swap(1, 2);
    assert!(matches!(open(&case, &swapped).unwrap_err(), OpenError::BadMigration { .. }));
    let mut forged = list(&["CREATE TABLE c (x)", "CREATE TABLE d (x)"]);
    forged[2].sql.push(' ');
    assert!(matches!(open(&case, &forged).unwrap_err(), OpenError::BadMigration { .. }));
}

#[tokio::test]
async fn what_a_migration_must_not_do() {
    let case = closed().await;
    for (sql, part) in [
        ("PRAGMA foreign_keys = on", "PRAGMA"),
        ("ATTACH 'x' AS x", "ATTACH"),
        ("BEGIN", "transaction"),
        ("COMMIT", "transaction"),
        ("CREATE TABLE c (x); COMMIT; CREATE TABLE d (x)", "transaction"),
        ("ROLLBACK", "transaction"),
        ("SAVEPOINT s", "transaction"),
        ("VACUUM", ""),
        ("CREATE TEMP TABLE c (x)", "temporary"),
        ("CREATE VIRTUAL TABLE c USING fts5(x)", "virtual"),
        ("SELECT load_extension('x')", "load_extension"),
        ("DROP TABLE watertight_migrations", "reserved for the host"),
        ("DELETE FROM watertight_migrations", "reserved for the host"),
        ("UPDATE watertight_migrations SET checksum = ''", "reserved for the host"),
        ("ALTER TABLE watertight_migrations RENAME TO c", "reserved for the host"),
        ("CREATE INDEX c ON watertight_migrations (name)", "reserved for the host"),
        ("CREATE TRIGGER c AFTER INSERT ON watertight_migrations BEGIN SELECT 1; END", "reserved for the host"),
        ("CREATE TABLE watertight_c (x)", "reserved for the host"),
        ("CREATE TABLE c (x); ALTER TABLE c RENAME TO Watertight_c", "reserved for the host"),
        ("CREATE VIEW watertight_c AS SELECT 1", "reserved for the host"),
        ("DELETE FROM a", "refers"),
        ("INSERT INTO sqlite_master VALUES ('table', 'c', 'c', 0, '')", ""),
        ("CREATE TABLE c (", ""),
    ] {
        let error = open(&case, &contractions(&[sql])).unwrap_err();
        assert!(
            matches!(&error, OpenError::Migration { name, message } if name == "0002_step.sql" && message.contains(part)),
            "{sql}: {error}"
        );
    }
    // Views and triggers may name any table. Their use is denied like a direct access.
    let sneaky = contractions(&["CREATE VIEW c AS SELECT name FROM watertight_migrations;
         CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM watertight_migrations; END"]);
    let database = open(&case, &sneaky).unwrap();
    assert!(is_syntax(
        &database.query("SELECT * FROM c", Vec::new(), soon()).await.unwrap_err(),
        "reserved for the host"
    ));
    let insert = database.execute("INSERT INTO a VALUES (5, 'v', 1)", Vec::new(), soon()).await;
    assert!(is_syntax(&insert.unwrap_err(), "reserved for the host"));
}

#[tokio::test]
async fn a_table_can_be_built_anew() {
    let case = closed().await;
    let rebuild = "CREATE TABLE a2 (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO a2 SELECT id, name FROM a; DROP TABLE a; ALTER TABLE a2 RENAME TO a;";
    let database = open(&case, &contractions(&[rebuild])).unwrap();
    assert_eq!(count(&database, "SELECT count(*) FROM b JOIN a ON a.id = b.a").await, 1);
    let orphan = database.execute("INSERT INTO b VALUES (2, 7, NULL)", Vec::new(), soon()).await;
    assert!(matches!(orphan, Err(SqlError::Constraint { .. })), "foreign keys are not checked: {orphan:?}");
}

#[tokio::test]
async fn what_a_schema_may_have_works_for_guests() {
    let case = closed().await;
    let rich = "CREATE TABLE c (id INTEGER PRIMARY KEY AUTOINCREMENT, a INTEGER REFERENCES a (id) ON DELETE CASCADE);
        CREATE INDEX c_a ON c (a) WHERE a > 0;
        CREATE VIEW v AS SELECT c.id, a.name FROM c JOIN a ON a.id = c.a;
        CREATE TRIGGER t AFTER INSERT ON c BEGIN UPDATE a SET size = size + 1 WHERE id = NEW.a; END;
        INSERT INTO c (a) VALUES (1);
        ANALYZE;";
    for _ in 0..2 {
        let database = open(&case, &contractions(&[rich])).unwrap();
        database.execute("INSERT INTO c (a) VALUES (1)", Vec::new(), soon()).await.unwrap();
        assert!(count(&database, "SELECT count(*) FROM v WHERE name = 'x'").await >= 2);
        database.close().await;
    }
    let database = open(&case, &contractions(&[rich])).unwrap();
    assert_eq!(count(&database, "SELECT size FROM a").await, 4);
    database.execute("DELETE FROM b", Vec::new(), soon()).await.unwrap();
    assert_eq!(database.execute("DELETE FROM a", Vec::new(), soon()).await, Ok(1));
    assert_eq!(count(&database, "SELECT count(*) FROM c").await, 0, "ON DELETE CASCADE had no effect");
}

#[test]
fn files_that_are_no_database_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    std::fs::write(&path, "no database at all, but long enough to be looked at as one".repeat(20)).unwrap();
    assert!(matches!(Database::open(&path, Settings::default(), &[]), Err(OpenError::Database { .. })));
    let nowhere = folder.path().join("no/such/folder/a.db");
    assert!(matches!(Database::open(&nowhere, Settings::default(), &[]), Err(OpenError::Files { .. })));
}

#[tokio::test]
async fn the_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    for file in std::fs::read_dir(case.folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn beside_other_builds_only_additions_are_applied() {
    const EMPTY: &str = "CREATE TABLE empty (y INTEGER) STRICT; CREATE TABLE empty_lax (y)";
    const NO_DEFAULT: &str = "with a default that is not a constant of its type to the table `empty";
    // Each refused migration with a part of the reason.
    const REFUSED: [(&str, &str); 29] = [
        ("INSERT INTO a VALUES (2, 'y', 1)", "changes rows of `a`"),
        ("UPDATE a SET size = 2", "changes rows of `a`"),
        ("DELETE FROM a", "changes rows of `a`"),
        ("DROP TABLE b", "removes a table, index, trigger or view"),
        ("ALTER TABLE a RENAME TO c", "removes or renames the table `a`"),
        ("ALTER TABLE a RENAME COLUMN size TO length", "changes the table `a`"),
        ("ALTER TABLE b DROP COLUMN late", "changes"),
        ("ALTER TABLE a ADD COLUMN note TEXT CHECK (note <> size)", "with a constraint"),
        ("ALTER TABLE a ADD COLUMN b INTEGER REFERENCES b (id)", "with a constraint"),
        ("ALTER TABLE a ADD COLUMN double INTEGER AS (size * 2)", "computed"),
        ("ALTER TABLE a ADD COLUMN double INTEGER AS(size*2)VIRTUAL", "computed"),
        ("CREATE INDEX a_size ON a (abs(size))", "the index `a_size` computes"),
        ("CREATE INDEX a_name ON a (name) WHERE json_valid(name)", "the index `a_name` computes"),
        ("CREATE INDEX a_name ON a (name) WHERE size ->> 'x'", "the index `a_name` computes"),
        // This replaces a table by one that looks the same and has one more column.
        (
            "CREATE TABLE c (x); ALTER TABLE b RENAME TO old; CREATE TABLE b (id INTEGER PRIMARY KEY, \
             a INTEGER NOT NULL REFERENCES a (id) DEFERRABLE INITIALLY IMMEDIATE, \
             late INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED, more TEXT) STRICT",
            "replaces the table `b`",
        ),
        ("-- contract\nCREATE TABLE c (x)", "its first line says `-- contract`"),
        ("-- contract\r\nDROP TABLE b", "its first line says `-- contract`"),
        ("CREATE UNIQUE INDEX a_size ON a (size)", "the index `a_size` is unique"),
        // SQLite accepts these columns for an empty table, but then accepts no row.
        ("ALTER TABLE empty ADD COLUMN x TEXT NOT NULL DEFAULT NULL", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x INTEGER NOT NULL DEFAULT (nullif(1, 1))", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x INTEGER DEFAULT (json('{'))", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x INTEGER DEFAULT (1 -- one\n + abs(-9223372036854775808))", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x INTEGER NOT NULL DEFAULT 'abc'", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x BLOB DEFAULT 'abc'", NO_DEFAULT),
        ("ALTER TABLE empty ADD COLUMN x INTEGER DEFAULT CURRENT_TIMESTAMP", NO_DEFAULT),
        ("ALTER TABLE empty_lax ADD COLUMN x TEXT NOT NULL DEFAULT NULL", NO_DEFAULT),
        ("ALTER TABLE empty_lax ADD COLUMN x TEXT DEFAULT (abs(-9223372036854775808))", NO_DEFAULT),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; END", "trigger or a view"),
        ("CREATE TABLE c (x); CREATE VIEW v AS SELECT 1", "trigger or a view"),
    ];
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    case.execute("INSERT INTO b VALUES (1, 1, NULL)").await.unwrap();
    let more = |sqls: &[&str]| list(&[&[EMPTY], sqls].concat());
    assert_eq!(case.database.migrate(&more(&[]), LONG).await.unwrap(), 1);
    for (sql, reason) in REFUSED {
        let error = case.database.migrate(&more(&[sql]), LONG).await.expect_err(sql).to_string();
        assert!(error.contains(reason) && error.contains("0003_step.sql"), "{sql}: {error}");
    }
    let broken = case.database.migrate(&more(&["CREATE TABLE c (x); CREATE TABLE c (x)"]), LONG).await.unwrap_err();
    assert!(broken.to_string().contains("failed: table c already exists"), "{broken}");
    // No part of a refused migration stayed, and the database still works.
    assert_eq!(count(&case.database, "SELECT count(*) FROM a").await, 1);
    let good = more(&[
        "CREATE TABLE c (x UNIQUE CHECK (length(x) > 1)); CREATE INDEX a_size ON a (size); CREATE INDEX c_x ON c (abs(x));
         CREATE INDEX a_some ON a (name) WHERE size > 3 AND name IS NOT NULL",
        "ALTER TABLE a ADD COLUMN note TEXT; ALTER TABLE a ADD COLUMN rank INTEGER NOT NULL DEFAULT 7",
        "ALTER TABLE empty ADD COLUMN b REAL DEFAULT -1; ALTER TABLE empty ADD COLUMN c TEXT NOT NULL DEFAULT ('it''s -- (');
         ALTER TABLE empty ADD COLUMN d BLOB DEFAULT x'00'; ALTER TABLE empty ADD COLUMN e ANY DEFAULT TRUE;
         ALTER TABLE empty ADD COLUMN f TEXT DEFAULT NULL; ALTER TABLE empty_lax ADD COLUMN g INTEGER NOT NULL DEFAULT 'abc'",
    ]);
    assert_eq!(case.database.migrate(&good, LONG).await.unwrap(), 3);
    assert_eq!(case.database.migrate(&good, LONG).await.unwrap(), 0);
    for table in ["empty", "empty_lax"] {
        case.execute(&format!("INSERT INTO {table} (y) VALUES (1)")).await.unwrap();
    }
    // A build that doesn't know the newer migrations still works and has nothing to apply.
    assert_eq!(case.database.migrate(&tables(), LONG).await.unwrap(), 0);
    assert_eq!(count(&case.database, "SELECT rank FROM a").await, 7);
    case.execute("INSERT INTO a (id, name, size) VALUES (2, 'y', 1)").await.unwrap();
    case.database.close().await;
    let again = open(&case, &good).unwrap();
    assert_eq!(count(&again, "SELECT sum(rank) FROM a").await, 14);
}

/// Migrations that remove something or change rows are applied only by a start, and only if they are marked: a rollback may bring back
/// builds that rely on the old schema.
#[tokio::test]
async fn what_does_more_than_add_says_so() {
    for sql in [
        "DROP TABLE b",
        "UPDATE a SET size = 2",
        "CREATE UNIQUE INDEX a_size ON a (size)",
        "ALTER TABLE a ADD COLUMN note TEXT CHECK (note <> '')",
        "CREATE VIEW v AS SELECT 1",
        "\n-- contract\nDROP TABLE b",
        "-- contracts\nDROP TABLE b",
    ] {
        let case = closed().await;
        let error = open(&case, &list(&[sql])).unwrap_err();
        assert!(
            matches!(&error, OpenError::UnmarkedContraction { name, .. } if name == "0002_step.sql"),
            "{sql}: {error}"
        );
        let database = open(&case, &contractions(&[sql])).unwrap();
        database.close().await;
    }
    // For a new database, no older build exists. Migrations that are applied together with the first one need no mark.
    let folder = tempfile::tempdir().unwrap();
    let first = list(&["INSERT INTO a VALUES (1, 'x', 1)", "DROP TABLE b"]);
    let database = Database::open(&folder.path().join("a.db"), Settings::default(), &first).unwrap();
    assert_eq!(count(&database, "SELECT count(*) FROM a").await, 1);
}

#[tokio::test]
async fn a_build_that_doesn_t_know_a_contraction_is_refused() {
    let case = closed().await;
    let known = contractions(&["DROP TABLE b", "CREATE TABLE c (x)"]);
    open(&case, &known).unwrap().close().await;
    for older in [&known[..1], &known[..2], &[]] {
        let error = open(&case, older).unwrap_err();
        assert!(matches!(&error, OpenError::UnknownContraction { .. }), "{error}");
    }
    let database = open(&case, &known).unwrap();
    let error = database.migrate(&known[..1], LONG).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the migration `0002_step.sql`, a contraction, was applied to the database, and this build of the module does not \
         have it"
    );
    database.close().await;
}

/// The history of an earlier version of the host doesn't record contractions. The first build that knows them does.
#[tokio::test]
async fn an_earlier_hosts_history_is_gone_on_with() {
    let case = closed().await;
    let known = contractions(&["DROP TABLE b"]);
    open(&case, &known).unwrap().close().await;
    let raw = rusqlite::Connection::open(case.path()).unwrap();
    raw.execute_batch("ALTER TABLE watertight_migrations DROP COLUMN contracts").unwrap();
    drop(raw);
    open(&case, &known[..1]).unwrap().close().await;
    open(&case, &known).unwrap().close().await;
    assert!(matches!(open(&case, &known[..1]).unwrap_err(), OpenError::UnknownContraction { .. }));
    let more = contractions(&["DROP TABLE b", "CREATE TABLE c (x)"]);
    open(&case, &more).unwrap().close().await;
}

/// The waiting write succeeds, and no part of the migration is applied later.
#[tokio::test]
async fn one_that_never_ends_is_stopped_and_changes_nothing() {
    let case = Case::new();
    let allowed = Duration::from_millis(300);
    let endless = list(&[ENDLESS]);
    let (migrated, written) =
        tokio::join!(case.database.migrate(&endless, allowed), case.execute("INSERT INTO a VALUES (1, 'x', 1)"));
    let refused = migrated.unwrap_err().to_string();
    assert!(refused.contains("`0002_step.sql` was stopped") && refused.contains("300ms"), "{refused}");
    assert_eq!(written, Ok(1));
    assert!(is_missing(&case.query("SELECT * FROM c").await.unwrap_err()));
    // Foreign keys are checked again.
    assert!(case.execute("INSERT INTO b VALUES (1, 9, NULL)").await.is_err());
    case.database.close().await;
    let settings = Settings { migration: allowed, ..Settings::default() };
    let refused = Database::open(&case.path(), settings, &contractions(&[ENDLESS])).unwrap_err();
    assert!(matches!(&refused, OpenError::TooSlow { name, .. } if name == "0002_step.sql"), "{refused}");
    let again = open(&case, &tables()).unwrap();
    assert!(is_missing(&again.query("SELECT * FROM c", Vec::new(), soon()).await.unwrap_err()));
}

fn is_missing(error: &SqlError) -> bool {
    is_syntax(error, "no such table: c")
}

#[tokio::test]
async fn a_full_database_is_opened_and_migrated_within_the_limit_of_who_migrates() {
    let size = 128 * 1024;
    let case = Case::limited(SqlLimits { size, ..SqlLimits::default() });
    let insert = "INSERT INTO a VALUES (NULL, ?1, length(?1))";
    let text = |bytes: usize| vec![Value::Text("x".repeat(bytes))];
    while case.database.execute(insert, text(500), soon()).await.is_ok() {}
    let mut given = tables();
    let mut add = |name: &str, sql: &str| {
        given.push(Migration::new(name.to_owned(), sql.to_owned()));
        given.clone()
    };
    // A small migration always fits.
    let small = add("0003.sql", "CREATE TABLE c (x); CREATE TABLE d (x)");
    assert_eq!(case.database.migrate(&small, LONG).await.unwrap(), 1);
    assert_eq!(
        case.database.execute(insert, text(60_000), soon()).await,
        Err(SqlLimit::Size(size).into()),
        "the migration changed the guest's limit"
    );
    // An index over all rows fits if the migration's own limit allows it, whatever limit the last guest had.
    let more = SqlLimits { size: 64 * 1024 * 1024, ..SqlLimits::default() };
    assert_eq!(case.database.with_limits(more).execute(insert, text(3_000_000), soon()).await, Ok(1));
    assert!(case.database.execute(insert, text(60_000), soon()).await.is_err());
    let large = add("0004.sql", "CREATE INDEX a_all ON a (name)");
    assert!(case.database.migrate(&large, LONG).await.is_err());
    assert_eq!(case.database.with_limits(more).migrate(&large, LONG).await.unwrap(), 1);
    // A start also succeeds with a limit that is smaller than the database.
    case.database.close().await;
    let last = add("0005.sql", "CREATE TABLE e (x)");
    let settings = Settings { limits: SqlLimits { size, ..SqlLimits::default() }, ..Settings::default() };
    Database::open(&case.path(), settings, &last).unwrap().close().await;
}
