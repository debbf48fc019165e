//! Tests of the database on real files: its guarantees for guests and for operators, and its durability.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod copies;
#[cfg(feature = "failpoints")]
mod crash;
mod denied;
mod durability;
mod growth;
mod lost;
mod migrations;
mod model;
mod names;
mod statements;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;
use watertight_sql::{Database, Rows, Settings, SqlError, SqlLimit, Value};

const TABLES: &str = "
    CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER CHECK (size >= 0)) STRICT;
    CREATE TABLE b (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES a (id) DEFERRABLE INITIALLY IMMEDIATE,
                    late INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED) STRICT;";

/// A database in a temporary folder.
struct Case {
    database: Database,
    folder: TempDir,
}

impl Case {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("a.db"), settings, &tables()).unwrap();
        Self { database, folder }
    }

    /// Creates a database whose statements have these limits.
    fn limited(limits: SqlLimits) -> Self {
        Self::with(Settings { limits, ..Settings::default() })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    async fn query(&self, sql: &str) -> Result<Rows, SqlError> {
        self.database.query(sql, Vec::new(), soon()).await
    }

    async fn execute(&self, sql: &str) -> Result<u64, SqlError> {
        self.database.execute(sql, Vec::new(), soon()).await
    }

    async fn number(&self, sql: &str) -> i64 {
        number(&self.query(sql).await.unwrap())
    }
}

fn tables() -> Vec<Migration> {
    vec![Migration::new("0001_tables.sql", TABLES)]
}

fn number(rows: &Rows) -> i64 {
    match rows[..] {
        [ref row] => match row[..] {
            [Value::Integer(number)] => number,
            _ => panic!("{row:?}"),
        },
        _ => panic!("{rows:?}"),
    }
}

/// Returns a deadline that no test exceeds on purpose.
fn soon() -> Instant {
    within(30_000)
}

fn within(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

fn is_syntax(error: &SqlError, part: &str) -> bool {
    matches!(error, SqlError::Syntax(text) if text.contains(part))
}
