//! Checks that the table in `docs/limits.md` matches the code: each key of the manifest with its default and its bounds.

use std::collections::BTreeSet;
use std::fs;

use watertight_model::config::{self, AppConfig, Overrides};

struct Row {
    key: String,
    default: String,
    bounds: (String, String),
}

fn rows() -> Vec<Row> {
    let page = fs::read_to_string(super::root().join("host/docs/limits.md")).unwrap();
    let table = page.split("<!-- limits").nth(1).unwrap().split("<!-- /limits").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (from, to) = cells[3].split_once(" … ").unwrap();
        let bounds = (value(from), value(to));
        Row { key: cells[1].trim_matches('`').replace("NAME", "m"), default: value(cells[2]), bounds }
    };
    table.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

/// Returns a cell of the table as a TOML value: numbers as they are, values with a unit in quotes.
fn value(cell: &str) -> String {
    if cell.bytes().all(|byte| byte.is_ascii_digit()) {
        cell.to_owned()
    } else {
        format!("{:?}", cell.replace(' ', ""))
    }
}

/// Returns a TOML value with its number doubled, and the same unit.
fn doubled(value: &str) -> String {
    let number: String = value.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let twice = number.parse::<u64>().unwrap() * 2;
    value.replacen(&number, &twice.to_string(), 1)
}

fn load(line: &str) -> Result<AppConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!("{line}\n[app]\nname = \"a\"\n[modules.m]\ncomponent = \"m.wasm\"\n");
    // A table that a dotted key opened can't be opened again.
    let manifest = if line.starts_with("modules.m.") {
        format!("{line}\nmodules.m.component = \"m.wasm\"\n[app]\nname = \"a\"\n")
    } else {
        manifest
    };
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    config::load(folder.path(), &Overrides::default()).map_err(|problems| problems.to_string())
}

#[test]
fn the_table_of_limits_is_true() {
    let modules = |config: &AppConfig| {
        config.modules.values().map(|module| (module.settings.clone(), module.resume)).collect::<Vec<_>>()
    };
    let plain = load("").unwrap();
    for Row { key, default, bounds: (from, to) } in rows() {
        let same = load(&format!("{key} = {default}")).unwrap_or_else(|problems| panic!("{key}: {problems}"));
        let all = |config: &AppConfig| {
            (config.defaults, config.http, config.compile, config.telemetry.clone(), modules(config))
        };
        assert_eq!(all(&same), all(&plain), "{key} is not {default} by default");
        for bound in [&from, &to] {
            load(&format!("{key} = {bound}")).unwrap_or_else(|problems| panic!("{key} = {bound}: {problems}"));
        }
        let beyond = doubled(&to);
        assert!(load(&format!("{key} = {beyond}")).is_err(), "{key} = {beyond} is within its bounds");
    }
}

#[test]
fn the_table_has_every_limit() {
    let known: BTreeSet<String> = rows().into_iter().map(|row| row.key).collect();
    // These keys are no limits, or tables of limits.
    let others = [
        "defaults.limits.sql",
        "defaults.limits.stream",
        "defaults.instances.mode",
        "modules.m.http.allow",
        "modules.m.http.private",
        "http.compression",
        "http.openapi",
        "http.problems",
        "http.security_headers",
        "http.trusted_proxies",
    ];
    let tables = [
        "defaults.limits",
        "defaults.limits.sql",
        "defaults.limits.stream",
        "defaults.instances",
        "modules.m.http",
        "http",
        "compile",
    ];
    for table in tables {
        let problems = load(&format!("{table}.nothing = 1")).unwrap_err();
        let (_, keys) = problems.split_once("the keys here are ").unwrap();
        for key in keys.lines().next().unwrap().split('`').skip(1).step_by(2) {
            let key = format!("{table}.{key}");
            assert!(known.contains(&key) || others.contains(&&*key), "host/docs/limits.md doesn't say what {key} is");
        }
    }
}
