//! Tests that acknowledged commits are on the disk, by the order of syncs, writes and answers.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

use watertight_sql::WalSync;

use super::*;

/// A replacement for the sync of the write-ahead log. A sync waits while the gate is shut; `passed` counts the syncs.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicBool,
    passed: AtomicU64,
}

impl Gate {
    fn sync(self: &Arc<Self>) -> WalSync {
        let gate = self.clone();
        WalSync::with(move |wal| {
            gate.waiting.store(true, SeqCst);
            let shut = gate.shut.lock().unwrap();
            drop(gate.opened.wait_while(shut, |shut| *shut).unwrap());
            gate.waiting.store(false, SeqCst);
            wal.sync_data()?;
            gate.passed.fetch_add(1, SeqCst);
            Ok(())
        })
    }

    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    async fn reached(&self) {
        while !self.waiting.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn gated() -> (Case, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let case = Case::with(Settings { sync: gate.sync(), ..Settings::default() });
    (case, gate)
}

#[tokio::test]
async fn nothing_that_is_not_synced_is_acknowledged_or_read() {
    let (case, gate) = gated();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    let spawn = |sql: &'static str| {
        let database = case.database.clone();
        tokio::spawn(async move { database.execute(sql, Vec::new(), soon()).await })
    };
    // With two more waiting, the writer leaves the sync of the first to the syncer thread.
    let holder = case.database.begin(soon()).await.unwrap();
    let write = spawn("INSERT INTO a VALUES (2, 'y', 1)");
    let next = spawn("INSERT INTO a VALUES (3, 'z', 1)");
    while case.database.counters().writer_queue < 2 {
        tokio::task::yield_now().await;
    }
    gate.set(true);
    drop(holder);
    gate.reached().await;
    // The commit is in the log, and its sync has begun. The writer continues in the meantime.
    let conflicting = spawn("INSERT INTO a VALUES (4, 'y', 1)");
    let read = {
        let database = case.database.clone();
        tokio::spawn(async move { database.query("SELECT count(*) FROM a", Vec::new(), soon()).await })
    };
    let hurried = case.database.query("SELECT count(*) FROM a", Vec::new(), within(50)).await;
    assert_eq!(hurried, Err(SqlError::Timeout));
    // A transaction that only reads doesn't commit before what it read is synced.
    let mut transaction = case.database.begin(soon()).await.unwrap();
    assert_eq!(number(&transaction.query("SELECT count(*) FROM a", Vec::new()).await.unwrap()), 3);
    let settled = case.database.wait_until_synced(within(20)).await;
    assert_eq!(settled, Err(SqlError::Timeout));
    let reader = tokio::spawn(transaction.commit());
    // One whose data may be revealed at once doesn't begin before that.
    assert_eq!(case.database.begin_synced(within(20)).await.err(), Some(SqlError::Timeout));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        ![write.is_finished(), next.is_finished(), conflicting.is_finished(), reader.is_finished()].contains(&true)
    );
    assert!(!read.is_finished());
    gate.set(false);
    assert_eq!((write.await.unwrap(), next.await.unwrap()), (Ok(1), Ok(1)));
    assert!(matches!(conflicting.await.unwrap(), Err(SqlError::Constraint { .. })));
    reader.await.unwrap().unwrap();
    assert!(number(&read.await.unwrap().unwrap()) >= 2);
    case.database.wait_until_synced(soon()).await.unwrap();
    let mut revealed = case.database.begin_synced(soon()).await.unwrap();
    assert!(number(&revealed.query("SELECT count(*) FROM a", Vec::new()).await.unwrap()) >= 3);
}

