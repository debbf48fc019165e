//! Tests of `watertight new`, `wit` and `explain` with the real binary: what is made in each language builds, passes its suites, its own
//! native tests, and answers calls, outside of this repository and in it. They need Go, Node.js 22.18 or newer with npm, Python with venv,
//! and for C the library SQLite.
//!
//! All cases share one folder for what Cargo builds, `target/new`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::components;
use watertight_testkit::host;
use watertight_testkit::paths::{repository, target};

/// What runs the native tests in a module's folder.
type NativeTests = &'static [&'static [&'static str]];

const NPM: &[&str] = &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"];

/// The languages of `--lang`, each with its native tests.
const LANGUAGES: [(&str, NativeTests); 6] = [
    ("rust", &[&["cargo", "test", "--quiet"]]),
    ("go", &[&["go", "vet", "./..."], &["go", "test", "./..."]]),
    ("javascript", &[NPM, &["node", "--test"]]),
    ("typescript", &[NPM, &["npm", "run", "--silent", "check"], &["node", "--test"]]),
    ("python", &[&["python3", "-m", "unittest", "discover", "tests"]]),
    ("c", &[&["make", "--silent", "test"]]),
];

/// The capabilities that modules with data use.
const USES: &str = "sql,logging,clocks,random,config,keyvalue,context";

fn watertight(folder: &Path, arguments: &[&str]) -> CommandOutput {
    let mut command = host::binary();
    command.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", target().join("new"));
    run(&mut command)
}

/// Runs a program in a folder, without the variables that Cargo sets for tests.
fn program(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]).current_dir(folder).env("CARGO_TARGET_DIR", target().join("new"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "CARGO_MANIFEST_DIR")
    {
        command.env_remove(name);
    }
    run(&mut command).expect(0);
}

/// Runs the native tests of a module. A package of npm without dependencies has no lock file, and nothing to install.
fn test_natively(module: &Path, commands: &[&[&str]]) {
    let needed = |command: &&&[&str]| command[0] != "npm" || module.join("package-lock.json").exists();
    commands.iter().filter(needed).for_each(|command| program(module, command));
}

/// Makes modules of a language with and without calls, with and without data, builds all and runs their native tests. Suites and calls run
/// on all of them too, or, where an engine takes long to compile, on the module that has everything.
fn every_combination_works(language: &str, is_slow: bool) {
    let native = LANGUAGES.iter().find(|(name, _)| *name == language).unwrap().1;
    let folder = host::folder();
    watertight(folder.path(), &["new", "app", "bazaar"]).expect(0);
    let app = folder.path().join("bazaar");
    let new = |name: &str, more: &[&str]| {
        watertight(&app, &[&["new", "module", name, "--lang", language], more].concat()).expect(0);
    };
    new("plain", &[]);
    new("data", &["--uses", "sql"]);
    new("asks", &["--calls", "items", "plain"]);
    new("asks-data", &["--calls", "items", "--uses", USES]);
    watertight(&app, &["build"]).expect(0);
    let said = watertight(&app, &["check"]).expect(0);
    assert!(!said.err.contains("unreached"), "{}", said.err);
    watertight(&app, &["wit", "check"]).expect(0);
    for name in ["plain", "data", "asks", "asks-data"] {
        test_natively(&app.join(name), native);
    }

    // Two cases of each contract, and one for each call.
    let tested: &[(&str, u64)] = match is_slow {
        true => &[("asks-data", 3)],
        false => &[("plain", 2), ("data", 2), ("asks", 4), ("asks-data", 3)],
    };
    for (name, cases) in tested {
        let report = watertight(&app, &["test", name, "--no-build", "--json"]).expect(0).json();
        let counts = (report[0]["passed"].as_u64(), report[0]["failed"].as_u64());
        assert_eq!(counts, (Some(*cases), Some(0)), "{report}");
    }
    // Outside of suites, each module answers too.
    if !is_slow {
        let answer = |call: &str, arguments: &[&str]| {
            watertight(&app, &[&["call", call], arguments, &["--json"]].concat()).expect(0).json()
        };
        assert_eq!(answer("plain/plain.greet", &["\"Ada\""])["ok"], "Hello, Ada!");
        assert_eq!(answer("asks/asks.ask-plain", &[]), true);
        assert_eq!(answer("asks-data/asks-data.add-item", &["\"tea\""])["ok"], serde_json::Value::Null);
        assert_eq!(answer("asks-data/asks-data.list-items", &[])["ok"][0]["text"], "tea");
        assert_eq!(answer("asks-data/asks-data.ask-items", &[]), true);
    }
    if language == "rust" {
        ["plain", "data", "asks", "asks-data"]
            .iter()
            .for_each(|name| program(&app.join(name), &["cargo", "fmt", "--check"]));
    }
    if language == "go" {
        let sources = ["plain", "asks/component", "asks-data/component"];
        let unformatted = run(Command::new("gofmt").arg("-l").args(sources).current_dir(&app));
        assert_eq!(unformatted.expect(0).out.lines().filter(|line| !line.contains("bindings")).count(), 0);
    }
}

