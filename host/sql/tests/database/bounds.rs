//! Tests of deadlines, queues, leases and sizes.

use watertight_sql::WalSync;

use super::*;

const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
const ENDLESS_WRITE: &str =
    "INSERT INTO a WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i, 1 FROM n WHERE i < 0";

#[tokio::test(flavor = "current_thread")]
async fn an_endless_read_stops_at_its_deadline_and_holds_up_nobody() {
    let case = Case::new();
    let database = case.database.clone();
    let endless = tokio::spawn(async move { database.query(ENDLESS, Vec::new(), within(300)).await });
    tokio::task::yield_now().await;
    let start = Instant::now();
    let mut others = 0;
    while !endless.is_finished() {
        assert_eq!(case.number("SELECT 1").await, 1);
        others += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(endless.await.unwrap(), Err(SqlError::Timeout));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(others > 20, "{others} reads beside the endless one");
    assert_eq!(case.database.counters().long_reads, 1);
}

#[tokio::test(flavor = "current_thread")]
async fn reads_in_a_loop_let_other_tasks_run() {
    let case = Case::new();
    let other = tokio::spawn(async {});
    let start = Instant::now();
    while !other.is_finished() {
        assert_eq!(case.number("SELECT 1").await, 1);
        assert!(start.elapsed() < Duration::from_secs(10), "the other task never runs");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_near_deadline_stops_a_read_on_the_calling_thread() {
    let case = Case::with(Settings { inline_budget: Duration::from_secs(60), ..Settings::default() });
    assert_eq!(case.database.query(ENDLESS, Vec::new(), within(20)).await, Err(SqlError::Timeout));
    assert_eq!(case.number("SELECT 1").await, 1);
}

#[tokio::test]
async fn a_long_read_gives_all_its_rows() {
    let case = Case::with(Settings { inline_budget: Duration::ZERO, ..Settings::default() });
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n";
    let rows = case.database.query(sql, vec![40_000.into()], soon()).await.unwrap();
    assert_eq!(rows.len(), 40_000);
    assert_eq!(case.database.counters().long_reads, 1);
}

#[tokio::test]
async fn an_abandoned_read_is_stopped() {
    let case = Case::with(Settings { readers: 1, ..Settings::default() });
    let database = case.database.clone();
    let endless = tokio::spawn(async move { database.query(ENDLESS, Vec::new(), soon()).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    endless.abort();
    // The only connection must be free long before the deadline of the abandoned read.
    assert_eq!(number(&case.database.query("SELECT 1", Vec::new(), within(5_000)).await.unwrap()), 1);
}

#[tokio::test]
async fn reads_that_wait_are_bounded_in_number_and_time() {
    let case = Case::with(Settings { readers: 1, read_queue: 1, ..Settings::default() });
    let database = case.database.clone();
    let endless = tokio::spawn(async move { database.query(ENDLESS, Vec::new(), within(500)).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let database = case.database.clone();
    let waiting = tokio::spawn(async move { database.query("SELECT 1", Vec::new(), within(50)).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(case.query("SELECT 1").await, Err(SqlError::Busy));
    assert_eq!(waiting.await.unwrap(), Err(SqlError::Timeout));
    assert_eq!(case.number("SELECT 1").await, 1);
    assert_eq!(endless.await.unwrap(), Err(SqlError::Timeout));
    assert_eq!(case.database.counters().read_queue, 0);
}

#[tokio::test]
async fn an_endless_write_stops_and_changes_nothing() {
    let case = Case::new();
    assert_eq!(case.database.execute(ENDLESS_WRITE, Vec::new(), within(50)).await, Err(SqlError::Timeout));
    let mut transaction = case.database.begin(within(200)).await.unwrap();
    transaction.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new()).await.unwrap();
    assert_eq!(transaction.execute(ENDLESS_WRITE, Vec::new()).await, Err(SqlError::Timeout));
    assert_eq!(transaction.execute("DELETE FROM a", Vec::new()).await, Err(SqlError::Timeout));
    assert_eq!(transaction.commit().await, Err(SqlError::Timeout));
    assert_eq!(case.execute("INSERT INTO a VALUES (1, 'x', 1)").await, Ok(1));
}

#[tokio::test]
async fn a_lease_runs_out() {
    let case = Case::new();
    let mut transaction = case.database.begin(soon()).await.unwrap();
    transaction.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new()).await.unwrap();
    // Each statement renews the lease.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        transaction.query("SELECT 1", Vec::new()).await.unwrap();
    }
    let start = Instant::now();
    assert_eq!(case.execute("INSERT INTO a VALUES (1, 'x', 1)").await, Ok(1), "the next write waits in vain");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(transaction.query("SELECT 1", Vec::new()).await, Err(SqlError::Timeout));
    assert_eq!(transaction.commit().await, Err(SqlError::Timeout));
}

#[tokio::test]
async fn a_transaction_ends_at_its_deadline_however_busy() {
    let case = Case::new();
    let mut transaction = case.database.begin(within(80)).await.unwrap();
    let start = Instant::now();
    let error = loop {
        if let Err(error) = transaction.query("SELECT 1", Vec::new()).await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    assert_eq!(error, SqlError::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn the_writers_queue_is_bounded_in_number_and_time() {
    let case = Case::with(Settings { writer_queue: 1, lease: Duration::from_secs(20), ..Settings::default() });
    let holder = case.database.begin(soon()).await.unwrap();
    let database = case.database.clone();
    let insert = "INSERT INTO a VALUES (1, 'x', 1)";
    let waiting = tokio::spawn(async move { database.execute(insert, Vec::new(), within(60)).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(case.database.counters().writer_queue, 1);
    assert_eq!(case.execute(insert).await, Err(SqlError::Busy));
    assert_eq!(case.database.begin(soon()).await.err(), Some(SqlError::Busy));
    assert_eq!(waiting.await.unwrap(), Err(SqlError::Timeout));
    drop(holder);
    // A write that timed out in the queue must never be executed.
    while case.database.counters().writer_queue > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(case.execute("INSERT INTO a VALUES (2, 'y', 1)").await, Ok(1));
    assert_eq!(case.number("SELECT count(*) FROM a").await, 1);
}

#[tokio::test]
async fn a_commit_that_is_slow_to_sync_is_not_called_a_timeout() {
    let slow = WalSync::with(|_| {
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    });
    let case = Case::with(Settings { sync: slow, ..Settings::default() });
    assert_eq!(case.database.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new(), within(50)).await, Ok(1));
}

#[tokio::test]
async fn sizes_are_bounded() {
    let small = Settings {
        limits: SqlLimits { rows: 10, bytes: 4_000, ..SqlLimits::default() },
        max_value_bytes: 1_000,
        max_statement_bytes: 500,
        ..Settings::default()
    };
    let case = Case::with(small);
    let numbers = |n: i64| {
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) SELECT i FROM n";
        case.database.query(sql, vec![n.into()], soon())
    };
    assert_eq!(numbers(10).await.unwrap().len(), 10);
    assert_eq!(numbers(11).await, Err(SqlLimit::Rows(10).into()));
    let text = |n: usize| Value::Text("x".repeat(n));
    let ask = |sql: &'static str, values| case.database.query(sql, values, soon());
    assert!(ask("SELECT ?1", vec![text(1_000)]).await.is_ok());
    assert_eq!(ask("SELECT ?1", vec![text(1_001)]).await, Err(SqlLimit::Value(1_000).into()));
    assert_eq!(ask("SELECT ?1, ?2, ?3, ?4", vec![text(999); 4]).await, Err(SqlLimit::Bytes(4_000).into()));
    assert_eq!(ask("SELECT ?1, ?1, ?1, ?1, ?1", vec![text(999)]).await, Err(SqlLimit::Bytes(4_000).into()));
    assert_eq!(case.query("SELECT randomblob(1001)").await, Err(SqlLimit::Value(1_000).into()));
    assert_eq!(case.query("SELECT zeroblob(1000000000)").await, Err(SqlLimit::Value(1_000).into()));
    assert_eq!(case.query(&format!("SELECT '{}'", "x".repeat(500))).await, Err(SqlLimit::Text(500).into()));
    assert_eq!(case.execute(&format!("SELECT '{}'", "x".repeat(500))).await, Err(SqlLimit::Text(500).into()));
    let nested = format!("SELECT {}1{}", "(1+".repeat(120), ")".repeat(120));
    assert_eq!(case.number(&nested).await, 121);
}

#[tokio::test]
async fn a_statement_has_a_time_of_its_own() {
    let time = Duration::from_millis(40);
    let case = Case::limited(SqlLimits { time, ..SqlLimits::default() });
    let over = SqlError::Limit(SqlLimit::Time(time));
    let start = Instant::now();
    assert_eq!(case.query(ENDLESS).await, Err(over.clone()));
    assert_eq!(case.execute(ENDLESS_WRITE).await, Err(over.clone()));
    for write in [false, true] {
        let mut transaction = case.database.begin(soon()).await.unwrap();
        transaction.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new()).await.unwrap();
        let ended = match write {
            false => transaction.query(ENDLESS, Vec::new()).await.map(drop),
            true => transaction.execute(ENDLESS_WRITE, Vec::new()).await.map(drop),
        };
        assert_eq!(ended, Err(over.clone()));
        // The transaction ended with the statement, and the next one may begin.
        assert_eq!(transaction.commit().await, Err(SqlError::Timeout));
        assert_eq!(case.number("SELECT count(*) FROM a").await, 0);
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    // The time in the writer's queue doesn't count towards the statement's time.
    let mut holder = case.database.begin(soon()).await.unwrap();
    let waits = case.execute("INSERT INTO a VALUES (2, 'y', 1)");
    let holds = async {
        for _ in 0..4 {
            tokio::time::sleep(time / 2).await;
            holder.query("SELECT 1", Vec::new()).await.unwrap();
        }
        holder.commit().await.unwrap();
    };
    let (waited, ()) = tokio::join!(waits, holds);
    assert_eq!(waited, Ok(1));
    // An earlier deadline of the call applies first.
    assert_eq!(case.database.query(ENDLESS, Vec::new(), within(20)).await, Err(SqlError::Timeout));
}

#[tokio::test]
async fn each_handle_has_limits_of_its_own() {
    let case = Case::new();
    let small = case.database.with_limits(SqlLimits { rows: 1, size: 64 * 1024, ..SqlLimits::default() });
    let two = "SELECT 1 UNION SELECT 2";
    assert_eq!(small.query(two, Vec::new(), soon()).await, Err(SqlLimit::Rows(1).into()));
    assert_eq!(case.query(two).await.unwrap().len(), 2);
    let big = || vec![Value::Text("x".repeat(200_000))];
    let insert = "INSERT INTO a VALUES (NULL, ?1, length(?1))";
    let full: Result<u64, SqlError> = Err(SqlLimit::Size(64 * 1024).into());
    assert_eq!(small.execute(insert, big(), soon()).await, full);
    assert_eq!(case.database.execute(insert, big(), soon()).await, Ok(1));
    // A database that exceeds this limit keeps its data and can be read and emptied. The limit also applies in a transaction.
    assert_eq!(small.execute("INSERT INTO b (a) SELECT id FROM a", Vec::new(), soon()).await, Ok(1));
    let mut transaction = small.begin(soon()).await.unwrap();
    assert_eq!(transaction.execute(insert, vec![Value::Text("y".repeat(300_000))]).await, full);
    drop(transaction);
    assert_eq!(small.execute("DELETE FROM b", Vec::new(), soon()).await, Ok(1));
    assert_eq!(small.execute("DELETE FROM a", Vec::new(), soon()).await, Ok(1));
    assert_eq!(small.execute(insert, vec![Value::Text("z".repeat(1_000))], soon()).await, Ok(1));
}
