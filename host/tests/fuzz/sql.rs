//! Fuzzes SQL statements, values and migrations: a module gets rows or an error with a reason. It never reaches the host's tables, the
//! database's schema and settings, or another file.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;
use watertight_sql::{Database, MigrateError, Rows, Settings, SqlError, Value, WalSync};
use watertight_testkit::statements::{CORPUS, TABLES, WORDS};

use crate::mutate::{Change, changed_text, changes};
use crate::runner::fuzz;

#[derive(Debug, Clone, Copy)]
enum Way {
    /// By the method that fits the statement's first word: a query, or an execution.
    Due,
    Query,
    Execute,
    Transaction,
}

type Statement = (Way, Index, Vec<Change>, Vec<Value>);

fn statement() -> impl Strategy<Value = Statement> {
    let ways = select(vec![Way::Due, Way::Due, Way::Due, Way::Query, Way::Execute, Way::Transaction]);
    (ways, any::<Index>(), changes(), vec(value(), 0..4))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Real),
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(f64::MIN_POSITIVE)].prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        Just(Value::Text("a\0b".to_owned())),
        vec(any::<u8>(), 0..40).prop_map(Value::Blob),
    ]
}

fn settings() -> Settings {
    Settings {
        limits: SqlLimits { size: 16 << 20, ..SqlLimits::default() },
        migration: Duration::from_millis(50),
        readers: 1,
        // The properties tested here don't depend on the disk.
        sync: WalSync::with(|_| Ok(())),
        ..Settings::default()
    }
}

fn open(folder: &Path) -> Database {
    Database::open(&folder.join("a.db"), settings(), &[Migration::new("0001_tables.sql", TABLES)]).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The parts of a database and of the disk that no statement may change.
#[derive(Debug, PartialEq)]
struct Untouched {
    schema: Vec<Vec<Cell>>,
    migrations: Vec<Vec<Cell>>,
    settings: Vec<Vec<Cell>>,
    files: BTreeSet<String>,
    /// The number of entries in the working folder of the process.
    elsewhere: usize,
}

impl Untouched {
    fn of(folder: &Path) -> Self {
        let database = Connection::open(folder.join("a.db")).unwrap();
        let all = |sql: &str| -> Vec<Vec<Cell>> {
            let mut statement = database.prepare(sql).unwrap();
            let width = statement.column_count();
            let rows = statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect());
            rows.unwrap().collect::<Result<_, _>>().unwrap()
        };
        let pragmas = ["journal_mode", "user_version", "application_id", "page_size", "auto_vacuum", "encoding"];
        let entry = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        Self {
            schema: all("SELECT type, name, tbl_name, sql FROM sqlite_schema"),
            migrations: all("SELECT * FROM watertight_migrations"),
            settings: pragmas.iter().flat_map(|name| all(&format!("PRAGMA {name}"))).collect(),
            files: std::fs::read_dir(folder).unwrap().map(entry).collect(),
            elsewhere: std::fs::read_dir(".").unwrap().count(),
        }
    }
}

/// Returns whether a module's own statement can cause this error. Other errors mean a fault of the host.
fn is_modules_own(error: &SqlError) -> bool {
    match error {
        SqlError::Constraint { .. } | SqlError::Syntax(_) | SqlError::Timeout | SqlError::Limit(_) => true,
        SqlError::Busy | SqlError::Closed | SqlError::Full | SqlError::Storage(_) => false,
    }
}

/// Returns as many values as the statement has parameters: first those of `values`.
fn fitting(sql: &str, values: &[Value]) -> Vec<Value> {
    let wanted = if sql.contains("?2") { 2 } else { usize::from(sql.contains("?1")) };
    values.iter().cloned().chain(std::iter::repeat(Value::Integer(7))).take(wanted).collect()
}

