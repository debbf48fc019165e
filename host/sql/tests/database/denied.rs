//! Tests of statements that a guest must not run, through each method.

use super::*;

/// Statements that are denied to guests, each with a part of its error text.
const DENIED: &[(&str, &str)] = &[
    ("ATTACH 'x.db' AS x", "ATTACH"),
    ("ATTACH ':memory:' AS x", "ATTACH"),
    ("DETACH main", "ATTACH"),
    ("PRAGMA foreign_keys", "PRAGMA"),
    ("PRAGMA foreign_keys = off", "PRAGMA"),
    ("PRAGMA journal_mode = delete", "PRAGMA"),
    ("PRAGMA writable_schema = on", "PRAGMA"),
    ("PRAGMA database_list", "PRAGMA"),
    ("PRAGMA wal_checkpoint", "PRAGMA"),
    ("PRAGMA synchronous = off", "PRAGMA"),
    ("SELECT * FROM pragma_database_list", "pragma_database_list"),
    ("SELECT * FROM pragma_table_info('a')", "pragma_table_info"),
    ("BEGIN", "transaction"),
    ("BEGIN IMMEDIATE", "transaction"),
    ("BEGIN EXCLUSIVE", "transaction"),
    ("COMMIT", "transaction"),
    ("END", "transaction"),
    ("ROLLBACK", "transaction"),
    ("SAVEPOINT s", "transaction"),
    ("RELEASE s", "transaction"),
    ("ROLLBACK TO s", "transaction"),
    ("CREATE TABLE c (x)", "migrations"),
    ("CREATE TABLE IF NOT EXISTS a (x)", "migrations"),
    ("CREATE TABLE watertight_x (x)", "migrations"),
    ("CREATE TABLE c AS SELECT 1", "migrations"),
    ("CREATE TEMP TABLE c (x)", ""),
    ("CREATE TEMP VIEW c AS SELECT 1", ""),
    ("CREATE TEMP TRIGGER c AFTER INSERT ON a BEGIN SELECT 1; END", ""),
    ("CREATE VIEW c AS SELECT 1", "migrations"),
    ("CREATE INDEX c ON a (size)", "migrations"),
    ("CREATE TRIGGER c AFTER INSERT ON a BEGIN SELECT 1; END", "migrations"),
    ("CREATE VIRTUAL TABLE c USING fts5(x)", ""),
    ("DROP TABLE a", "migrations"),
    ("ALTER TABLE a RENAME TO c", "migrations"),
    ("ALTER TABLE a ADD COLUMN c", "migrations"),
    ("REINDEX", "migrations"),
    ("ANALYZE", "migrations"),
    ("VACUUM", ""),
    ("VACUUM INTO 'x.db'", ""),
    ("SELECT load_extension('x')", "load_extension"),
    ("SELECT fts3_tokenizer('simple')", "fts3_tokenizer"),
    ("SELECT * FROM sqlite_master", "sqlite_master"),
    ("SELECT * FROM main.sqlite_schema", "sqlite_"),
    ("SELECT * FROM sqlite_temp_master", "sqlite_"),
    ("SELECT count(*) FROM Sqlite_Schema", "can't be read"),
    ("SELECT * FROM dbstat", "dbstat"),
    ("SELECT * FROM watertight_migrations", "reserved for the host"),
    ("SELECT count(*) FROM watertight_migrations", "reserved for the host"),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM WaterTight_Migrations)", "reserved for the host"),
    ("WITH x AS (SELECT name FROM watertight_migrations) SELECT * FROM x", "reserved for the host"),
    ("INSERT INTO watertight_migrations VALUES (9, 'x', 'x', 'x')", "reserved for the host"),
    ("UPDATE watertight_migrations SET name = 'x'", "reserved for the host"),
    ("DELETE FROM watertight_migrations", "reserved for the host"),
    ("INSERT INTO sqlite_master VALUES ('table', 'c', 'c', 0, '')", ""),
    ("DELETE FROM sqlite_master", ""),
    ("UPDATE sqlite_schema SET sql = ''", ""),
    ("INSERT INTO a SELECT place, name, 1 FROM watertight_migrations", "reserved for the host"),
    ("INSERT INTO a VALUES (1, 'x', 1); DROP TABLE a", ""),
    ("SELECT 1; SELECT 2", "one statement"),
    ("SELECT 1;; SELECT 2", "one statement"),
    ("SELECT 1; nonsense", "nonsense"),
    ("SELECT 1\0; DROP TABLE a", "NUL"),
    ("", "no statement"),
    ("  ;; -- nothing\n /* at all */", "no statement"),
    ("SELEC 1", "SELEC"),
    ("SELECT * FROM nowhere", "nowhere"),
    ("SELECT \"no such column\" FROM a", "no such column"),
    ("SELECT ?1", "parameters"),
    ("SELECT ?2, ?5", "5 parameters"),
];

