//! Tests of modules in other languages than Rust: the real binary builds them, they pass the suite of their contract, and builds in all
//! languages can use the same database. They need Go, Node.js with npm, Python with venv, and Zig or pip; `make test` installs them if they
//! are missing.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::{Value, json};
use tempfile::TempDir;

use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::components;
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// The builds of the shop's notifications module, each with its language.
const BUILDS: [(&str, &str); 6] = [
    ("notifications", "rust"),
    ("notifications-go", "go"),
    ("notifications-js", "javascript"),
    ("notifications-py", "python"),
    ("notifications-ts", "typescript"),
    ("notifications-c", "c"),
];

/// Runs `watertight` with these arguments on the shop.
fn watertight(arguments: &[&str]) -> CommandOutput {
    run(host::binary().args(arguments).arg("--app").arg(repository()))
}

/// Returns the component file of each build in [`BUILDS`]. They are built once; after `make`, they are already there.
fn components() -> [PathBuf; BUILDS.len()] {
    static BUILT: LazyLock<()> = LazyLock::new(|| {
        watertight(&[&["build"][..], &BUILDS.map(|(name, _)| name)].concat()).expect(0);
    });
    LazyLock::force(&BUILT);
    BUILDS.map(|(name, _)| repository().join("target/components").join(name).with_added_extension("wasm"))
}

/// Returns the names of the passed and of the failed cases in the output of `watertight test`.
fn outcome(report: &Value) -> (Vec<&str>, Vec<&str>) {
    let suites = report[0]["suites"].as_array().unwrap().iter();
    let cases = suites.flat_map(|suite| suite["cases"].as_array().unwrap());
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for case in cases {
        let list = if case["failure"].is_null() { &mut passed } else { &mut failed };
        list.push(case["name"].as_str().unwrap());
    }
    (passed, failed)
}

