//! Fuzz targets that libFuzzer guides by coverage: each takes bytes of an attacker and panics if the host treats them wrongly.
//!
//! They complete the property tests in `host/tests/fuzz`, which generate input that is right or nearly right, and compare more. The
//! fuzzer begins with seeds that are made of the repository's own test data, and finds the rest by what the code does. A failure of a
//! target becomes a case of a test beside the code.
//!
//! A target never depends on the inputs before.

mod json;
mod section;
mod seeds;
mod shape;
mod sql;
// The test kit itself needs the whole host, which would take minutes to compile for the fuzzer.
#[path = "../../testkit/src/statements.rs"]
#[allow(unreachable_pub, reason = "the file is a public module of the test kit")]
mod statements;

use std::fmt;
use std::path::Path;

/// The names of all targets.
pub const NAMES: [&str; 4] = ["json", "section", "shape", "sql"];

/// A target, prepared to take inputs.
pub struct Target {
    /// The inputs that the fuzzer begins with.
    pub seeds: Vec<Vec<u8>>,
    /// The words that the fuzzer inserts into inputs.
    pub words: Vec<String>,
    check: Box<dyn Fn(&[u8]) + Send + Sync>,
}

impl Target {
    /// Prepares the target `name`. Whatever it writes is written into `folder`, which must be empty. Returns `None` if there is no such
    /// target.
    pub fn new(name: &str, folder: &Path) -> Option<Self> {
        match name {
            "json" => Some(json::target()),
            "section" => Some(section::target()),
            "shape" => Some(shape::target()),
            "sql" => Some(sql::target(folder)),
            _ => None,
        }
    }

    /// Replaces one word of an input by a word of the format, or puts one where no word is. The input has `size` bytes, and may grow to fill
    /// the buffer. `seed` chooses. Returns the new size, or `None` if nothing fits.
    pub fn replace_word(&self, buffer: &mut [u8], size: usize, seed: u32) -> Option<usize> {
        let (seed, count) = (seed as usize, self.words.len());
        let word = self.words.get(seed % count.max(1))?.as_bytes();
        let at = seed / count % (size + 1);
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let end = at + buffer[at..size].iter().take_while(is_part).count();
        let start = at - buffer[..at].iter().rev().take_while(is_part).count();
        let (rest, new_size) = (start + word.len(), start + word.len() + size - end);
        if new_size > buffer.len() {
            return None;
        }
        buffer.copy_within(end..size, rest);
        buffer[start..rest].copy_from_slice(word);
        Some(new_size)
    }

    /// Runs one input.
    ///
    /// # Panics
    ///
    /// If the host treats the input wrongly.
    pub fn check(&self, input: &[u8]) {
        (self.check)(input);
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("seeds", &self.seeds.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_replaced() {
        let target = Target { seeds: vec![], words: vec!["from".to_owned(), "x".to_owned()], check: Box::new(|_| {}) };
        let replaced = |text: &str, space: usize, seed| {
            let mut buffer = [text.as_bytes(), &vec![0; space]].concat();
            let size = target.replace_word(&mut buffer, text.len(), seed)?;
            Some(String::from_utf8(buffer[..size].to_vec()).expect("words are text"))
        };
        assert_eq!(replaced("a_b, cd", 3, 2).as_deref(), Some("from, cd"));
        assert_eq!(replaced("a_b, cd", 3, 11).as_deref(), Some("a_b, x"));
        assert_eq!(replaced("", 4, 0).as_deref(), Some("from"));
        assert_eq!(replaced("a", 2, 0), None);
    }

    /// A quick check that the targets themselves work: their seeds pass, whole, cut and with a changed byte.
    #[test]
    fn the_seeds_pass() {
        for name in NAMES {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let target = Target::new(name, folder.path()).expect("there is a target of each name");
            assert!(target.seeds.len() >= 10, "{name} has {} seeds", target.seeds.len());
            for seed in &target.seeds {
                target.check(seed);
                target.check(&seed[..seed.len() / 2]);
                for step in 1..4 {
                    let mut changed = seed.clone();
                    if let Some(byte) = changed.get_mut(seed.len() * step / 4) {
                        *byte ^= 1 << step;
                    }
                    target.check(&changed);
                }
            }
        }
    }
}
