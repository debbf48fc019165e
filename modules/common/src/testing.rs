//! Implements the interfaces of a module's environment with a SQLite file, for native tests. A [`Fuse`] simulates crashes. This code is
//! never part of a component.
#![allow(clippy::unwrap_used, reason = "for tests")]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, ffi, params_from_iter, types};
use tempfile::TempDir;

use crate::sql::Constraint;
use crate::{Clock, Ids, Level, Log, Row, Sql, SqlError, Transaction, Value};

/// The environment of one module: a database in a temporary folder, the system's clock, and a log that tests can read.
#[derive(Clone)]
pub struct TestPlatform(Arc<Inner>);

struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    log: Mutex<Vec<(Level, String)>>,
    fuse: Fuse,
    _folder: TempDir,
}

impl TestPlatform {
    /// Creates an environment with a new database, and runs all migrations of a module. `module` is the module's folder (its
    /// `CARGO_MANIFEST_DIR`).
    pub fn new(module: &str) -> Self {
        Self::with_fuse(module, Fuse::default())
    }

    /// Creates an environment with a new database, and with a fuse that other modules' environments may share.
    pub fn with_fuse(module: &str, fuse: Fuse) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("db")).unwrap();
        let (writer, reader) = (open(), open());
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.pragma_update(None, "synchronous", "off").unwrap(); // Tests end the process, never the machine.
        let mut files: Vec<_> =
            Path::new(module).join("migrations").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no migrations in {module}");
        for file in files {
            writer.execute_batch(&std::fs::read_to_string(file).unwrap()).unwrap();
        }
        let log = Mutex::default();
        Self(Arc::new(Inner { writer: writer.into(), reader: reader.into(), log, fuse, _folder: folder }))
    }

    /// Returns the lines that were logged at a level.
    pub fn logged(&self, level: Level) -> Vec<String> {
        let lines = self.0.log.lock().unwrap();
        lines.iter().filter(|(at, _)| *at == level).map(|(_, line)| line.clone()).collect()
    }

    /// Runs SQL directly on the database, without the module and without the fuse.
    pub fn execute_directly(&self, sql: &str) {
        self.0.writer.lock().unwrap().execute_batch(sql).unwrap();
    }

    /// Returns the single integer that a query returns.
    pub fn count(&self, sql: &str) -> i64 {
        self.0.reader.lock().unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Returns the texts in one column of a query's result.
    pub fn texts(&self, sql: &str, column: &str) -> Vec<String> {
        let reader = self.0.reader.lock().unwrap();
        let mut statement = reader.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(column)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.0.writer.lock().unwrap()
    }
}

/// Simulates the end of the process: once the fuse has burnt, no operation reaches a database.
#[derive(Clone)]
pub struct Fuse(Arc<AtomicU64>);

impl Default for Fuse {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Fuse {
    /// Burns the fuse after `points` more points at which the process could end. Each database operation has two such points: before it
    /// happens, and after it happened but before its caller knows.
    pub fn burn_after(&self, points: u64) {
        self.0.store(points, Ordering::SeqCst);
    }

    /// Simulates the next start of the process: the fuse is whole again, and operations reach the database.
    pub fn restart(&self) {
        self.0.store(u64::MAX, Ordering::SeqCst);
    }

    /// Returns whether the fuse has burnt.
    pub fn is_burnt(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }

    fn point(&self) -> Result<(), SqlError> {
        self.0
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| SqlError::Storage("the process has ended".to_owned()))
    }

    fn around<T>(&self, act: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
        self.point()?;
        let done = act()?;
        self.point()?;
        Ok(done)
    }
}

impl Clock for TestPlatform {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Ids for TestPlatform {
    /// Returns an id that sorts after all earlier ones, within a millisecond too, so that tests know the order of a list.
    fn new_id(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let noise = RandomState::new().build_hasher().finish();
        let made = MADE.fetch_add(1, Ordering::SeqCst);
        crate::ids::ulid(UNIX_EPOCH + std::time::Duration::from_millis(made), noise.into())
    }
}

impl Log for TestPlatform {
    fn log(&self, level: Level, context: &str, message: &str) {
        self.0.log.lock().unwrap().push((level, format!("{context}: {message}")));
    }
}

impl Sql for TestPlatform {
    type Transaction<'a> = TestTransaction<'a>;

    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        self.0.fuse.around(|| query(&self.0.reader.lock().unwrap(), statement, parameters))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.0.fuse.around(|| execute(&self.writer(), statement, parameters))
    }

    fn begin(&self) -> Result<TestTransaction<'_>, SqlError> {
        self.0.fuse.around(|| {
            let connection = self.writer();
            execute(&connection, "begin immediate", Vec::new())?;
            Ok(TestTransaction { connection, fuse: &self.0.fuse })
        })
    }
}

/// An open write transaction of a test database.
pub struct TestTransaction<'a> {
    connection: MutexGuard<'a, Connection>,
    fuse: &'a Fuse,
}

impl Transaction for TestTransaction<'_> {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        self.fuse.around(|| query(&self.connection, statement, parameters))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.fuse.around(|| execute(&self.connection, statement, parameters))
    }

    fn commit(self) -> Result<(), SqlError> {
        self.fuse.around(|| execute(&self.connection, "commit", Vec::new()).map(|_| ()))
    }
}

impl Drop for TestTransaction<'_> {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("rollback").unwrap();
        }
    }
}

fn query(connection: &Connection, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
    let mut statement = connection.prepare_cached(statement)?;
    assert!(statement.readonly(), "a query must only read");
    let width = statement.column_count();
    let rows = statement.query_map(params_from_iter(parameters.into_iter().map(to_sqlite)), |row| {
        (0..width).map(|column| row.get(column).map(from_sqlite)).collect::<Result<_, _>>().map(Row::new)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn execute(connection: &Connection, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
    let parameters = params_from_iter(parameters.into_iter().map(to_sqlite));
    Ok(connection.prepare_cached(statement)?.execute(parameters)? as u64)
}

fn to_sqlite(value: Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Integer(integer) => types::Value::Integer(integer),
        Value::Real(real) => types::Value::Real(real),
        Value::Text(text) => types::Value::Text(text),
        Value::Blob(bytes) => types::Value::Blob(bytes),
    }
}

fn from_sqlite(value: types::Value) -> Value {
    match value {
        types::Value::Null => Value::Null,
        types::Value::Integer(integer) => Value::Integer(integer),
        types::Value::Real(real) => Value::Real(real),
        types::Value::Text(text) => Value::Text(text),
        types::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        let detail = error.to_string();
        let Some(cause) = error.sqlite_error() else { return Self::Syntax(detail) };
        let kind = match (cause.code, cause.extended_code) {
            (ErrorCode::ConstraintViolation, code) => match code {
                ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => Constraint::Unique,
                ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
                ffi::SQLITE_CONSTRAINT_NOTNULL => Constraint::NotNull,
                ffi::SQLITE_CONSTRAINT_CHECK => Constraint::Check,
                _ => Constraint::Other,
            },
            (ErrorCode::DatabaseBusy, _) => return Self::Busy,
            (ErrorCode::Unknown, _) => return Self::Syntax(detail),
            _ => return Self::Storage(detail),
        };
        Self::Constraint { kind, detail }
    }
}
