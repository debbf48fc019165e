//! The folder for compiled code: who may reach it, the names of its files, and what is removed.
//!
//! A file's name is the key of what was compiled, which contains everything that the code depends on, and the digest of the code.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file extension of compiled code.
pub(super) const CODE: &str = "cwasm";

/// Creates the folder if it is missing, for this user only.
///
/// # Errors
///
/// The reason why the folder can't be used: it belongs to another user or is open to others.
pub(super) fn create(folder: &Path) -> Result<(), String> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    check(folder)
}

/// Checks that only this user can reach the folder.
fn check(folder: &Path) -> Result<(), String> {
    let metadata = std::fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    if !metadata.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    if !is_own(&metadata) {
        return Err("it belongs to another user, who could place code in it".to_owned());
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err("other users can reach it; run `chmod 700` on it".to_owned());
    }
    Ok(())
}

fn is_own(metadata: &std::fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Lists the files of a folder whose names begin with `key`. There are several if a compiler has produced different code for the same
/// input.
pub(super) fn cached_files(folder: &Path, key: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| named_digest(file, key).is_some()).collect()
}

/// Hard-links the files of another folder whose names begin with `key` into `folder`. Leaves out what this user didn't write.
pub(super) fn link_from(other: &Path, folder: &Path, key: &str) {
    if check(other).is_err() {
        return;
    }
    for file in cached_files(other, key) {
        let Some(link) = file.file_name().map(|name| folder.join(name)) else { continue };
        // The folder may have been exchanged since it was checked. The link is in this user's own folder, so it stays what it is.
        let linked = std::fs::hard_link(&file, &link).and_then(|()| std::fs::symlink_metadata(&link));
        if linked.as_ref().is_ok_and(|metadata| !metadata.is_file() || !is_own(metadata)) {
            let _ = std::fs::remove_file(&link);
        }
        if let Err(error) = linked.as_ref().map_err(io::Error::kind)
            && error != io::ErrorKind::AlreadyExists
        {
            // Such as a folder on another file system. The component is compiled instead.
            tracing::debug!(file = %file.display(), %error, "compiled code can't be shared");
        }
    }
}

/// Returns the digest in the name of a cached file. `None` if the name does not begin with `key`.
pub(super) fn named_digest<'a>(file: &'a Path, key: &str) -> Option<&'a str> {
    file.file_name()?.to_str()?.strip_prefix(key)?.strip_prefix('.')?.strip_suffix(CODE)?.strip_suffix('.')
}

/// Removes the least recently used files with compiled code from `folder`, so that at most `kept` stay. A component whose code is gone is
/// compiled again.
pub(super) fn prune(folder: &Path, kept: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == CODE))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_unstable_by(|one, other| other.cmp(one));
    for (_, file) in files.into_iter().skip(kept) {
        // Existing mappings of a removed file stay valid.
        let _ = std::fs::remove_file(file);
    }
}

/// Sets the time of last use of a cached file. If that fails, the file is merely removed earlier.
pub(super) fn mark_used(file: &Path) {
    if let Ok(file) = std::fs::File::options().append(true).open(file) {
        let _ = file.set_modified(std::time::SystemTime::now());
    }
}

/// Removes a damaged file from the cache, or a folder in its place. If that fails, the next compilation finds it again.
pub(super) fn remove_damaged(file: &Path) {
    let _ = if file.is_dir() { std::fs::remove_dir(file) } else { std::fs::remove_file(file) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn code_is_taken_only_from_what_belongs_to_this_user_alone() {
        let place = tempfile::tempdir().unwrap();
        let (own, other) = (place.path().join("own"), place.path().join("other"));
        create(&own).unwrap();
        create(&other).unwrap();
        std::fs::write(other.join("key.d1.cwasm"), "code").unwrap();
        std::fs::write(other.join("else.d2.cwasm"), "code").unwrap();
        std::os::unix::fs::symlink(other.join("else.d2.cwasm"), other.join("key.d3.cwasm")).unwrap();
        let taken = || {
            link_from(&other, &own, "key");
            let names = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name());
            names.collect::<Vec<_>>()
        };
        let permit = |mode| std::fs::set_permissions(&other, std::fs::Permissions::from_mode(mode)).unwrap();
        permit(0o750);
        assert!(taken().is_empty());
        permit(0o700);
        assert_eq!(taken(), ["key.d1.cwasm"]);
        // A second time, and from a folder that is missing, nothing happens.
        assert_eq!(taken(), ["key.d1.cwasm"]);
        link_from(&place.path().join("missing"), &own, "key");
    }
}
