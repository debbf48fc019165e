//! Tests of finding the modules that a changed file is part of.

#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;

const FILES: [(&str, &str); 20] = [
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nexclude = [\"outside\"]\nmembers = [\"modules/alpha\", \"modules/beta\", \"modules/more\", \"modules/tests\"]\n",
    ),
    ("outside/Cargo.toml", "[package]\nname = \"outside\"\nedition = \"2024\"\n[workspace]\n"),
    ("outside/src/lib.rs", ""),
    (
        "modules/app.toml",
        "[app]\nname = \"app\"\nroutes = [\"routes/*.toml\"]\n[modules.alpha]\ncomponent = \"alpha\"\n[modules.beta]\ncomponent = \"beta\"\n[modules.gamma]\ncomponent = \"gamma\"\n[modules.done]\ncomponent = \"done.wasm\"\n",
    ),
    ("modules/routes/a.toml", ""),
    ("modules/done.wasm", ""),
    (
        "modules/alpha/Cargo.toml",
        "[package]\nname = \"alpha\"\nedition = \"2024\"\n[dependencies]\nmore = { path = \"../more\" }\n[dev-dependencies]\ntests = { path = \"../tests\" }\n",
    ),
    ("modules/alpha/src/lib.rs", ""),
    ("modules/alpha/wit/world.wit", "package m:alpha;\nworld alpha { import c:one/one@1.0.0; }\n"),
    (
        "modules/beta/Cargo.toml",
        "[package]\nname = \"beta\"\nedition = \"2024\"\n[build-dependencies]\noutside = { path = \"../../outside\" }\n",
    ),
    ("modules/beta/src/lib.rs", ""),
    ("modules/beta/wit/world.wit", "package m:beta;\nworld beta { export c:two/two@1.0.0; }\n"),
    ("modules/gamma/package.json", "{}"),
    ("modules/more/Cargo.toml", "[package]\nname = \"more\"\nedition = \"2024\"\n"),
    ("modules/more/src/lib.rs", ""),
    ("modules/tests/Cargo.toml", "[package]\nname = \"tests\"\nedition = \"2024\"\n"),
    ("modules/tests/src/lib.rs", ""),
    ("wit/one/one.wit", "package c:one@1.0.0;\ninterface one { a: func(); }\n"),
    ("wit/two/two.wit", "package c:two@1.0.0;\ninterface two { use c:three/three@1.0.0.{t}; b: func() -> t; }\n"),
    ("wit/three/three.wit", "package c:three@1.0.0;\ninterface three { type t = u32; }\n"),
];

/// Files, each with the modules that are rebuilt when it changes. `gamma` has no world, so it counts as depending on every contract.
const CASES: [(&str, &[&str]); 15] = [
    ("modules/alpha/src/lib.rs", &["alpha"]),
    ("modules/alpha/migrations/0001_a.sql", &["alpha"]),
    ("modules/beta/build.rs", &["beta"]),
    ("modules/gamma/main.js", &["gamma"]),
    ("modules/more/src/lib.rs", &["alpha"]),
    ("outside/src/lib.rs", &["beta"]),
    ("Cargo.lock", &["alpha", "beta"]),
    ("rust-toolchain.toml", &["alpha", "beta"]),
    ("wit/one/one.wit", &["alpha", "gamma"]),
    ("wit/two/two.wit", &["beta", "gamma"]),
    ("wit/three/three.wit", &["beta", "gamma"]),
    ("modules/routes/a.toml", &[]),
    ("modules/routes/b.toml", &[]),
    ("modules/app.toml", &[]),
    ("modules/done.wasm", &[]),
];

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    FILES.iter().for_each(|(file, text)| write(place.path(), file, text));
    place
}

