//! Tests of `watertight dev`: the real binary follows the edits in copies of small workspaces.
//!
//! The module `rust` compiles Rust sources. The other tests replace component files, which a manifest may also name.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use watertight_component::artifact::{Docs, ModuleSection};
use watertight_model::migration::Migration;
use watertight_testkit::command;
use watertight_testkit::components;
use watertight_testkit::host;
use watertight_testkit::wire;
use wit_component::{StringEncoding, metadata};
use wit_parser::Resolve;

mod anew;
mod author;
mod built_first;
mod fakes;
mod generated;

use author::{Author, SILENCE, TIMEOUT};

/// Returns the status and the text of the answer to a `GET` request.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = wire::once(address, &wire::get(path)).unwrap();
    (answer.status, answer.text)
}

const CALC: &str = "
package a:calc@1.0.0;
/// Reckons.
interface calc {
    /// The sum.
    add: func(left: u32, right: u32) -> u32;
}
world module { export calc; }
";

/// The Rust source of the module `calc`. Its bindings are written by hand, so that it needs no crates. `meta.bin` has what
/// `wit_bindgen::generate!` would embed.
const CODE: &str = r#"
#[unsafe(export_name = "a:calc/calc@1.0.0#add")]
pub extern "C" fn add(left: u32, right: u32) -> u32 { more::more(left + right) }

#[used]
#[unsafe(link_section = "component-type:module")]
static META: [u8; include_bytes!("../meta.bin").len()] = *include_bytes!("../meta.bin");
"#;

const SUM: &str = "[[route]]\nmethod = \"GET\"\npath = \"/sum\"\ncall = \"calc/calc.add\"\n";

fn package(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{rest}\n")
}

/// Creates a workspace with a Rust module, `calc`, which depends on the crate `more` in the same workspace, and starts `watertight dev` on
/// it.
fn rust() -> Author {
    let mut resolve = Resolve::default();
    let package_id = resolve.push_str("calc.wit", CALC).unwrap();
    let world = resolve.select_world(&[package_id], Some("module")).unwrap();
    let meta = metadata::encode(&resolve, world, StringEncoding::UTF8, None, false).unwrap();
    let module = package("calc", "[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nmore = { path = \"../more\" }");
    Author::new(&[
        ("Cargo.toml", b"[workspace]\nresolver = \"3\"\nmembers = [\"modules/calc\", \"modules/more\"]\n"),
        ("wit/calc/calc.wit", CALC.replace("world module { export calc; }\n", "").as_bytes()),
        (
            "modules/app.toml",
            b"[app]\nname = \"reckoning\"\nroutes = [\"*.routes.toml\"]\n[modules.calc]\ncomponent = \"calc\"\n",
        ),
        ("modules/calc.routes.toml", SUM.as_bytes()),
        ("modules/calc/Cargo.toml", module.as_bytes()),
        ("modules/calc/wit/world.wit", b"package a:module;\nworld module { export a:calc/calc@1.0.0; }\n"),
        ("modules/calc/meta.bin", &meta),
        ("modules/calc/src/lib.rs", CODE.as_bytes()),
        ("modules/more/Cargo.toml", package("more", "").as_bytes()),
        ("modules/more/src/lib.rs", b"pub fn more(number: u32) -> u32 { number }\n"),
    ])
}

