//! Tests of `watertight dev` with a module whose build writes into its own source folder.

use crate::{CODE, package, rust};

/// A Cargo build script that writes a different text into the source folder at each build.
const SCRIPT: &str = r#"
fn main() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    std::fs::write("src/generated.rs", format!("pub const BUILT: &str = \"{now}\";\n")).unwrap();
}
"#;

#[test]
fn a_build_that_writes_into_its_own_source_settles() {
    let mut author = rust();
    let dependencies = "[lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nmore = { path = \"../more\" }";
    let manifest = package("calc", dependencies).replace("edition", "build = \"build.rs\"\nedition");
    author.write("modules/calc/Cargo.toml", manifest);
    author.write("modules/calc/build.rs", SCRIPT);
    // The generated text is part of the component, so each build is different.
    let used = "\nmod generated;\n#[unsafe(no_mangle)]\npub static BUILT: &str = generated::BUILT;\n";
    author.write("modules/calc/src/lib.rs", format!("{CODE}{used}"));
    author.start();
    author.serves();
    author.hears(&["same modules/calc/src/generated.rs", "every build of its own module changes it", "save it again"]);
    author.hears(&["generated.rs", "generation", "serves"]);
    author.stays_silent();

    // Later edits are still followed, each once.
    for (from, to) in [("left + right", "left + right + 1"), ("right + 1", "right + 2")] {
        author.edit("modules/calc/src/lib.rs", from, to);
        author.hears(&["live modules/calc/src/lib.rs: calc built in ", "serves"]);
        author.stays_silent();
    }
    // A change of the generated file while nothing is built counts as an edit.
    author.write("modules/calc/src/generated.rs", "pub const BUILT: &str = \"by hand\";\n");
    author.hears(&["modules/calc/src/generated.rs: ", "serves"]);
    author.stop();
}
