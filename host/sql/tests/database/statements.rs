//! Tests of the results and errors of statements and transactions.

use watertight_sql::ConstraintKind;

use super::*;

#[tokio::test]
async fn values_go_in_and_come_out() {
    let case = Case::new();
    let values = vec![
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Real(-0.5),
        Value::Text("a\0ö".to_owned()),
        Value::Blob(vec![0, 255]),
        Value::Blob(Vec::new()),
        Value::Text(String::new()),
    ];
    let sql = "SELECT ?1 AS a, ?2, ?3, ?4, ?5, ?6, ?7 AS g";
    let rows = case.database.query(sql, values.clone(), soon()).await.unwrap();
    assert_eq!(rows, [values]);
    let nan = case.database.query("SELECT ?1", vec![Value::Real(f64::NAN)], soon()).await.unwrap();
    assert_eq!(nan, [[Value::Null]]);
    let error = case.query("SELECT CAST(x'ff' AS TEXT) AS bad").await.unwrap_err();
    assert!(is_syntax(&error, "`bad`"));
}

#[tokio::test]
async fn constraints_are_named() {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    for (sql, kind, detail) in [
        ("INSERT INTO a VALUES (2, 'x', 1)", ConstraintKind::Unique, "a.name"),
        ("INSERT INTO a VALUES (1, 'y', 1)", ConstraintKind::Unique, "a.id"),
        ("INSERT INTO a VALUES (2, NULL, 1)", ConstraintKind::NotNull, "a.name"),
        ("INSERT INTO a VALUES (2, 'y', -1)", ConstraintKind::Check, "size >= 0"),
        (
            "INSERT INTO a VALUES (2, 'y', 'z')",
            ConstraintKind::Other,
            "cannot store TEXT value in INTEGER column a.size",
        ),
        ("INSERT INTO b VALUES (1, 7, NULL)", ConstraintKind::ForeignKey, ""),
        ("INSERT INTO b VALUES (1, 1, 7)", ConstraintKind::ForeignKey, ""),
        ("DELETE FROM a; ", ConstraintKind::ForeignKey, ""),
    ] {
        if sql.starts_with("DELETE") {
            case.execute("INSERT INTO b VALUES (1, 1, NULL)").await.unwrap();
        }
        assert_eq!(case.execute(sql).await, Err(SqlError::Constraint { kind, detail: detail.to_owned() }), "{sql}");
    }
    assert_eq!(case.number("SELECT count(*) FROM a").await, 1);
}

#[tokio::test]
async fn a_transaction_commits_all_or_nothing() {
    let case = Case::new();
    let mut transaction = case.database.begin(soon()).await.unwrap();
    assert_eq!(transaction.execute("INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 2)", Vec::new()).await, Ok(2));
    assert_eq!(number(&transaction.query("SELECT count(*) FROM a", Vec::new()).await.unwrap()), 2);
    assert_eq!(case.number("SELECT count(*) FROM a").await, 0, "uncommitted rows are visible outside");
    // A statement that fails undoes only itself.
    let error = transaction.execute("INSERT INTO a VALUES (3, 'z', 3), (4, 'x', 4)", Vec::new()).await.unwrap_err();
    assert!(matches!(error, SqlError::Constraint { .. }));
    assert_eq!(transaction.execute("UPDATE a SET size = 9 WHERE id = 7", Vec::new()).await, Ok(0));
    transaction.commit().await.unwrap();
    assert_eq!(case.number("SELECT count(*) FROM a").await, 2);

    let mut transaction = case.database.begin(soon()).await.unwrap();
    transaction.execute("DELETE FROM a", Vec::new()).await.unwrap();
    drop(transaction);
    let mut transaction = case.database.begin(soon()).await.unwrap();
    assert_eq!(number(&transaction.query("SELECT count(*) FROM a", Vec::new()).await.unwrap()), 2);
    transaction.execute("DELETE FROM a", Vec::new()).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(case.number("SELECT count(*) FROM a").await, 2);
    // Once a later transaction has begun, the writer has finished the earlier ones.
    case.database.begin(soon()).await.unwrap().commit().await.unwrap();
    assert_eq!(case.database.counters().rollbacks, 2);
}

