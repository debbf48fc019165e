//! The target `sql`: a text runs as a statement of a module, in a database with tables of the module and of the host.
//!
//! Each statement runs as a read and in a transaction that is rolled back, so the next input finds the same database. What ran is compared
//! with SQLite's own program for the statement, which names each table by its root page.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::Runtime;
use watertight_model::config::SqlLimits;
use watertight_model::migration::Migration;
use watertight_sql::{Database, Rows, Settings, SqlError, Value, WalSync};

use crate::Target;
use crate::statements::{CORPUS, TABLES, WORDS};

/// Rows that the statements find.
const ROWS: &str = "
    INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 2);
    INSERT INTO b (a, it) VALUES (1, 'it'), (2, x'00ff');
    INSERT INTO c VALUES (1, 2.5, 'z'), (NULL, 'é', 3);";

/// A name that only the host's tables and the schema contain.
const SECRET: &str = "watertight_migrations";

/// The time of one statement.
const STATEMENT: Duration = Duration::from_millis(20);

pub(crate) fn target(folder: &Path) -> Target {
    let fuzzed = Mutex::new(Fuzzed::new(folder));
    let check = move |input: &[u8]| {
        // What is no text never reaches the database: texts of guests are UTF-8.
        let Ok(sql) = std::str::from_utf8(input) else { return };
        fuzzed.lock().expect("a failed check ends the fuzzer").check(sql);
    };
    let seeds = CORPUS.iter().map(|sql| sql.as_bytes().to_vec()).collect();
    Target { seeds, words: WORDS.iter().map(|word| (*word).to_owned()).collect(), check: Box::new(check) }
}

struct Fuzzed {
    database: Database,
    /// A connection without any restriction.
    bare: Connection,
    runtime: Runtime,
    folder: PathBuf,
    /// The root pages of the module's tables and indexes.
    own: BTreeSet<i64>,
    /// The root page of the counters of `AUTOINCREMENT`. SQLite itself reads and writes it for an insert.
    counters: i64,
    before: Untouched,
}

/// What no statement may change.
#[derive(Debug, PartialEq)]
struct Untouched {
    schema: i64,
    files: BTreeSet<String>,
}

impl Fuzzed {
    fn new(folder: &Path) -> Self {
        let path = folder.join("a.db");
        let settings = Settings {
            limits: SqlLimits { size: 16 << 20, ..SqlLimits::default() },
            readers: 1,
            // The properties tested here don't depend on the disk.
            sync: WalSync::with(|_| Ok(())),
            ..Settings::default()
        };
        let migrations = [Migration::new("0001_tables.sql", TABLES)];
        let database = Database::open(&path, settings, &migrations).expect("a new database opens");
        let bare = Connection::open(&path).expect("the database opens a second time");
        bare.execute_batch(ROWS).expect("the rows can be inserted");
        let roots = |filter: &str| -> BTreeSet<i64> {
            let sql = format!("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0 AND {filter}");
            let mut statement = bare.prepare(&sql).expect("the schema has root pages");
            let pages = statement.query_map([], |row| row.get(0)).expect("the schema can be read");
            pages.collect::<Result<_, _>>().expect("a root page is a number")
        };
        let own = roots("tbl_name IN ('a', 'b', 'c')");
        let counters = roots("name = 'sqlite_sequence'").into_iter().next().expect("a table counts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        let before = untouched(&bare, folder);
        Self { database, bare, runtime, folder: folder.to_owned(), own, counters, before }
    }

    fn check(&self, sql: &str) {
        let values: Vec<_> = [("?1", Value::Integer(7)), ("?2", Value::Text("x".to_owned()))]
            .into_iter()
            .filter_map(|(parameter, value)| sql.contains(parameter).then_some(value))
            .collect();
        let read = self.runtime.block_on(self.database.query(sql, values.clone(), Instant::now() + STATEMENT));
        let ran = self.runtime.block_on(self.in_transaction(sql, values));
        for outcome in [&read, &ran] {
            match outcome {
                Ok(rows) => self.allowed(sql, rows),
                Err(error) => assert!(is_modules_own(error), "{error:?}"),
            }
        }
        assert_eq!(untouched(&self.bare, &self.folder), self.before, "a statement reached out of its tables");
    }

    async fn in_transaction(&self, sql: &str, values: Vec<Value>) -> Result<Rows, SqlError> {
        let mut transaction = self.database.begin(Instant::now() + STATEMENT).await?;
        let rows = transaction.query(sql, values).await;
        transaction.rollback().await?;
        rows
    }

    /// Checks what a statement that ran may have reached.
    fn allowed(&self, sql: &str, rows: &Rows) {
        // A statement that has the name already may return it.
        if !sql.to_ascii_lowercase().contains("migrations") {
            let tells = |value: &Value| matches!(value, Value::Text(text) if text.contains(SECRET));
            assert!(!rows.iter().flatten().any(tells), "the rows show the host's tables: {rows:?}");
        }
        let program = self.program(sql);
        let writes = program.iter().any(|step| step.opcode == "OpenWrite");
        for Step { opcode, p1, p2, p3 } in program {
            let (page, database) = match opcode.as_str() {
                "OpenRead" | "OpenWrite" | "ReopenIdx" => (p2, p3),
                "Clear" => (p1, p2),
                "Destroy" | "CreateBtree" | "ParseSchema" | "SetCookie" | "Vacuum" | "IncrVacuum" | "JournalMode"
                | "Checkpoint" | "Savepoint" | "AutoCommit" | "DropTable" | "DropIndex" | "DropTrigger" | "VCreate"
                | "VDestroy" | "SqlExec" => panic!("a statement ran that has the step {opcode}"),
                _ => continue,
            };
            let is_own = self.own.contains(&page) || (page == self.counters && writes && opcode != "Clear");
            assert!(database == 0 && is_own, "a statement ran that reaches root page {page} of database {database}");
        }
    }

    /// Returns SQLite's program for a statement. An `EXPLAIN` has none of its own, and runs nothing.
    fn program(&self, sql: &str) -> Vec<Step> {
        let Ok(mut statement) = self.bare.prepare(&format!("EXPLAIN {sql}")) else { return Vec::new() };
        let step = |row: &rusqlite::Row<'_>| {
            Ok(Step { opcode: row.get(1)?, p1: row.get(2)?, p2: row.get(3)?, p3: row.get(4)? })
        };
        let steps = statement.query_map([], step).map(Iterator::collect::<Result<_, _>>);
        steps.and_then(|steps| steps).unwrap_or_default()
    }
}

/// One step of a program. The numbers mean what the opcode says.
struct Step {
    opcode: String,
    p1: i64,
    p2: i64,
    p3: i64,
}

fn untouched(bare: &Connection, folder: &Path) -> Untouched {
    let schema = bare.query_row("PRAGMA schema_version", [], |row| row.get(0)).expect("the schema has a version");
    let entry = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let files = std::fs::read_dir(folder).expect("the folder can be read").filter_map(entry).collect();
    Untouched { schema, files }
}

/// Whether the module itself can cause this error.
fn is_modules_own(error: &SqlError) -> bool {
    match error {
        SqlError::Constraint { .. } | SqlError::Syntax(_) | SqlError::Timeout | SqlError::Limit(_) => true,
        SqlError::Busy | SqlError::Closed | SqlError::Full | SqlError::Storage(_) => false,
    }
}
