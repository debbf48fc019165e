//! Tests of building module folders.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use wit_component::StringEncoding;
use wit_parser::Resolve;

use super::*;

const WIT: &str = "
package a:calc@1.0.0;

/// Reckons.
interface calc {
    /// A pair
    /// of numbers.
    record pair {
        /// The left one.
        left: u32,
        right: u32,
    }
    /// The sum.
    add: func(left: u32, right: u32) -> u32;
    pairs: func() -> pair;
}

world alpha { export calc; }
";

/// The Rust code of a test module. Its bindings are written by hand, so that it needs no dependency. `meta.bin` has what
/// `wit_bindgen::generate!` would embed.
const CODE: &str = r#"
#[unsafe(export_name = "a:calc/calc@1.0.0#add")]
pub extern "C" fn add(left: u32, right: u32) -> u32 { left.wrapping_add(right) }

static PAIR: [u32; 2] = [1, 2];
#[unsafe(export_name = "a:calc/calc@1.0.0#pairs")]
pub extern "C" fn pairs() -> *const u32 { PAIR.as_ptr() }

#[used]
#[unsafe(link_section = "component-type:alpha")]
static META: [u8; include_bytes!("../meta.bin").len()] = *include_bytes!("../meta.bin");
"#;

/// A workspace with the sources of modules, in a temporary folder.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"modules/*\"]\n");
        place.write("wit/calc/calc.wit", WIT);
        place.write("wit/broken/broken.wit", "package ;");
        place
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a complete Rust module with this name. Returns its folder.
    fn module(&self, name: &str) -> PathBuf {
        self.package(name, "crate-type = [\"cdylib\"]");
        self.write(&format!("modules/{name}/src/lib.rs"), CODE);
        let mut resolve = Resolve::default();
        let package = resolve.push_str("calc.wit", WIT).unwrap();
        let world = resolve.select_world(&[package], Some("alpha")).unwrap();
        let meta = wit_component::metadata::encode(&resolve, world, StringEncoding::UTF8, None, false).unwrap();
        self.write(&format!("modules/{name}/meta.bin"), meta);
        self.folder(name)
    }

    fn package(&self, name: &str, lib: &str) {
        let manifest = format!("[package]\nname = \"the-{name}\"\nedition = \"2024\"\n[lib]\n{lib}\n");
        self.write(&format!("modules/{name}/Cargo.toml"), manifest);
        self.write(&format!("modules/{name}/src/lib.rs"), "");
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join("modules").join(name)
    }

    fn options(&self) -> Options {
        Options::of(self.0.path().to_owned())
    }

    /// Builds these modules, and returns the events that the listener got.
    fn build(&self, folders: &[PathBuf], options: &Options) -> (Result<Vec<Built>, BuildErrors>, Vec<String>) {
        let heard = Mutex::new(Vec::new());
        let listener = |event: Event<'_>| heard.lock().unwrap().push(format!("{event:?}"));
        let result = build(folders, options, &listener);
        (result, heard.into_inner().unwrap())
    }

    fn errors(&self, folders: &[PathBuf]) -> BuildErrors {
        self.build(folders, &self.options()).0.unwrap_err()
    }
}