#[tokio::test]
async fn a_deferred_reference_fails_the_commit() {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    let mut transaction = case.database.begin(soon()).await.unwrap();
    transaction.execute("INSERT INTO b VALUES (1, 1, 7)", Vec::new()).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, SqlError::Constraint { kind: ConstraintKind::ForeignKey, .. }));
    assert_eq!(case.number("SELECT count(*) FROM b").await, 0);
    case.execute("INSERT INTO b VALUES (1, 1, 1)").await.unwrap();
}

#[tokio::test]
async fn a_statement_that_leaves_a_part_ends_its_transaction() {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (5, 'x', 1)").await.unwrap();
    for sql in [
        "INSERT OR FAIL INTO a VALUES (1, 'y', 1), (2, 'x', 1)",
        "INSERT OR ROLLBACK INTO a VALUES (1, 'y', 1), (2, 'x', 1)",
    ] {
        assert!(matches!(case.execute(sql).await, Err(SqlError::Constraint { .. })), "{sql}");
        let mut transaction = case.database.begin(soon()).await.unwrap();
        assert!(matches!(transaction.execute(sql, Vec::new()).await, Err(SqlError::Constraint { .. })), "{sql}");
        assert_eq!(transaction.execute("DELETE FROM a", Vec::new()).await, Err(SqlError::Closed), "{sql}");
        assert_eq!(transaction.commit().await, Err(SqlError::Closed), "{sql}");
        assert_eq!(case.number("SELECT count(*) FROM a").await, 1, "{sql}");
    }
    // A RETURNING clause with too many rows has already changed the rows.
    let case = Case::limited(SqlLimits { rows: 2, ..SqlLimits::default() });
    let mut transaction = case.database.begin(soon()).await.unwrap();
    let sql = "INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 1), (3, 'z', 1) RETURNING id";
    assert_eq!(transaction.query(sql, Vec::new()).await, Err(SqlError::Limit(SqlLimit::Rows(2))));
    assert_eq!(transaction.commit().await, Err(SqlError::Closed));
    assert_eq!(case.number("SELECT count(*) FROM a").await, 0);
}

#[tokio::test]
async fn closed_means_closed() {
    let case = Case::new();
    let mut transaction = case.database.begin(soon()).await.unwrap();
    transaction.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new()).await.unwrap();
    let other = case.database.clone();
    let closing = tokio::spawn(async move { other.close().await });
    tokio::task::yield_now().await;
    // An open transaction may still commit.
    transaction.commit().await.unwrap();
    closing.await.unwrap();
    assert_eq!(case.query("SELECT 1").await, Err(SqlError::Closed));
    assert_eq!(case.execute("DELETE FROM a").await, Err(SqlError::Closed));
    assert_eq!(case.database.begin(soon()).await.err(), Some(SqlError::Closed));
    assert_eq!(std::fs::read_dir(case.folder.path()).unwrap().count(), 1, "the log was not removed");
    let again = Database::open(&case.path(), Settings::default(), &tables()).unwrap();
    assert_eq!(number(&again.query("SELECT count(*) FROM a", Vec::new(), soon()).await.unwrap()), 1);
    again.close().await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_threads() {
    let Case { database, folder } = Case::new();
    drop(database);
    let start = Instant::now();
    // The writer's thread removes the log when it ends.
    while std::fs::read_dir(folder.path()).unwrap().count() > 1 {
        assert!(start.elapsed() < Duration::from_secs(10), "the writer thread has not ended");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn errors_name_no_files() {
    let case = Case::limited(SqlLimits { size: 64 * 1024, ..SqlLimits::default() });
    let big = vec![Value::Text("x".repeat(200_000))];
    let error = case.database.execute("INSERT INTO a VALUES (1, ?1, 1)", big, soon()).await.unwrap_err();
    assert_eq!(error, SqlError::Limit(SqlLimit::Size(64 * 1024)));
    // A full database can still be read, and accepts what fits.
    assert_eq!(case.execute("INSERT INTO a VALUES (1, 'x', 1)").await, Ok(1));
    assert_eq!(case.number("SELECT count(*) FROM a").await, 1);
}
