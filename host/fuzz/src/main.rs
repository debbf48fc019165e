//! The fuzzer: libFuzzer with one of the targets. `make fuzz-coverage` runs it.
//!
//! `WATERTIGHT_FUZZ_TARGET` names the target. `WATERTIGHT_FUZZ_FOLDER` is the folder of its files: seeds are written to `corpus`, words to
//! `words`, and the target's own files to `data`.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls exported functions by their names")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use watertight_fuzz::{NAMES, Target};

/// libFuzzer passes nothing but the input to the function that it calls.
static TARGET: OnceLock<Target> = OnceLock::new();

/// One change in this number replaces a word.
const WORDS_EVERY: u32 = 2;

fuzz_target!(init: prepare(), |input: &[u8]| {
    TARGET.get().expect("`prepare` runs before the first input").check(input);
});

// libFuzzer changes bytes. Statements and documents also need whole words to be replaced.
fuzz_mutator!(|input: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let replaced = seed
        .is_multiple_of(WORDS_EVERY)
        .then(|| TARGET.get().and_then(|target| target.replace_word(input, size, seed / WORDS_EVERY)));
    replaced.flatten().unwrap_or_else(|| fuzzer_mutate(input, size, max_size))
});

/// Prepares the target and writes its seeds. libFuzzer calls this before it reads the corpus.
fn prepare() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: use `make fuzz-coverage`"));
    let name = variable("WATERTIGHT_FUZZ_TARGET");
    let folder = PathBuf::from(variable("WATERTIGHT_FUZZ_FOLDER"));
    let (corpus, data) = (folder.join("corpus"), folder.join("data"));
    // What the last run left behind. It may be missing.
    let _ = fs::remove_dir_all(&data);
    for folder in [&corpus, &data] {
        fs::create_dir_all(folder).expect("the folder of the target's files can be made");
    }
    let target = Target::new(&name, &data).unwrap_or_else(|| panic!("there is no target {name:?}, only {NAMES:?}"));
    for (number, seed) in target.seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed).expect("a seed can be written");
    }
    let mut words = String::new();
    for word in &target.words {
        let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        let _ = writeln!(words, "\"{escaped}\"");
    }
    fs::write(folder.join("words"), words).expect("the words can be written");
    TARGET.set(target).expect("libFuzzer prepares the target once");
}
