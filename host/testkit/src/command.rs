//! Runs commands and captures their output.

use std::process::{Command, Output};

use serde_json::Value;

/// The exit status and the output of a command.
pub struct CommandOutput {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl CommandOutput {
    /// Asserts the exit code, and that the output has no colours, since it does not go to a terminal.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert!(
            !self.out.contains('\x1b') && !self.err.contains('\x1b'),
            "colours, and no terminal: {}{}",
            self.out,
            self.err
        );
        self
    }

    /// Parses the standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Runs a command and waits for its end.
pub fn run(command: &mut Command) -> CommandOutput {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}