/// Returns the log lines of all cases in the output of `watertight test`.
fn logged(report: &Value) -> Vec<String> {
    let cases = report[0]["suites"].as_array().unwrap().iter().flat_map(|suite| suite["cases"].as_array().unwrap());
    let lines = cases.flat_map(|case| case["log"].as_array().unwrap());
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_build_passes_the_suite_of_its_contract() {
    components();
    for (build, language) in BUILDS {
        let said = watertight(&["test", build, "--json"]).expect(0);
        let report = said.json();
        // The report has the module's log lines with their case, and the output shows them below it.
        let line = logged(&report).into_iter().find(|line| line.contains("module=\"notifications\""));
        let line = line.unwrap_or_else(|| panic!("{build} wrote nothing: {report}"));
        assert!(
            said.err.lines().any(|shown| shown.trim_start() == line.trim_start()),
            "{line:?} is not in\n{}",
            said.err
        );
        assert_eq!(
            (report[0]["module"].as_str(), report[0]["language"].as_str()),
            (Some("notifications"), Some(language))
        );
        let (passed, failed) = outcome(&report);
        assert!(passed.len() >= 26 && failed.is_empty(), "{build}: {passed:?} {failed:?}");
        assert_eq!(report[0]["passed"], passed.len());
    }
}

/// Returns one WIT text that has the shop's contract of notifications, changed by `change`, and a world with the content `world`.
fn contract(world: &str, change: impl Fn(String) -> String) -> String {
    let nested = |file: &str| {
        let text = fs::read_to_string(repository().join("wit").join(file)).unwrap();
        let (head, rest) = text.split_once(";\n").unwrap();
        format!("{head} {{\n{rest}\n}}\n")
    };
    let contract = change(nested("notifications/notifications.wit"));
    format!("package test:test;\nworld it {{ {world} }}\n{}\n{contract}", nested("common/types.wit"))
}

#[test]
fn a_build_that_does_not_keep_the_contract_fails_its_suite() {
    components();
    let folder = host::folder();
    let file = folder.path().join("broken.wasm");
    let export = "export shop:notifications/notifications@1.0.0;";
    // Each of its functions traps.
    fs::write(&file, components::component(&contract(export, |text| text), "it")).unwrap();
    let said = watertight(&["test", file.to_str().unwrap(), "--json"]).expect(1);
    let report = said.json();
    let (passed, failed) = outcome(&report);
    assert!(passed.is_empty() && failed.len() >= 26, "{passed:?}");
    assert!(logged(&report).iter().any(|line| line.contains("a module trapped in `notifications`")), "{report}");
    assert!(said.err.contains("step 1, list-notifications: the call failed: "), "{}", said.err);
    assert!(said.err.ends_with(&format!("0 passed, {} failed\n", failed.len())), "{}", said.err);

    // A build with another type is refused with the names of its callers, and nothing runs.
    let change = |text: String| text.replace("deduplication-key: string)", "deduplication-key: u32)");
    fs::write(&file, components::component(&contract(export, change), "it")).unwrap();
    let said = watertight(&["test", file.to_str().unwrap()]).expect(1);
    assert!(said.err.contains("type-mismatch") && said.err.contains("orders"), "{}", said.err);
}

#[test]
fn what_has_no_suite_is_said() {
    components();
    // No suite exists for this module's export.
    let folder = host::folder();
    let wit = "package test:test@1.0.0; interface odd { f: func(); } world it { export odd; }";
    fs::write(folder.path().join("odd.wasm"), components::component(wit, "it")).unwrap();
    fs::write(folder.path().join("app.toml"), "[app]\nname = \"x\"\n[modules.odd]\ncomponent = \"odd.wasm\"\n")
        .unwrap();
    let said = run(host::binary().args(["test", "odd", "--app"]).arg(folder.path())).expect(1);
    assert!(said.err.contains("test:test/odd@1.0.0 has no suite"), "{}", said.err);

    // All modules of the shop have suites for all interfaces that they export to others.
    let report = watertight(&["test", "--json"]).expect(0).json();
    let modules = report.as_array().unwrap();
    let names: Vec<_> = modules.iter().map(|module| module["module"].as_str().unwrap()).collect();
    assert_eq!(names, ["notifications", "orders", "payments", "products"]);
    for module in modules {
        assert!(module["without_suite"] == json!([]) && module["passed"].as_u64().unwrap() >= 12, "{module}");
    }
    for (target, part) in [("nothing", "neither a module"), ("routes", "there is no such component file")] {
        let said = watertight(&["test", target]).expect(1);
        assert!(said.err.contains(part), "{}", said.err);
    }
    let payments = repository().join("target/components/payments.wasm");
    let said = watertight(&["test", payments.to_str().unwrap(), "--as", "nobody"]).expect(1);
    assert!(said.err.contains("no module `nobody`"), "{}", said.err);
    watertight(&["test", "--as", "orders"]).expect(2);
}

/// Creates an application whose only module, notifications, is the build `component`. Applications with different builds can use the same
/// state folder.
fn alone(component: &Path) -> TempDir {
    let folder = host::folder();
    let manifest = format!(
        "[app]\nname = \"alone\"\n[modules.notifications]\ncomponent = \"{}\"\nuses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n",
        component.display()
    );
    fs::write(folder.path().join("app.toml"), manifest).unwrap();
    folder
}

#[test]
fn what_one_build_wrote_another_reads() {
    let state = host::folder();
    let apps = components().map(|component| alone(&component));
    let call = |app: &TempDir, function: &str, arguments: &[Value]| {
        let mut command = host::binary();
        command.arg("call").arg(format!("notifications/notifications.{function}"));
        command
            .args(arguments.iter().map(Value::to_string))
            .arg("--app")
            .arg(app.path())
            .arg("--state")
            .arg(state.path());
        run(&mut command).expect(0).json()["ok"].take()
    };
    let notice = |order: usize| {
        let fields = json!([{"name": "order", "value": order.to_string()}, {"name": "total", "value": "1 €"}]);
        json!({"recipient": "Zoë 🦀", "template": "order-placed", "fields": fields})
    };
    let mut told = Vec::new();
    for (order, app) in apps.iter().enumerate() {
        told.push(call(app, "notify", &[notice(order), json!(format!("key {order}"))]));
    }
    told.reverse();
    for app in &apps {
        assert_eq!(call(app, "list-notifications", &[json!("Zoë 🦀")])["items"], json!(told));
        for (order, known) in told.iter().rev().enumerate() {
            assert_eq!(call(app, "notify", &[notice(order), json!(format!("key {order}"))]), *known);
        }
    }
    // One build continues the pages that another began.
    let (mut listed, mut next) = (Vec::new(), Value::Null);
    for app in apps.iter().skip(1).chain(&apps[..1]) {
        let page = call(app, "list-notifications", &[json!("Zoë 🦀"), json!(1), next]);
        listed.push(page["items"][0].clone());
        next = page["next"].clone();
    }
    assert_eq!((listed, next), (told, Value::Null));
}

#[test]
fn a_missing_toolchain_is_told() {
    for (build, program, help) in [
        ("notifications-go", "`go` can't be started", "help: install Go 1.25 or newer"),
        ("notifications-js", "`node` can't be started", "help: install Node.js 20 or newer"),
        ("notifications-py", "`python3` can't be started", "help: install Python 3.9 or newer with venv and pip"),
        ("notifications-ts", "`node` can't be started", "help: install Node.js 20 or newer"),
        ("notifications-c", "`python3` can't be started", "help: install Zig 0.14 or newer"),
    ] {
        let mut command = host::binary();
        let cache = host::folder();
        command.args(["build", build, "--app"]).arg(repository()).env("PATH", "/nowhere");
        command.env("XDG_CACHE_HOME", cache.path()).env_remove("WASI_SDK_PATH");
        let said = run(&mut command).expect(1);
        assert!(said.err.contains(program) && said.err.contains(help), "{}", said.err);
    }
}

/// Creates a workspace with the shop's JavaScript module and its installed packages.
fn javascript() -> TempDir {
    components();
    let (from, folder) = (repository(), host::folder());
    let copy = |path: &str| {
        let to = folder.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from.join(path), &to).unwrap();
        to
    };
    let files = |path: &str| {
        let entries = fs::read_dir(from.join(path)).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(&from).unwrap().display().to_string())
            .collect::<Vec<_>>()
    };
    for contract in ["common", "sql", "logging", "clocks", "random", "notifications"] {
        files(&format!("wit/{contract}")).iter().for_each(|file| drop(copy(file)));
    }
    let module = "modules/notifications-js";
    files(&format!("{module}/src")).iter().for_each(|file| drop(copy(file)));
    copy(&format!("{module}/wit/world.wit"));
    copy(&format!("{module}/package.json"));
    // The lock file is older than the installation.
    let lock = copy(&format!("{module}/package-lock.json"));
    fs::File::options().write(true).open(lock).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let installed = "node_modules";
    std::os::unix::fs::symlink(from.join(module).join(installed), folder.path().join(module).join(installed)).unwrap();
    let manifest = "[app]\nname = \"x\"\n[modules.notifications]\ncomponent = \"notifications-js\"\n";
    fs::write(folder.path().join("modules/app.toml"), manifest).unwrap();
    folder
}