async fn run(database: &Database, (way, which, changes, values): &Statement) -> Result<Option<Rows>, SqlError> {
    let sql = changed_text(CORPUS[which.index(CORPUS.len())], changes, WORDS);
    let deadline = Instant::now() + Duration::from_millis(50);
    let values = if values.len() == 3 { values.clone() } else { fitting(&sql, values) };
    let reads = ["SELECT", "WITH", "VALUES", "EXPLAIN"].iter().any(|word| sql.starts_with(word));
    match way {
        Way::Due if !reads => database.execute(&sql, values, deadline).await.map(|_| None),
        Way::Query | Way::Due => database.query(&sql, values, deadline).await.map(Some),
        Way::Execute => database.execute(&sql, values, deadline).await.map(|_| None),
        Way::Transaction => {
            let mut transaction = database.begin(deadline).await?;
            let rows = transaction.query(&sql, values).await?;
            transaction.commit().await?;
            Ok(Some(rows))
        }
    }
}

#[test]
fn sql() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    fuzz("sql", &["done", "refused"], vec(statement(), 1..24), |statements: Vec<Statement>| {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path());
        let before = Untouched::of(folder.path());
        let mut outcome = "refused";
        for statement in &statements {
            match runtime.block_on(run(&database, statement)) {
                Ok(rows) => {
                    let bytes = |rows: Rows| rows.concat().iter().map(size).sum::<usize>();
                    let most = usize::try_from(settings().limits.bytes).unwrap();
                    prop_assert!(rows.is_none_or(|rows| bytes(rows) <= most), "more than {most} bytes of rows");
                    outcome = "done";
                }
                Err(error) => prop_assert!(is_modules_own(&error), "{error:?}"),
            }
        }
        prop_assert_eq!(Untouched::of(folder.path()), before);
        // The database still works.
        let alive = runtime.block_on(database.execute("UPDATE a SET size = 1 WHERE 0", vec![], soon()));
        prop_assert_eq!(alive, Ok(0));
        runtime.block_on(database.close());
        Ok(outcome)
    });
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
        _ => 8,
    }
}

#[test]
fn values() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = open(folder.path());
    fuzz("values", &["kept"], value(), |value| {
        // SQLite stores NaN as null.
        let due = match &value {
            Value::Real(number) if number.is_nan() => Value::Null,
            other => other.clone(),
        };
        let ask = |sql: &str, values| runtime.block_on(database.query(sql, values, soon())).unwrap();
        prop_assert_eq!(ask("SELECT ?1", vec![value.clone()]), vec![vec![due.clone()]]);
        let write = |sql: &str, values| runtime.block_on(database.execute(sql, values, soon())).unwrap();
        write("DELETE FROM b", vec![]);
        prop_assert_eq!(write("INSERT INTO b (it) VALUES (?1)", vec![value]), 1);
        prop_assert_eq!(ask("SELECT it FROM b", vec![]), vec![vec![due]]);
        Ok("kept")
    });
}

/// Fuzzes migrations that are applied while other builds serve, and at a start: each is applied as a whole or not at all.
#[test]
fn migrations() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let case = (any::<Index>(), changes(), any::<bool>());
    fuzz("migrations", &["applied", "refused"], case, |(which, changes, serving): (Index, Vec<Change>, bool)| {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path());
        let before = Untouched::of(folder.path());
        let sql = changed_text(CORPUS[which.index(CORPUS.len())], &changes, WORDS);
        let both = [Migration::new("0001_tables.sql", TABLES), Migration::new("0002_more.sql", sql)];
        let applied = if serving {
            match runtime.block_on(database.migrate(&both, settings().migration)) {
                Ok(count) => count == 1,
                Err(MigrateError::Refused(_)) => false,
                Err(MigrateError::Failed(error)) => {
                    prop_assert!(is_modules_own(&error), "{error:?}");
                    false
                }
            }
        } else {
            runtime.block_on(database.close());
            Database::open(&folder.path().join("a.db"), settings(), &both).is_ok()
        };
        runtime.block_on(database.close());
        let after = Untouched::of(folder.path());
        prop_assert_eq!(&after.settings, &before.settings);
        prop_assert_eq!(after.elsewhere, before.elsewhere);
        prop_assert!(after.files.iter().all(|file| file.starts_with("a.db")), "{:?}", after.files);
        prop_assert_eq!(after.migrations.len(), before.migrations.len() + usize::from(applied));
        prop_assert_eq!(&after.migrations[..1], &before.migrations[..]);
        if !applied {
            prop_assert_eq!(after.schema, before.schema);
            return Ok("refused");
        }
        Ok("applied")
    });
}
