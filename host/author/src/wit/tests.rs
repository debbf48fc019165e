//! Tests of the WIT that goes into an application: the layout and the formats are those of `wkg`, and checks tell what differs.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use serde::Deserialize;
use tempfile::TempDir;

use watertight_model::config::capability::Declarations;

use super::*;

/// `wkg.toml` as `wasm-pkg-core` 0.16 reads it: nothing else may stand there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WkgManifest {
    overrides: HashMap<String, WkgOverride>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WkgOverride {
    path: PathBuf,
}

/// `wkg.lock` as `wasm-pkg-core` 0.16 reads it.
#[derive(Deserialize)]
struct WkgLock {
    version: u64,
    #[serde(alias = "package", default)]
    packages: Vec<toml::Value>,
}

fn packages() -> Packages {
    Packages::of(&Declarations::default())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn added(wanted: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    add(folder.path(), &packages(), &names(wanted)).expect("they are offered");
    folder
}

fn text(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).expect("it is there")
}

#[test]
fn packages_stand_where_wkg_puts_them() {
    let folder = added(&["sql", "http"]);
    let sql = folder.path().join("wit/deps/watertight-sql-1.0.0/package.wit");
    assert!(fs::read_to_string(sql).expect("it is there").contains("package watertight:sql@1.0.0;"));
    // `wasi:http` uses the streams of `wasi:io`.
    assert!(folder.path().join("wit/deps/wasi-io-0.2.12/package.wit").exists());

    let manifest: WkgManifest = toml::from_str(&text(&folder, "wkg.toml")).expect("wkg reads it");
    for (name, WkgOverride { path }) in &manifest.overrides {
        let package = UnresolvedPackageGroup::parse_dir(folder.path().join(path)).expect("an override is a package");
        assert_eq!(packages::unversioned(&package.main.name), *name);
    }
    assert!(manifest.overrides.contains_key("watertight:sql"));
    let lock: WkgLock = toml::from_str(&text(&folder, "wkg.lock")).expect("wkg reads it");
    assert_eq!((lock.version, lock.packages.len()), (1, 0));
    assert_eq!(check(folder.path(), &packages()), []);
}

#[test]
fn what_is_in_the_files_of_wkg_already_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest =
        "# ours\n[overrides]\n\"acme:geo\" = { path = \"../geo\" } # beside\n\n[metadata]\nauthors = \"we\"\n";
    let lock = "version = 1\n\n[[packages]]\nname = \"acme:maps\"\nregistry = \"acme.example\"\n";
    fs::write(folder.path().join("wkg.toml"), manifest).expect("it is writable");
    fs::write(folder.path().join("wkg.lock"), lock).expect("it is writable");
    assert_eq!(add(folder.path(), &packages(), &names(&["sql"])).expect("it is offered").len(), 1);
    let found = text(&folder, "wkg.toml");
    assert!(found.starts_with("# ours\n") && found.contains("# beside") && found.contains("authors"), "{found}");
    assert!(found.contains("\"watertight:sql\" = { path = \"wit/deps/watertight-sql-1.0.0\" }"), "{found}");
    assert_eq!(text(&folder, "wkg.lock"), lock);
    // Nothing changes the second time.
    assert!(add(folder.path(), &packages(), &names(&["sql"])).expect("it is offered").is_empty());
    assert_eq!(text(&folder, "wkg.toml"), found);

    fs::write(folder.path().join("wkg.toml"), "[workspace]\nmembers = []\n").expect("it is writable");
    let error = add(folder.path(), &packages(), &names(&["logging"])).expect_err("a workspace has no overrides");
    assert!(error.to_string().contains("workspace"), "{error}");
    assert!(!folder.path().join("wit/deps/wasi-logging-0.1.0-draft").exists());
}

#[test]
fn a_package_in_two_versions_is_left_to_the_registries_of_wkg() {
    let folder = added(&["clocks", "wasi:clocks@0.2.12"]);
    let manifest: WkgManifest = toml::from_str(&text(&folder, "wkg.toml")).expect("wkg reads it");
    assert!(!manifest.overrides.contains_key("wasi:clocks"));
}

