//! Transactions: what they see, how they end, and what happens when others or the server are in the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Shop, soon};
use watertight_postgres::{Database, Settings};
use watertight_sql::{ConstraintKind, SqlError, Value};
use watertight_testkit_postgres::Server;

async fn shop() -> (Shop, Database) {
    let shop = Shop::new();
    let database = accounts(&shop).await;
    (shop, database)
}

async fn accounts(shop: &Shop) -> Database {
    shop.migrate("CREATE TABLE accounts (id int PRIMARY KEY, amount int NOT NULL CHECK (amount >= 0))", &[]);
    shop.migrate("INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 4) AS n", &[]);
    shop.open(Settings { lease: Duration::from_secs(5), ..Settings::default() }).await
}

async fn amount(database: &Database, id: i64) -> Value {
    let rows = database.query("SELECT amount FROM accounts WHERE id = ?1", vec![id.into()], soon()).await.unwrap();
    rows[0][0].clone()
}

const ADD: &str = "UPDATE accounts SET amount = amount + ?2 WHERE id = ?1";
const READ: &str = "SELECT amount FROM accounts WHERE id = ?1";

#[tokio::test]
async fn a_failed_statement_changes_nothing_and_the_transaction_goes_on() {
    let (_shop, database) = shop().await;
    let mut transaction = database.begin(soon()).await.unwrap();
    assert_eq!(transaction.execute(ADD, vec![1.into(), 5.into()]).await, Ok(1));
    let error = transaction.execute("UPDATE accounts SET amount = amount - 103", vec![]).await.unwrap_err();
    assert!(matches!(error, SqlError::Constraint { kind: ConstraintKind::Check, .. }), "{error:?}");
    for wrong in
        ["SELECT nothing", "SELECT 1 / 0", "SELECT set_config('a.b', 'c', true)", "COMMIT", "SELECT 1; SELECT 2"]
    {
        assert!(matches!(transaction.query(wrong, vec![]).await, Err(SqlError::Syntax(_))), "{wrong}");
    }
    assert_eq!(transaction.query(READ, vec![1.into()]).await, Ok(vec![vec![105.into()]]));
    // Nobody else sees it yet.
    assert_eq!(amount(&database, 1).await, 100.into());
    transaction.commit().await.unwrap();
    assert_eq!(amount(&database, 1).await, 105.into());
}

