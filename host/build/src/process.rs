//! Runs the programs of a toolchain, forwards their output line by line, and keeps its end for an error.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use super::Event;
use super::error::BuildError;
use super::source::Source;

/// The number of bytes at the end of a tool's output that are kept for an error message.
const MAX_OUTPUT: usize = 64 << 10;

/// The result of a program that has ended.
pub(super) struct ProgramOutput<T> {
    /// Whether the program succeeded.
    pub(super) success: bool,
    /// The value that `read` made of the program's standard output.
    pub(super) printed: T,
    /// The end of the program's standard error.
    pub(super) errors: String,
}

/// Runs a program to its end. Passes its standard output to `read`, and the lines of its standard error to `listener`.
///
/// # Errors
///
/// [`BuildError::NoToolchain`] if the program can't be started. `help` says how to install it.
pub(super) fn run<T>(
    mut command: Command,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
    read: impl FnOnce(ChildStdout) -> T,
) -> Result<ProgramOutput<T>, BuildError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(&command, help, error))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // Reads both pipes at once. A child that fills one would otherwise block forever while this process reads the other.
    let (printed, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| forward_lines(stderr, listener));
        (read(stdout), errors.join().unwrap_or_default())
    });
    let ended = child.wait().map_err(|error| cannot_start(&command, help, error))?;
    Ok(ProgramOutput { success: ended.success(), printed, errors })
}

/// Runs a program for one module's build. Passes the lines of both output streams to `listener`. `shown` is the command as a person would
/// type it.
///
/// # Errors
///
/// [`BuildError::NoToolchain`] if the program can't be started, and [`BuildError::Toolchain`] with the end of its output if it fails.
pub(super) fn step(
    source: &Source,
    command: Command,
    shown: String,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), BuildError> {
    let modules = vec![source.name.clone()];
    listener(Event::Compiling { modules: &modules, command: &shown });
    let ProgramOutput { success, printed, errors } =
        run(command, help, listener, |stdout| forward_lines(stdout, listener))?;
    if success {
        return Ok(());
    }
    let output = [errors, printed].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    Err(BuildError::Toolchain { modules, command: shown, output })
}

/// Runs a program, and returns its standard output without the final line ending. Returns its standard error if it fails.
///
/// # Errors
///
/// [`BuildError::NoToolchain`] if the program can't be started. `help` says how to install it.
pub(super) fn capture_output(mut command: Command, help: &'static str) -> Result<Result<String, String>, BuildError> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(&command, help, error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

fn cannot_start(command: &Command, help: &'static str, source: std::io::Error) -> BuildError {
    BuildError::NoToolchain { program: PathBuf::from(command.get_program()), help, source }
}

/// Parses a version such as `go1.26.8`, `v20.20.2` or `1.25` into comparable numbers. `None` if the text contains no number.
fn version(text: &str) -> Option<[u32; 3]> {
    let text = text.trim_start_matches(|char: char| !char.is_ascii_digit());
    let mut numbers = text.split('.').map(|part| {
        let digits = part.find(|char: char| !char.is_ascii_digit()).map_or(part, |end| &part[..end]);
        digits.parse::<u32>().ok()
    });
    let major = numbers.next().flatten()?;
    let mut next = || numbers.next().flatten().unwrap_or(0);
    Some([major, next(), next()])
}

/// Returns an error if the version `found` of a tool is older than one of the versions in `wanted`.
pub(super) fn check_version(tool: &'static str, found: &str, wanted: &[&str]) -> Result<(), BuildError> {
    let newest = wanted.iter().max_by_key(|text| version(text)).copied().unwrap_or_default();
    // A development build without a number may be recent enough. If it isn't, the tool itself fails later.
    if version(found).is_some_and(|found| Some(found) < version(newest)) {
        return Err(BuildError::OldToolchain { tool, found: found.to_owned(), wanted: newest.to_owned() });
    }
    Ok(())
}

/// Passes each line to the listener as it arrives, and returns the last [`MAX_OUTPUT`] bytes of all lines.
fn forward_lines(stderr: impl Read, listener: &(dyn Fn(Event<'_>) + Sync)) -> String {
    let mut output = String::new();
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        listener(Event::Output(line));
        output.push_str(line);
        output.push('\n');
        if output.len() > 2 * MAX_OUTPUT {
            output.drain(..output.floor_char_boundary(output.len() - MAX_OUTPUT));
        }
    }
    output.drain(..output.floor_char_boundary(output.len().saturating_sub(MAX_OUTPUT)));
    output.truncate(output.trim_end().len());
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_output_the_end_is_kept() {
        let long = format!("{}\nlast: é\n", "première ligne\n".repeat(50_000));
        let heard = std::sync::atomic::AtomicUsize::new(0);
        let kept = forward_lines(long.as_bytes(), &|_: Event<'_>| {
            heard.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(kept.len() <= MAX_OUTPUT && kept.len() > MAX_OUTPUT / 2, "{}", kept.len());
        assert!(kept.ends_with("last: é"));
        assert_eq!(heard.into_inner(), 50_002);
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        assert_eq!(version("go1.26.8"), Some([1, 26, 8]));
        assert_eq!(version("v20.20.2"), Some([20, 20, 2]));
        assert_eq!(version("go1.27rc1 X:nocoverageredesign"), Some([1, 27, 0]));
        assert_eq!(version("devel"), None);
        for (found, fits) in
            [("go1.25.0", true), ("go1.9.9", false), ("go1.24.11", false), ("go2.0", true), ("devel", true)]
        {
            assert_eq!(check_version("Go", found, &["1.25", "1.23.1"]).is_ok(), fits, "{found}");
        }
        let error = check_version("Go", "go1.25.9", &["1.25", "1.26.1"]).expect_err("it is older than one of them");
        assert!(error.to_string().contains("go1.25.9") && error.to_string().contains("1.26.1"), "{error}");
    }
}
