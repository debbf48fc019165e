//! Damages valid input by small changes of its bytes, or of the lines and tokens of its format.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One change that damages an input. Each [`Index`] selects a place in the input as it is when the change is applied.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Replaces a byte.
    Byte(Index, u8),
    /// Flips a bit.
    Bit(Index, u8),
    /// Removes a few bytes.
    Remove(Index, u8),
    /// Inserts a token of the input's format, such as `{` for JSON.
    Insert(Index, Index),
    /// Copies a piece to another place.
    Repeat(Index, Index, u8),
    /// Inserts many copies of a token of the input's format.
    Flood(Index, Index, u16),
    /// Cuts the end off.
    Cut(Index),
    /// Removes a line.
    DropLine(Index),
    /// Copies a line before another one.
    RepeatLine(Index, Index),
    /// Replaces a word by a token of the input's format. A word is a run of letters and digits.
    Word(Index, Index),
}

/// Returns a proptest strategy for a list of changes, which is mostly short.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop_oneof![2 => Just(vec![]), 5 => vec(change(), 1..2), 3 => vec(change(), 2..4), 1 => vec(change(), 4..16)]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(place, byte)| Change::Byte(place, byte)),
        4 => (at(), 0..8_u8).prop_map(|(place, bit)| Change::Bit(place, bit)),
        4 => (at(), 1..16_u8).prop_map(|(place, count)| Change::Remove(place, count)),
        6 => (at(), at()).prop_map(|(place, word)| Change::Insert(place, word)),
        3 => (at(), at(), 1..64_u8).prop_map(|(from, to, count)| Change::Repeat(from, to, count)),
        1 => (at(), at(), 1..20_000_u16).prop_map(|(place, word, count)| Change::Flood(place, word, count)),
        1 => at().prop_map(Change::Cut),
        4 => at().prop_map(Change::DropLine),
        4 => (at(), at()).prop_map(|(from, to)| Change::RepeatLine(from, to)),
        8 => (at(), at()).prop_map(|(place, word)| Change::Word(place, word)),
    ]
}

/// The maximum size to which changes let an input grow, in bytes.
const MAX_BYTES: usize = 256 << 10;

/// Returns `input` after all changes. `words` are the tokens of the input's format.
pub(crate) fn changed(input: &[u8], changes: &[Change], words: &[&str]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for change in changes {
        apply(&mut bytes, change, words);
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

/// Returns the text `input` after all changes. Bytes that are no longer UTF-8 are replaced.
pub(crate) fn changed_text(input: &str, changes: &[Change], words: &[&str]) -> String {
    String::from_utf8_lossy(&changed(input.as_bytes(), changes, words)).into_owned()
}

fn apply(bytes: &mut Vec<u8>, change: &Change, words: &[&str]) {
    let place = |index: &Index| index.index(bytes.len() + 1);
    let within = |from: usize, count: u8| from..(from + usize::from(count)).min(bytes.len());
    match change {
        Change::Byte(at, byte) => {
            let at = place(at);
            bytes.splice(at..(at + 1).min(bytes.len()), [*byte]);
        }
        Change::Bit(at, bit) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Change::Remove(at, count) => drop(bytes.drain(within(place(at), *count))),
        Change::Insert(at, word) => {
            let at = place(at);
            bytes.splice(at..at, word.get(words).bytes());
        }
        Change::Repeat(from, to, count) => {
            let (piece, to) = (bytes[within(place(from), *count)].to_vec(), place(to));
            bytes.splice(to..to, piece);
        }
        Change::Flood(at, word, count) => {
            let at = place(at);
            bytes.splice(at..at, word.get(words).repeat(usize::from(*count)).into_bytes());
        }
        Change::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        Change::DropLine(line) => {
            let lines = lines(bytes);
            drop(bytes.drain(line.get(&lines).clone()));
        }
        Change::RepeatLine(from, to) => {
            let lines = lines(bytes);
            let (piece, to) = (bytes[from.get(&lines).clone()].to_vec(), to.get(&lines).start);
            bytes.splice(to..to, piece);
        }
        Change::Word(at, word) => {
            let at = place(at);
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            let end = at + bytes[at..].iter().take_while(|byte| is_word(byte)).count();
            let start = at - bytes[..at].iter().rev().take_while(|byte| is_word(byte)).count();
            bytes.splice(start..end, word.get(words).bytes());
        }
    }
}

/// Returns the range of each line, with its line break. There is at least one.
fn lines(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        lines.push(start..start + line.len());
        start += line.len();
    }
    if lines.is_empty() {
        lines.push(0..0);
    }
    lines
}
