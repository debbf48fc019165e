//! The statements that the policy refuses and allows, as data: `policy/attacks.toml` and `policy/allowed.toml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::Deserialize;
use watertight_postgres::policy::{Allowed, Purpose, Refused, check, check_call, split_migration};

#[derive(Deserialize)]
struct Attacks {
    attack: Vec<Attack>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attack {
    sql: String,
    #[serde(default = "call", rename = "in")]
    place: String,
    code: String,
    #[serde(default)]
    says: String,
}

fn call() -> String {
    "call".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowedCases {
    migration: Vec<Case>,
    call: Vec<Case>,
    concurrent: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    sql: String,
    plain: Option<String>,
    #[serde(default)]
    writes: bool,
    #[serde(default)]
    locks: bool,
    /// Whether a server can prepare the statement: the tables of it exist. For `server.rs`.
    #[serde(default = "yes", rename = "prepare")]
    _prepare: bool,
}

fn yes() -> bool {
    true
}

fn types() -> Vec<String> {
    ["mood", "email"].map(str::to_owned).to_vec()
}

/// Checks the only statement of a migration.
fn migration(sql: &str, purpose: Purpose) -> Result<Allowed, Refused> {
    let mut types = types();
    types.push("positive_int".to_owned());
    let mut found = split_migration(sql)?;
    assert_eq!(found.len(), 1, "{sql}");
    check(found.remove(0), purpose, &types)
}

#[test]
fn attacks_are_refused_with_a_reason() {
    let cases: Attacks = toml::from_str(include_str!("policy/attacks.toml")).unwrap();
    let mut faults = Vec::new();
    for Attack { sql, place, code, says } in &cases.attack {
        let mut results = Vec::new();
        if place != "migration" {
            results.push(("call", check_call(sql, &types()).map_err(|refusal| (refusal.code(), refusal.to_string()))));
        }
        if place != "call" {
            let result = migration(sql, Purpose::Migration);
            results.push(("migration", result.map_err(|refused| (refused.refusal.code(), refused.to_string()))));
        }
        for (place, result) in results {
            match result {
                Err((found, text)) if found == code && text.contains(says.as_str()) => {}
                other => faults.push(format!("in a {place}: {sql}\n    {code} expected, found {other:?}")),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases.attack.len() >= 80);
}

#[test]
fn what_applications_write_passes() {
    let cases: AllowedCases = toml::from_str(include_str!("policy/allowed.toml")).unwrap();
    let mut faults = Vec::new();
    let mut judge = |case: &Case, result: Result<Allowed, String>, writes: bool| match result {
        Ok(found) => {
            if case.plain.as_ref().is_some_and(|plain| *plain != found.text) {
                faults.push(format!("{}\n    became {}", case.sql, found.text));
            }
            if (found.writes, found.locks) != (writes, case.locks) {
                faults.push(format!("{}\n    writes {}, locks {}", case.sql, found.writes, found.locks));
            }
            // The plain form is the plain form of itself, but for its placeholders.
            let again = check_call(&found.text.replace('$', "?"), &types());
            if writes == case.writes
                && !found.text.contains("'$")
                && again.map(|again| again.text) != Ok(found.text.clone())
            {
                faults.push(format!("{}\n    is not stable", found.text));
            }
        }
        Err(text) => faults.push(format!("{}\n    refused: {text}", case.sql)),
    };
    for case in &cases.call {
        judge(case, check_call(&case.sql, &types()).map_err(|refusal| refusal.to_string()), case.writes);
    }
    for case in &cases.migration {
        judge(case, migration(&case.sql, Purpose::Migration).map_err(|refused| refused.to_string()), true);
    }
    for case in &cases.concurrent {
        judge(case, migration(&case.sql, Purpose::ConcurrentIndex).map_err(|refused| refused.to_string()), true);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_migration_is_split_into_statements_with_their_lines() {
    let sql = "-- first\nCREATE TABLE a (x text DEFAULT ';');\n\n/* ; */ INSERT INTO a VALUES ($$;$$);;\nSELECT\n1";
    let found = split_migration(sql).unwrap();
    let lines: Vec<(usize, &str)> = found.iter().map(|found| (found.line, found.text.as_str())).collect();
    let expected = [(2, "create table a ( x text default ';' )"), (4, "insert into a values ( ';' )"), (5, "select 1")];
    assert_eq!(lines, expected);
    assert_eq!(split_migration("SELECT 1;\n\n'").unwrap_err().line, 3);
    assert_eq!(split_migration("-- nothing").unwrap_err().refusal.code(), "empty");
}

/// Statements at and beyond the bounds. None may end the process or take long.
#[test]
fn statements_are_bounded() {
    let refused = |sql: &str| check_call(sql, &[]).map_or_else(|refusal| refusal.code(), |_| "passed");
    assert_eq!(refused(&format!("SELECT {}1{}", "(".repeat(64), ")".repeat(64))), "passed");
    assert_eq!(refused(&format!("SELECT {}1{}", "(".repeat(65), ")".repeat(65))), "bound");
    assert_eq!(refused(&format!("SELECT {}1{}", "lower(".repeat(64), ")".repeat(64))), "passed");
    assert_eq!(refused(&format!("SELECT {}", "1 + ".repeat(9_990) + "1")), "passed");
    assert_eq!(refused(&format!("SELECT {}", "1, ".repeat(9_990) + "1")), "passed");
    assert_eq!(refused(&format!("SELECT {} true", "NOT ".repeat(19_990))), "passed");
    assert_eq!(refused(&format!("SELECT 1 {}", "UNION SELECT 1 ".repeat(6_000))), "passed");
    assert_eq!(refused(&format!("SELECT {}", "CASE WHEN true THEN ".repeat(4_990))), "syntax");
    assert_eq!(refused(&format!("SELECT {}", "1, ".repeat(100_000) + "1")), "bound");
    assert_eq!(refused(&format!("SELECT '{}'", "x".repeat(1024 * 1024))), "passed");
    assert_eq!(refused(&"(".repeat(1024 * 1024)), "bound");
    assert_eq!(refused(&"/*".repeat(512 * 1024)), "form");
    assert_eq!(refused(&"$a".repeat(512 * 1024)), "long-name");
    assert_eq!(refused(&format!("SELECT {}", "'a' ".repeat(15_000))), "syntax");
}
