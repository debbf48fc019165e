//! Tests of names, files and manifests of new applications and modules. The test `new` builds and runs what is made.

use std::fs;

use tempfile::TempDir;

use super::*;

fn starter(name: &str) -> &'static Starter {
    Starter::find(name).expect("there are templates")
}

fn made(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    app(folder.path(), name, starter("rust"), &Declarations::default()).expect("the folder is empty");
    folder
}

/// Returns the application in `folder/bazaar`, as its manifest names it.
fn place(folder: &TempDir) -> Place {
    let config = watertight_model::config::load_manifest(&folder.path().join("bazaar"), &Default::default());
    Place::of(&config.expect("the manifest is valid"))
}

fn options(name: &str, language: &str) -> ModuleOptions {
    let language = starter(language);
    ModuleOptions { name: name.to_owned(), language, exports: None, calls: Vec::new(), uses: Vec::new() }
}

fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join("bazaar").join(name)).expect("it is there")
}

/// Returns all files of a folder with their contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let walk = ignore::WalkBuilder::new(folder).hidden(false).ignore(false).git_ignore(false).build();
    let files = walk.map(|entry| entry.expect("it is readable").into_path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).expect("it is readable"))).collect()
}

#[test]
fn names_are_refused_with_the_reason() {
    let folder = made("bazaar");
    let place = place(&folder);
    let cases = [
        ("Cart", "rust", "kebab-case"),
        ("my_cart", "rust", "kebab-case"),
        ("../cart", "rust", "kebab-case"),
        ("list", "rust", "word of WIT"),
        ("match", "rust", "word of Rust"),
        ("range", "go", "word of Go"),
        ("delete", "javascript", "word of JavaScript"),
        ("lambda", "python", "word of Python"),
        ("needs-2fa", "javascript", "begins with a digit"),
        ("contract", "typescript", "word of the templates for TypeScript"),
        ("needs-2fa", "typescript", "begins with a digit"),
        ("routes", "rust", "something else"),
        ("items", "go", "already"),
    ];
    let before = files(folder.path());
    for (name, language, reason) in cases {
        let error = module(&place, &options(name, language)).expect_err(name).to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
    assert_eq!(files(folder.path()), before);
    for name in ["wasi", "watertight", "world", "fn", "self", "super", "crate", "modules", "target"] {
        let error = app(folder.path(), name, starter("rust"), &Declarations::default()).expect_err(name).to_string();
        assert!(error.contains("can't be the name"), "{name}: {error}");
    }
    // Words of another language are fine.
    module(&place, &options("match", "javascript")).expect("it is no word of JavaScript");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_behind() {
    let folder = made("bazaar");
    let root = folder.path().join("bazaar");
    fs::create_dir_all(root.join("wit/cart")).expect("it is writable");
    fs::write(root.join("wit/cart/Cart.wit"), "mine").expect("it is writable");
    let before = files(folder.path());
    let error = module(&place(&folder), &options("cart", "go")).expect_err("a file is in the way").to_string();
    assert!(error.contains("nothing is overwritten"), "{error}");
    assert_eq!(files(folder.path()), before);
    assert!(!root.join("cart").exists());
    assert!(app(folder.path(), "bazaar", starter("go"), &Declarations::default()).is_err());
    assert_eq!(files(folder.path()), before);
}

#[test]
fn manifests_keep_what_people_wrote() {
    let folder = made("bazaar");
    let root = folder.path().join("bazaar");
    let manifest = text(&folder, "app.toml") + "# about items\n\n[defaults.limits]\nrequest = \"5s\" # short\n";
    fs::write(root.join("app.toml"), manifest).expect("it is writable");
    let cargo =
        "[workspace]\nmembers = [\n    # the first\n    \"items\",\n]\n[workspace.package]\nedition = \"2024\"\n";
    fs::write(root.join("Cargo.toml"), cargo).expect("it is writable");
    let calls = vec!["items".to_owned()];
    module(&place(&folder), &ModuleOptions { calls, ..options("cart", "rust") }).expect("nothing is in the way");
    let manifest = text(&folder, "app.toml");
    assert!(manifest.contains("# about items") && manifest.contains("# short"), "{manifest}");
    assert!(manifest.contains("[modules.cart]\ncomponent = \"cart\"\ncalls = [\"items\"]\n"), "{manifest}");
    let cargo = text(&folder, "Cargo.toml");
    assert!(cargo.contains("    # the first\n    \"items\",\n    \"cart\",\n]"), "{cargo}");
    let package = text(&folder, "cart/Cargo.toml");
    assert!(package.contains("edition.workspace = true") && package.contains("version = \"0.1.0\""), "{package}");
}

#[test]
fn a_contract_is_implemented_in_every_language() {
    for Starter { name: language, .. } in LANGUAGES {
        let folder = made("bazaar");
        let exports = Some("bazaar:items".to_owned());
        let uses = vec!["sql".to_owned()];
        let options = ModuleOptions { exports, uses, ..options("other", language) };
        let made = module(&place(&folder), &options).expect("nothing is in the way");
        assert!(!folder.path().join("bazaar/wit/other").exists(), "{language}: the contract is there already");
        assert!(text(&folder, "other/wit/world.wit").contains("export bazaar:items/items@1.0.0;"));
        let code = made.files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<String>();
        assert!(["add_item", "AddItem", "addItem"].iter().any(|name| code.contains(name)), "{language}: {code}");
    }
    let folder = made("bazaar");
    let exports = |package: &str| ModuleOptions { exports: Some(package.to_owned()), ..options("other", "rust") };
    let error = module(&place(&folder), &exports("bazaar:nothing")).expect_err("there is none").to_string();
    assert!(error.contains("`bazaar:items@1.0.0`"), "{error}");
}

#[test]
fn what_a_language_forbids_is_said() {
    let folder = made("bazaar");
    let contract = folder.path().join("bazaar/wit/later");
    fs::create_dir_all(&contract).expect("it is writable");
    fs::write(contract.join("later.wit"), "package bazaar:later@1.0.0; interface later { wait: async func(); }")
        .expect("it is writable");
    let before = files(folder.path());
    for language in ["go", "javascript", "typescript", "c"] {
        let exports = Some("bazaar:later".to_owned());
        let error = module(&place(&folder), &ModuleOptions { exports, ..options("waits", language) });
        let error = error.expect_err("it has no async functions").to_string();
        assert!(error.contains("`wait`") && error.contains("async func"), "{language}: {error}");
    }
    assert_eq!(files(folder.path()), before);
}

#[test]
fn unknown_neighbours_and_capabilities_are_named() {
    let folder = made("bazaar");
    let calls = ModuleOptions { calls: vec!["item".to_owned()], ..options("cart", "go") };
    let error = module(&place(&folder), &calls).expect_err("there is none").to_string();
    assert!(error.contains("`item`") && error.contains("`items`"), "{error}");
    let uses = ModuleOptions { uses: vec!["sqlite".to_owned()], ..options("cart", "go") };
    let error = module(&place(&folder), &uses).expect_err("there is none").to_string();
    assert!(error.contains("`sqlite`") && error.contains("`sql`"), "{error}");
}

#[test]
fn python_gets_the_names_of_its_bindings() {
    let folder = made("bazaar");
    let contract = folder.path().join("bazaar/wit/stock");
    fs::create_dir_all(&contract).expect("it is writable");
    let wit = "package bazaar:stock@1.0.0; interface items { \
        resource item { constructor(%from: string); turn: func(by: u32); find: static func(id: u32) -> item; } \
        lambda: async func(of-class: string); try: func() -> bool; }";
    fs::write(contract.join("stock.wit"), wit).expect("it is writable");
    let exports = Some("bazaar:stock".to_owned());
    module(&place(&folder), &ModuleOptions { exports, ..options("stock", "python") }).expect("Python carries it");
    let code = text(&folder, "stock/component.py");
    for line in [
        "class Item:",
        "    def __init__(self, from_):",
        "    def turn(self, by):",
        "    @classmethod\n    def find(cls, id):",
        "class Items(exports.Items):",
        "    async def lambda_(self, of_class):",
        "    def try_(self):\n        raise NotImplementedError(\"try is not written yet\")",
    ] {
        assert!(code.contains(line), "{line}\n{code}");
    }
    // Two imported interfaces have the name `items`.
    let calls = vec!["items".to_owned(), "stock".to_owned()];
    module(&place(&folder), &ModuleOptions { calls, ..options("asks", "python") }).expect("nothing is in the way");
    let code = text(&folder, "asks/component.py");
    for line in [
        "from wit_world.imports import bazaar_items_items as asked_items\n",
        "from wit_world.imports import bazaar_stock_items as asked_stock\n",
        "        return _succeeds(asked_items.list_items)\n",
        "        return _succeeds(asked_stock.try_)\n",
    ] {
        assert!(code.contains(line), "{line}\n{code}");
    }
}
