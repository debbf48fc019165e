//! Applications for benchmarks: the shop of this repository, and small ones that are written for the purpose.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use watertight::build::{self, Event, Options};
use watertight::config::{self, ComponentSource, Overrides};

use super::{folder, workspace};

/// Builds the shop's modules where they changed, and returns its manifest.
pub fn shop() -> anyhow::Result<PathBuf> {
    let config = config::load(&workspace(), &Overrides::default())?;
    let folders = config.modules.values().filter_map(|module| match &module.component.value {
        ComponentSource::Folder { folder, .. } => Some(folder.clone()),
        ComponentSource::File(_) => None,
    });
    make(&folders.collect::<Vec<_>>(), None)?;
    Ok(config.manifest)
}

/// Builds guests of `benches/guests` and returns their component files, in order.
pub fn guests<const N: usize>(names: [&str; N]) -> anyhow::Result<[PathBuf; N]> {
    let out = folder()?.join("components");
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/guests");
    make(&names.map(|name| guests.join(name)), Some(out.clone()))?;
    Ok(names.map(|name| out.join(name).with_extension("wasm")))
}

/// The shop elsewhere, with further lines in its manifest.
pub fn copy_of_shop(shop: &Path, folder: &Path, settings: &str) -> anyhow::Result<PathBuf> {
    let components = workspace().join("target/components");
    let mut manifest: String = std::fs::read_to_string(shop)?
        .lines()
        .map(|line| match line.strip_prefix("component = \"").and_then(|rest| rest.strip_suffix('"')) {
            Some(name) => format!("component = \"{}/{name}.wasm\"\n", components.display()),
            None => format!("{line}\n"),
        })
        .collect();
    manifest += settings;
    std::fs::create_dir_all(folder.join("routes"))?;
    for route in std::fs::read_dir(shop.with_file_name("routes"))? {
        let route = route?;
        std::fs::copy(route.path(), folder.join("routes").join(route.file_name()))?;
    }
    let copy = folder.join("app.toml");
    std::fs::write(&copy, manifest)?;
    Ok(copy)
}

/// Limits of hostile modules: small enough that each is met soon.
const LIMITS: &str = "memory = \"16MiB\"\ncpu = \"100ms\"\nrequest = \"10s\"\ntransfer = \"5MiB\"\nhandles = 1000\n\
                      log = \"64KiB\"\nresult = \"64KiB\"\n";

/// The shop elsewhere, with hostile modules beside it, each in a compartment of its own with limits that are met soon: their names, what
/// they are answered at `/NAME`, and their components. `settings` are further lines of the manifest.
pub fn with_hostile<'a>(
    shop: &Path,
    folder: &Path,
    settings: &str,
    hostile: impl Iterator<Item = (&'a str, u16, &'a [u8])>,
) -> anyhow::Result<PathBuf> {
    let mut manifest =
        format!("{settings}[compartments.shop]\nmodules = [\"orders\", \"payments\", \"notifications\"]\n");
    let (mut routes, mut components) = (String::new(), Vec::new());
    for (name, status, component) in hostile {
        write!(manifest, "[modules.{name}]\ncomponent = \"{name}.wasm\"\nuses = [\"logging\"]\n")?;
        write!(manifest, "[compartments.{name}]\nmodules = [\"{name}\"]\n[compartments.{name}.limits]\n{LIMITS}")?;
        let status = if status == 500 { 200 } else { status };
        writeln!(
            routes,
            "[[route]]\nmethod = \"GET\"\npath = \"/{name}\"\ncall = \"{name}/api.attack\"\nstatus = {status}"
        )?;
        components.push((name, component));
    }
    let app = copy_of_shop(shop, folder, &manifest)?;
    for (name, component) in components {
        std::fs::write(app.with_file_name(format!("{name}.wasm")), component)?;
    }
    std::fs::write(app.with_file_name("routes").join("hostile.toml"), routes)?;
    Ok(app)
}

fn make(folders: &[PathBuf], out: Option<PathBuf>) -> anyhow::Result<()> {
    let options = Options { workspace: workspace(), out, debug: false };
    build::build(folders, &options, &|event| match event {
        Event::Compiling { command, .. } => eprintln!("  running {command}"),
        Event::Output(line) | Event::Warning(line) => eprintln!("  {line}"),
        Event::Built(_) => {}
    })?;
    Ok(())
}
