//! Implements the interfaces with a SQLite file, for unit tests that run natively. This code is never part of a component.
//!
//! ```
//! # use watertight_guest::{Statements, testing::Native, values};
//! # let folder = tempfile::tempdir().unwrap();
//! # let migrations = folder.path();
//! # std::fs::write(migrations.join("0001_notes.sql"), "create table notes (text text not null) strict;").unwrap();
//! let host = Native::new(migrations); // In a module: concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")
//! host.execute("insert into notes (text) values (?1)", values!["hello"]).unwrap();
//! assert_eq!(host.one("select text from notes", values![]), Ok("hello".to_owned()));
//! ```
//!
//! What only a test does panics where it can't be done, instead of returning an error.
#![allow(clippy::unwrap_used, reason = "for tests")]

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, ffi, params_from_iter, types};
use tempfile::TempDir;

use crate::http::{Request, Response};
use crate::{
    Clock, Config, ConfigError, Constraint, FromRow, Http, HttpError, Ids, Level, Log, Random, Row, Sql, SqlError,
    Statements, Transaction, Value,
};

/// The capabilities of one module in a test: a database in a temporary folder, a clock, a log that the test can read, settings and responses
/// that it gives. Clones share all of them.
#[derive(Clone)]
pub struct Native(Arc<Inner>);

struct Inner {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    log: Mutex<Vec<(Level, String)>>,
    now: Mutex<Option<SystemTime>>,
    settings: Mutex<BTreeMap<String, String>>,
    server: Mutex<Box<Server>>,
    _folder: TempDir,
}

/// What answers the requests of [`Native`].
type Server = dyn FnMut(&Request) -> Result<Response, HttpError> + Send;

impl Native {
    /// Creates the capabilities with a new database, and runs all migrations of a folder in the order of their names.
    ///
    /// # Panics
    ///
    /// The folder has no migration, or one fails.
    pub fn new(migrations: impl AsRef<Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("db")).unwrap();
        let (writer, reader) = (open(), open());
        writer.pragma_update(None, "journal_mode", "wal").unwrap();
        writer.pragma_update(None, "synchronous", "off").unwrap(); // Tests end the process, never the machine.
        let migrations = migrations.as_ref();
        let files = migrations.read_dir().unwrap_or_else(|error| panic!("{}: {error}", migrations.display()));
        let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
        files.sort();
        assert!(!files.is_empty(), "no migrations in {}", migrations.display());
        for file in files {
            let done = writer.execute_batch(&std::fs::read_to_string(&file).unwrap());
            done.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        let server: Box<Server> = Box::new(|_| Err(HttpError::Denied));
        Self(Arc::new(Inner {
            writer: writer.into(),
            reader: reader.into(),
            log: Mutex::default(),
            now: Mutex::default(),
            settings: Mutex::default(),
            server: Mutex::new(server),
            _folder: folder,
        }))
    }

    /// Returns the lines that were logged at a level: `context: message`.
    pub fn logged(&self, level: Level) -> Vec<String> {
        let lines = self.0.log.lock().unwrap();
        lines.iter().filter(|(at, _)| *at == level).map(|(_, line)| line.clone()).collect()
    }

    /// Stops the clock at a time. By default it is the system's.
    pub fn set_now(&self, now: SystemTime) {
        *self.0.now.lock().unwrap() = Some(now);
    }

    /// Sets a value or a secret of the configuration.
    pub fn set(&self, key: &str, value: &str) {
        self.0.settings.lock().unwrap().insert(key.to_owned(), value.to_owned());
    }

    /// Answers requests to other hosts by a function. By default, all are refused as [`HttpError::Denied`].
    pub fn answer(&self, server: impl FnMut(&Request) -> Result<Response, HttpError> + Send + 'static) {
        *self.0.server.lock().unwrap() = Box::new(server);
    }

    /// Runs any SQL on the database, without parameters.
    ///
    /// # Panics
    ///
    /// A statement fails.
    pub fn run(&self, sql: &str) {
        self.writer().execute_batch(sql).unwrap();
    }

    /// Returns all rows of a query.
    ///
    /// # Panics
    ///
    /// The statement fails, or a row is not a `T`.
    pub fn read<T: FromRow>(&self, sql: &str) -> Vec<T> {
        self.all(sql, Vec::new()).unwrap()
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.0.writer.lock().unwrap()
    }
}

impl Clock for Native {
    fn now(&self) -> SystemTime {
        self.0.now.lock().unwrap().unwrap_or_else(SystemTime::now)
    }
}

impl Random for Native {
    fn random_u64(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn random_bytes(&self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.random_u64().to_ne_bytes());
        words.flatten().take(length).collect()
    }
}

impl Ids for Native {
    /// Returns an id that sorts after all earlier ones, within a millisecond too, so that tests know the order of a list.
    fn new_id(&self) -> String {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let made = MADE.fetch_add(1, Ordering::SeqCst);
        crate::ids::ulid(UNIX_EPOCH + Duration::from_millis(made), self.random_u64().into())
    }
}

impl Log for Native {
    fn log(&self, level: Level, context: &str, message: &str) {
        self.0.log.lock().unwrap().push((level, format!("{context}: {message}")));
    }
}

impl Config for Native {
    fn setting(&self, key: &str) -> Result<Option<String>, ConfigError> {
        Ok(self.0.settings.lock().unwrap().get(key).cloned())
    }
}

impl Http for Native {
    fn send(&self, request: &Request) -> Result<Response, HttpError> {
        request.target()?;
        let response = (self.0.server.lock().unwrap())(request)?;
        if response.body.len() > request.max_body { Err(HttpError::TooLarge) } else { Ok(response) }
    }
}

