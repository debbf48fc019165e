//! Workspaces of Python modules, and the component of the test module in `tests/python`.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// Returns the component file of the test module. It is built once, and later runs reuse it.
pub(crate) fn component() -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    host::copy_folder(&repository().join("host/tests/python/modules"), &to.join("modules"));
    // The contracts are those of the tests of JavaScript.
    host::copy_folder(&repository().join("host/tests/javascript/wit"), &to.join("wit"));
    build(&to).expect(0);
    to.join("target/components/every.wasm")
}

/// Runs `watertight build` for the modules of the manifest in the folder `modules` of a workspace.
pub(crate) fn build(workspace: &Path) -> CommandOutput {
    run(host::binary().arg("build").arg("--app").arg(workspace.join("modules")))
}

/// A workspace with one Python module, `one`.
pub(crate) struct Workspace(pub(crate) TempDir);

impl Workspace {
    /// Creates the workspace. `contract` is the content of the WIT interface that the module exports, and `code` the text of its file.
    pub(crate) fn new(contract: &str, code: &str) -> Self {
        let workspace = Self(host::folder());
        workspace.write("wit/one/one.wit", &format!("package test:one@1.0.0;\ninterface one {{ {contract} }}\n"));
        workspace.write("modules/app.toml", "[app]\nname = \"x\"\n[modules.one]\ncomponent = \"one\"\n");
        workspace.write("modules/one/wit/world.wit", "package test:m;\nworld module { export test:one/one@1.0.0; }\n");
        workspace.write("modules/one/pyproject.toml", "[project]\nname = \"one\"\n");
        workspace.write("modules/one/component.py", code);
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