#[test]
fn what_is_saved_is_built_and_serves() {
    let mut author = rust();
    author.write("modules/calc/src/lib.rs", "fn broken(");
    author.start();
    // Nothing serves before the first successful build, and a failed build doesn't end the process.
    let said = author.hears(&["failed", "nothing serves yet"]);
    assert!(said.contains("unclosed delimiter"), "{said}");
    author.write("modules/calc/src/lib.rs", CODE);
    let address = author.serves();
    let sum = || get(address, "/sum?left=1&right=2");
    assert_eq!(sum(), (200, "3".to_owned()));

    author.edit("modules/calc/src/lib.rs", "left + right", "left + right + 10");
    author.hears(&["live modules/calc/src/lib.rs: calc built in ", "generation 2 serves"]);
    assert_eq!(sum().1, "13");

    // The compiler's message is shown, and the last good build still serves.
    author.edit("modules/calc/src/lib.rs", "left + right", "left + wrong");
    let said = author.hears(&["failed modules/calc/src/lib.rs: calc can't be built", "generation 2 goes on"]);
    assert!(said.contains("error[E0425]") && said.contains("--> modules/calc/src/lib.rs:3:"), "{said}");
    assert_eq!(sum().1, "13");
    author.edit("modules/calc/src/lib.rs", "left + wrong", "left + right");
    author.hears(&["same modules/calc/src/lib.rs", "generation 2 serves"]);

    // None of these files is a change. The build output is in the workspace as well.
    author.edit("modules/calc/src/lib.rs", "left", "left");
    author.write("modules/calc/src/.lib.rs.swp", "an editor's");
    author.write("modules/calc/src/lib.rs~", "an editor's");
    author.write("modules/calc/.git/index", "a tool's");
    author.write("modules/calc/.gitignore", "/made\n");
    author.write("modules/calc/made/code.rs", "a tool's");
    assert!(author.path("target/CACHEDIR.TAG").is_file() && author.path("target/components/dev/calc.wasm").is_file());
    author.stays_silent();
    assert!(!author.path("target/components/calc.wasm").exists(), "`dev` wrote the component that `run` uses");

    // A dependency of the module is written to a temporary file and renamed.
    author.write("modules/more/src/.lib.rs.aside", "pub fn more(number: u32) -> u32 { number + 100 }\n");
    fs::rename(author.path("modules/more/src/.lib.rs.aside"), author.path("modules/more/src/lib.rs")).unwrap();
    author.hears(&["live modules/more/src/lib.rs: calc built in ", "generation 3 serves"]);
    assert_eq!(sum().1, "113");

    // A change of the contract's documentation is a change of the component.
    author.edit("wit/calc/calc.wit", "The sum.", "The sum, and more.");
    author.hears(&["live wit/calc/calc.wit: calc built in ", "generation 4 serves"]);

    // A folder disappears and comes back, first as a whole and then file by file.
    let module = author.path("modules/calc");
    fs::rename(&module, author.path("calc")).unwrap();
    author.hears(&["failed", "generation 4 goes on"]);
    fs::rename(author.path("calc"), &module).unwrap();
    author.hears(&["same", "generation 4 serves"]);
    author.edit("modules/calc/src/lib.rs", "+ 10", "+ 20");
    author.hears(&["live modules/calc/src/lib.rs: calc built in ", "generation 5 serves"]);
    assert_eq!(sum().1, "123");

    // Other commands find this host, although it doesn't use the state folder of `run`.
    let call = ["call", "calc/calc.add", "1", "2", "--app", author.place.path().to_str().unwrap()];
    assert_eq!(command::run(host::binary().args(call)).expect(0).json(), 123);
    author.stop();
    assert!(!author.path("modules/.watertight").exists());
}

const TAGS: &str = "
package t:tags@1.0.0;
interface tags { tag: func() -> u32; }
interface others { tag: func() -> u32; }
world tags-world { export tags; }
world others-world { export others; }
world both-world { import others; export tags; }
";

/// Returns a component whose function `tag` returns the number `tag`. `interface` is the name of the exported interface.
fn tagged(interface: &str, tag: u32) -> Vec<u8> {
    let core = format!("(module (func (export \"t:tags/{interface}@1.0.0#tag\") (result i32) (i32.const {tag})))");
    components::component_of(TAGS, &format!("{interface}-world"), &core)
}

const TAGS_MANIFEST: &str =
    "[app]\nname = \"tags\"\nroutes = [\"routes/*.toml\"]\n[modules.tags]\ncomponent = \"tags.wasm\"\n";
const TAGS_ROUTE: &str = "[[route]]\nmethod = \"GET\"\npath = \"/tag\"\ncall = \"tags/tags.tag\"\n";