impl Statements for Native {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        query(&self.0.reader.lock().unwrap(), statement, parameters)
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        execute(&self.writer(), statement, parameters)
    }
}

impl Sql for Native {
    type Transaction<'a> = NativeTransaction<'a>;

    /// Opens a write transaction. A second one in the same thread waits for ever; the host refuses it as busy.
    fn begin(&self) -> Result<NativeTransaction<'_>, SqlError> {
        let connection = self.writer();
        execute(&connection, "begin immediate", Vec::new())?;
        Ok(NativeTransaction(connection))
    }
}

/// An open write transaction of a test's database.
pub struct NativeTransaction<'a>(MutexGuard<'a, Connection>);

impl Statements for NativeTransaction<'_> {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        query(&self.0, statement, parameters)
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        execute(&self.0, statement, parameters)
    }
}

impl Transaction for NativeTransaction<'_> {
    fn commit(self) -> Result<(), SqlError> {
        execute(&self.0, "commit", Vec::new()).map(|_| ())
    }
}

impl Drop for NativeTransaction<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            self.0.execute_batch("rollback").unwrap();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, info, values};

    fn host() -> Native {
        let folder = tempfile::tempdir().unwrap();
        let notes = "create table notes (id text primary key, stars integer check (stars < 6)) strict;";
        std::fs::write(folder.path().join("0001_notes.sql"), notes).unwrap();
        std::fs::write(folder.path().join("README.md"), "not SQL").unwrap();
        Native::new(folder.path())
    }

    const INSERT: &str = "insert into notes (id, stars) values (?1, ?2)";

    #[test]
    fn a_transaction_is_stored_or_not() {
        let host = host();
        let stored = host.transaction(|tx| {
            tx.execute(INSERT, values!["a", 5])?;
            tx.one::<i64>("select count(*) from notes", values![])
        });
        assert_eq!(stored, Ok(1));
        let refused: Result<(), Error> = host.transaction(|tx| {
            tx.execute(INSERT, values!["b", 1])?;
            tx.execute(INSERT, values!["c", 6])?;
            Ok(())
        });
        let Err(Error::Sql(SqlError::Constraint { kind: Constraint::Check, .. })) = refused else {
            panic!("{refused:?}")
        };
        let given_up: Result<(), Error> = host.transaction(|tx| {
            tx.execute(INSERT, values!["d", None::<i64>])?;
            Err(HttpError::Timeout.into())
        });
        assert_eq!(given_up, Err(Error::Http(HttpError::Timeout)));
        assert_eq!(host.read::<(String, Option<i64>)>("select id, stars from notes"), [("a".to_owned(), Some(5))]);
        assert!(host.execute(INSERT, values!["a", 1]).unwrap_err().is_duplicate());
        assert!(matches!(host.execute("insert into nothing", values![]), Err(SqlError::Syntax(_))));
    }

    /// A database whose writer is busy for some times.
    struct Busy(Native, AtomicU64);

    impl Statements for Busy {
        fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
            self.0.query(statement, parameters)
        }

        fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
            self.0.execute(statement, parameters)
        }
    }

    impl Sql for Busy {
        type Transaction<'a> = NativeTransaction<'a>;

        fn begin(&self) -> Result<NativeTransaction<'_>, SqlError> {
            let times = self.1.load(Ordering::SeqCst);
            self.1.store(times.saturating_sub(1), Ordering::SeqCst);
            if times == 0 { self.0.begin() } else { Err(SqlError::Busy) }
        }
    }

    #[test]
    fn a_busy_writer_is_asked_again() {
        let busy = Busy(host(), 2.into());
        assert_eq!(busy.transaction(|tx| tx.execute(INSERT, values!["a", 5])), Ok(1));
        busy.1.store(u64::MAX, Ordering::SeqCst);
        let mut ran = false;
        let refused = busy.transaction(|_| {
            ran = true;
            Ok::<_, SqlError>(())
        });
        assert_eq!((refused, ran, busy.1.load(Ordering::SeqCst)), (Err(SqlError::Busy), false, u64::MAX - 3));
    }

    #[test]
    fn a_test_gives_what_the_world_would() {
        let host = host();
        host.set_now(UNIX_EPOCH);
        assert_eq!(host.now(), UNIX_EPOCH);
        assert!(host.new_id() < host.new_id());
        assert_eq!(host.random_bytes(33).len(), 33);
        info!(log: host, context: "notes", "written"; stars = 5);
        assert_eq!(host.logged(Level::Info), ["notes: written stars=5"]);

        host.set("currency", "EUR");
        assert_eq!((host.required("currency"), host.parsed("times", 3)), (Ok("EUR".to_owned()), Ok(3)));
        assert_eq!(format!("{:?}", host.secret("currency").unwrap()), "Secret(…)");
        assert!(matches!(host.parsed("currency", 3), Err(ConfigError::Invalid { .. })));
        assert_eq!(host.secret("key"), Err(ConfigError::Missing("key".to_owned())));

        assert_eq!(host.send(&Request::get("https://a.example")), Err(HttpError::Denied));
        host.answer(|request| Ok(Response::new(200, request.url.clone())));
        let answered = host.send(&Request::get("https://a.example/b")).unwrap();
        assert_eq!(answered.text(), Ok("https://a.example/b"));
        assert_eq!(host.send(&Request::get("https://a.example").max_body(3)), Err(HttpError::TooLarge));
    }
}