#[tokio::test]
async fn what_is_not_committed_is_rolled_back() {
    let (_shop, database) = shop().await;
    let mut dropped = database.begin(soon()).await.unwrap();
    dropped.execute(ADD, vec![1.into(), 5.into()]).await.unwrap();
    drop(dropped);
    let mut rolled_back = database.begin(soon()).await.unwrap();
    rolled_back.execute(ADD, vec![2.into(), 5.into()]).await.unwrap();
    rolled_back.rollback().await.unwrap();
    // A statement of the one that was dropped may still hold the row.
    assert_eq!(database.execute(ADD, vec![1.into(), 1.into()], soon()).await, Ok(1));
    assert_eq!((amount(&database, 1).await, amount(&database, 2).await), (101.into(), 100.into()));
    // One without a statement is nothing at all.
    database.begin(soon()).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn an_idle_transaction_and_a_late_one_end() {
    let shop = Shop::new();
    accounts(&shop).await;
    let database = shop.open(Settings::default()).await;
    let mut idle = database.begin(soon()).await.unwrap();
    idle.execute(ADD, vec![1.into(), 5.into()]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(idle.query(READ, vec![1.into()]).await, Err(SqlError::Timeout));
    assert_eq!(idle.commit().await, Err(SqlError::Timeout));

    let mut late = database.begin(Instant::now() + Duration::from_millis(300)).await.unwrap();
    late.execute(ADD, vec![1.into(), 5.into()]).await.unwrap();
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) AS n";
    assert_eq!(late.query(endless, vec![]).await, Err(SqlError::Timeout));
    assert_eq!(late.query(READ, vec![1.into()]).await, Err(SqlError::Timeout));
    drop(late);
    assert_eq!(database.execute(ADD, vec![1.into(), 1.into()], soon()).await, Ok(1));
    assert_eq!(amount(&database, 1).await, 101.into());
}

/// Two transactions read both accounts and write one each. Serializable means that not both commit.
#[tokio::test]
async fn write_skew_does_not_happen() {
    let (_shop, database) = shop().await;
    let total = "SELECT sum(amount) FROM accounts WHERE id IN (1, 2)";
    let (mut first, mut second) = (database.begin(soon()).await.unwrap(), database.begin(soon()).await.unwrap());
    for transaction in [&mut first, &mut second] {
        assert_eq!(transaction.query(total, vec![]).await, Ok(vec![vec![200.into()]]));
    }
    let taken = first.execute(ADD, vec![1.into(), (-100).into()]).await;
    let also = second.execute(ADD, vec![2.into(), (-100).into()]).await;
    let first = if taken.is_ok() { first.commit().await } else { Err(SqlError::Busy) };
    let second = if also.is_ok() { second.commit().await } else { Err(SqlError::Busy) };
    assert_eq!([first, second].into_iter().filter(Result::is_ok).count(), 1);
    assert_eq!(database.query(total, vec![], soon()).await, Ok(vec![vec![100.into()]]));
}

/// Single statements that are in each other's way run again within their deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_statements_are_repeated() {
    let (_shop, database) = shop().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let database = database.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                database.execute(ADD, vec![1.into(), 1.into()], soon()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(amount(&database, 1).await, 180.into());
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_commit() {
    let shop = Shop::new();
    let sql = "CREATE TABLE a (id int PRIMARY KEY, other int REFERENCES a DEFERRABLE INITIALLY DEFERRED)";
    shop.migrate(sql, &[]);
    let database = shop.open(Settings::default()).await;
    let mut transaction = database.begin(soon()).await.unwrap();
    transaction.execute("INSERT INTO a VALUES (1, 2)", vec![]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(error, SqlError::Constraint { kind: ConstraintKind::ForeignKey, detail: String::new() });
    assert_eq!(database.query("SELECT count(*) FROM a", vec![], soon()).await, Ok(vec![vec![0.into()]]));
}

/// The schema changes under prepared statements.
#[tokio::test]
async fn statements_follow_the_schema() {
    let (shop, database) = shop().await;
    let all = "SELECT * FROM accounts WHERE id = 1";
    assert_eq!(database.query(all, vec![], soon()).await.unwrap()[0].len(), 2);
    shop.migrate("ALTER TABLE accounts ADD COLUMN other text", &[]);
    assert_eq!(database.query(all, vec![], soon()).await.unwrap()[0].len(), 3);
    shop.migrate(
        "ALTER TABLE accounts DROP COLUMN other, ADD COLUMN note int; CREATE TYPE colour AS ENUM ('red')",
        &[],
    );
    database.learn_schema().await.unwrap();
    assert_eq!(database.query(all, vec![], soon()).await.unwrap()[0].len(), 3);
    let red = database.query("SELECT 'red'::colour", vec![], soon()).await;
    assert_eq!(red, Ok(vec![vec![Value::Text("red".to_owned())]]));
}

/// The server is killed: what was acknowledged is there after its return, and the same handle goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back() {
    let shop = Shop::on(Arc::new(Server::start(&[])));
    let database = accounts(&shop).await;
    database.execute(ADD, vec![1.into(), 5.into()], soon()).await.unwrap();
    let mut open = database.begin(soon()).await.unwrap();
    open.execute(ADD, vec![2.into(), 5.into()]).await.unwrap();
    shop.server.kill();
    // A process of the server may outlive it for a moment and still commit. It must be told truly.
    let committed = open.commit().await;
    let unknown = |error: &SqlError| matches!(error, SqlError::Storage(text) if text.contains("unknown"));
    assert!(committed.as_ref().err().is_none_or(unknown), "{committed:?}");
    let begun = Instant::now();
    let error = loop {
        match database.query(READ, vec![1.into()], soon()).await {
            Err(error) => break error,
            Ok(_) => assert!(begun.elapsed() < Duration::from_secs(20), "the server goes on"),
        }
    };
    assert!(matches!(error, SqlError::Storage(_)), "{error:?}");
    shop.server.restart();
    assert_eq!(amount(&database, 1).await, 105.into());
    let second = amount(&database, 2).await;
    assert!(second == 105.into() || (committed.is_err() && second == 100.into()), "{committed:?} {second:?}");
}