#[test]
fn modules_become_components_that_carry_all_that_belongs_to_them() {
    let place = Place::new();
    let folders = [place.module("alpha"), place.module("beta")];
    place.write("modules/alpha/migrations/0002_more.sql", "create table more (id text);");
    place.write("modules/alpha/migrations/0001_items.sql", "create table items (id text);");
    place.write("modules/alpha/migrations/README.md", "not a migration");

    let (result, heard) = place.build(&folders, &place.options());
    let built = result.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(built.iter().map(|built| built.name.as_str()).collect::<Vec<_>>(), ["alpha", "beta"]);
    assert!(built.iter().all(|built| built.changed));
    let runs = heard.iter().filter(|event| event.starts_with("Compiling")).count();
    assert_eq!(runs, 2, "{heard:?}");
    assert!(heard.iter().any(|event| event.starts_with("Warning") && event.contains("broken")), "{heard:?}");

    let path = place.0.path().join("target/components/alpha.wasm");
    assert_eq!(built[0].path, path);
    let artifact = Artifact::load(&path, MAX_COMPONENT_BYTES).unwrap();
    assert_eq!((artifact.digest, artifact.build()), (built[0].digest, built[0].build.clone()));
    let embedded = artifact.section.as_ref().unwrap();
    assert_eq!((embedded.name.as_str(), embedded.language.as_str()), ("alpha", "rust"));
    let migrations: Vec<_> = artifact.migrations().iter().map(|migration| migration.name.as_str()).collect();
    assert_eq!(migrations, ["0001_items.sql", "0002_more.sql"]);

    assert!(artifact.shape.imports.is_empty() && artifact.shape.bare_imports.is_empty());
    let name = "a:calc/calc@1.0.0".parse().unwrap();
    let interface = &artifact.shape.exports[&name];
    assert_eq!(interface.docs.as_deref(), Some("Reckons."));
    assert_eq!(interface.functions["add"].docs.as_deref(), Some("The sum."));
    let types: Vec<_> = embedded.docs.0[&name].types.iter().map(|(name, docs)| format!("{name}: {docs}")).collect();
    assert_eq!(types, ["pair: A pair\nof numbers.", "pair.left: The left one."]);
    assert!(!path.with_extension("wasm.part").exists());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);

    // A second build gives the same file. It doesn't write it, and marks it as newer than the sources.
    let before = fs::metadata(&path).unwrap();
    place.write("modules/alpha/migrations/README.md", "still not a migration");
    let (again, _) = place.build(&folders, &place.options());
    assert!(again.unwrap().iter().all(|built| !built.changed));
    let after = fs::metadata(&path).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&after), std::os::unix::fs::MetadataExt::ino(&before));
    assert!(after.modified().unwrap() > before.modified().unwrap());

    // A further migration gives another build id. Names and another output folder give another file.
    place.write("modules/alpha/migrations/0003_last.sql", "create table last (id text);");
    let options = Options { profile: Profile::Debug, out: Some(place.0.path().join("elsewhere")), ..place.options() };
    let debug = place.build(&folders[..1], &options).0.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(debug[0].path.ends_with("elsewhere/alpha.wasm"));
    assert_ne!(debug[0].build, built[0].build);
    assert!(debug[0].size > built[0].size);
}

#[test]
fn a_module_does_not_depend_on_which_others_are_built() {
    let place = Place::new();
    let folders = [place.module("alpha"), place.module("beta")];
    place.write(
        "modules/shared/Cargo.toml",
        "[package]\nname = \"shared\"\nedition = \"2024\"\n[features]\nmore = []\n",
    );
    place.write("modules/shared/src/lib.rs", "pub const EXTRA: u32 = if cfg!(feature = \"more\") { 4711 } else { 1 };");
    for (name, features) in [("alpha", ""), ("beta", "\"more\"")] {
        let manifest = fs::read_to_string(place.folder(name).join("Cargo.toml")).unwrap();
        let dependency = format!("[dependencies]\nshared = {{ path = \"../shared\", features = [{features}] }}\n");
        place.write(&format!("modules/{name}/Cargo.toml"), manifest + &dependency);
        let code = CODE.replace("left.wrapping_add(right)", "left.wrapping_add(right).wrapping_mul(shared::EXTRA)");
        place.write(&format!("modules/{name}/src/lib.rs"), code);
    }
    let digests = |folders: &[PathBuf]| -> Vec<Digest> {
        let built = place.build(folders, &place.options()).0.unwrap_or_else(|errors| panic!("{errors}"));
        built.iter().map(|built| built.digest).collect()
    };
    let together = digests(&folders);
    assert_eq!(digests(&folders[..1]), together[..1]);
    assert_eq!(digests(&folders[1..]), together[1..]);
}

#[test]
fn one_module_that_does_not_compile_holds_up_no_other() {
    let place = Place::new();
    let good = place.module("good");
    let bad = place.module("bad");
    place.write("modules/bad/src/lib.rs", "pub fn broken() -> u32 { no_such_thing }");
    place.package("no-wasm", "");
    place.package("no-world", "crate-type = [\"cdylib\"]");

    let folders = [bad, place.folder("no-wasm"), good, place.folder("no-world")];
    let errors = place.errors(&folders);
    let [compile, no_wasm, no_exports] = errors.as_slice() else { panic!("{errors:?}") };
    let BuildError::Toolchain { modules, output, .. } = compile else { panic!("{compile:?}") };
    assert_eq!(modules.iter().map(ModuleName::as_str).collect::<Vec<_>>(), ["bad"]);
    assert!(output.contains("cannot find value `no_such_thing`") && output.contains("src/lib.rs:1:"), "{output}");
    assert!(matches!(no_wasm, BuildError::NoWasm { module } if module.as_str() == "no-wasm"), "{no_wasm:?}");
    assert!(matches!(no_exports, BuildError::NoExports { .. }), "{no_exports:?}");
    assert!(place.0.path().join("target/components/good.wasm").exists());
}

