//! `test --record`: writes the calls that suites made into files beside the contracts, as examples for the OpenAPI document.

use std::path::Path;

use anyhow::Context;

use super::output;
use watertight_model::config::Examples;
use watertight_suite::suite::Recorded;

/// The name of a file of examples, in the folder of the contract.
const FILE: &str = "examples.json";

/// Updates the files of the contracts for which there are records.
///
/// # Errors
///
/// A file can't be read or written, or is no file of examples.
pub(super) fn write(recorded: Vec<Recorded>) -> anyhow::Result<()> {
    for (folder, examples) in recorded.into_iter().flatten() {
        let file = folder.join(FILE);
        let before = read(&file)?;
        let mut now = before.clone().unwrap_or_default();
        now.update(examples);
        if before.as_ref() != Some(&now) {
            std::fs::write(&file, now.to_json()).with_context(|| format!("`{}` can't be written", file.display()))?;
            output::say(&format!("recorded {}", file.display()));
        }
    }
    Ok(())
}

/// Reads a file of examples. `None` if there is none.
fn read(file: &Path) -> anyhow::Result<Option<Examples>> {
    match std::fs::read_to_string(file) {
        Ok(text) => {
            Ok(Some(text.parse().with_context(|| format!("`{}` is no file of examples; remove it", file.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("`{}` can't be read", file.display())),
    }
}
