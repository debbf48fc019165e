//! The token that the admin listener wants to hear: made, kept, read, and refused where others know it or could guess it.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use watertight_disk::files::{create_new, open_regular};

/// Random bytes of a generated token.
const TOKEN_BYTES: usize = 32;
/// The most that is read of a token's file.
const MAX_TEXT: u64 = 4096;
/// Bits that a token has at least, counted as if each of its characters were drawn from the classes that it has some of.
const MIN_BITS: f64 = 128.0;
/// Different characters that a token has at least: one of 128 random bits, in whatever alphabet, has fewer about never.
const MIN_DIFFERENT: usize = 6;

/// Why a token is not used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file can't be read or written.
    #[error("{} can't be used", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read or write its file.
    #[error("other users can read or write {}: remove it, and the next start makes a new one", .0.display())]
    Open(PathBuf),
    /// It can't be sent in a header.
    #[error("it is empty, or has other characters than visible ASCII")]
    Characters,
    /// It can be guessed.
    #[error(
        "it could be guessed: it has less than 128 bits; 32 random hexadecimal digits have as many (`openssl rand -hex 16`)"
    )]
    Weak,
}

/// The token for the host that has the state folder: `given`, or the one that is kept in the folder, or a new one that is kept there.
pub(super) fn token(folder: &Path, given: Option<String>) -> Result<String, TokenError> {
    if let Some(token) = given {
        return strong(token);
    }
    let file = token_file(folder);
    let failed = |source| TokenError::File { file: file.clone(), source };
    if let Some((token, mode)) = read(&file).map_err(failed)? {
        return if mode & 0o077 == 0 { strong(token) } else { Err(TokenError::Open(file)) };
    }
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Written aside and renamed: the file is never there in part or open to others.
    let aside = folder.join("admin.token.new");
    let written = create_new(&aside).and_then(|mut file| file.write_all(token.as_bytes()));
    written.and_then(|()| std::fs::rename(aside, &file)).map_err(failed)?;
    Ok(token)
}

/// The token that a host keeps in its state folder, if there is one.
///
/// # Errors
///
/// Where the file can't be read, and where what is in it is no token.
pub fn read_token(folder: &Path) -> Result<Option<String>, TokenError> {
    let file = token_file(folder);
    let found = read(&file).map_err(|source| TokenError::File { file, source })?;
    found.map(|(token, _)| sendable(token)).transpose()
}

/// What a token's file holds, and its permission bits; none where there is no file or nothing in it.
fn read(file: &Path) -> io::Result<Option<(String, u32)>> {
    let open = match open_regular(file, OpenOptions::new().read(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        open => open?,
    };
    let mode = open.metadata()?.mode();
    let mut text = String::new();
    open.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(Some(text.trim()).filter(|token| !token.is_empty()).map(|token| (token.to_owned(), mode)))
}

/// The token, where it can be a bearer's: visible ASCII.
fn sendable(token: String) -> Result<String, TokenError> {
    let good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(token) } else { Err(TokenError::Characters) }
}

/// The token, where it can also not be guessed.
fn strong(token: String) -> Result<String, TokenError> {
    let token = sendable(token)?;
    if is_strong(&token) { Ok(token) } else { Err(TokenError::Weak) }
}

fn is_strong(token: &str) -> bool {
    let has = |class: fn(&u8) -> bool| token.bytes().any(|byte| class(&byte));
    let is_hexadecimal = token.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let alphabet: u32 = if is_hexadecimal {
        16
    } else {
        [
            (u8::is_ascii_digit as fn(&u8) -> bool, 10),
            (u8::is_ascii_lowercase, 26),
            (u8::is_ascii_uppercase, 26),
            (u8::is_ascii_punctuation, 32),
        ]
        .into_iter()
        .filter(|(class, _)| has(*class))
        .map(|(_, size)| size)
        .sum()
    };
    let length = u32::try_from(token.len()).unwrap_or(u32::MAX);
    let different: BTreeSet<u8> = token.bytes().collect();
    different.len() >= MIN_DIFFERENT && f64::from(length) * f64::from(alphabet).log2() >= MIN_BITS
}

pub(super) fn token_file(folder: &Path) -> PathBuf {
    folder.join("admin.token")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const GIVEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_token_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let made = token(folder.path(), None).unwrap();
        assert_eq!(made.len(), 2 * TOKEN_BYTES);
        assert_eq!(token(folder.path(), None).unwrap(), made);
        assert_eq!(read_token(folder.path()).unwrap(), Some(made));
        let mode = token_file(folder.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(token(folder.path(), Some(GIVEN.into())).unwrap(), GIVEN);
    }

    #[test]
    fn a_new_token_is_private_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = token_file(folder.path());
        // What a host that died while it wrote, or somebody's `touch`, may have left.
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "theirs").unwrap();
        symlink(&other, folder.path().join("admin.token.new")).unwrap();
        assert_eq!(token(folder.path(), None).unwrap().len(), 2 * TOKEN_BYTES);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!folder.path().join("admin.token.new").is_symlink());
        assert_eq!(fs::read_to_string(other).unwrap(), "theirs");
    }

    #[test]
    fn a_token_that_others_know_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = token_file(folder.path());
        fs::write(&file, GIVEN).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(token(folder.path(), None), Err(TokenError::Open(_))), "{mode:o}");
        }
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(token(folder.path(), None).unwrap(), GIVEN);
        let other = folder.path().join("other");
        fs::rename(&file, &other).unwrap();
        symlink(&other, &file).unwrap();
        assert!(matches!(token(folder.path(), None), Err(TokenError::File { .. })), "no link is followed");
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused() {
        for good in [
            GIVEN,
            "550e8400-e29b-41d4-a716-446655440000",
            "Tk3Zq9Lw0XbVrY5sHdNc2A",
            "a-token-of-the-operator",
            "483950172648593017264859301726485930176",
        ] {
            assert!(is_strong(good), "{good}");
        }
        for weak in [
            "secret",
            "0123456789abcdef0123456789abcde",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababababababab",
            "Tk3Zq9Lw0XbVrY5sHdNc2",
            "1234567890",
        ] {
            assert!(!is_strong(weak), "{weak}");
            assert!(matches!(strong(weak.to_owned()), Err(TokenError::Weak)));
        }
        for text in ["", "two words", "täglich", "line\nbreak"] {
            assert!(matches!(strong(text.to_owned()), Err(TokenError::Characters)), "{text}");
        }
    }
}
