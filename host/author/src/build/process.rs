//! Runs a toolchain's program: passes on what it says as it says it, and keeps the end for an error.

use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use super::Event;
use super::error::BuildError;
use super::source::Source;

/// How much of what a tool says is kept for an error, in bytes: the end of it.
const MAX_OUTPUT: usize = 64 << 10;

/// What a program left.
pub(super) struct Ran<T> {
    /// Whether it ended well.
    pub(super) success: bool,
    /// What was made of its standard output.
    pub(super) printed: T,
    /// The end of what it said on standard error.
    pub(super) errors: String,
}

/// Runs a program to its end. Its standard output is for `read`; the lines of its standard error are passed on.
///
/// # Errors
///
/// Where it can't be started; `help` says how to get it.
pub(super) fn run<T>(
    mut command: Command,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
    read: impl FnOnce(ChildStdout) -> T,
) -> Result<Ran<T>, BuildError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(&command, help, error))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // Both are read at once: a child that fills one pipe would wait for ever on the other.
    let (printed, errors) = std::thread::scope(|scope| {
        let errors = scope.spawn(|| said(stderr, listener));
        (read(stdout), errors.join().unwrap_or_default())
    });
    let ended = child.wait().map_err(|error| cannot_start(&command, help, error))?;
    Ok(Ran { success: ended.success(), printed, errors })
}

/// Takes one step of a module's build: runs a program whose lines, of both streams, are passed on. `shown` is the command as one could
/// type it.
///
/// # Errors
///
/// Where it can't be started, and where it fails: with the end of what it said.
pub(super) fn step(
    source: &Source,
    command: Command,
    shown: String,
    help: &'static str,
    listener: &(dyn Fn(Event<'_>) + Sync),
) -> Result<(), BuildError> {
    let modules = vec![source.name.clone()];
    listener(Event::Compiling { modules: &modules, command: &shown });
    let Ran { success, printed, errors } = run(command, help, listener, |stdout| said(stdout, listener))?;
    if success {
        return Ok(());
    }
    let output = [errors, printed].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    Err(BuildError::Toolchain { modules, command: shown, output })
}

/// What a program prints, without the line's end; what it says where it fails.
///
/// # Errors
///
/// Where it can't be started; `help` says how to get it.
pub(super) fn ask(mut command: Command, help: &'static str) -> Result<Result<String, String>, BuildError> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(&command, help, error))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

fn cannot_start(command: &Command, help: &'static str, source: std::io::Error) -> BuildError {
    BuildError::NoToolchain { program: PathBuf::from(command.get_program()), help, source }
}

/// The numbers of a version such as `go1.26.8`, `v20.20.2` or `1.25`, for comparing; `None` where the text has none.
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

/// Refuses a tool that is older than the newest of those wanted.
pub(super) fn check_version(tool: &'static str, found: &str, wanted: &[&str]) -> Result<(), BuildError> {
    let newest = wanted.iter().max_by_key(|text| version(text)).copied().unwrap_or_default();
    // A development build that has no number may well be new enough: the tool itself will say where not.
    if version(found).is_some_and(|found| Some(found) < version(newest)) {
        return Err(BuildError::OldToolchain { tool, found: found.to_owned(), wanted: newest.to_owned() });
    }
    Ok(())
}

/// Passes lines on as they come, and returns the end of them all.
fn said(stderr: impl Read, listener: &(dyn Fn(Event<'_>) + Sync)) -> String {
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
        let kept = said(long.as_bytes(), &|_: Event<'_>| {
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
