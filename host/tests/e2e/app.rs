//! Applications for tests: the shop with other settings, and the guests that misbehave.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::host::{self, Launch};

/// An application in a folder of its own.
pub(crate) struct App {
    folder: TempDir,
}

impl App {
    /// With that manifest.
    pub(crate) fn new(manifest: &str) -> Self {
        let folder = host::folder();
        fs::write(folder.path().join("app.toml"), manifest).unwrap();
        fs::create_dir(folder.path().join("routes")).unwrap();
        Self { folder }
    }

    /// The shop, with further lines in its manifest.
    pub(crate) fn shop(settings: &str) -> Self {
        Self { folder: host::copy_of_shop(settings) }
    }

    /// The shop, with notifications that fail in the way `how` and further lines in its manifest.
    pub(crate) fn failing_notices(how: &str, settings: &str) -> Self {
        let (notices, components) = (guest("notices"), host::repository().join("target/components"));
        let uses = "uses = [\"sql\", \"logging\", \"clocks\", \"random\"]";
        drop(host::shop());
        Self::shop("").manifest(&format!(
            "[app]\nname = \"shop\"\nroutes = [\"routes/*.toml\"]\n\
             [modules.orders]\ncomponent = \"{0}/orders.wasm\"\n{uses}\ncalls = [\"payments\", \"notifications\"]\n\
             [modules.payments]\ncomponent = \"{0}/payments.wasm\"\n{uses}\n\
             [modules.notifications]\ncomponent = {notices:?}\nuses = [\"config\"]\nconfig = {{ how = \"{how}\" }}\n{settings}\n",
            components.display()
        ))
    }

    /// With another manifest.
    pub(crate) fn manifest(self, manifest: &str) -> Self {
        fs::write(self.path().join("app.toml"), manifest).unwrap();
        self
    }

    /// With a file of routes.
    pub(crate) fn routes(self, routes: &str) -> Self {
        fs::write(self.path().join("routes/routes.toml"), routes).unwrap();
        self
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A host on it, not started yet.
    pub(crate) fn launch(&self) -> Launch {
        Launch::app(self.path())
    }
}

/// Orders and payments together, notifications apart, with further settings of its compartment.
pub(crate) fn apart(settings: &str) -> String {
    format!(
        "[compartments.core]\nmodules = [\"orders\", \"payments\"]\n[compartments.aside]\nmodules = [\"notifications\"]\n{settings}\n"
    )
}

/// The guests, built as any module is: by `watertight build`.
pub(crate) fn guest(name: &str) -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let app = host::repository().join("host/tests/guests");
        let built = host::binary().arg("build").arg("--app").arg(app).arg("--out").arg(&folder).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        folder
    });
    FOLDER.join(name).with_extension("wasm")
}

/// The probe as a component of `wasm32-wasip2`, which brings all of WASI along.
pub(crate) fn wasi_probe() -> PathBuf {
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        const TARGET: &str = "wasm32-wasip2";
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = std::process::Command::new(cargo)
            .args(["build", "--target", TARGET, "--profile", "module", "-p", "watertight-guest-probe"])
            .current_dir(host::repository())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "if the target is missing, run `rustup target add {TARGET}`\n{said}");
        // A temporary folder of tests stands in the target folder.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        target.join(TARGET).join("module/watertight_guest_probe.wasm")
    });
    FILE.clone()
}
