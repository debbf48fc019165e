//! Compiling in a child process, and the folder of compiled code, when things go wrong.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use watertight::engine::Engines;
use watertight::engine::compile::{CompileError, Compiler};
use watertight::profile::Profile;

#[path = "support/components.rs"]
mod components;

fn component() -> Vec<u8> {
    let text = "package a:b; interface greet { say: func(name: string) -> string; } world w { export greet; }";
    components::component(text, "w")
}

fn compiler(folder: &Path) -> Compiler {
    Compiler::new(Engines::new(), &folder.join("code"), env!("CARGO_BIN_EXE_watertight").into()).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("code")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_same_bytes_at_once_are_one_file_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path());
    let bytes = component();
    std::thread::scope(|scope| {
        let compile = || compiler.compile(&bytes, Profile::Reuse).unwrap();
        let compiling: Vec<_> = (0..4).map(|_| scope.spawn(compile)).collect();
        compiling.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
    let [file] = &files(folder.path())[..] else { panic!("{:?}", files(folder.path())) };
    assert!(file.ends_with(".cwasm"), "{file}");
    assert!(compiler.compile(&bytes, Profile::Reuse).unwrap().cached);
    assert!(!compiler.compile(&bytes, Profile::Fresh).unwrap().cached, "a profile's code is its own");
}

#[test]
fn damaged_code_is_compiled_again() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path());
    compiler.compile(&component(), Profile::Reuse).unwrap();
    let file = folder.path().join("code").join(&files(folder.path())[0]);
    File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
    assert!(!compiler.compile(&component(), Profile::Reuse).unwrap().cached);
    assert!(compiler.compile(&component(), Profile::Reuse).unwrap().cached);
}

#[test]
fn code_that_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path());
    let code = folder.path().join("code");
    compiler.compile(&component(), Profile::Reuse).unwrap();
    let used = files(folder.path()).remove(0);
    for age in 1..=100 {
        let file = File::create(code.join(format!("{age:03}.cwasm"))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    File::open(code.join(&used)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(1000)).unwrap();
    assert!(compiler.compile(&component(), Profile::Reuse).unwrap().cached, "to use it makes it young");
    compiler.compile(&component(), Profile::Fresh).unwrap();
    let left = files(folder.path());
    assert_eq!(left.len(), 64);
    assert!(left.contains(&used) && left.contains(&"062.cwasm".to_owned()) && !left.contains(&"063.cwasm".to_owned()));
}

#[test]
fn what_a_dead_host_left_aside_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    drop(compiler(folder.path()));
    for name in ["half.tmp", "whole.cwasm"] {
        File::create(folder.path().join("code").join(name)).unwrap();
    }
    drop(compiler(folder.path()));
    assert_eq!(files(folder.path()), ["whole.cwasm"]);
}

#[test]
fn a_refusal_says_why_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = compiler(folder.path());
    // More than a pipe holds, so that the child must be fed while it complains.
    let junk = vec![b'x'; 1 << 20];
    let Err(CompileError::Refused(why)) = compiler.compile(&junk, Profile::Reuse) else { panic!() };
    assert!(!why.is_empty() && !why.contains("panicked"), "{why}");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_child_that_does_nothing_is_no_success() {
    for program in ["/bin/true", "/bin/false", "/no/such/program"] {
        let folder = tempfile::tempdir().unwrap();
        let compiler = Compiler::new(Engines::new(), &folder.path().join("code"), program.into()).unwrap();
        assert!(compiler.compile(&vec![b'x'; 1 << 20], Profile::Reuse).is_err(), "{program}");
        assert!(files(folder.path()).is_empty());
    }
}

#[test]
fn a_folder_that_others_can_reach_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let new = |path: &Path| Compiler::new(Engines::new(), path, "/bin/true".into()).map(drop);
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(new(&open), Err(CompileError::Folder { .. })));
    fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
    new(&open).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&open, &link).unwrap();
    assert!(matches!(new(&link), Err(CompileError::Folder { .. })));
}
