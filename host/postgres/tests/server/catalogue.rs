//! The lists of the policy compared with the server's catalogue, and the statements of `policy/allowed.toml` prepared.

use std::collections::BTreeSet;

use serde::Deserialize;
use watertight_postgres::policy::check_call;

use super::{Shop, soon};
use watertight_postgres::Settings;

/// Whether the policy allows a call of the function.
fn is_allowed(function: &str) -> bool {
    let statement = format!("SELECT \"{function}\"(1)");
    check_call(&statement, &[]).is_ok()
}

/// Whether the policy allows a cast to the type.
fn is_type_allowed(name: &str) -> bool {
    check_call(&format!("SELECT NULL::\"{name}\""), &[]).is_ok()
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn no_allowed_function_has_effects_or_runs_sql() {
    let shop = Shop::new();
    let sql = "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace";
    let of = |condition: &str| shop.server.sql(&shop.database, &format!("{sql} AND {condition}"));
    // A volatile function may have an effect, or another value at each call.
    let volatile = of("provolatile = 'v' AND prokind = 'f'");
    let allowed: Vec<&str> = lines(&volatile).into_iter().filter(|name| is_allowed(name)).collect();
    assert_eq!(allowed, ["clock_timestamp", "gen_random_uuid", "random"]);
    // Types that name objects of the catalogue, and cursors.
    let reaching = of("EXISTS (SELECT FROM unnest(proargtypes || proallargtypes) AS t JOIN pg_type ON oid = t
        WHERE typname IN ('regclass', 'regproc', 'regtype', 'regrole', 'regnamespace', 'refcursor', 'oid', 'aclitem', 'name', 'xml',
            'pg_lsn', 'pg_snapshot', 'txid_snapshot', 'cstring', 'internal'))");
    let allowed: Vec<&str> = lines(&reaching).into_iter().filter(|name| is_allowed(name)).collect();
    // They compare or measure a value of such a type, which a statement can't make.
    let known = ["length", "max", "min"];
    let surprising: Vec<&str> = allowed.into_iter().filter(|name| !known.contains(name)).collect();
    assert!(surprising.is_empty(), "{surprising:?}");
    // Attribute notation calls a function on a whole row: `orders.row_to_json`. All that take a row are harmless.
    let rows =
        of("pronargs = 1 AND proargtypes[0] IN ('record'::regtype, 'anyelement'::regtype, 'anynonarray'::regtype,
        'anycompatible'::regtype, 'anycompatiblenonarray'::regtype, '\"any\"'::regtype) AND provolatile = 'v'");
    assert_eq!(rows, "");
}

#[test]
fn no_operator_has_effects_and_no_relation_hides() {
    let shop = Shop::new();
    let volatile = "SELECT oprname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE p.provolatile = 'v'";
    assert_eq!(shop.server.sql(&shop.database, volatile), "");
    // Relations of the catalogue are refused by the beginning of their names.
    let other = "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname !~ '^pg_'";
    assert_eq!(shop.server.sql(&shop.database, other), "");
    let types = shop.server.sql(
        &shop.database,
        "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND (typtype = 'p' OR typname ~ '^(reg|pg_|_)'
            OR typname IN ('oid', 'xid', 'xid8', 'cid', 'tid', 'refcursor', 'aclitem', 'txid_snapshot', 'xml', 'name'))",
    );
    let allowed: Vec<&str> = lines(&types).into_iter().filter(|name| is_type_allowed(name)).collect();
    assert!(allowed.is_empty(), "{allowed:?}");
}

#[derive(Deserialize)]
struct Cases {
    migration: Vec<Case>,
    call: Vec<Case>,
    concurrent: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sql: String,
    #[serde(default = "yes")]
    prepare: bool,
}

fn yes() -> bool {
    true
}

/// Every statement that passes is one of the server's language, in the plain form too.
#[tokio::test]
async fn what_applications_write_runs() {
    let cases: Cases = toml::from_str(include_str!("../policy/allowed.toml")).unwrap();
    let shop = Shop::new();
    let types = ["mood", "email", "positive_int"].map(str::to_owned);
    shop.migrate(
        "CREATE TYPE mood AS ENUM ('happy', 'sad'); CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%')",
        &types,
    );
    for case in &cases.migration {
        shop.migrate(&case.sql, &types);
    }
    let database = shop.open(Settings::default()).await;
    let mut faults = Vec::new();
    for Case { sql, .. } in cases.call.iter().filter(|case| case.prepare) {
        let allowed = check_call(sql, &types).unwrap();
        let prepared = shop.run(&shop.orders.login, &format!("PREPARE p AS {}", allowed.text));
        faults.extend(prepared.err().map(|error| format!("{sql}\n{error}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(cases.concurrent.len(), 1);
    let rows = database.query("SELECT count(*) FROM customers", vec![], soon()).await.unwrap();
    assert_eq!(rows, [[10.into()]]);
}
