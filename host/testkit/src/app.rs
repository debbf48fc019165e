//! Applications for tests: the shop with other settings, and applications of test modules ("guests"), some of which misbehave.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;
use watertight_component::artifact::{Docs, ModuleSection};
use watertight_model::migration::Migration;

use crate::host::{self, Launch};
use crate::paths;

/// An application in a temporary folder.
pub struct App {
    folder: TempDir,
}

impl App {
    /// Creates an application whose manifest has the text `manifest`.
    pub fn new(manifest: &str) -> Self {
        let folder = host::folder();
        fs::write(folder.path().join("app.toml"), manifest).unwrap();
        fs::create_dir(folder.path().join("routes")).unwrap();
        Self { folder }
    }

    /// Creates a copy of the shop. `settings` is appended to its manifest.
    pub fn shop(settings: &str) -> Self {
        Self::of(host::copy_of_shop(settings))
    }

    /// Creates the value for an application that is already in a folder.
    pub(crate) fn of(folder: TempDir) -> Self {
        Self { folder }
    }

    /// Returns the application's folder. It is deleted when the returned value is dropped.
    pub(crate) fn into_folder(self) -> TempDir {
        self.folder
    }

    /// Creates a copy of the shop whose module for notifications fails at each call. `how` says in which way, such as `trap`. `settings` is
    /// appended to the copy's manifest.
    pub fn failing_notices(how: &str, settings: &str) -> Self {
        let (notices, components) = (guest("notices"), paths::repository().join("target/components"));
        let shop = Self::shop("");
        // This application has no pictures.
        fs::remove_file(shop.path().join("routes/products.toml")).unwrap();
        let uses = "uses = [\"sql\", \"logging\", \"clocks\", \"random\"]";
        shop.manifest(&format!(
            "[app]\nname = \"shop\"\nroutes = [\"routes/*.toml\"]\n\
             [modules.orders]\ncomponent = \"{0}/orders.wasm\"\n{uses}\ncalls = [\"payments\", \"notifications\"]\n\
             [modules.payments]\ncomponent = \"{0}/payments.wasm\"\n{1}\n\
             [modules.notifications]\ncomponent = {notices:?}\nuses = [\"config\"]\nconfig = {{ how = \"{how}\" }}\n{settings}\n",
            components.display(),
            uses.replace(']', ", \"config\"]")
        ))
    }

    /// Replaces the text of the manifest.
    pub fn manifest(self, manifest: &str) -> Self {
        fs::write(self.path().join("app.toml"), manifest).unwrap();
        self
    }

    /// Adds a file of routes to the application, with this text.
    pub fn routes(self, routes: &str) -> Self {
        fs::write(self.path().join("routes/routes.toml"), routes).unwrap();
        self
    }

    /// Returns the application's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the settings for starting a host with this application.
    pub fn launch(&self) -> Launch {
        Launch::app(self.path())
    }
}

/// Returns manifest text that puts the shop's orders and payments into one compartment and notifications into another. `settings` is
/// appended to the table of the second compartment.
pub fn apart(settings: &str) -> String {
    format!(
        "[compartments.core]\nmodules = [\"orders\", \"payments\"]\n[compartments.aside]\nmodules = [\"notifications\"]\n{settings}\n"
    )
}

/// Returns the component file of a guest, a test module in `tests/guests`. All guests are built once, by `watertight build`.
pub fn guest(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| components_of("host/tests/guests"));
    FOLDER.join(name).with_extension("wasm")
}

/// Builds the modules of an application in this repository by `watertight build`. Returns the folder of the components.
pub fn components_of(app: &str) -> PathBuf {
    let folder = paths::temporary().join(app.replace('/', "-"));
    let app = paths::repository().join(app);
    let built = host::binary().arg("build").arg("--app").arg(app).arg("--out").arg(&folder).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    folder
}

/// Returns the component file of the guest `probe`, built for the target `wasm32-wasip2`, so that it imports all of WASI.
pub fn wasi_probe() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| build_for_wasi("watertight-guest-probe"));
    FILE.clone()
}

/// Returns the component file of the guest `shares`, a handler of `wasi:http` 0.3 whose requests use the same globals.
pub fn shares() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut component = fs::read(build_for_wasi("watertight-guest-shares")).unwrap();
        let migration = include_str!("../../tests/guests/shares/migrations/0001_note.sql");
        let (name, migrations) = ("shares".parse().unwrap(), vec![Migration::new("0001_note.sql", migration)]);
        let section = ModuleSection::new(&component, name, "rust", migrations, Docs::default()).unwrap();
        section.append_to(&mut component).unwrap();
        let file = paths::temporary().join("shares.wasm");
        fs::write(&file, component).unwrap();
        file
    });
    FILE.clone()
}

/// Returns the component file of a handler of `wasi:http` 0.3. It answers `/hello`, `/echo`, and `/trickle/PIECES/MILLISECONDS`.
pub fn handler_p3() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| build_for_wasi("bench-handler-p3"));
    FILE.clone()
}

/// Builds a package for the target `wasm32-wasip2`, and returns its component file.
fn build_for_wasi(package: &str) -> PathBuf {
    const TARGET: &str = "wasm32-wasip2";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .args(["build", "--target", TARGET, "--profile", "module", "-p", package])
        .current_dir(paths::repository())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "if the target is missing, run `rustup target add {TARGET}`\n{said}");
    paths::target().join(TARGET).join("module").join(package.replace('-', "_")).with_extension("wasm")
}