fn write(place: &Path, file: &str, text: &str) {
    let path = place.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn modules(changes: &Changes) -> Vec<&str> {
    changes.modules.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn a_file_is_part_of_those_modules_that_read_it() {
    let place = place();
    let mut sources = Sources::new(place.path().to_owned(), Overrides::default());
    let look = sources.find_changes();
    assert!(look.config.is_ok() && look.has_changes, "{:?}", look.config);
    assert_eq!(modules(&look), ["alpha", "beta", "gamma"]);
    assert!(!sources.find_changes().has_changes);
    // Files that belong to no module.
    write(place.path(), "modules/tests/src/lib.rs", "// one more line\n");
    write(place.path(), "modules/readme.md", "");
    assert!(!sources.find_changes().has_changes);
    for (file, expected) in CASES {
        let before = fs::read_to_string(place.path().join(file)).unwrap_or_default();
        let comment = if file.ends_with(".wit") { "// a line\n" } else { "# a line\n" };
        write(place.path(), file, &format!("{before}{comment}"));
        let look = sources.find_changes();
        assert!(look.config.is_ok() && look.has_changes, "{file}");
        assert_eq!(modules(&look), expected, "{file}");
        let short = sources.display_path(&look.changed[0], look.config.as_ref().unwrap()).to_owned();
        assert_eq!((look.changed.len(), short), (1, file.into()));
        assert!(!sources.find_changes().has_changes, "{file} is news once");
    }
}

#[test]
fn what_decides_is_looked_at_anew() {
    let place = place();
    let mut sources = Sources::new(place.path().to_owned(), Overrides::default());
    sources.find_changes();
    let edit = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(place.path().join(file)).unwrap();
        assert!(text.contains(from), "{file}");
        write(place.path(), file, &text.replacen(from, to, 1));
    };
    // A world that imports another contract.
    edit("modules/alpha/wit/world.wit", "c:one/one", "c:two/two");
    assert_eq!(modules(&sources.find_changes()), ["alpha"]);
    edit("wit/two/two.wit", "b: func", "c: func");
    assert_eq!(modules(&sources.find_changes()), ["alpha", "beta", "gamma"]);
    // A package that depends on another one.
    edit(
        "modules/beta/Cargo.toml",
        "[build-dependencies]",
        "[dependencies]\nmore = { path = \"../more\" }\n[build-dependencies]",
    );
    assert_eq!(modules(&sources.find_changes()), ["beta"]);
    write(place.path(), "modules/more/src/lib.rs", "// another\n");
    assert_eq!(modules(&sources.find_changes()), ["alpha", "beta"]);
    // A contract that is temporarily invalid. Its users stay known.
    edit("wit/two/two.wit", "package c:two@1.0.0;", "package");
    assert_eq!(modules(&sources.find_changes()), ["alpha", "beta", "gamma"]);
    edit("wit/two/two.wit", "package", "package c:two@1.0.0;");
    assert_eq!(modules(&sources.find_changes()), ["alpha", "beta", "gamma"]);
    // A manifest that is temporarily invalid, while a module is edited.
    edit("modules/app.toml", "[app]", "[app");
    write(place.path(), "modules/alpha/src/lib.rs", "// another\n");
    let look = sources.find_changes();
    assert!(look.config.is_err() && look.has_changes);
    assert_eq!(modules(&look), ["alpha"]);
    assert!(!sources.find_changes().has_changes);
    // One module added, and one removed.
    edit("modules/app.toml", "[app", "[app]");
    edit("modules/app.toml", "[modules.gamma]\ncomponent = \"gamma\"", "[modules.more]\ncomponent = \"more\"");
    assert_eq!(modules(&sources.find_changes()), ["more"]);
    write(place.path(), "modules/gamma/main.js", "another");
    assert!(!sources.find_changes().has_changes);
}

#[test]
fn a_file_that_git_ignores_causes_no_build_unless_it_is_named() {
    let place = place();
    fs::create_dir(place.path().join(".git")).unwrap();
    write(place.path(), ".gitignore", "*.log\n/modules/alpha/made\n*.wasm\n");
    let mut sources = Sources::new(place.path().to_owned(), Overrides::default());
    sources.find_changes();
    for file in ["modules/alpha/a.log", "modules/alpha/made/a.rs", "modules/alpha/made/b/Cargo.toml"] {
        write(place.path(), file, "");
        assert!(!sources.find_changes().has_changes, "{file}");
    }
    // The manifest names this file.
    write(place.path(), "modules/done.wasm", "new");
    assert!(sources.find_changes().has_changes);
    write(place.path(), "modules/beta/made/a.rs", "");
    assert_eq!(modules(&sources.find_changes()), ["beta"]);
}

#[test]
fn a_file_that_every_build_writes_is_passed_by() {
    let place = place();
    let mut sources = Sources::new(place.path().to_owned(), Overrides::default());
    let generated = "modules/alpha/src/generated.rs";
    let first = sources.find_changes();
    let mut number = 0;
    let mut build = |sources: &mut Sources, changes: &Changes| {
        number += 1;
        write(place.path(), generated, &format!("// {number}\n"));
        sources.record_build(changes).len()
    };
    assert_eq!(build(&mut sources, &first), 0);
    // The first two changes may come from the author, who saved during a build.
    for found in [0, 1] {
        let look = sources.find_changes();
        assert_eq!((modules(&look), look.changed.len()), (vec!["alpha"], 1));
        assert_eq!(build(&mut sources, &look), found);
    }
    assert!(!sources.find_changes().has_changes);
    // A build of another file writes the generated file, too. That alone triggers no build.
    write(place.path(), "modules/alpha/src/lib.rs", "// more\n");
    let look = sources.find_changes();
    assert_eq!(look.changed.len(), 1);
    assert_eq!(build(&mut sources, &look), 0);
    assert!(!sources.find_changes().has_changes);
    // The author saves the generated file while no build runs.
    write(place.path(), generated, "// by hand\n");
    let look = sources.find_changes();
    assert_eq!((modules(&look), look.has_changes), (vec!["alpha"], true));
    assert_eq!(build(&mut sources, &look), 0);
    assert!(sources.find_changes().has_changes);
}

#[test]
fn what_an_author_saves_during_a_build_is_built() {
    let place = place();
    let mut sources = Sources::new(place.path().to_owned(), Overrides::default());
    let mut look = sources.find_changes();
    // The author saves another file during each build. None of them counts as generated.
    for (index, file) in ["lib.rs", "more.rs", "lib.rs", "more.rs", "lib.rs"].iter().enumerate() {
        write(place.path(), &format!("modules/alpha/src/{file}"), &format!("// {index}\n"));
        assert_eq!(sources.record_build(&look), Vec::<PathBuf>::new());
        look = sources.find_changes();
        assert!(look.has_changes && modules(&look) == ["alpha"], "{index}");
    }
}
