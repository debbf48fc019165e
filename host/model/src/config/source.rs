//! Holds the text of a file, the offsets of its lines, and the problems found in it.
//!
//! This file knows the syntax of TOML, not the meaning of a document. A file is read once, as a whole and bounded; it is never written.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::files::TextFile;
use crate::problem::{Code, Problem, Problems};

/// Greatest size of a manifest or a route file, in bytes. It is enough for some 5,000 routes; a larger file is probably the wrong one.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// A checked value with its line in the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocatedValue<T> {
    /// The value itself.
    pub value: T,
    /// The line of the value, counted from 1.
    pub line: u32,
}

impl<T> Deref for LocatedValue<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The text of a file. It also collects the problems that are found while the file is read.
pub(super) struct Source {
    path: Arc<Path>,
    text: String,
    /// The byte offset of the start of each line. The first is 0.
    starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl Source {
    /// Reads a file. Returns a problem if the file can't be read, is too large or is not UTF-8.
    pub(super) fn read(path: &Path) -> Result<Self, Problems> {
        let unreadable = |why: String| Problem::new(Code::Unreadable, why).file(path);
        let bytes = read_bounded(path).map_err(|error| unreadable(format!("can't read the file: {error}")))?;
        Self::new(path, bytes)
    }

    /// Takes the bytes of a file. Returns a problem if there are too many or if they are not UTF-8.
    pub(super) fn new(path: &Path, bytes: Vec<u8>) -> Result<Self, Problems> {
        if bytes.len() as u64 > MAX_FILE {
            let message = format!("the file has more than {MAX_FILE} bytes");
            return Err(Problem::new(Code::Unreadable, message).file(path).into());
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
            Problems::from(Problem::new(Code::Syntax, "the file is not UTF-8").file(path).line(as_line(line)))
        })?;
        // A newline at the very end starts no line, so that an error at the end of the file belongs to the last visible line.
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1).filter(|&at| at < text.len())).collect();
        Ok(Self { path: path.into(), text, starts, problems: RefCell::default() })
    }

    /// Parses the document. Returns the first syntax error as a problem; further syntax errors are mostly its consequences.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, Problems> {
        DeTable::parse(&self.text).map_err(|error| {
            let line = self.line(error.span().map_or(0, |span| span.start));
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Problem::new(Code::Syntax, message).file(&self.path).line(line).into()
        })
    }

    /// Returns the path that the file was read from.
    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Returns the text with its path, to be kept with a generation.
    pub(super) fn to_file(&self) -> TextFile {
        TextFile { path: self.path.to_path_buf(), text: self.text.clone() }
    }

    /// Returns the line of the file that has the byte at `offset`, counted from 1.
    pub(super) fn line(&self, offset: usize) -> u32 {
        as_line(self.starts.partition_point(|&start| start <= offset))
    }

    /// Adds a problem that is about `line` of this file.
    pub(super) fn report(&self, line: u32, problem: Problem) {
        self.problems.borrow_mut().push(problem.file(&self.path).line(line));
    }

    /// Returns the number of problems reported so far. If it is the same before and after a part is read, the part has no fault.
    pub(super) fn reported(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Adds problems that already have their file and line.
    pub(super) fn extend_problems(&self, problems: Problems) {
        self.problems.borrow_mut().extend(problems.into_vec());
    }

    /// Returns all problems of this file, sorted by line.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // This check comes before opening the file, because opening a pipe would block until something writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn as_line(line: usize) -> u32 {
    u32::try_from(line).expect("a file of at most MAX_FILE bytes has no more lines")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(Path::new("a.toml"), text.as_bytes().to_vec()).expect("text")
    }

    #[test]
    fn bytes_have_lines() {
        let text = source("ab\n\nc\n");
        let lines: Vec<u32> = (0..=7).map(|offset| text.line(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 3, 3, 3, 3]);
        assert_eq!(source("").line(0), 1);
    }

    #[test]
    fn bytes_that_are_no_text_have_a_line_too() {
        let problem = Source::new(Path::new("a.toml"), b"a = 1\nb = \"\xff\"\n".to_vec()).err().expect("no UTF-8");
        let [problem] = problem.as_slice() else { panic!("{problem}") };
        assert_eq!((problem.code, problem.line), (Code::Syntax, Some(2)));
    }

    #[test]
    fn a_file_is_bounded() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(MAX_FILE + 1).expect("room");
        let problem = Source::read(file.path()).err().expect("too large");
        assert!(problem.as_slice()[0].message.contains("more than"), "{problem}");
    }
}