fn tags() -> Author {
    Author::new(&[("app.toml", TAGS_MANIFEST.as_bytes()), ("routes/tags.toml", TAGS_ROUTE.as_bytes())])
}

#[test]
fn manifest_routes_and_components_are_applied() {
    let mut author = tags();
    author.start();
    let said = author.hears(&["failed", "nothing serves yet"]);
    assert!(said.contains("error[unreadable] there is no such component file"), "{said}");
    author.write("tags.wasm", tagged("tags", 1));
    let address = author.serves();
    let tag = || get(address, "/tag");
    assert_eq!(tag(), (200, "1".to_owned()));
    author.write("tags.wasm", tagged("tags", 2));
    author.hears(&["live tags.wasm: put in place in ", "generation 2 serves"]);
    assert_eq!(tag().1, "2");

    // Refusals are reported as by `check`, and change nothing.
    author.write("tags.wasm", tagged("others", 3));
    let said = author.hears(&["failed tags.wasm: refused", "generation 2 goes on"]);
    assert!(said.contains("error[unknown-function]") && said.contains("routes/tags.toml:4"), "{said}");
    assert_eq!(tag().1, "2");
    author.write("tags.wasm", "half a f");
    let said = author.hears(&["failed tags.wasm: refused"]);
    assert!(said.contains("error[not-a-component]"), "{said}");
    author.write("tags.wasm", tagged("tags", 4));
    author.hears(&["live tags.wasm", "generation 3 serves"]);

    // Each of these edits gets its own line.
    author.write("routes/more.toml", TAGS_ROUTE.replace("\"/tag\"", "\"/more\""));
    author.hears(&["live routes/more.toml: put in place in ", "generation 4 serves"]);
    assert_eq!(get(address, "/more").1, "4");
    author.write("app.toml", "[app]\nname = ");
    let said = author.hears(&["failed app.toml", "generation 4 goes on"]);
    assert!(said.contains("error[syntax]") && said.contains("app.toml:2"), "{said}");
    fs::remove_file(author.path("app.toml")).unwrap();
    author.hears(&["failed app.toml", "generation 4 goes on"]);
    let manifest = format!("{TAGS_MANIFEST}[modules.others]\ncomponent = \"others.wasm\"\n");
    author.write("app.toml", &manifest);
    let said = author.hears(&["failed app.toml", "refused; generation 4 goes on"]);
    assert!(said.contains("others"), "{said}");
    author.write("others.wasm", tagged("others", 5));
    author.hears(&["live others.wasm", "generation 5 serves"]);
    author.write("routes/more.toml", TAGS_ROUTE.replace("\"/tag\"", "\"/more\"").replace("tags/tags", "others/others"));
    author.hears(&["live routes/more.toml", "generation 6 serves"]);
    assert_eq!(get(address, "/more").1, "5");
    // The line of the last edit is the last line: no edit is applied twice.
    author.write("app.toml", format!("# a comment\n{manifest}"));
    author.hears(&["same app.toml", "generation 6 serves"]);
    author.stays_silent();
    author.stop();

    // A new process resumes the last generation.
    author.start();
    let said = author.hears(&["live generation 6 serves on "]);
    assert!(!said.contains("failed"), "{said}");
    author.stop();
}

