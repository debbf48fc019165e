//! A file's text with its lines and the problems found in it.
//!
//! It knows TOML's syntax and nothing of what a file means. A file is read once, whole and bounded; it is never written.

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

/// How many bytes a manifest or a route file may have: some 5,000 routes. More is a wrong file, not a large application.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// A checked value, and the line of its file that it stands on, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The line.
    pub line: u32,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A file's text. Problems are collected here while it is read, so that readers need no list to pass along.
pub(super) struct Source {
    path: Arc<Path>,
    text: String,
    /// The offset that each line starts at; the first is 0.
    starts: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
}

impl Source {
    /// Reads a file. The problem is that it can't be read, or is no text.
    pub(super) fn read(path: &Path) -> Result<Self, Problems> {
        let unreadable = |why: String| Problem::new(Code::Unreadable, why).file(path);
        let bytes = read_bounded(path).map_err(|error| unreadable(format!("can't read the file: {error}")))?;
        Self::new(path, bytes)
    }

    /// Takes a file's bytes. The problem is that they are too many, or no UTF-8.
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
        // A newline at the very end begins no line: an error "at the end of the file" belongs to the last line that one can see.
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1).filter(|&at| at < text.len())).collect();
        Ok(Self { path: path.into(), text, starts, problems: RefCell::default() })
    }

    /// The document's tree. The problem is the first error of syntax: those after it are mostly its echo.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, Problems> {
        DeTable::parse(&self.text).map_err(|error| {
            let line = self.line(error.span().map_or(0, |span| span.start));
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            Problem::new(Code::Syntax, message).file(&self.path).line(line).into()
        })
    }

    /// The file's path, as it was asked for.
    pub(super) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The file, to be kept.
    pub(super) fn to_file(&self) -> TextFile {
        TextFile { path: self.path.to_path_buf(), text: self.text.clone() }
    }

    /// The line of a byte.
    pub(super) fn line(&self, offset: usize) -> u32 {
        as_line(self.starts.partition_point(|&start| start <= offset))
    }

    /// Adds a problem of this file.
    pub(super) fn report(&self, line: u32, problem: Problem) {
        self.problems.borrow_mut().push(problem.file(&self.path).line(line));
    }

    /// How many problems were reported so far. What was read between two equal counts has no fault.
    pub(super) fn reported(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Adds problems that name their file and line themselves.
    pub(super) fn adopt(&self, problems: Problems) {
        self.problems.borrow_mut().extend(problems.into_vec());
    }

    /// What was reported, in the order of lines.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Opening a pipe would wait for whoever writes to it.
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
