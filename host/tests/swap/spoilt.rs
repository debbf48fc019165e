//! Tests of damaged files in the state folder. The host replaces a file that it can make again. Otherwise the start fails and names the
//! damaged file.

use std::fs;
use std::path::{Path, PathBuf};

use watertight_testkit::admin::Operator;
use watertight_testkit::host::folder;
use watertight_testkit::tagged::{App, Content, back, serves};

/// A function that damages a file. Its arguments are the file's path, its content, and the content of another file of the same kind.
type Spoil = fn(&Path, &[u8], &[u8]);

/// The kinds of damage, each with a name. Each is applied to files of every kind.
const WAYS: [(&str, Spoil); 5] = [
    ("empty", |file, _, _| fs::write(file, "").unwrap()),
    ("cut off", |file, bytes, _| fs::write(file, &bytes[..bytes.len() / 2]).unwrap()),
    ("with a bit flipped", |file, bytes, _| {
        let mut bytes = bytes.to_vec();
        // The history has no digest of its own, so its first byte is damaged. The files that it refers to have one.
        let at = if file.ends_with("history.json") { 0 } else { bytes.len() * 2 / 3 };
        bytes[at] ^= 0x10;
        fs::write(file, bytes).unwrap();
    }),
    ("another's", |file, _, other| fs::write(file, other).unwrap()),
    ("a folder", |file, _, _| fs::create_dir(file).unwrap()),
];

/// The expected outcome of a start with a damaged file.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// The host serves the last published generation.
    Serves,
    /// The start fails with a message that names the file.
    Refuses,
}

/// The kinds of files that are damaged: their folder in the state folder, the end of their names, and the expected outcome of a start.
const KINDS: [(&str, &str, Outcome); 5] = [
    ("code", ".cwasm", Outcome::Serves),
    ("code", "functions.sqlite", Outcome::Serves),
    ("artifacts", ".wasm", Outcome::Refuses),
    ("configurations", ".json", Outcome::Refuses),
    ("", "history.json", Outcome::Refuses),
];

fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.to_str().unwrap().ends_with(end)).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn what_is_spoilt_is_made_again_or_refused() {
    let first = Content::first(true);
    let second = Content { back: 102, ..first };
    let app = App::new(first, "");
    let folder = folder();
    let state = folder.path().join("state");
    let host = app.launch().state(&state).start();
    // The second build is kept nowhere else. Without the cached code, the host compiles it here.
    files(&state.join("code"), ".cwasm").iter().for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(Operator::of(&host).swapped("back", &back(102)), 2);
    serves(&host, 2, second);
    host.kill();
    for (kind, end, outcome) in KINDS {
        for (way, spoil) in WAYS {
            let when = format!("{kind}/*{end}, {way}");
            let spoilt = folder.path().join("spoilt");
            copy(&state, &spoilt);
            let files = files(&spoilt.join(kind), end);
            assert!(!files.is_empty(), "{when}");
            let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
            for (number, file) in files.iter().enumerate() {
                // Where there is no second file of the kind, other content takes its place.
                let other = if files.len() > 1 { &whole[(number + 1) % whole.len()][..] } else { b"something else" };
                fs::remove_file(file).unwrap();
                spoil(file, &whole[number], other);
            }
            match outcome {
                Outcome::Serves => {
                    let host = app.launch().state(&spoilt).start();
                    serves(&host, 2, second);
                    if end == ".cwasm" {
                        assert!(host.has_logged("damaged code is compiled again"), "{when}: {}", host.log());
                    }
                    // Compilation still works.
                    assert_eq!(Operator::of(&host).swapped("back", &back(103)), 3, "{when}");
                    serves(&host, 3, Content { back: 103, ..first });
                }
                Outcome::Refuses => {
                    let (status, log) = app.launch().state(&spoilt).expect_end();
                    assert_eq!(status.code(), Some(1), "{when}: {log}");
                    let named = files.iter().any(|file| log.contains(file.file_name().unwrap().to_str().unwrap()));
                    assert!(named && log.contains("[state]"), "{when}: {log}");
                    // The failed start changed nothing: with the original content, the host starts.
                    for (file, bytes) in files.iter().zip(&whole) {
                        if file.is_dir() {
                            fs::remove_dir(file).unwrap();
                        }
                        fs::write(file, bytes).unwrap();
                    }
                    serves(&app.launch().state(&spoilt).start(), 2, second);
                }
            }
            fs::remove_dir_all(&spoilt).unwrap();
        }
    }
}
