//! Workspaces of JavaScript modules, and the components of the test modules in `tests/javascript`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// Returns the component file of a test module in `tests/javascript`. All are built once, and later runs reuse them.
pub(crate) fn component(name: &str) -> PathBuf {
    static COMPONENTS: LazyLock<PathBuf> = LazyLock::new(|| {
        let from = repository().join("host/tests/javascript");
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("javascript");
        host::copy_folder(&from, &to);
        let package = to.join("modules/fails/node_modules/made-up");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("package.json"), r#"{"name":"made-up","version":"1.0.0","main":"index.js"}"#).unwrap();
        let code = "exports.explode = function explode() {\n  throw new TypeError('from a package');\n};\n";
        fs::write(package.join("index.js"), code).unwrap();
        build(&to).expect(0);
        to.join("target/components")
    });
    COMPONENTS.join(name).with_extension("wasm")
}

/// Runs `watertight build` for the modules of the manifest in the folder `modules` of a workspace.
pub(crate) fn build(workspace: &Path) -> CommandOutput {
    run(host::binary().arg("build").arg("--app").arg(workspace.join("modules")))
}

/// A workspace with one JavaScript module, `one`.
pub(crate) struct Workspace(pub(crate) TempDir);

impl Workspace {
    /// Creates the workspace. `contract` is the content of the WIT interface that the module exports, and `code` the text of its only file.
    pub(crate) fn new(contract: &str, code: &str) -> Self {
        let workspace = Self(host::folder());
        workspace.write("wit/one/one.wit", &format!("package test:one@1.0.0;\ninterface one {{ {contract} }}\n"));
        workspace.write("modules/app.toml", "[app]\nname = \"x\"\n[modules.one]\ncomponent = \"one\"\n");
        workspace.write("modules/one/wit/world.wit", "package test:m;\nworld module { export test:one/one@1.0.0; }\n");
        workspace.write("modules/one/package.json", r#"{"type":"module","main":"component.js"}"#);
        workspace.write("modules/one/component.js", code);
        workspace
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn build(&self) -> CommandOutput {
        build(self.0.path())
    }
}

/// Creates an application of these modules. Each has a name, a component file and further lines of its table in the manifest. `settings` is
/// appended to the manifest.
pub(crate) fn application(settings: &str, modules: &[(&str, &Path, &str)]) -> TempDir {
    let folder = host::folder();
    let mut text = format!("[app]\nname = \"javascript\"\n{settings}\n");
    for (name, component, lines) in modules {
        text += &format!("[modules.{name}]\ncomponent = {:?}\n{lines}\n", component.display().to_string());
    }
    fs::write(folder.path().join("app.toml"), text).unwrap();
    folder
}
