//! Statements through the module's database: values, errors, limits, deadlines.

use std::time::{Duration, Instant};

use super::{Shop, soon};
use watertight_model::config::SqlLimits;
use watertight_postgres::{Database, Settings};
use watertight_sql::{ConstraintKind, SqlError, SqlLimit, Value};

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

async fn one(database: &Database, sql: &str, parameters: Vec<Value>) -> Result<Value, SqlError> {
    let rows = database.query(sql, parameters, soon()).await?;
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}");
    Ok(rows[0][0].clone())
}

/// Each row: a type, a parameter, and what comes back after a cast to this type.
#[tokio::test]
async fn values_of_each_type_come_back() {
    let shop = Shop::new();
    shop.migrate("CREATE TYPE mood AS ENUM ('happy', 'sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0)", &[]);
    let database = shop.open(Settings::default()).await;
    let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let same: [(&str, Value); 20] = [
        ("smallint", (-32_768).into()),
        ("integer", 2_147_483_647.into()),
        ("bigint", i64::MIN.into()),
        ("positive", 7.into()),
        ("real", 1.5.into()),
        ("double precision", 0.1.into()),
        ("double precision", f64::NEG_INFINITY.into()),
        ("numeric", 12_345_678_901_234.into()),
        ("numeric", (-3).into()),
        ("numeric(10, 2)", 12.34.into()),
        ("text", "größe 'x'".into()),
        ("varchar(3)", "abc".into()),
        ("bytea", vec![0_u8, 255, 10].into()),
        ("boolean", 1.into()),
        ("uuid", id.into()),
        ("date", "2026-12-01".into()),
        ("timestamp", "2026-12-01T10:00:00.5".into()),
        ("timestamptz", "0001-01-01T00:00:00Z".into()),
        ("time", "23:59:59.000001".into()),
        ("mood", "sad".into()),
    ];
    for (kind, value) in same {
        let back = one(&database, &format!("SELECT ?1::{kind}"), vec![value.clone()]).await;
        assert_eq!(back, Ok(value), "{kind}");
        let null = one(&database, &format!("SELECT ?1::{kind}"), vec![Value::Null]).await;
        assert_eq!(null, Ok(Value::Null), "{kind}");
    }
    for (kind, given, back) in [
        ("jsonb", text("{\"a\": [1,2]}"), text("{\"a\": [1, 2]}")),
        ("json", text("{\"a\":1}"), text("{\"a\":1}")),
        ("text", 5.into(), text("5")),
        ("text", 2.0.into(), text("2.0")),
        ("integer", 5.0.into(), 5.into()),
        ("integer", text("5"), 5.into()),
        ("double precision", 5.into(), 5.0.into()),
        ("double precision", f64::NAN.into(), Value::Null),
        ("numeric", text("0.0001"), 0.0001.into()),
        ("numeric", text("1000000.50"), 1_000_000.5.into()),
        ("numeric", text("5.00"), 5.into()),
        ("numeric", text("-0.5"), (-0.5).into()),
        ("numeric", text("100000000000000000000"), 1e20.into()),
        ("boolean", text("true"), 1.into()),
        ("timestamptz", text("2026-12-01T10:00:00+02:00"), text("2026-12-01T08:00:00Z")),
        ("timestamptz", text("1969-12-31 23:59:59Z"), text("1969-12-31T23:59:59Z")),
        ("date", text("2024-02-29"), text("2024-02-29")),
        ("int[]", text("{1,NULL,3}"), text("[1,null,3]")),
        ("text[]", text("{a,\"b \\\"c\"}"), text("[\"a\",\"b \\\"c\"]")),
        ("int[]", text("{{1,2},{3,4}}"), text("[[1,2],[3,4]]")),
        ("boolean[]", text("{t,f}"), text("[true,false]")),
        ("int[]", text("{}"), text("[]")),
        ("mood[]", text("{happy}"), text("[\"happy\"]")),
    ] {
        let found = one(&database, &format!("SELECT ?1::{kind}"), vec![given.clone()]).await;
        assert_eq!(found, Ok(back), "{kind} {given:?}");
    }
    for (sql, given, says) in [
        ("SELECT ?1::uuid", Value::from(5), "the parameter ?1 is an integer, which has no form in the type `uuid`"),
        ("SELECT ?1::bytea", text("x"), "?1 is a text"),
        ("SELECT ?1::text", vec![1_u8].into(), "?1 is a blob"),
        ("SELECT ?1::smallint", 32_768.into(), "an integer out of range"),
        ("SELECT ?1::integer", 1.5.into(), "a number with a fraction"),
        ("SELECT ?1::boolean", 2.into(), "an integer"),
        ("SELECT ?1::uuid", text("x"), "invalid input syntax"),
        ("SELECT ?1::interval AS pause", text("1 day"), "the column `pause` has the type `interval`"),
        ("SELECT ?1::date AS day", text("infinity"), "the column `day` has the type `date`"),
        ("SELECT ?1::timestamp AS day", text("10000-01-01"), "`timestamp`"),
        ("SELECT ?1::numeric AS n", text("NaN"), "`numeric`"),
        ("SELECT ?1::int4range", text("[1,2]"), "`int4range`"),
        ("SELECT ROW(1, ?1::int)", 2.into(), "`record`"),
        ("SELECT ?2::int", 1.into(), "takes 2 parameters, and 1 were given"),
        ("SELECT 1", 1.into(), "takes 0 parameters, and 1 were given"),
    ] {
        match one(&database, sql, vec![given]).await {
            Err(SqlError::Syntax(found)) if found.contains(says) => {}
            other => panic!("{sql}: {says} expected, found {other:?}"),
        }
    }
}

