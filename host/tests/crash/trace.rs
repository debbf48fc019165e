//! Reads the system calls of a host from a trace by `strace`.
//!
//! The order of lines is the order in which `strace` saw them: a call's end stands before anything that its thread, or another thread that
//! it woke, did next. So a call ended before another began if the lines say so.

use std::fs;
use std::path::Path;

use watertight_testkit::host::{Launch, check_strace};

/// The arguments of `strace`, except the output file, which follows them. `-s` makes printed strings long enough for SQLite's pages and for
/// HTTP answers.
pub const STRACE: [&str; 8] = ["-f", "-ttt", "-yy", "-s", "100000", "-e", CALLS, "-o"];
/// The system calls that are traced: writes, syncs, and calls that create or remove the names of files.
const CALLS: &str = "trace=fdatasync,fsync,sendto,write,writev,sendmsg,pwrite64,ftruncate,mkdir,openat,unlink";

/// A system call of the traced host.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// The arguments as `strace` writes them. If `strace` splits a call into two lines, only those of the first line.
    pub arguments: String,
    /// The line of the trace at which the call began.
    pub began: usize,
    /// The line of the trace at which the call ended. [`usize::MAX`] means that it never ended.
    pub ended: usize,
    /// Whether the call succeeded.
    pub well: bool,
}

/// Returns the settings for a host whose system calls `strace` writes to `file`.
pub fn traced(launch: Launch, file: &Path) -> Launch {
    check_strace();
    launch.under(&[&["strace"], &STRACE[..], &[file.to_str().unwrap()]].concat())
}

/// Reads the system calls of a host that has ended from the trace in `file`.
pub fn read(file: &Path) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    for (line, text) in String::from_utf8_lossy(&fs::read(file).unwrap()).lines().enumerate() {
        let (thread, text) = text.split_once(' ').unwrap();
        let (_time, text) = text.trim_start().split_once(' ').unwrap();
        if let Some(rest) = text.strip_prefix("<... ") {
            // A thread has at most one open call.
            let Some(place) = open.iter().position(|(by, _)| by == thread) else { continue };
            let call = &mut calls[open.swap_remove(place).1];
            call.ended = line;
            call.well = ends_well(rest);
        } else if let Some((name, arguments)) = text.split_once('(')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            let unfinished = arguments.ends_with("<unfinished ...>");
            if unfinished {
                open.push((thread.to_owned(), calls.len()));
            }
            calls.push(Call {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                began: line,
                ended: if unfinished { usize::MAX } else { line },
                well: !unfinished && ends_well(arguments),
            });
        }
    }
    assert!(!calls.is_empty(), "{} has no calls", file.display());
    calls
}

/// Returns whether a line of the trace says that its call succeeded: it ends like `… = 12`, and not like `… = -1 EIO (Input/output error)`
/// or `… = ?`.
fn ends_well(text: &str) -> bool {
    text.rsplit_once(" = ").is_some_and(|(_, result)| result.starts_with(|first: char| first.is_ascii_digit()))
}

impl Call {
    /// Returns the path of the file on which the call works. The first argument is a descriptor with this path, such as
    /// `28</state/data/orders.db-wal>, …`.
    pub fn file(&self) -> &str {
        let text = self.arguments.split_once('<').map_or("", |(_, text)| text);
        let end = [">, ", ">)", "> <unfinished"].iter().filter_map(|end| text.find(end)).min();
        &text[..end.unwrap_or(0)]
    }

    /// Returns whether the call is a successful sync of a file to the disk.
    pub fn is_sync(&self) -> bool {
        self.well && matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// Returns the strings among the call's arguments as bytes, in order. For a write, this is the data.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        let mut strings = Vec::new();
        let mut rest = self.arguments.as_bytes();
        while let Some(start) = rest.iter().position(|&byte| byte == b'"') {
            let (string, length) = unescape(&rest[start + 1..]);
            strings.push(string);
            rest = &rest[start + 1 + length..];
        }
        strings
    }

    /// Returns the call's last argument as a number: an offset or a length.
    pub fn number(&self) -> usize {
        let end = [") ", " <unfinished"].iter().filter_map(|end| self.arguments.rfind(end)).max().unwrap();
        let text = &self.arguments[..end];
        text.rsplit(", ")
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|error| panic!("{error}: {}", &text[text.len() - 30..]))
    }

    /// Returns the text of the HTTP answer that the call sends to a client, or `None` if it sends none.
    pub fn answer(&self) -> Option<String> {
        if !self.file().starts_with("TCP:") {
            return None;
        }
        let text = String::from_utf8(self.bytes().concat()).ok()?;
        text.starts_with("HTTP/1.1 ").then_some(text)
    }
}

/// Decodes a C string up to its closing quote. Returns the bytes and the length of the text with its quote.
fn unescape(text: &[u8]) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut place = 0;
    loop {
        let byte = text[place];
        place += 1;
        if byte == b'"' {
            return (bytes, place);
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let code = text[place];
        place += 1;
        bytes.push(match code {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'0'..=b'7' => {
                let mut value = u32::from(code - b'0');
                let first = place;
                while place < first + 2 && matches!(text[place], b'0'..=b'7') {
                    value = value * 8 + u32::from(text[place] - b'0');
                    place += 1;
                }
                u8::try_from(value).unwrap()
            }
            other => other,
        });
    }
}
