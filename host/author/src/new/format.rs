//! Formats the code of new Rust modules as the author's own rustfmt does, so that `cargo fmt` has nothing to change. Templates can't: where
//! a line ends depends on the names in it, and on the settings of the application.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Returns the text of a file to be made at `path`, as rustfmt writes it with the settings that hold there. `None` if there is no rustfmt, or
/// if it refuses the text: then the text stays as it is.
pub(super) fn rust(path: &Path, text: &str) -> Option<String> {
    let mut command = Command::new("rustfmt");
    command.args(["--edition", "2024"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // rustfmt looks for settings from the current folder upwards. The file's own folder may have to be made yet.
    command.current_dir(path.ancestors().skip(1).find(|folder| folder.is_dir())?);
    let mut child = command.spawn().ok()?;
    // rustfmt reads everything before it writes. The pipe closes at the end of the statement.
    let written = child.stdin.take()?.write_all(text.as_bytes());
    let output = child.wait_with_output().ok()?;
    written.ok().filter(|()| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}