#[tokio::test]
async fn errors_are_those_of_the_contract() {
    let shop = Shop::new();
    let sql = "
        CREATE TABLE customers (id int PRIMARY KEY);
        CREATE TABLE orders (
            id int PRIMARY KEY, customer int REFERENCES customers, key text, line int, n int NOT NULL DEFAULT 1,
            code varchar(3), UNIQUE (key, line), CONSTRAINT positive CHECK (n > 0),
            late int REFERENCES customers DEFERRABLE INITIALLY DEFERRED);
        CREATE UNIQUE INDEX by_code ON orders (lower(code));
        INSERT INTO customers VALUES (1);
        INSERT INTO orders (id, customer, key, line, code) VALUES (1, 1, 'a', 1, 'x')";
    shop.migrate(sql, &[]);
    let database = shop.open(Settings::default()).await;
    use ConstraintKind::{Check, ForeignKey, NotNull, Other, Unique};
    for (sql, kind, detail) in [
        ("INSERT INTO orders (id) VALUES (1)", Unique, "orders.id"),
        ("INSERT INTO orders (id, key, line) VALUES (2, 'a', 1)", Unique, "orders.key, orders.line"),
        ("INSERT INTO orders (id, code) VALUES (2, 'X')", Unique, "orders."),
        ("INSERT INTO orders (id, customer) VALUES (2, 9)", ForeignKey, ""),
        ("INSERT INTO orders (id, late) VALUES (2, 9)", ForeignKey, ""),
        ("DELETE FROM customers", ForeignKey, ""),
        ("UPDATE orders SET n = NULL", NotNull, "orders.n"),
        ("UPDATE orders SET n = 0", Check, "positive"),
        ("UPDATE orders SET code = 'long'", Other, "value too long for type character varying(3)"),
    ] {
        let found = database.execute(sql, vec![], soon()).await;
        assert_eq!(found, Err(SqlError::Constraint { kind, detail: detail.to_owned() }), "{sql}");
    }
    let says = |error: SqlError, part: &str| matches!(&error, SqlError::Syntax(text) if text.contains(part));
    for (sql, part) in [
        ("SELECT * FROM nothing", "\"nothing\" does not exist"),
        ("SELECT nothing FROM orders", "\"nothing\" does not exist"),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT 'a' + 1", "invalid input syntax"),
        ("SELEC 1", "syntax error near `selec`"),
        ("SELECT pg_sleep(1)", "`pg_sleep` is denied"),
        ("INSERT INTO customers VALUES (2)", "only reads"),
        ("SELECT * FROM orders FOR UPDATE", "can't lock rows"),
        ("SELECT * FROM watertight_x", "reserved"),
    ] {
        let error = database.query(sql, vec![], soon()).await.unwrap_err();
        assert!(says(error.clone(), part), "{sql}: {error:?}");
    }
    let error = database.execute("SELECT 1", vec![], soon()).await.unwrap_err();
    assert!(says(error, "a statement that writes"));
    // Failed statements have changed nothing.
    let rows = database.query("SELECT id, n, code FROM orders", vec![], soon()).await.unwrap();
    assert_eq!(rows, [[1.into(), 1.into(), text("x")]]);
    assert_eq!(database.execute("UPDATE orders SET n = n + 1 RETURNING id", vec![], soon()).await, Ok(1));
}