#[test]
fn every_combination_works_in_rust() {
    every_combination_works("rust", false);
}

#[test]
fn every_combination_works_in_go() {
    every_combination_works("go", true);
}

#[test]
fn every_combination_works_in_javascript() {
    every_combination_works("javascript", true);
}

#[test]
fn every_combination_works_in_typescript() {
    every_combination_works("typescript", true);
}

#[test]
fn every_combination_works_in_python() {
    every_combination_works("python", true);
}

#[test]
fn every_combination_works_in_c() {
    every_combination_works("c", false);
}

/// In languages whose keywords no name of a module can become, a module may have any name.
#[test]
fn keywords_and_digits_are_names_of_modules_in_c() {
    let folder = host::folder();
    watertight(folder.path(), &["new", "app", "default", "--lang", "c"]).expect(0);
    let app = folder.path().join("default");
    watertight(&app, &["new", "module", "struct", "--lang", "c", "--uses", "sql"]).expect(0);
    watertight(&app, &["new", "module", "needs-2fa", "--lang", "c", "--calls", "struct"]).expect(0);
    watertight(&app, &["test"]).expect(0);
    for name in ["struct", "needs-2fa"] {
        test_natively(&app.join(name), &[&["make", "--silent", "test"]]);
    }
}

#[test]
fn an_unwritten_module_builds_in_every_language() {
    let folder = host::folder();
    watertight(folder.path(), &["new", "app", "bazaar"]).expect(0);
    let app = folder.path().join("bazaar");
    for (language, commands) in LANGUAGES {
        let name = format!("other-{language}");
        watertight(&app, &["new", "module", &name, "--lang", language, "--exports", "bazaar:items"]).expect(0);
        watertight(&app, &["build", "items", &name]).expect(0);
        test_natively(&app.join(&name), commands);
        // The suite of the contract runs, and fails: nothing is written yet.
        let said = watertight(&app, &["test", &name, "--no-build"]).expect(1);
        assert!(said.err.contains("0 passed, 2 failed"), "{}", said.err);
    }
}

/// A contract with two interfaces, a resource, and a function whose head has more than a line.
const STOCK: &str = "package bazaar:stock@1.0.0;

interface shelves {
    record place { row: u32, column: u32 }
    variant error { unknown(string), full }
    resource shelf {
        constructor(label: string);
        put: func(what: string, at: option<place>) -> result<u32, error>;
    }
    move-everything: func(from-warehouse: string, to-warehouse: string, at-most: u32, notes: list<string>) -> result<list<place>, error>;
    count: func() -> u64;
}

interface orders {
    use shelves.{place};
    order: func(what: string, to: place) -> bool;
}
";

