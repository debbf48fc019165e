//! Writes files atomically: each is written to a temporary file and then renamed, so that no reader finds a half-written one. No symbolic
//! link is followed on the way.

mod identity;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::failpoint::{CrashPoint, crash_point};
use watertight_model::ids::Digest;

pub use identity::{FileChanged, FileIdentity};

/// The extension of a temporary file, which gets its final name once it is complete.
pub const TEMPORARY_EXTENSION: &str = "tmp";

/// The crash points of one durable write, at which a test can kill the process: before and after the temporary file is renamed.
#[derive(Debug, Clone, Copy)]
pub struct WritePoints {
    /// The crash point where the temporary file is written and synced.
    pub temporary_written: CrashPoint,
    /// The crash point where the file has its final name and its folder is not synced.
    pub renamed: CrashPoint,
}

/// Writes a file atomically and durably: it is there whole or not at all, and it lasts once this function returns. Only the host's user can
/// read it. Tests can kill the process at `points`; `None` means that there is no such point.
///
/// # Errors
///
/// The error of the system where the file can't be written, or where its folder can't be synced. In the second case the file is in place
/// and may not last.
pub fn write_durably(file: &Path, bytes: &[u8], points: Option<WritePoints>) -> io::Result<()> {
    let aside = file.with_extension(TEMPORARY_EXTENSION);
    let written = create_new(&aside).and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()?;
        points.inspect(|points| crash_point(points.temporary_written));
        fs::rename(&aside, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written?;
    points.inspect(|points| crash_point(points.renamed));
    let folder = file.parent().expect("a file in the state folder stands in a folder");
    File::open(folder)?.sync_all()
}

/// Creates a new file that only the host's user can read. It replaces whatever has that name; a symbolic link is removed, not followed.
///
/// # Errors
///
/// The error of the system where the existing file can't be removed or the new one can't be created.
pub fn create_new(file: &Path) -> io::Result<File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

/// Opens a regular file with `options`. Refuses symbolic links, devices and pipes; opening a pipe could block.
///
/// # Errors
///
/// `InvalidInput` if the path leads to something other than a regular file; otherwise the errors of [`OpenOptions::open`].
pub fn open_regular(file: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let not_regular = || {
        io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file; symbolic links are not followed here")
    };
    let open = options.custom_flags(flags.bits().cast_signed()).open(file).map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) { not_regular() } else { error }
    })?;
    if open.metadata()?.is_file() { Ok(open) } else { Err(not_regular()) }
}

/// Greatest number of bytes that are copied in one step.
const COPIED_AT_ONCE: usize = 256 << 10;

/// Copies everything from a reader to a writer, and returns the digest and the number of the bytes.
///
/// # Errors
///
/// The error of the reader or the writer.
pub fn copy_with_digest(mut from: impl Read, mut to: impl Write) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; COPIED_AT_ONCE];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((Digest::new(hasher.finalize().into()), size)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

/// Removes the temporary files that a process left in a folder when it ended during a write: those that are at least `age` old. In a
/// folder that no other process uses, `age` is zero.
///
/// # Errors
///
/// The error of the system where the folder can't be read or such a file can't be removed.
pub fn remove_leftovers(folder: &Path, age: Duration) -> io::Result<()> {
    let is_old = |file: &Path| {
        let written = file.symlink_metadata().and_then(|metadata| metadata.modified());
        // The clock may have been set back since the file was written.
        written.is_ok_and(|written| written.elapsed().unwrap_or_default() >= age)
    };
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let is_temporary = file.extension().is_some_and(|extension| extension == TEMPORARY_EXTENSION);
        if is_temporary && (age.is_zero() || is_old(&file)) {
            match fs::remove_file(file) {
                // Another process has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}