#[test]
fn what_can_not_be_a_module_is_refused_before_anything_is_compiled() {
    let place = Place::new();
    place.module("ok");
    let copy = place.0.path().join("copies/ok");
    place.write("copies/ok/Cargo.toml", "");
    place.write("modules/plain/README.md", "nothing here");
    place.write("modules/Upper/Cargo.toml", "");
    place.module("empty-sql");
    place.write("modules/empty-sql/migrations/0001_x.sql", "  \n");
    place.module("large-sql");
    place.write("modules/large-sql/migrations/0001_x.sql", vec![b'-'; (1 << 20) + 1]);
    place.module("latin-sql");
    place.write("modules/latin-sql/migrations/0001_x.sql", b"-- \xe9t\xe9");
    place.module("zero-sql");
    place.write(
        "modules/zero-sql/migrations/0001_x.sql",
        "create table x (id text) strict;\n\0 create table y (id text) strict;",
    );
    place.module("capital-sql");
    place.write("modules/capital-sql/migrations/0001_x.SQL", "create table x (id text) strict;");
    place.write("modules/broken/Cargo.toml", "[package\n");
    place.write("modules/virtual/Cargo.toml", "[workspace]\n");

    let cases: [(PathBuf, &str, bool); 10] = [
        (place.folder("missing"), "there is no folder", true),
        (place.folder("plain"), "language", true),
        (place.folder("Upper"), "rename the folder", true),
        (place.folder("empty-sql"), "it is empty", true),
        (place.folder("large-sql"), "larger than 1 MiB", true),
        (place.folder("latin-sql"), "not UTF-8", true),
        (place.folder("zero-sql"), "zero byte", true),
        (place.folder("capital-sql"), "must end in `.sql`", true),
        (place.folder("broken"), "Cargo.toml", false),
        (place.folder("virtual"), "no `[package]`", false),
    ];
    for (folder, part, helps) in cases {
        let errors = place.errors(std::slice::from_ref(&folder));
        assert_eq!(errors.as_slice().len(), 1, "{errors}");
        assert!(errors.to_string().contains(part), "{folder:?}: {errors}");
        assert_eq!(errors.as_slice()[0].help().is_some(), helps, "{errors}");
    }
    place.write("modules/both/Cargo.toml", "");
    place.write("modules/both/go.mod", "module both\n");
    let errors = place.errors(&[place.folder("both")]);
    assert!(matches!(errors.as_slice(), [BuildError::SeveralLanguages { .. }]), "{errors:?}");
    let (sources, errors) = source::read_all(&[place.folder("ok"), place.folder("ok"), copy]);
    assert_eq!(sources.len(), 1);
    assert!(matches!(errors.as_slice(), [BuildError::SameName { .. }]), "{errors:?}");
}

#[test]
fn a_fault_in_a_contract_is_the_error_of_the_module_that_needs_it() {
    let place = Place::new();
    let module = place.module("alpha");
    place.write("modules/alpha/wit/world.wit", "package a:alpha;\nworld component { export a:shelf/shelf@1.0.0; }");
    place.write("wit/shelf/shelf.wit", "package a:shelf@1.0.0;\ninterface shelf { find: func() -> option<strng>; }");
    let source = source::read_all(&[module]).0.remove(0);
    let refused = World::gather(&source, place.0.path()).err().unwrap().to_string();
    assert!(refused.contains("wit/shelf` is not valid") && refused.contains("strng"), "{refused}");
    // A package that nothing declares is missing, whatever else is not valid.
    place.write("modules/alpha/wit/world.wit", "package a:alpha;\nworld component { export a:shelves/shelf@1.0.0; }");
    let refused = World::gather(&source, place.0.path()).err().unwrap().to_string();
    assert!(refused.contains("not found") && !refused.contains("strng"), "{refused}");
}

#[test]
fn migrations_in_an_impossible_form_are_named() {
    let place = Place::new();
    let folder = place.module("alpha");
    place.write("modules/alpha/migrations/what is this.sql", "select 1;");
    let errors = place.errors(&[folder]).to_string();
    assert!(errors.contains("`what is this.sql`") && errors.contains("help: "), "{errors}");
}

/// The code of a complete Go module.
const GO: &str = r#"//go:build wasip1

package export_a_calc_calc

import "calc/bindings/a_calc_calc"

func Add(left, right uint32) uint32 { return left + right }