#[test]
fn what_a_javascript_module_lacks_is_told() {
    let workspace = javascript();
    let build = || run(host::binary().args(["build", "--json", "--app"]).arg(workspace.path()));
    let built = build().expect(0).json();
    let inspected =
        run(host::binary().arg("inspect").arg(built[0]["path"].as_str().unwrap()).arg("--json")).expect(0).json();
    assert_eq!(
        (inspected["language"].as_str(), inspected["name"].as_str()),
        (Some("javascript"), Some("notifications-js"))
    );
    // The component has the imports of its world and no others of WASI.
    let imports: Vec<_> =
        inspected["imports"].as_array().unwrap().iter().map(|import| import["name"].as_str().unwrap()).collect();
    assert!(imports.iter().all(|name| !name.starts_with("wasi:cli") && !name.starts_with("wasi:io")), "{imports:?}");
    // Without a change, the build returns the same component.
    assert_eq!(build().expect(0).json()[0]["digest"], built[0]["digest"]);

    let wrong = |path: &str, change: &dyn Fn(String) -> String, parts: &[&str]| {
        let file = workspace.path().join("modules/notifications-js").join(path);
        let before = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(before.clone())).unwrap();
        let said = build().expect(1);
        fs::write(&file, before).unwrap();
        parts.iter().for_each(|part| assert!(said.err.contains(part), "{path}: {part} is not in {}", said.err));
    };
    wrong(
        "src/service.js",
        &|text| text + "\nconst = 1;\n",
        &["module `notifications-js` does not compile", "src/service.js:", "SyntaxError"],
    );
    wrong(
        "src/component.js",
        &|text| text.replace("export const notifications", "const notifications"),
        &["does not export a \"notifications\" interface"],
    );
    wrong("package.json", &|text| text.replace("component.js", "nothing.js"), &["package.json", "`src/nothing.js`"]);
    wrong("package.json", &|text| text.replace("\"main\"", "\"man\""), &["it has no `main`"]);
    wrong("wit/world.wit", &|text| text.replace("random/random", "random/randm"), &["world.wit:8:", "randm", "help: "]);
}