#[tokio::test]
async fn are_refused_on_every_way_in_and_change_nothing() {
    let case = Case::new();
    let mut wrong = Vec::new();
    for (sql, part) in DENIED {
        // Each runs twice: a statement that the first attempt left in the cache must be refused as well.
        for _ in 0..2 {
            let mut transaction = case.database.begin(soon()).await.unwrap();
            let inside = transaction.query(sql, Vec::new()).await.map(drop);
            drop(transaction);
            let executed = case.execute(sql).await.map(drop);
            let ways = [
                ("query", case.query(sql).await.map(drop), *part),
                // `execute` may refuse a statement because it reads, before it finds the other reason.
                ("execute", executed, if sql.contains("SELECT ?") || sql.contains("nonsense") { "" } else { part }),
                ("transaction", inside, *part),
            ];
            for (way, result, part) in ways {
                if !matches!(&result, Err(error) if is_syntax(error, part)) {
                    wrong.push(format!("{way} {sql:?}: {result:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(case.number("SELECT count(*) FROM a").await, 0);
    assert_eq!(
        std::fs::read_dir(case.folder.path()).unwrap().count(),
        3,
        "there are files besides the database, -wal and -shm"
    );
}

#[tokio::test]
async fn the_hosts_own_statements_cannot_be_found_in_the_cache() {
    let case = Case::new();
    // At this point the writer has prepared and run BEGIN IMMEDIATE, COMMIT and ROLLBACK.
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    drop(case.database.begin(soon()).await.unwrap());
    for sql in ["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"] {
        let mut transaction = case.database.begin(soon()).await.unwrap();
        assert!(is_syntax(&transaction.query(sql, Vec::new()).await.unwrap_err(), "transaction"), "{sql}");
        assert_eq!(transaction.execute("INSERT INTO a VALUES (NULL, ?1, 1)", vec![sql.into()]).await, Ok(1));
        transaction.commit().await.unwrap();
    }
    assert_eq!(case.number("SELECT count(*) FROM a").await, 4);
}

#[tokio::test]
async fn reads_and_writes_are_told_apart() {
    let case = Case::new();
    let insert = "INSERT INTO a VALUES (1, 'x', 1) RETURNING id";
    assert!(is_syntax(&case.query(insert).await.unwrap_err(), "only reads"));
    assert!(is_syntax(&case.execute("SELECT 1").await.unwrap_err(), "writes"));
    let mut transaction = case.database.begin(soon()).await.unwrap();
    assert_eq!(number(&transaction.query(insert, Vec::new()).await.unwrap()), 1);
    assert!(is_syntax(&transaction.execute("SELECT 1", Vec::new()).await.unwrap_err(), "writes"));
    transaction.commit().await.unwrap();
    assert_eq!(case.number("SELECT id FROM a").await, 1);
}

#[tokio::test]
async fn ordinary_sql_is_allowed() {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1), (2, 'y', NULL) ON CONFLICT DO NOTHING").await.unwrap();
    for sql in [
        "SELECT json_extract('{\"a\": 1}', '$.a')",
        "SELECT count(*) FROM json_each('[1]')",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT max(i) / 9 FROM n",
        "SELECT id FROM a WHERE name LIKE 'x%' ORDER BY size LIMIT 1; -- a comment",
        "SELECT row_number() OVER (ORDER BY id) FROM a LIMIT 1;",
        "SELECT length(group_concat(name)) - 2 FROM a",
    ] {
        assert_eq!(case.number(sql).await, 1, "{sql}");
    }
    assert_eq!(case.query("EXPLAIN QUERY PLAN SELECT * FROM a WHERE id = 1").await.unwrap().len(), 1);
}