func Pairs() a_calc_calc.Pair { return a_calc_calc.Pair{Left: 1, Right: 2} }
"#;

impl Place {
    /// Writes a complete Go module with this name, and pins the dependencies that generated code needs. Returns its folder.
    fn go_module(&self, name: &str) -> PathBuf {
        // Without `exclude`, Cargo would treat every folder there as a package.
        let members = format!("members = [\"modules/*\"]\nexclude = [\"modules/{name}\"]\n");
        self.write("Cargo.toml", format!("[workspace]\nresolver = \"3\"\n{members}"));
        let pinned = "go.bytecodealliance.org/pkg v0.2.3";
        self.write(&format!("modules/{name}/go.mod"), format!("module calc\n\ngo 1.25.0\n\nrequire {pinned}\n"));
        let sums = format!(
            "{pinned} h1:So9zHg8ahW+TH1JmgBHgIYuKHcinLiEcpV1tqVEZvLA=\n\
             {pinned}/go.mod h1:OjA+V8g3uUFixeCKFfamm6sYhTJdg8fvwEdJ2GO0GSk=\n"
        );
        self.write(&format!("modules/{name}/go.sum"), sums);
        let world = "package a:module; world module { export a:calc/calc@1.0.0; }";
        self.write(&format!("modules/{name}/wit/world.wit"), world);
        self.write(&format!("modules/{name}/component/export_a_calc_calc/calc.go"), GO);
        self.folder(name)
    }
}

#[test]
fn go_modules_become_components_of_the_same_contract() {
    let place = Place::new();
    let folders = [place.go_module("gamma"), place.module("alpha")];
    place.write("modules/gamma/migrations/0001_items.sql", "create table items (id text);");
    place.write("modules/gamma/bindings/left_over/old.go", "what an earlier world left");
    let (result, heard) = place.build(&folders, &place.options());
    let built = result.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(built.iter().map(|built| built.name.as_str()).collect::<Vec<_>>(), ["gamma", "alpha"]);
    assert!(heard.iter().any(|event| event.contains("go build")), "{heard:?}");
    assert!(!place.folder("gamma").join("bindings/left_over").exists());

    let [go, rust] = [&built[0], &built[1]].map(|built| Artifact::load(&built.path, MAX_COMPONENT_BYTES).unwrap());
    let embedded = go.section.as_ref().unwrap();
    assert_eq!((embedded.name.as_str(), embedded.language.as_str(), go.migrations().len()), ("gamma", "go", 1));
    assert_eq!(go.shape.exports, rust.shape.exports);
    let name = "a:calc/calc@1.0.0".parse().unwrap();
    assert_eq!(embedded.docs.0[&name], rust.section.as_ref().unwrap().docs.0[&name]);
    // The component imports only what Go's own runtime needs.
    assert!(go.shape.imports.keys().all(|import| import.namespace() == "wasi"), "{:?}", go.shape.imports.keys());

    // A second build gives the same file. A build with names gives another one.
    let (again, _) = place.build(&folders[..1], &place.options());
    assert!(!again.unwrap()[0].changed);
    let options = Options { profile: Profile::Debug, out: Some(place.0.path().join("elsewhere")), ..place.options() };
    assert!(place.build(&folders[..1], &options).0.unwrap()[0].size > built[0].size);
}

#[test]
fn what_a_go_module_lacks_is_told() {
    let place = Place::new();
    let folder = place.go_module("gamma");
    let error = |path: &str, text: &str| {
        let path = format!("modules/gamma/{path}");
        let before = fs::read(place.0.path().join(&path)).unwrap();
        place.write(&path, text);
        let errors = place.errors(std::slice::from_ref(&folder));
        place.write(&path, before);
        assert_eq!(errors.as_slice().len(), 1, "{errors}");
        errors
    };
    let errors = error("component/export_a_calc_calc/calc.go", &GO.replace("left + right", "no_such_thing"));
    let BuildError::Toolchain { modules, output, .. } = &errors.as_slice()[0] else { panic!("{errors}") };
    assert_eq!(modules[0].as_str(), "gamma");
    assert!(output.contains("calc.go:7:") && output.contains("undefined: no_such_thing"), "{output}");
    let errors = error("go.mod", "module calc\n\ngo 1.999\n");
    assert!(matches!(&errors.as_slice()[0], BuildError::OldToolchain { wanted, .. } if wanted == "1.999"), "{errors}");
    assert!(errors.to_string().contains("help: install Go 1.999"), "{errors}");
    for (text, part) in
        [("modul calc\n", "modul"), ("go 1.25.0\n", "it has no line `module PATH`"), ("", "it has no line")]
    {
        let errors = error("go.mod", text);
        let [BuildError::Manifest { message, .. }] = errors.as_slice() else { panic!("{errors}") };
        assert!(message.contains(part), "{errors}");
    }
    for (world, part) in [
        ("package a:module; world", "world.wit:1:24"),
        ("package a:module; world module { export a:cals/calc@1.0.0; }", "a:cals"),
        ("package a:module; interface no-world {}", "world"),
        ("package a:module; world one {} world two {}", "world"),
    ] {
        let errors = error("wit/world.wit", world);
        assert!(matches!(&errors.as_slice()[0], BuildError::World { .. }), "{errors}");
        assert!(errors.to_string().contains(part) && errors.to_string().contains("help: "), "{errors}");
    }
    fs::remove_dir_all(folder.join("wit")).unwrap();
    assert!(place.errors(&[folder]).to_string().contains("there is no `.wit` file"));
}

