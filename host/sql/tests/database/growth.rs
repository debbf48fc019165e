//! Tests of the length of the write-ahead log while others read or write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::*;

const MIB: u64 = 1024 * 1024;
/// Bytes by which a measured log may exceed its bound: what a page cache holds back until the commit, or what SQLite
/// writes between two checks.
const SLACK: u64 = 4 * MIB;
/// A query that runs until it is stopped, and keeps SQLite from emptying the write-ahead log meanwhile.
const LONG_READ: &str = "SELECT (SELECT count(*) FROM a), (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n)";

fn small() -> Settings {
    // A read may take any time until the log needs it to end.
    let limits = SqlLimits { time: Duration::from_secs(3_600), ..SqlLimits::default() };
    Settings { max_log_bytes: 4 * MIB, max_transaction_bytes: 2 * MIB, limits, ..Settings::default() }
}

/// Records the greatest length of the write-ahead log's file by polling it.
struct Watched {
    most: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    looks: std::thread::JoinHandle<()>,
}

impl Watched {
    fn of(database: &Database) -> Self {
        let (most, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (log, seen, end) = (database.wal_path(), most.clone(), ended.clone());
        let looks = std::thread::spawn(move || {
            while !end.load(SeqCst) {
                seen.fetch_max(log.metadata().unwrap().len(), SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { most, ended, looks }
    }

    fn end(self) -> u64 {
        self.ended.store(true, SeqCst);
        self.looks.join().unwrap();
        self.most.load(SeqCst)
    }
}

async fn write(case: &Case, id: u64) -> Result<u64, SqlError> {
    let name = format!("{id:08}{}", "x".repeat(32 * 1024));
    case.database.execute("INSERT INTO a VALUES (?1, ?2, 1)", vec![(id as i64).into(), name.into()], soon()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_reads_keep_no_log_from_being_emptied() {
    let case = Case::with(small());
    let watched = Watched::of(&case.database);
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (database, ended) = (case.database.clone(), ended.clone());
            tokio::spawn(async move {
                let mut stopped = 0;
                while !ended.load(SeqCst) {
                    let deadline = within(120_000);
                    assert_eq!(database.query(LONG_READ, Vec::new(), deadline).await, Err(SqlError::Timeout));
                    assert!(Instant::now() < deadline, "the read was not stopped");
                    stopped += 1;
                }
                stopped
            })
        })
        .collect();
    let start = Instant::now();
    // The writes are five times as large as the log may be.
    for id in 1..=320 {
        assert_eq!(write(&case, id).await, Ok(1));
    }
    let took = start.elapsed();
    let most = watched.end();
    assert!(most > 3 * MIB, "{most}: the log was too short for this test");
    assert!(most <= 6 * MIB + SLACK, "the log had {most} bytes");
    // Short reads are not stopped.
    assert_eq!(case.number("SELECT count(*) FROM a").await, 320);
    ended.store(true, SeqCst);
    for id in 1_000.. {
        if readers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
        assert_eq!(write(&case, id).await, Ok(1));
    }
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert!(took < Duration::from_secs(60), "{took:?} for 10 MiB");
}

#[tokio::test]
async fn where_another_process_keeps_the_log_nothing_is_written() {
    let case = Case::with(small());
    let watched = Watched::of(&case.database);
    let other = rusqlite::Connection::open(case.path()).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM a;").unwrap();
    let mut written = 0;
    let refused = loop {
        match write(&case, written + 1).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the log grows without bound");
    };
    assert_eq!(refused, SqlError::Busy);
    assert_eq!(case.database.begin(soon()).await.map(drop), Err(SqlError::Busy));
    assert_eq!(case.number("SELECT count(*) FROM a").await, written as i64, "reads miss rows");
    other.execute_batch("COMMIT").unwrap();
    for id in 2_000..2_300 {
        assert_eq!(write(&case, id).await, Ok(1));
    }
    let most = watched.end();
    assert!((4 * MIB..=6 * MIB + SLACK).contains(&most), "the log had {most} bytes");
    case.database.close().await;
    assert_eq!(
        other.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap(),
        written as i64 + 300
    );
}

#[tokio::test]
async fn a_transaction_is_no_larger_than_it_may_be() {
    let case = Case::with(small());
    let watched = Watched::of(&case.database);
    let rows = |count: u32, from: u32| {
        format!(
            "INSERT INTO a WITH RECURSIVE n (i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {from} + {count} - 1) \
             SELECT i, hex(randomblob(500)), 1 FROM n"
        )
    };
    for _ in 0..3 {
        // The statement writes a hundred times the allowed size.
        assert_eq!(case.execute(&rows(500_000, 1)).await, Err(SqlLimit::Transaction(2 * MIB).into()));
        assert_eq!(case.number("SELECT count(*) FROM a").await, 0);
        let left = case.database.wal_path().metadata().unwrap().len();
        // The error is returned before the log is emptied. The next write comes after that.
        assert_eq!(
            case.execute("INSERT INTO b VALUES (NULL, 1, NULL)")
                .await
                .map_err(|error| matches!(error, SqlError::Constraint { .. })),
            Err(true)
        );
        let after = case.database.wal_path().metadata().unwrap().len();
        assert!(after < MIB, "{left} bytes became {after}");
    }
    // The limit also applies to many statements together.
    let mut transaction = case.database.begin(soon()).await.unwrap();
    let mut from = 1;
    let refused = loop {
        match transaction.execute(&rows(1_000, from), Vec::new()).await {
            Ok(_) => from += 1_000,
            Err(error) => break error,
        }
        assert!(from < 500_000, "the transaction grows without bound");
    };
    assert_eq!(refused, SqlLimit::Transaction(2 * MIB).into());
    assert_eq!(transaction.commit().await, Err(SqlError::Closed));
    assert_eq!(case.number("SELECT count(*) FROM a").await, 0);
    // A transaction of the allowed size succeeds, repeatedly.
    for part in 0..8 {
        assert_eq!(case.execute(&rows(400, 1 + part * 400)).await, Ok(400));
    }
    let most = watched.end();
    assert!(most <= 6 * MIB + SLACK, "the log had {most} bytes");
}