#[test]
fn an_unwritten_module_has_all_interfaces_and_is_formatted() {
    let folder = host::folder();
    watertight(folder.path(), &["new", "app", "bazaar"]).expect(0);
    let app = folder.path().join("bazaar");
    fs::create_dir(app.join("wit/stock")).unwrap();
    fs::write(app.join("wit/stock/stock.wit"), STOCK).unwrap();
    // The settings of this repository are not those of an application.
    fs::write(app.join("rustfmt.toml"), "").unwrap();
    let languages = LANGUAGES.iter().filter(|(language, _)| ["rust", "go", "c"].contains(language));
    for (language, commands) in languages {
        let name = format!("stock-{language}");
        watertight(&app, &["new", "module", &name, "--lang", language, "--exports", "bazaar:stock"]).expect(0);
        watertight(&app, &["build", &name]).expect(0);
        test_natively(&app.join(&name), commands);
    }
    watertight(&app, &["new", "module", "asks", "--lang", "rust", "--calls", "items", "--uses", USES]).expect(0);
    for module in ["stock-rust", "asks"] {
        program(&app.join(module), &["cargo", "fmt", "--check"]);
    }
    let go = app.join("stock-go/component");
    let packages = ["export_bazaar_stock_orders", "export_bazaar_stock_shelves"];
    assert!(packages.iter().all(|package| go.join(package).join("component.go").is_file()));
    let unformatted = run(Command::new("gofmt").arg("-l").args(packages.map(|one| go.join(one).join("component.go"))));
    assert_eq!(unformatted.expect(0).out, "");

    // A C module without a test says so.
    let c = app.join("stock-c");
    fs::remove_dir_all(c.join("test")).unwrap();
    let said = run(Command::new("make").args(["--silent", "test"]).current_dir(&c)).expect(0);
    assert!(said.out.contains("no tests: test/ has no C file"), "{}", said.out);
}

/// Returns the block of a page in the language `diff`.
fn diff(page: &str) -> String {
    let text = fs::read_to_string(repository().join("host/docs/languages").join(page)).unwrap();
    text.split("```diff\n").nth(1).and_then(|rest| Some(rest.split_once("```")?.0.to_owned())).unwrap()
}

/// The first module of an application works in every language, also with the SDK: the pages on languages show what changes.
#[test]
fn an_application_begins_in_every_language_and_moves_to_the_sdk() {
    let folder = host::folder();
    // The settings of this repository are not those of an application.
    fs::write(folder.path().join("rustfmt.toml"), "").unwrap();
    for (language, commands) in LANGUAGES {
        let to = folder.path().join(language);
        fs::create_dir(&to).unwrap();
        watertight(&to, &["new", "app", "bazaar", "--lang", language]).expect(0);
        let app = to.join("bazaar");
        let module = app.join("items");
        watertight(&app, &["build"]).expect(0);
        test_natively(&module, commands);
        if !["rust", "go", "python"].contains(&language) {
            continue;
        }
        watertight(&app, &["sdk", "add", language]).expect(0);
        let changes = to.join("sdk.diff");
        fs::write(&changes, diff(&format!("{language}.md"))).unwrap();
        let mut patch = Command::new("patch");
        run(patch.args(["--strip=1", "--fuzz=0", "--input"]).arg(&changes).current_dir(&app)).expect(0);
        watertight(&app, &["build"]).expect(0);
        test_natively(&module, commands);
        if language == "rust" {
            program(&module, &["cargo", "fmt", "--check"]);
        }
        let said = watertight(&app, &["test", "--no-build"]).expect(0);
        assert!(said.err.contains("2 passed, 0 failed"), "{language}: {}", said.err);
    }
}