/// The WIT text of a contract with a resource.
const COUNTS: &str = "package a:counts@1.0.0;
interface counts {
    resource counter { constructor(start: s64); add: func(n: s64) -> s64; make: static func() -> counter; }
    sum: func(a: borrow<counter>, b: counter) -> s64;
}
";
const COUNTS_GO: &str = r#"//go:build wasip1

package export_a_counts_counts

import "runtime"

type Counter struct {
	pinner runtime.Pinner
	handle int32
	n      int64
}

func MakeCounter(start int64) *Counter { return &Counter{n: start} }

func CounterMake() *Counter { return &Counter{n: 1} }

func (self *Counter) Add(n int64) int64 { self.n += n; return self.n }

func (self *Counter) OnDrop() {}

func Sum(a, b *Counter) int64 { return a.n + b.n }
"#;

#[test]
fn go_modules_may_export_resources() {
    let place = Place::new();
    let folder = place.go_module("gamma");
    place.write("wit/counts/counts.wit", COUNTS);
    place.write("modules/gamma/wit/world.wit", "package a:module; world module { export a:counts/counts@1.0.0; }");
    let package = "modules/gamma/component/export_a_counts_counts";
    place.write(&format!("{package}/counts.go"), COUNTS_GO);
    let (result, _) = place.build(std::slice::from_ref(&folder), &place.options());
    let built = result.unwrap_or_else(|errors| panic!("{errors}"));
    let artifact = Artifact::load(&built[0].path, MAX_COMPONENT_BYTES).unwrap();
    assert!(artifact.shape.exports.keys().any(|name| name.to_string() == "a:counts/counts@1.0.0"));
    let generated = place.0.path().join(package).join("wit_bindings.go");
    assert!(generated.exists());

    // After the contract loses its resource, the generated file is removed.
    place.write("modules/gamma/wit/world.wit", "package a:module; world module { export a:calc/calc@1.0.0; }");
    fs::remove_file(place.0.path().join(package).join("counts.go")).unwrap();
    place.build(std::slice::from_ref(&folder), &place.options()).0.unwrap_or_else(|errors| panic!("{errors}"));
    assert!(!generated.exists());
}

#[test]
fn what_go_can_not_carry_is_named_before_anything_is_compiled() {
    let place = Place::new();
    let folder = place.go_module("gamma");
    place.write("modules/gamma/wit/world.wit", "package a:module; world module { export a:odd/odd@1.0.0; }");
    let seventeen = vec!["u8"; 17].join(", ");
    for (function, part) in [
        ("f: async func(n: u8) -> u8;", "`f` of `a:odd/odd@1.0.0` is an `async func`"),
        ("f: func(n: stream<u8>);", "parameter `n` has the type `stream<u8>`"),
        ("f: func() -> future<string>;", "its result has the type `future<string>`"),
        ("f: func(n: option<list<u8, 4>>);", "parameter `n` has the type `list<u8, 4>`"),
        (&format!("f: func(n: tuple<{seventeen}>);"), "parameter `n` has the type `tuple<u8, u8"),
    ] {
        place.write("wit/odd/odd.wit", format!("package a:odd@1.0.0; interface odd {{ {function} }}"));
        let errors = place.errors(std::slice::from_ref(&folder));
        assert!(matches!(errors.as_slice(), [BuildError::Unsupported { language: "Go", .. }]), "{errors:?}");
        assert!(errors.to_string().contains(part) && errors.to_string().contains("help: "), "{errors}");
    }
}