#[test]
fn many_saves_at_once_are_few_changes() {
    let mut author = tags();
    author.write("tags.wasm", tagged("tags", 0));
    author.start();
    let address = author.serves();
    for tag in 1..=200 {
        author.write("tags.wasm", tagged("tags", tag));
    }
    let begun = Instant::now();
    while get(address, "/tag").1 != "200" {
        assert!(begun.elapsed() < TIMEOUT, "{}", author.news());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(SILENCE);
    let lines = author.news().lines().count();
    assert!((1..=50).contains(&lines), "{lines} lines: {}", author.news());
    author.stop();
}

const FIRST: (&str, &str) = ("0001_a.sql", "CREATE TABLE a (id INTEGER)");

/// Returns a component of a module with a database and these migrations.
fn with_data(migrations: &[(&str, &str)]) -> Vec<u8> {
    with_migrations(tagged("tags", 1), migrations)
}

fn with_migrations(mut component: Vec<u8>, migrations: &[(&str, &str)]) -> Vec<u8> {
    let migrations = migrations.iter().map(|(name, sql)| Migration::new((*name).to_owned(), (*sql).to_owned()));
    let name = "tags".parse().unwrap();
    let section = ModuleSection::new(&component, name, "wat", migrations.collect(), Docs::default());
    section.unwrap().append_to(&mut component).unwrap();
    component
}

/// Returns the names of the tables in the module's database, without the host's own tables.
fn tables(state: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(state.join("data/tags.db")).unwrap();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'watertight%' ORDER BY name";
    let mut found = database.prepare(sql).unwrap();
    found.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn edited_migrations_make_a_database_anew_and_only_here() {
    const EDITED: (&str, &str) = ("0001_a.sql", "CREATE TABLE b (id INTEGER)");
    let mut author = tags();
    author.write("app.toml", format!("{TAGS_MANIFEST}uses = [\"sql\"]\n"));
    author.write("tags.wasm", with_data(&[FIRST]));
    let state = author.path(".watertight-dev");
    author.start();
    let address = author.serves();
    assert_eq!(tables(&state), ["a"]);

    // A migration that fails removes nothing.
    author.write("tags.wasm", with_data(&[("0001_a.sql", "CREATE TABLE no sense")]));
    let said = author.hears(&["failed tags.wasm: refused"]);
    assert!(said.contains("error[migration]") && !said.contains("removed") && tables(&state) == ["a"], "{said}");
    // A further migration is applied to the existing database. An edited one recreates it, while a host runs or at a start.
    author.write("tags.wasm", with_data(&[FIRST, ("0002_c.sql", "CREATE TABLE c (id INTEGER)")]));
    assert!(!author.hears(&["live tags.wasm"]).contains("removed"));
    assert_eq!(tables(&state), ["a", "c"]);
    // A missing migration also recreates the database, as after a change of branches, even if it was a contraction.
    author.write("tags.wasm", with_data(&[FIRST, ("0002_c.sql", "-- contract\nCREATE TABLE d (id INTEGER)")]));
    author.hears(&["live tags.wasm"]);
    author.write("tags.wasm", with_data(&[FIRST]));
    let said = author.hears(&["live tags.wasm"]);
    assert!(said.contains("`0002_c.sql` was edited, renamed or removed") && tables(&state) == ["a"], "{said}");
    author.write("tags.wasm", with_data(&[EDITED]));
    let said = author.hears(&["live tags.wasm"]);
    assert!(said.contains("the database of `tags` was removed") && said.contains("`0001_a.sql`"), "{said}");
    assert_eq!((tables(&state), get(address, "/tag").0), (vec!["b".to_owned()], 200));
    author.stop();
    author.write("tags.wasm", with_data(&[FIRST]));
    author.start();
    assert!(author.hears(&["live"]).contains("was removed with all its rows"));
    assert_eq!(tables(&state), ["a"]);
    author.stop();

    // `run` has its own state folder, in which nothing is removed. Neither command accepts the state folder of the other.
    let manifest = author.path("app.toml");
    let run = || host::Launch::app(&manifest);
    let of_run = author.path(".watertight");
    run().state(&of_run).start().kill();
    assert_eq!(tables(&of_run), ["a"]);
    author.write("tags.wasm", with_data(&[EDITED]));
    for (state, refusal) in
        [(&of_run, "`0001_a.sql` was changed after it was applied"), (&state, "belongs to `watertight dev`")]
    {
        let (status, log) = run().state(state).expect_end();
        assert!(!status.success() && log.contains(refusal), "{log}");
    }
    let said = command::run(&mut author.command(&["--state", of_run.to_str().unwrap()])).expect(1);
    assert!(said.err.contains("was used by `watertight run`"), "{}", said.err);
    assert_eq!((tables(&of_run), tables(&state)), (vec!["a".to_owned()], vec!["a".to_owned()]));
}
