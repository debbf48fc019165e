//! Files that are written aside and then take their place, so that nobody ever finds half of one. No link is followed on the way.

mod identity;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::failpoint::{Point, crash_point};
use watertight_model::ids::Digest;

pub use identity::{Displaced, FileIdentity};

/// How a file's name ends as long as it is written.
pub const ASIDE: &str = "tmp";

/// Where a test can end the process that writes a file: before and after it takes its place.
#[derive(Debug, Clone, Copy)]
pub struct Points {
    /// It is written aside and synced.
    pub aside: Point,
    /// It is in place, and its folder isn't synced.
    pub renamed: Point,
}

/// Writes a file such that it is there whole or not at all, readable to this user only, and lasts once this returns.
///
/// # Errors
///
/// Where it can't be written; and where its folder can't be synced: the file is in place then, and may not last.
pub fn write_durably(file: &Path, bytes: &[u8], points: Option<Points>) -> io::Result<()> {
    let aside = file.with_extension(ASIDE);
    let written = create_new(&aside).and_then(|mut open| {
        open.write_all(bytes)?;
        open.sync_all()?;
        points.inspect(|points| crash_point(points.aside));
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

/// Makes a new file that only this user can read, in the place of whatever has its name: a link there is removed, not followed.
///
/// # Errors
///
/// Where what has the name can't be removed, or the file can't be made.
pub fn create_new(file: &Path) -> io::Result<File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

/// Opens a regular file as `options` say, and nothing else: neither a link nor a device or pipe, which could block.
///
/// # Errors
///
/// `InvalidInput` where it is something else; else as [`OpenOptions::open`].
pub fn open_regular(file: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let not_regular =
        || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file, and no link is followed here");
    let open = options.custom_flags(flags.bits().cast_signed()).open(file).map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) { not_regular() } else { error }
    })?;
    if open.metadata()?.is_file() { Ok(open) } else { Err(not_regular()) }
}

/// How much is copied in one step.
const COPIED_AT_ONCE: usize = 256 << 10;

/// Copies all that is read, and returns its digest and how many bytes it were.
///
/// # Errors
///
/// Where it can't be read or written.
pub fn copy_digested(mut from: impl Read, mut to: impl Write) -> io::Result<(Digest, u64)> {
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

/// Removes what a host that ended while it wrote has left in a folder.
///
/// # Errors
///
/// Where the folder can't be read, or such a file not be removed.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == ASIDE) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}
