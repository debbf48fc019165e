//! Tests of failures of the child process that compiles, and of the folder that keeps compiled code.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use watertight_component::profile::Profile;
use watertight_engine::Engines;
use watertight_engine::compile::{CompileError, Compiler};
use watertight_model::config::CompileLimits;
use watertight_testkit::components;

fn component() -> Vec<u8> {
    let text = "package a:b; interface greet { say: func(name: string) -> string; } world w { export greet; }";
    components::component(text, "w")
}

fn compiler(folder: &Path) -> Compiler {
    Compiler::new(
        Engines::new(),
        &folder.join("code"),
        env!("CARGO_BIN_EXE_watertight").into(),
        CompileLimits::default(),
    )
    .unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("code")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with("functions.sqlite")).collect()
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
    assert!(!compiler.compile(&bytes, Profile::Fresh).unwrap().cached, "two profiles share code");
}

/// Returns a component of many functions. One of them contains `number`, so that different numbers give different components.
fn program(number: u32) -> Vec<u8> {
    let functions: String = (0..200)
        .map(|index| {
            let constant = if index == 77 { number } else { index };
            format!(
                "(func $f{index} (param i32) (result i32) (local i32)
                   (block (loop (br_if 1 (i32.ge_u (local.get 1) (local.get 0)))
                     (i32.store (local.get 1) (i32.load8_u (i32.mul (local.get 1) (i32.const {constant}))))
                     (local.set 1 (i32.add (local.get 1) (i32.const {}))) (br 0)))
                   (call_indirect (param i32) (result i32) (local.get 1) (i32.and (local.get 0) (i32.const 63)))
                   (call $f{} (local.get 1)) i32.div_u)\n",
                index + 1,
                (index + 1) % 200,
            )
        })
        .collect();
    let names: String = (0..64).map(|index| format!(" $f{index}")).collect();
    wat::parse_str(format!(
        "(component (core module $m (memory 1) (table 64 funcref) (elem (i32.const 0) func{names}) {functions}
           (export \"f\" (func $f0)))
           (core instance $i (instantiate $m)))"
    ))
    .unwrap()
}

#[test]
fn functions_that_were_compiled_before_are_the_same_code() {
    let code = |builds: &[u32]| {
        let folder = tempfile::tempdir().unwrap();
        let compiler = compiler(folder.path());
        let mut last = Vec::new();
        for number in builds {
            let before = files(folder.path());
            assert!(!compiler.compile(&program(*number), Profile::Reuse).unwrap().cached);
            let mut new = files(folder.path());
            new.retain(|file| !before.contains(file));
            last = fs::read(folder.path().join("code").join(&new[0])).unwrap();
        }
        last
    };
    let other = code(&[1_000]);
    assert!(code(&[999, 1_001, 1_000]) == other, "the code of another build was used");
    assert!(code(&[1_001]) != other);
}

#[test]
fn the_child_takes_processor_time_that_nobody_else_wants() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_watertight"))
        .args(["compile-component", "reuse", "idle", "4294967296"])
        .arg(folder.path().join("out"))
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Field 41 of `/proc/PID/stat` is the scheduling policy. 5 is SCHED_IDLE (sched(7)).
    let policy = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned()
    };
    let start = std::time::Instant::now();
    while policy() != "5" {
        assert!(start.elapsed() < Duration::from_secs(30), "its policy is {}", policy());
        std::thread::sleep(Duration::from_millis(5));
    }
    // The child reads the end of its input.
    drop(child.stdin.take());
    assert!(!child.wait().unwrap().success());
}

/// `strace` makes the first write of the compiled code fail with `ENOSPC`. The host then deletes kept code of single functions and writes
/// again.
#[test]
fn on_a_full_disk_kept_functions_give_way_to_code() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("component.wasm");
    fs::write(&component, program(1)).unwrap();
    let compile = |prefix: &[&str], output: &str| {
        let command = [env!("CARGO_BIN_EXE_watertight"), "compile-component", "reuse", "low", "4294967296", output];
        let command = [prefix, &command].concat();
        let mut run = std::process::Command::new(command[0]);
        let run = run.args(&command[1..]).stdin(File::open(&component).unwrap()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        fs::read(output).unwrap()
    };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let code = compile(&[], &path("first"));
    assert!(folder.path().join("functions.sqlite").exists());
    let second = path("second");
    let full = ["strace", "-f", "-o", "/dev/null", "-P", &second, "-e", "inject=write:error=ENOSPC:when=1"];
    assert!(compile(&full, &second) == code);
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["component.wasm", "first", "second"]);
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
    assert!(compiler.compile(&component(), Profile::Reuse).unwrap().cached, "the code was not found in the cache");
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
    // The input exceeds the buffer of a pipe, so the child must be fed while it reports its error.
    let junk = vec![b'x'; 1 << 20];
    let Err(CompileError::Refused(why)) = compiler.compile(&junk, Profile::Reuse) else { panic!() };
    assert!(!why.is_empty() && !why.contains("panicked"), "{why}");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_child_that_does_nothing_is_no_success() {
    for program in ["/bin/true", "/bin/false", "/no/such/program"] {
        let folder = tempfile::tempdir().unwrap();
        let compiler =
            Compiler::new(Engines::new(), &folder.path().join("code"), program.into(), CompileLimits::default())
                .unwrap();
        assert!(compiler.compile(&vec![b'x'; 1 << 20], Profile::Reuse).is_err(), "{program}");
        assert!(files(folder.path()).is_empty());
    }
}

#[test]
fn a_folder_that_others_can_reach_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let new = |path: &Path| Compiler::new(Engines::new(), path, "/bin/true".into(), CompileLimits::default()).map(drop);
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