#[tokio::test]
async fn one_sync_serves_all_that_wait() {
    let (case, gate) = gated();
    gate.set(true);
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..64_i64 {
        let database = case.database.clone();
        writes.spawn(async move {
            let values = vec![i.into(), format!("n{i}").into()];
            database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await
        });
    }
    gate.reached().await;
    // All commits except the first batch wait for the second sync.
    while case.database.counters().writer_queue > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.set(false);
    while let Some(write) = writes.join_next().await {
        assert_eq!(write.unwrap(), Ok(1));
    }
    let counted = case.database.counters();
    // There are one or two syncs for the first commits, and one for all others.
    assert!(counted.commits == 64 && counted.syncs <= 3, "{counted:?}");
    assert_eq!(gate.passed.load(SeqCst), counted.syncs + 1, "the opening makes one more sync");
    assert!(counted.largest_batch >= 32, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs_and_lose_nothing() {
    let case = Case::new();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..32_i64 {
        let database = case.database.clone();
        writers.spawn(async move {
            for i in 0..20 {
                let id = writer * 1_000 + i;
                let values = vec![id.into(), format!("n{id}").into()];
                database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
                let rows = database.query("SELECT count(*) FROM a WHERE id = ?1", vec![id.into()], soon()).await;
                assert_eq!(number(&rows.unwrap()), 1, "an acknowledged row is not found");
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let counted = case.database.counters();
    assert_eq!(counted.commits, 640);
    assert!(counted.syncs < counted.commits, "{counted:?}");
    assert_eq!(case.number("SELECT count(*) FROM a").await, 640);
}

/// The test keeps the write-ahead log as of the end of each sync: the least that a power cut right after would leave.
#[tokio::test]
async fn every_acknowledged_commit_is_in_the_synced_log() {
    let synced: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = synced.clone();
    let sync = WalSync::with(move |wal: &File| {
        let mut bytes = vec![0; usize::try_from(wal.metadata()?.len()).unwrap()];
        wal.read_exact_at(&mut bytes, 0)?;
        *kept.lock().unwrap() = bytes;
        Ok(())
    });
    let case = Case::with(Settings { sync, ..Settings::default() });
    for i in 0..20_i64 {
        let values = vec![i.into(), format!("n{i}").into()];
        case.database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
        // Combines the current database file with the synced log.
        let cut = tempfile::tempdir().unwrap();
        std::fs::copy(case.path(), cut.path().join("a.db")).unwrap();
        std::fs::write(cut.path().join("a.db-wal"), &*synced.lock().unwrap()).unwrap();
        let database = Database::open(&cut.path().join("a.db"), Settings::default(), &tables()).unwrap();
        let rows = database.query("SELECT max(id) FROM a", Vec::new(), soon()).await.unwrap();
        assert_eq!(number(&rows), i);
    }
}

#[tokio::test]
async fn a_failed_sync_is_final() {
    let broken = Arc::new(AtomicBool::new(false));
    let fails = broken.clone();
    let sync = WalSync::with(move |wal| {
        if fails.load(SeqCst) { Err(io::Error::other("no such luck: /secret/path")) } else { wal.sync_data() }
    });
    let case = Case::with(Settings { sync, ..Settings::default() });
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    broken.store(true, SeqCst);
    let storage = SqlError::Storage("the database could not be synced and accepts no more statements".to_owned());
    assert_eq!(case.execute("INSERT INTO a VALUES (2, 'y', 1)").await, Err(storage.clone()));
    // The failure is final even though syncs would succeed now.
    broken.store(false, SeqCst);
    assert_eq!(case.execute("INSERT INTO a VALUES (3, 'z', 1)").await, Err(storage.clone()));
    assert_eq!(case.query("SELECT count(*) FROM a").await, Err(storage.clone()));
    assert_eq!(case.database.begin(soon()).await.err(), Some(storage.clone()));
    assert_eq!(case.database.wait_until_synced(soon()).await, Err(storage));
    case.database.close().await;
    let again = Database::open(&case.path(), Settings::default(), &tables()).unwrap();
    let rows = again.query("SELECT id FROM a", Vec::new(), soon()).await.unwrap();
    let ids: HashSet<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    assert!(ids.contains("[Integer(1)]") && !ids.contains("[Integer(3)]"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_copied_and_begun_anew_under_load() {
    let case = Case::new();
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (database, stop) = (case.database.clone(), stop.clone());
        readers.spawn(async move {
            while !stop.load(SeqCst) {
                database.query("SELECT sum(size) FROM a", Vec::new(), soon()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    let text = "x".repeat(40_000);
    for i in 0..600_i64 {
        let values = vec![(i % 7).into(), format!("{i}{text}").into()];
        case.database.execute("INSERT OR REPLACE INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
    }
    stop.store(true, SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    assert!(case.database.counters().checkpoints >= 3, "{:?}", case.database.counters());
    let log = std::fs::metadata(case.database.wal_path()).unwrap().len();
    assert!(log < 16 * 1024 * 1024, "the log has {log} bytes after 24 MB were written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_leaves_no_log() {
    for round in 0..50 {
        let case = Case::new();
        case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
        case.database.close().await;
        assert!(!case.database.wal_path().exists(), "{round}");
    }
}
