//! Runs `host/docs/tutorial.md` from its first command to its last, in an empty folder.
//!
//! The blocks of the document become one bash script. A block `sh` is run. A block directly below a line that names a file (`` `app.toml`: ``)
//! is written there; below "At the end of `app.toml`:" it is added. A block `console` or `json` directly below a command is what that command
//! prints, where `…` stands for anything in a line, and a line `…` for any lines. The tutorial's ports become free ones.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use watertight_testkit::command::run;
use watertight_testkit::host;
use watertight_testkit::paths::{binary, repository, target};

/// The addresses of the tutorial, which other hosts on the machine may have.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8081"];

/// The start of the script: it ends at the first failure, and leaves no process behind.
const START: &str =
    "set -eo pipefail\ntrap 'code=$?; kill $(jobs -p) 2>/dev/null || true; wait || true; exit $code' EXIT\n";

enum Block {
    /// Commands, the line of the document, and what they print, if the document says it.
    Commands { text: String, line: usize, printed: Option<String> },
    /// The content of a file, or what is added to it.
    File { path: String, text: String, is_added: bool },
}

/// Reads the blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines().enumerate();
    // The last line of text above a block.
    let mut above = "";
    let mut is_below_commands = false;
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            if !line.is_empty() {
                above = line;
                is_below_commands = false;
            }
            continue;
        };
        let text = |(_, line): (usize, &str)| format!("{line}\n");
        let text: String = lines.by_ref().take_while(|(_, line)| *line != "```").map(text).collect();
        let place = above.strip_suffix("`:").and_then(|above| above.rsplit_once('`'));
        match (kind, place) {
            ("sh", _) => blocks.push(Block::Commands { text, line: number + 1, printed: None }),
            ("console" | "json", _) if is_below_commands => {
                if let Some(Block::Commands { printed, .. }) = blocks.last_mut() {
                    *printed = Some(text);
                }
            }
            (_, Some((before, path))) => {
                let is_added = before.ends_with("At the end of ");
                blocks.push(Block::File { path: path.to_owned(), text, is_added });
            }
            _ => panic!("line {}: the block is neither a command, nor its output, nor a file", number + 1),
        }
        is_below_commands = kind == "sh";
        above = "";
    }
    blocks
}

/// Whether a line is the expected one, where `…` stands for anything.
fn is_like(line: &str, expected: &str) -> bool {
    let mut parts = expected.trim_end().split('…');
    let Some(mut rest) = line.trim_end().strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Whether an output is the expected one, where a line `…` stands for any lines.
fn fits(output: &[impl AsRef<str>], expected: &[impl AsRef<str>]) -> bool {
    match expected.split_first() {
        None => output.is_empty(),
        Some((line, rest)) if line.as_ref() == "…" => {
            (0..=output.len()).any(|skipped| fits(&output[skipped..], rest))
        }
        Some((line, rest)) => {
            output.first().is_some_and(|first| is_like(first.as_ref(), line.as_ref()) && fits(&output[1..], rest))
        }
    }
}

/// Replaces the tutorial's addresses.
fn placed(text: &str, addresses: &[String; 2]) -> String {
    let [listen, admin] = addresses;
    text.replace(ADDRESSES[0], listen).replace(ADDRESSES[1], admin)
}

/// Writes a script that takes all steps. What a step prints goes to a file of its number.
fn script(blocks: &[Block], addresses: &[String; 2], outputs: &Path) -> String {
    let mut script = START.to_owned();
    for (number, block) in blocks.iter().enumerate() {
        match block {
            Block::Commands { text, .. } => {
                let text = placed(text, addresses);
                write!(script, "{{\n{text}}} > '{}' 2>&1\n", outputs.join(number.to_string()).display()).unwrap();
            }
            Block::File { path, text, is_added } => {
                let (into, text) = (if *is_added { ">>" } else { ">" }, placed(text, addresses));
                write!(
                    script,
                    "mkdir -p \"$(dirname '{path}')\"\ncat {into} '{path}' << 'END OF BLOCK'\n{text}END OF BLOCK\n"
                )
                .unwrap();
            }
        }
    }
    script
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let document = fs::read_to_string(repository().join("host/docs/tutorial.md")).unwrap();
    let blocks = blocks(&document);
    assert!(blocks.len() > 20, "{} blocks", blocks.len());
    let folder = host::folder();
    let (home, outputs) = (folder.path().join("home"), folder.path().join("outputs"));
    [&home, &outputs].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    // Both are held until both are known, so that they differ.
    let held = ADDRESSES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = held.each_ref().map(|listener| listener.local_addr().unwrap().to_string());
    drop(held);

    let path = [binary().parent().unwrap().to_owned().into_os_string(), std::env::var_os("PATH").unwrap()];
    let script = script(&blocks, &addresses, &outputs);
    fs::write(folder.path().join("script"), &script).unwrap();
    let mut command = std::process::Command::new("bash");
    command.arg("../script").current_dir(&home).env("PATH", path.join(":".as_ref())).env("NO_COLOR", "1");
    command.env("CARGO_TARGET_DIR", target().join("new"));
    // The manifest that `new app` writes has the tutorial's addresses.
    command.env("WATERTIGHT_LISTEN", &addresses[0]).env("WATERTIGHT_ADMIN", &addresses[1]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name == "CARGO_MANIFEST_DIR")
    {
        command.env_remove(name);
    }
    let ended = run(&mut command);

    let mut wrong = String::new();
    for (number, block) in blocks.iter().enumerate() {
        let Block::Commands { line, printed, .. } = block else { continue };
        let Ok(output) = fs::read_to_string(outputs.join(number.to_string())) else { break };
        let output = placed_back(&output, &addresses);
        if ended.code != 0 {
            wrong = format!("line {line} failed, or a block below it:\n{output}\n");
        } else if let Some(printed) = printed {
            // Only a compilation that takes long is told.
            let is_told = |line: &&str| !line.starts_with("  compiling ");
            let lines =
                |text: &str| -> Vec<String> { text.trim_end().lines().filter(is_told).map(str::to_owned).collect() };
            let (got, expected) = (lines(&output), lines(printed));
            if !fits(&got, &expected) {
                write!(wrong, "line {line} prints:\n{output}\n").unwrap();
            }
        }
    }
    assert!(ended.code == 0 && wrong.is_empty(), "{wrong}{}{}", ended.out, ended.err);
}

/// Replaces the addresses of a test by the tutorial's.
fn placed_back(text: &str, addresses: &[String; 2]) -> String {
    text.replace(&addresses[0], ADDRESSES[0]).replace(&addresses[1], ADDRESSES[1])
}

#[test]
fn an_ellipsis_stands_for_what_differs() {
    assert!(is_like("built in 87 ms, put in place", "built in … ms, put in place"));
    assert!(!is_like("built in 87 s, put in place", "built in … ms, put in place"));
    assert!(!is_like("built", "buil") && is_like("built", "…t"));
    assert!(fits(&["a", "b", "c", "d"], &["a", "…", "d"]) && fits(&["a", "d"], &["a", "…", "d"]));
    assert!(!fits(&["a", "b"], &["a"]) && !fits(&["a"], &["a", "b"]));
}