#[tokio::test]
async fn statements_keep_their_limits_and_deadlines() {
    let shop = Shop::new();
    let database = shop.open(Settings::default()).await;
    let limited = |change: fn(&mut SqlLimits)| {
        let mut limits = SqlLimits::default();
        change(&mut limits);
        database.with_limits(limits)
    };
    let few = limited(|limits| limits.rows = 10);
    let series = "SELECT n FROM generate_series(1, ?1::int) AS n";
    assert_eq!(few.query(series, vec![10.into()], soon()).await.unwrap().len(), 10);
    assert_eq!(few.query(series, vec![11.into()], soon()).await, Err(SqlLimit::Rows(10).into()));
    let small = limited(|limits| limits.bytes = 1_000);
    assert_eq!(small.query("SELECT repeat('x', 1000)", vec![], soon()).await, Err(SqlLimit::Bytes(1_000).into()));
    assert_eq!(
        small.query("SELECT ?1", vec![text(&"x".repeat(1_000))], soon()).await,
        Err(SqlLimit::Bytes(1_000).into())
    );
    let long = format!("SELECT '{}'", "x".repeat(64 * 1024));
    assert_eq!(database.query(&long, vec![], soon()).await, Err(SqlLimit::Text(64 * 1024).into()));

    // Endless statements end on the server too.
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000000) AS n";
    let quick = limited(|limits| limits.time = Duration::from_millis(200));
    let limit = SqlLimit::Time(Duration::from_millis(200));
    assert_eq!(quick.query(endless, vec![], soon()).await, Err(limit.into()));
    let deadline = Instant::now() + Duration::from_millis(200);
    assert_eq!(database.query(endless, vec![], deadline).await, Err(SqlError::Timeout));
    let dropped = database.query(endless, vec![], soon());
    assert!(tokio::time::timeout(Duration::from_millis(200), dropped).await.is_err());
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%1000000000000%' AND pid <> pg_backend_pid()";
    let begun = Instant::now();
    while shop.server.sql(&shop.database, running) != "0" {
        assert!(begun.elapsed() < Duration::from_secs(20), "a statement goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(one(&database, "SELECT 1", vec![]).await, Ok(1.into()));
}

#[tokio::test]
async fn connections_and_those_that_wait_are_bounded() {
    let shop = Shop::new();
    let database =
        shop.open(Settings { connections: 2, queue: 2, lease: Duration::from_secs(5), ..Settings::default() }).await;
    // The statement is known to the policy from here on, so all three wait at the same time.
    assert_eq!(one(&database, "SELECT 1", vec![]).await, Ok(1.into()));
    let (first, second) = (database.begin(soon()).await.unwrap(), database.begin(soon()).await.unwrap());
    let wait = || database.query("SELECT 1", vec![], Instant::now() + Duration::from_millis(500));
    let (a, b, c) = tokio::join!(wait(), wait(), wait());
    let answers = [a, b, c].map(Result::unwrap_err);
    let count = |error: SqlError| answers.iter().filter(|answer| **answer == error).count();
    assert_eq!((count(SqlError::Timeout), count(SqlError::Busy)), (2, 1));
    drop((first, second));
    assert_eq!(one(&database, "SELECT 1", vec![]).await, Ok(1.into()));
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'watertight'";
    assert_eq!(shop.server.sql(&shop.database, count), "2");
    database.close();
    assert_eq!(database.query("SELECT 1", vec![], soon()).await, Err(SqlError::Closed));
}
