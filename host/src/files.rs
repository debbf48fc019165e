//! Files that are written aside and then take their place, so that nobody ever finds half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How a file's name ends as long as it is written.
pub const ASIDE: &str = "tmp";

/// Writes a file such that it is there whole or not at all, readable to this user only, and lasts once this returns.
///
/// # Errors
///
/// Where it can't be written; and where its folder can't be synced: the file is in place then, and may not last.
pub fn write_durably(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = file.with_extension(ASIDE);
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside).and_then(|mut open| {
            open.write_all(bytes)?;
            open.sync_all()?;
            fs::rename(&aside, file)
        });
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written?;
    let folder = file.parent().expect("a file in the state folder stands in a folder");
    File::open(folder)?.sync_all()
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
