//! Words for people on standard error, coloured where a terminal reads; what was asked for on standard output.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use watertight_model::problem::{Problem, Problems};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// What was refused was printed already; only the exit code is left to say.
#[derive(Debug, thiserror::Error)]
#[error("refused")]
pub(super) struct Printed;

/// Writes `text` to standard output. A reader that went away wants no more.
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

/// Writes a line of good news to standard error.
pub(super) fn done(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "done"));
}

/// Writes a line of a test that passed to standard error.
pub(super) fn passed(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "passed"));
}

/// Writes a line of a test that failed to standard error.
pub(super) fn failed(text: &str) {
    say(&format!("{RED}{:>9}{RED:#} {text}", "failed"));
}

/// Writes a line about a change that serves to standard error.
pub(super) fn live(text: &str) {
    say(&format!("{GREEN}{:>9}{GREEN:#} {text}", "live"));
}

/// Writes a line about a change that made no difference to standard error.
pub(super) fn same(text: &str) {
    say(&format!("{FAINT}{:>9} {text}{FAINT:#}", "same"));
}

/// Writes a note: what is no fault, and worth knowing.
pub(super) fn note(note: &Problem) {
    say(&labelled(note, "note", YELLOW));
}

/// Says why a command failed.
pub(super) fn report(error: &anyhow::Error) {
    if error.is::<Printed>() {
        return;
    }
    if let Some(problems) = error.downcast_ref::<Problems>() {
        return problems_found(problems);
    }
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    say(&format!("{RED}error{RED:#}{BOLD}:{BOLD:#} {}", causes.join(": ")));
}

/// Lists problems, and counts them.
pub(super) fn problems_found(problems: &Problems) {
    for problem in problems.as_slice() {
        say(&labelled(problem, "error", RED));
    }
    let count = problems.as_slice().len();
    let noun = if count == 1 { "problem" } else { "problems" };
    say(&format!("{RED}{count} {noun}{RED:#}; nothing was started or changed"));
}

/// The problem's own text behind a word for what it is, with its first line and its labels set off.
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
