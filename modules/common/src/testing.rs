//! Implements the interfaces of a module's environment with a SQLite file, for native tests. A [`Fuse`] simulates crashes. This code is
//! never part of a component.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use watertight_guest::testing::{Native, NativeTransaction};

use crate::{Clock, FromRow, Ids, Level, Log, Row, Sql, SqlError, Statements, Transaction, Value};

/// The environment of one module: a database in a temporary folder, the system's clock, and a log that tests can read.
#[derive(Clone)]
pub struct TestPlatform {
    native: Native,
    fuse: Fuse,
}

impl TestPlatform {
    /// Creates an environment with a new database, and runs all migrations of a module. `module` is the module's folder (its
    /// `CARGO_MANIFEST_DIR`).
    pub fn new(module: &str) -> Self {
        Self::with_fuse(module, Fuse::default())
    }

    /// Creates an environment with a new database, and with a fuse that other modules' environments may share.
    pub fn with_fuse(module: &str, fuse: Fuse) -> Self {
        Self { native: Native::new(Path::new(module).join("migrations")), fuse }
    }

    /// Returns the lines that were logged at a level.
    pub fn logged(&self, level: Level) -> Vec<String> {
        self.native.logged(level)
    }

    /// Runs SQL directly on the database, without the module and without the fuse.
    pub fn execute_directly(&self, sql: &str) {
        self.native.run(sql);
    }

    /// Returns the single integer that a query returns.
    pub fn count(&self, sql: &str) -> i64 {
        self.native.read(sql)[0]
    }

    /// Returns the rows of a query, without the module and without the fuse.
    pub fn read<T: FromRow>(&self, sql: &str) -> Vec<T> {
        self.native.read(sql)
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
        self.native.now()
    }
}

impl Ids for TestPlatform {
    fn new_id(&self) -> String {
        self.native.new_id()
    }
}

impl Log for TestPlatform {
    fn log(&self, level: Level, context: &str, message: &str) {
        self.native.log(level, context, message);
    }
}

impl Statements for TestPlatform {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        self.fuse.around(|| self.native.query(statement, parameters))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.fuse.around(|| self.native.execute(statement, parameters))
    }
}

impl Sql for TestPlatform {
    type Transaction<'a> = TestTransaction<'a>;

    fn begin(&self) -> Result<TestTransaction<'_>, SqlError> {
        let inner = self.fuse.around(|| self.native.begin())?;
        Ok(TestTransaction { inner, fuse: &self.fuse })
    }
}

/// An open write transaction of a test database.
pub struct TestTransaction<'a> {
    inner: NativeTransaction<'a>,
    fuse: &'a Fuse,
}

impl Statements for TestTransaction<'_> {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        self.fuse.around(|| self.inner.query(statement, parameters))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.fuse.around(|| self.inner.execute(statement, parameters))
    }
}

impl Transaction for TestTransaction<'_> {
    fn commit(self) -> Result<(), SqlError> {
        let Self { inner, fuse } = self;
        fuse.around(|| inner.commit())
    }
}
