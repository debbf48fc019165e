//! Terminal output: messages for people go to standard error, coloured on a terminal; results go to standard output.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use watertight_model::problem::{Problem, Problems};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The error of a command that has already printed why it failed. It only sets the exit code.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub(super) struct AlreadyReported;

/// Writes `text` to standard output. Errors are ignored: a reader that has gone away needs no more output.
pub(super) fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Writes JSON to standard output.
pub(super) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"));
    Ok(())
}

/// Writes a line to standard error.
pub(super) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes a line about a success to standard error, with the label `done`.
pub(super) fn done(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "done"));
}

/// Writes a line about a passed test to standard error, with the label `passed`.
pub(super) fn passed(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "passed"));
}

/// Writes a line about a test that was not run to standard error, with the label `skipped`.
pub(super) fn skipped(text: &str) {
    say(&format!("{FAINT}{:>9} {text}{FAINT:#}", "skipped"));
}

/// Writes a line about a failure to standard error, with the label `failed`.
pub(super) fn failed(text: &str) {
    say(&format!("{RED}{:>9}{RED:#} {text}", "failed"));
}

/// Writes a line about a change that now serves to standard error, with the label `live`.
pub(super) fn live(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "live"));
}

/// Writes a line about a change without effect to standard error, with the label `same`.
pub(super) fn same(text: &str) {
    say(&format!("{FAINT}{:>9} {text}{FAINT:#}", "same"));
}

/// Writes a line about something worth knowing to standard error, with the label `note`.
pub(super) fn warn(text: &str) {
    say(&format!("{YELLOW}{:>9}{YELLOW:#} {text}", "note"));
}

/// Writes a note to standard error: something worth knowing that is not a fault.
pub(super) fn note(note: &Problem) {
    say(&labelled(note, "note", YELLOW));
}

/// Writes the reason why a command failed to standard error.
pub(super) fn report(error: &anyhow::Error) {
    if error.is::<AlreadyReported>() {
        return;
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return problems_found(problems);
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    say(&format!("{RED}error{RED:#}{BOLD}:{BOLD:#} {}", causes.join(": ")));
}

/// Writes a list of problems and their number to standard error.
pub(super) fn problems_found(problems: &Problems) {
    for problem in problems.as_slice() {
        say(&labelled(problem, "error", RED));
    }
    let count = problems.as_slice().len();
    let noun = if count == 1 { "problem" } else { "problems" };
    say(&format!("{RED}{count} {noun}{RED:#}; nothing was started or changed"));
    if let Some(first) = problems.as_slice().first() {
        say(&format!("`watertight explain {}` says more", first.code));
    }
}

/// Formats a problem for the terminal. `word`, such as `error`, stands before its text in `colour`; labels such as `help` are highlighted.
fn labelled(problem: &Problem, word: &str, colour: Style) -> String {
    let text = problem.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut out = match first.split_once("] ") {
        Some((code, message)) => format!("{colour}{word}{code}]{colour:#} {BOLD}{message}{BOLD:#}"),
        None => first.to_owned(),
    };
    for line in lines {
        let (label, rest) = line.split_at(line.floor_char_boundary(11));
        out.push_str(&format!("\n{FAINT}{label}{FAINT:#}{rest}"));
    }
    out.push('\n');
    out
}

/// The maximum length of an expected or found value in the output, in bytes. A longer value is cut.
const MAX_SHOWN: usize = 400;

/// Returns the text of a value that a test expected or found.
pub(super) fn shown(value: Option<&serde_json::Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let mut text = value.to_string();
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push('…');
    }
    text
}