#[test]
fn files_of_others_are_kept_and_broken_packages_are_named() {
    let folder = added(&["sql", "random"]);
    let package = folder.path().join("wit/deps/watertight-sql-1.0.0");
    let served = fs::read_to_string(package.join("package.wit")).expect("it is there");
    let changed = served.replace("blob(list<u8>)", "blob(list<u16>)");
    fs::write(package.join("package.wit"), &changed).expect("it is writable");
    let mine = package.join("mine.wit");
    fs::write(&mine, "package watertight:sql@1.0.0;\ninterface mine {}\n").expect("it is writable");
    assert!(matches!(update(folder.path(), &packages()), Err(WitError::Foreign { path }) if path == mine));
    fs::remove_file(&mine).expect("it is there");

    let elsewhere = folder.path().join("elsewhere.wit");
    fs::rename(package.join("package.wit"), &elsewhere).expect("it is there");
    std::os::unix::fs::symlink(&elsewhere, package.join("package.wit")).expect("it is writable");
    assert!(matches!(update(folder.path(), &packages()), Err(WitError::Foreign { .. })));
    assert_eq!(fs::read_to_string(&elsewhere).expect("it is there"), changed);
    fs::remove_file(package.join("package.wit")).expect("it is there");

    fs::write(package.join("package.wit"), "interface {{{").expect("it is writable");
    let found = broken(folder.path());
    assert!(found.len() == 1 && found[0].folder == package && !found[0].message.is_empty(), "{found:?}");
    assert!(matches!(update(folder.path(), &packages()), Err(WitError::Broken { .. })));
}

#[test]
fn a_change_is_found_and_mended() {
    let folder = added(&["sql", "random"]);
    let file = "wit/deps/watertight-sql-1.0.0/package.wit";
    let changed = text(&folder, file).replace("blob(list<u8>)", "blob(list<u16>)");
    fs::write(folder.path().join(file), changed).expect("it is writable");
    let found = check(folder.path(), &packages());
    let said = found.iter().map(ToString::to_string).collect::<String>();
    assert_eq!(found.len(), 1, "{said}");
    assert!(said.contains("- blob(list<u16>)") && said.contains("+ blob(list<u8>)"), "{said}");
    assert_eq!(update(folder.path(), &packages()).expect("it is writable").len(), 1);
    assert_eq!(check(folder.path(), &packages()), []);

    fs::remove_dir_all(folder.path().join("wit/deps")).expect("it is there");
    assert_eq!(update(folder.path(), &packages()).expect("it is writable").len(), 2, "wkg.toml names them");
    assert!(folder.path().join(file).exists());
}

#[test]
fn what_the_host_does_not_serve_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str| {
        let folder = folder.path().join(DEPS).join(name);
        fs::create_dir_all(&folder).expect("it is writable");
        fs::write(folder.join("package.wit"), text).expect("it is writable");
    };
    put("newer", "package watertight:sql@9.0.0; interface sql { f: func(); }");
    put("gone", "package wasi:nn@0.2.0; interface nn { f: func(); }");
    put("theirs", "package acme:geo@1.0.0; interface geo { f: func(); }");
    let found = check(folder.path(), &packages());
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "`wasi:nn@0.2.0` in wit/deps is not served by this host",
            "`watertight:sql/sql@9.0.0` in wit/deps is not served by this host"
        ]
    );
}

#[test]
fn every_release_of_a_series_of_wasi_is_served() {
    // `wkg` fetches all of `wasi:clocks@0.2.6`, where this host offers a part of it, and prints it without comments.
    let clocks = packages().find("wasi:clocks@0.2.12").expect("it is offered").text.replace("0.2.12", "0.2.6");
    let clocks: Vec<&str> = clocks.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let folder = added(&["wasi:io"]);
    let at = folder.path().join(DEPS).join("wasi-clocks-0.2.6");
    fs::create_dir_all(&at).expect("it is writable");
    fs::write(at.join("package.wit"), clocks.join("\n").replace("wasi:io/poll@0.2.6", "wasi:io/poll@0.2.12"))
        .expect("it is writable");
    assert_eq!(check(folder.path(), &packages()), []);
}

#[test]
fn wasi_is_that_of_the_engine_s_crates() {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Crate>,
    }
    #[derive(Deserialize)]
    struct Crate {
        name: String,
        manifest_path: PathBuf,
    }
    let mut command = Command::new(env!("CARGO"));
    let command = command.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    let said = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("Cargo runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Metadata = serde_json::from_slice(&said.stdout).expect("Cargo prints JSON");
    let http = metadata.packages.iter().find(|one| one.name == "wasmtime-wasi-http").expect("the host uses it");
    let http = http.manifest_path.parent().expect("a manifest stands in a folder");
    for (version, deps) in [("wasi-0.2.12", "wit/deps"), ("wasi-0.3.0", "src/p3/wit/deps")] {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(version);
        let theirs = watertight_build::wit_files(&http.join(deps));
        assert_eq!(watertight_build::folders_in(&own).len(), theirs.len());
        for file in theirs {
            let name = file.file_stem().expect("it has a name");
            let own = own.join(name).join(file.file_name().expect("it has a name"));
            assert_eq!(fs::read(&own).ok(), fs::read(&file).ok(), "{}", own.display());
        }
    }
}
