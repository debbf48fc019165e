//! Tests of copies that are made while the databases are written to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use watertight_sql::{CopyError, copy_together};

use super::*;

const MANY: &str = "INSERT INTO a WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                    SELECT -i, hex(randomblob(200)), 1 FROM n";

/// Creates a database whose transactions may pause for 2 seconds (the lease), so that a slow machine ends none of them.
fn patient() -> Case {
    Case::with(Settings { lease: Duration::from_secs(2), ..Settings::default() })
}

fn read(file: &Path, sql: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let uri = format!("file:{}?immutable=1", file.display());
    let connection = rusqlite::Connection::open_with_flags(uri, flags).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{}", file.display());
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Each number is written to the first database and then to the second. So at every moment the first has as many as the
/// second, or one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_are_of_one_moment_and_have_what_was_acknowledged() {
    let (first, second) = (Case::new(), Case::new());
    // The content exceeds a page cache.
    first.execute(MANY).await.unwrap();
    second.execute(MANY).await.unwrap();
    let (told, ended) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn({
        let (first, second, told, ended) =
            (first.database.clone(), second.database.clone(), told.clone(), ended.clone());
        async move {
            let mut slowest = Duration::ZERO;
            for id in 1.. {
                if ended.load(SeqCst) {
                    return slowest;
                }
                for database in [&first, &second] {
                    let start = Instant::now();
                    let insert = "INSERT INTO a VALUES (?1, ?1, 1)";
                    database.execute(insert, vec![id.into()], soon()).await.unwrap();
                    slowest = slowest.max(start.elapsed());
                }
                told.store(id, SeqCst);
            }
            slowest
        }
    });
    // A write that is rolled back makes the copy start again.
    let rolls_back = tokio::spawn({
        let (database, ended) = (second.database.clone(), ended.clone());
        async move {
            while !ended.load(SeqCst) {
                let mut transaction = database.begin(soon()).await.unwrap();
                transaction.execute("UPDATE a SET size = size + 1 WHERE id < 0", Vec::new()).await.unwrap();
                drop(transaction);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let copies = ["first", "second"].map(|name| folder.path().join(format!("{name}-{round}.db")));
        let both = vec![(first.database.clone(), copies[0].clone()), (second.database.clone(), copies[1].clone())];
        let before = told.load(SeqCst);
        tokio::task::spawn_blocking(move || copy_together(&both, &|| false)).await.unwrap().unwrap();
        let count = |copy: &Path| read(copy, "SELECT count(*) FROM a WHERE id > 0");
        let (one, two) = (count(&copies[0]), count(&copies[1]));
        assert!(two >= before, "{two} rows, although {before} were acknowledged");
        assert!(one == two || one == two + 1, "{one} and {two} rows are from different moments");
        assert_eq!(
            read(&copies[1], "SELECT count(DISTINCT size) FROM a WHERE id < 0"),
            1,
            "the copy has rolled back changes"
        );
        assert_eq!(read(&copies[1], "SELECT max(size) FROM a"), 1, "the copy has rolled back changes");
    }
    ended.store(true, SeqCst);
    let slowest = writer.await.unwrap();
    rolls_back.await.unwrap();
    assert!(slowest < Duration::from_secs(10), "a write took {slowest:?}");
}

#[tokio::test]
async fn a_copy_that_can_t_be_written_harms_nobody() {
    let case = Case::new();
    case.execute(MANY).await.unwrap();
    let nowhere = case.folder.path().join("nowhere/a.db");
    let both = vec![(case.database.clone(), nowhere.clone())];
    let failed = tokio::task::spawn_blocking(move || copy_together(&both, &|| false)).await.unwrap().unwrap_err();
    assert!(matches!(failed, CopyError::Failed { ref path, .. } if *path == case.path()), "{failed:?}");
    let (one, two) = (case.folder.path().join("one.db"), case.folder.path().join("two.db"));
    let both = vec![(case.database.clone(), one.clone())];
    let stopped = tokio::task::spawn_blocking(move || copy_together(&both, &|| true)).await.unwrap();
    assert!(matches!(stopped, Err(CopyError::Stopped) | Ok(())), "{stopped:?}");
    let both = vec![(case.database.clone(), two.clone())];
    tokio::task::spawn_blocking(move || copy_together(&both, &|| false)).await.unwrap().unwrap();
    assert_eq!(read(&two, "SELECT count(*) FROM a"), 20_000);
    // The writer discards the copy's remains once it notices that the copy was given up.
    assert_eq!(case.execute("DELETE FROM a WHERE id < -10").await, Ok(19_990));
    assert!(!nowhere.exists());
}

/// A transaction of the first database waits for the writer of the second. A copy that pauses both must let them go on
/// soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_that_wait_for_each_other_s_databases_are_not_harmed() {
    let (first, second) = (patient(), patient());
    let ended = Arc::new(AtomicBool::new(false));
    let nested = tokio::spawn({
        let (first, second, ended) = (first.database.clone(), second.database.clone(), ended.clone());
        async move {
            let mut done = 0;
            while !ended.load(SeqCst) {
                let mut transaction = first.begin(soon()).await.unwrap();
                transaction.execute("INSERT INTO a VALUES (NULL, hex(randomblob(8)), 1)", Vec::new()).await.unwrap();
                second.execute("INSERT INTO a VALUES (NULL, hex(randomblob(8)), 1)", Vec::new(), soon()).await.unwrap();
                transaction.commit().await.unwrap();
                done += 1;
            }
            done
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let copies = ["first", "second"].map(|name| folder.path().join(format!("{name}-{round}.db")));
        let both = vec![(first.database.clone(), copies[0].clone()), (second.database.clone(), copies[1].clone())];
        tokio::task::spawn_blocking(move || copy_together(&both, &|| false)).await.unwrap().unwrap();
        let (one, two) = (read(&copies[0], "SELECT count(*) FROM a"), read(&copies[1], "SELECT count(*) FROM a"));
        assert_eq!(one, two, "the copies are from within a transaction");
    }
    ended.store(true, SeqCst);
    assert!(nested.await.unwrap() > 0);
}

/// The copy begins to count as of the moment at which the long transaction ends. Other writers must not wait that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_long_transaction_is_waited_for_and_its_end_is_found() {
    let (first, second) = (patient(), patient());
    let mut transaction = first.database.begin(soon()).await.unwrap();
    transaction.execute("INSERT INTO a VALUES (1, 'a', 1)", Vec::new()).await.unwrap();
    let copies = ["first", "second"].map(|name| second.folder.path().join(format!("{name}-copy.db")));
    let both = vec![(first.database.clone(), copies[0].clone()), (second.database.clone(), copies[1].clone())];
    let start = Instant::now();
    let copying = tokio::task::spawn_blocking(move || copy_together(&both, &|| false));
    let (mut slowest, mut id) = (Duration::ZERO, 0);
    while start.elapsed() < Duration::from_secs(4) {
        transaction.query("SELECT count(*) FROM a", Vec::new()).await.unwrap();
        id += 1;
        let before = Instant::now();
        second.database.execute("INSERT INTO a VALUES (?1, ?1, 1)", vec![id.into()], soon()).await.unwrap();
        slowest = slowest.max(before.elapsed());
        assert!(!copying.is_finished(), "the transaction is open");
    }
    transaction.commit().await.unwrap();
    copying.await.unwrap().unwrap();
    assert_eq!(read(&copies[0], "SELECT count(*) FROM a"), 1);
    assert_eq!(read(&copies[1], "SELECT count(*) FROM a"), id);
    assert!(slowest < Duration::from_secs(3), "a write beside it took {slowest:?}");
}