#[test]
fn applications_do_not_nest() {
    let folder = host::folder();
    let new = |at: &Path, more: &[&str]| watertight(at, &[&["new", "app", "bazaar"], more].concat());
    new(folder.path(), &[]).expect(0);
    let app = folder.path().join("bazaar");
    for (at, more) in [(&app, &[][..]), (&app.join("items"), &[]), (&app, &["--in", "items/../wit"])] {
        let said = new(at, more).expect(1);
        let manifest = app.join("app.toml").canonicalize().unwrap().display().to_string();
        for part in [&*manifest, "`watertight new module NAME`", "--in FOLDER"] {
            assert!(said.err.contains(part), "{part}: {}", said.err);
        }
        assert!(!at.join("bazaar").exists());
    }
    fs::create_dir(folder.path().join("elsewhere")).unwrap();
    new(&app, &["--in", "../elsewhere"]).expect(0);
}

/// Copies a file or folder, without what was built.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if !["target", "node_modules", ".git", ".watertight"].iter().any(|name| entry.file_name() == *name) {
                copy(&entry.path(), &to.join(entry.file_name()));
            }
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn this_repository_takes_a_module_too() {
    let folder = host::folder();
    for part in ["modules", "wit", "Cargo.toml"] {
        copy(&repository().join(part), &folder.path().join(part));
    }
    let said = watertight(
        folder.path(),
        &["new", "module", "baskets", "--lang", "rust", "--calls", "notifications", "payments", "--uses", "sql"],
    );
    said.expect(0);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("Cargo.toml").contains("    \"modules/baskets\",\n]"));
    assert!(read("modules/baskets/src/bindings.rs").contains("\"../../wit/sql\""), "contracts stand in `wit` here");
    assert!(read("modules/baskets/Cargo.toml").contains("wit-bindgen.workspace = true"));
    assert!(read("wit/baskets/baskets.wit").contains("ask-notifications"));
    assert!(!folder.path().join("wit/deps").exists());
}

#[test]
fn a_component_of_another_tool_gets_migrations() {
    let folder = host::folder();
    let at = |name: &str| folder.path().join(name);
    let wit = "package test:test@1.0.0; interface odd { f: func(); } world it { export odd; }";
    fs::write(at("made.wasm"), components::component(wit, "it")).unwrap();
    fs::create_dir(at("sql")).unwrap();
    fs::write(at("sql/0001_odd.sql"), "create table odd (id text primary key) strict;").unwrap();
    let build =
        |file: &str, more: &[&str]| watertight(folder.path(), &[&["build", file, "--out", "out"], more].concat());
    let named: &[&str] = &["--name", "odd", "--language", "ocaml", "--migrations", "sql"];
    build("made.wasm", named).expect(0);
    let report = watertight(folder.path(), &["inspect", "out/odd.wasm", "--json"]).expect(0).json();
    assert_eq!((report["name"].as_str(), report["language"].as_str()), (Some("odd"), Some("ocaml")));
    assert_eq!(report["migrations"][0]["name"], "0001_odd.sql");

    assert!(build("out/odd.wasm", named).expect(1).err.contains("it has the section already"));
    fs::write(at("text.wasm"), "no component").unwrap();
    assert!(build("text.wasm", named).expect(1).err.contains("can't become a module"));
    build("none.wasm", named).expect(1);
    build("made.wasm", &["--name", "odd"]).expect(2);
    fs::write(at("sql/0001_twice.sql"), "select 1;").unwrap();
    build("made.wasm", named).expect(1);
}

#[test]
fn a_code_is_explained() {
    let folder = host::folder();
    let explain = |code: &str| watertight(folder.path(), &["explain", code]);
    let said = explain("missing-export").expect(0).out;
    assert!(said.contains("error[missing-export]") && said.contains("**Mend.**"), "{said}");
    assert!(explain("missing-exprot").expect(1).err.contains("did you mean `missing-export`?"));
    // `check` says how to ask.
    let app: PathBuf = folder.path().join("app.toml");
    fs::write(&app, "[app]\nname = \"x\"\n[modules.a]\ncomponent = \"a.wasm\"\n").unwrap();
    let said = watertight(folder.path(), &["check"]).expect(1).err;
    assert!(said.ends_with("`watertight explain unreadable` says more\n"), "{said}");
}
