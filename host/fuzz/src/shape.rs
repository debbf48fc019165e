//! The target `shape`: bytes are read as a component.

use std::path::Path;

use watertight_component::artifact::{Artifact, ArtifactError};
use watertight_component::shape;
use watertight_model::problem::Problem;

use crate::Target;
use crate::seeds::{component, files, tests};

/// The longest message of a refusal, in bytes. Messages repeat names, but never a whole component.
pub(crate) const MAX_MESSAGE: usize = 20_000;

pub(crate) fn target() -> Target {
    Target { seeds: components(), words: WORDS.iter().map(|word| (*word).to_owned()).collect(), check: Box::new(check) }
}

const WORDS: &[&str] = &[
    "\0asm\r\0\x01\0",
    "\0asm\x01\0\0\0",
    "t:t/api",
    "t:t/api@1.0.0",
    "[method]a.b",
    "[constructor]a",
    "[static]a.b",
    "[async]f",
    "[resource-drop]a",
    "a",
    "A-B",
    "a:b/c",
    "watertight:module",
];

/// Returns the components of the tests of graphs and of hostile modules, and some with very large types.
fn components() -> Vec<Vec<u8>> {
    let wit = files(&tests("graphs"), ".wit").into_iter().filter_map(|path| component(&read(&path)));
    let wat = [tests("graphs"), tests("hostile")].into_iter().flat_map(|folder| files(&folder, ".wat"));
    let large = [14, 30].map(|levels| nested(levels, |before| format!("(tuple $t{before} $t{before})")));
    let deep = [90, 120].map(|levels| nested(levels, |before| format!("(list $t{before})")));
    let bytes = wat.filter_map(|path| wat::parse_str(read(&path)).ok()).chain(large).chain(deep);
    wit.chain(bytes).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a component that imports a function with a type of many levels.
fn nested(levels: u32, level: impl Fn(u32) -> String) -> Vec<u8> {
    let types: String = (1..=levels).map(|number| format!("(type $t{number} {})", level(number - 1))).collect();
    let text = format!(
        "(component (import \"t:t/api\" (instance (type $t0 (tuple u8 string)) {types} \
         (export \"it\" (type $it (eq $t{levels}))) (export \"f\" (func (param \"it\" $it))))))"
    );
    wat::parse_str(text).expect("the text is right")
}

fn check(input: &[u8]) {
    match Artifact::new(Path::new("it.wasm"), input.to_vec().into()) {
        Ok(artifact) => {
            for interface in artifact.shape.imports.values().chain(artifact.shape.exports.values()) {
                assert!(shape::differences(interface, interface).is_empty(), "an interface differs from itself");
            }
            let again = shape::read(input).expect("a second reading accepts what the first one accepted");
            assert!(artifact.section.is_some() || again == artifact.shape, "a second reading returned another shape");
        }
        Err(error) => refused(error),
    }
}

/// Checks the message of a refusal.
pub(crate) fn refused(error: ArtifactError) {
    let message = Problem::from(error).to_string();
    assert!(message.len() < MAX_MESSAGE, "{} bytes of message", message.len());
}
