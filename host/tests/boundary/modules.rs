//! The components of the test modules in `tests/boundary`, and applications of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use watertight_testkit::command::{CommandOutput, run};
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// The languages of the test modules, as their names end.
pub(crate) const LANGUAGES: [&str; 2] = ["c", "ts"];

/// Returns the component file of a test module. All are built once, and later runs reuse them.
pub(crate) fn component(name: &str, language: &str) -> PathBuf {
    static COMPONENTS: LazyLock<PathBuf> = LazyLock::new(|| {
        let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("boundary");
        host::copy_folder(&repository().join("host/tests/boundary"), &workspace);
        host::copy_folder(&repository().join("host/tests/javascript/wit"), &workspace.join("wit"));
        build(&workspace, &[]).expect(0);
        workspace.join("target/components")
    });
    COMPONENTS.join(format!("{name}-{language}.wasm"))
}

/// Runs `watertight build` for the modules of the manifest in the folder `modules` of a workspace.
pub(crate) fn build(workspace: &Path, arguments: &[&str]) -> CommandOutput {
    run(host::binary().arg("build").args(arguments).arg("--app").arg(workspace.join("modules")))
}

/// Creates an application of these modules. Each has a name, a component file and further lines of its table in the manifest.
pub(crate) fn application(settings: &str, modules: &[(&str, &Path, &str)]) -> TempDir {
    let folder = host::folder();
    let mut text = format!("[app]\nname = \"boundary\"\n{settings}\n");
    for (name, component, lines) in modules {
        text += &format!("[modules.{name}]\ncomponent = {:?}\n{lines}\n", component.display().to_string());
    }
    fs::write(folder.path().join("app.toml"), text).unwrap();
    folder
}
