//! The archive of a release: what is in it, that it works by itself, and that the same binary gives the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use watertight_testkit::host;
use watertight_testkit::paths::repository;

/// Packs a binary into `folder`. Returns the archive.
fn pack(binary: &Path, folder: &Path) -> PathBuf {
    let pack = repository().join("host/dist/pack");
    let output = Command::new(pack).args([binary, folder]).env("GZIP_LEVEL", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_archive_has_what_a_system_needs() {
    let folder = host::folder();
    let binary = PathBuf::from(host::binary().get_program());
    let archive = pack(&binary, &folder.path().join("one"));
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()));
    let name = archive.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap();
    let root = folder.path().join(name);
    let program = root.join("bin/watertight");

    let version = run(Command::new(&program).arg("--version"));
    assert_eq!(format!("watertight-{}-x86_64-linux", version.trim().strip_prefix("watertight ").unwrap()), name);
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    for page in ["watertight", "watertight-run", "watertight-swap"] {
        assert!(read(&format!("share/man/man1/{page}.1")).contains(".TH "), "{page}");
    }
    assert!(!root.join("share/man/man1/watertight-compile-component.1").exists(), "a hidden command has a page");
    for script in ["bash-completion/completions/watertight", "zsh/site-functions/_watertight"] {
        assert!(read(&format!("share/{script}")).contains("rollback"), "{script}");
    }
    run(Command::new("bash").arg("-n").arg(root.join("share/bash-completion/completions/watertight")));
    assert!(read("share/fish/vendor_completions.d/watertight.fish").contains("rollback"));
    let third_party = read("THIRD-PARTY");
    assert!(third_party.contains("\nwasmtime 50.") && third_party.contains("TERMS AND CONDITIONS"));
    for file in ["LICENSE", "README.md", "Containerfile"] {
        assert!(!read(file).is_empty());
    }
    check_units(&root);

    let again = pack(&binary, &folder.path().join("two"));
    let is_same = std::fs::read(&archive).unwrap() == std::fs::read(&again).unwrap();
    assert!(is_same, "two archives of one binary differ");
}

/// Checks the units with systemd's own program, where it is installed.
fn check_units(root: &Path) {
    let units = root.join("lib/systemd/system");
    let path = units.join("watertight.service");
    let service = std::fs::read_to_string(&path).unwrap();
    // The program must exist where the unit says.
    let program = root.join("bin/watertight");
    std::fs::write(&path, service.replace("/usr/local/bin/watertight", program.to_str().unwrap())).unwrap();
    let verify =
        Command::new("systemd-analyze").arg("verify").args(["--man=no", "--recursive-errors=no"]).arg(&path).output();
    let Ok(verified) = verify else { return eprintln!("systemd-analyze isn't installed: the units weren't checked") };
    let complaint = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !complaint.contains("watertight"), "{complaint}");
}

#[test]
fn the_version_tells_what_the_binary_serves() {
    let text = run(host::binary().args(["--version", "--json"]));
    assert_eq!(text, run(host::binary().args(["version", "--json"])));
    let version: Value = serde_json::from_str(&text).unwrap();
    assert!(version["wasmtime"].as_str().unwrap().starts_with("50."), "{version}");
    assert!(!version["commit"].as_str().unwrap().is_empty());
    let packages = |name: &str| {
        let offers = version["capabilities"].as_array().unwrap();
        offers.iter().find(|offer| offer["name"] == name).unwrap()["packages"].clone()
    };
    assert_eq!(packages("lifecycle"), serde_json::json!(["watertight:lifecycle@1.0.0"]));
    assert!(packages("clocks").as_array().unwrap().contains(&"wasi:clocks@0.2".into()), "{version}");
    assert!(packages("sql")[0].as_str().unwrap().starts_with("watertight:sql@"), "{version}");
    assert_eq!(run(host::binary().arg("-V")), run(host::binary().arg("version")));
    let refused = host::binary().arg("--json").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
