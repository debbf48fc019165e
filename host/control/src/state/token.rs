//! The bearer token of the admin listener: generates, stores and reads it, and refuses one that others can read or guess.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use watertight_disk::files::{create_new, open_regular};

/// The number of random bytes in a generated token.
const TOKEN_BYTES: usize = 32;
/// The most bytes that are read of a token's file.
const MAX_TEXT: u64 = 4096;
/// The fewest bits of entropy that a token needs. They are estimated as if each character were drawn at random from the character classes
/// that occur in the token.
const MIN_BITS: f64 = 128.0;
/// The fewest distinct characters that a token needs. A token of 128 random bits almost never has fewer, in any alphabet.
const MIN_DIFFERENT: usize = 6;

/// The reason why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token's file can't be read or written.
    #[error("{} can't be used", .file.display())]
    File {
        /// The path of the token's file.
        file: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Other users can read or write the file with the admin token.
    #[error("other users can read or write {}: remove it, and the next start makes a new one", .0.display())]
    ReadableByOthers(PathBuf),
    /// The token can't be sent in an HTTP header.
    #[error("the admin token must have only visible ASCII characters, and at least one")]
    Characters,
    /// The token is easy to guess.
    #[error(
        "the admin token is too easy to guess: it must have at least 128 bits, as 32 random hexadecimal digits do (`openssl rand -hex 16`)"
    )]
    Weak,
}

/// Returns the admin token: `given` if set, otherwise the token stored in `folder`, otherwise a new one, which is stored there.
pub(super) fn token(folder: &Path, given: Option<String>) -> Result<String, TokenError> {
    if let Some(token) = given {
        return accept_strong(token);
    }
    let file = token_file(folder);
    let failed = |source| TokenError::File { file: file.clone(), source };
    if let Some((token, mode)) = read(&file).map_err(failed)? {
        return if mode & 0o077 == 0 { accept_strong(token) } else { Err(TokenError::ReadableByOthers(file)) };
    }
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
    let token = hex::encode(bytes);
    // The token is written to a temporary file and renamed, so its file is never incomplete or readable by others.
    let aside = folder.join("admin.token.new");
    let written = create_new(&aside).and_then(|mut file| file.write_all(token.as_bytes()));
    written.and_then(|()| std::fs::rename(aside, &file)).map_err(failed)?;
    Ok(token)
}

/// Reads the token that is stored in the state folder at `folder`. `None` if there is none.
///
/// # Errors
///
/// [`TokenError::File`] if the file can't be read, and [`TokenError::Characters`] if it does not contain a valid token.
pub fn read_token(folder: &Path) -> Result<Option<String>, TokenError> {
    let file = token_file(folder);
    let found = read(&file).map_err(|source| TokenError::File { file, source })?;
    found.map(|(token, _)| accept_sendable(token)).transpose()
}

/// Reads a token and the permission bits of its file. `None` if the file is missing or empty.
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

/// Accepts a token that can be sent in an HTTP header: visible ASCII characters only.
fn accept_sendable(token: String) -> Result<String, TokenError> {
    let good = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(token) } else { Err(TokenError::Characters) }
}

/// Accepts a token that can be sent in an HTTP header and is hard to guess.
fn accept_strong(token: String) -> Result<String, TokenError> {
    let token = accept_sendable(token)?;
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
        // The file as a host that crashed during the write, or a `touch`, may have left it.
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
            assert!(matches!(token(folder.path(), None), Err(TokenError::ReadableByOthers(_))), "{mode:o}");
        }
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(token(folder.path(), None).unwrap(), GIVEN);
        let other = folder.path().join("other");
        fs::rename(&file, &other).unwrap();
        symlink(&other, &file).unwrap();
        assert!(matches!(token(folder.path(), None), Err(TokenError::File { .. })), "a symbolic link was followed");
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
            assert!(matches!(accept_strong(weak.to_owned()), Err(TokenError::Weak)));
        }
        for text in ["", "two words", "täglich", "line\nbreak"] {
            assert!(matches!(accept_strong(text.to_owned()), Err(TokenError::Characters)), "{text}");
        }
    }
}
