//! Writes a first script for a contract: an entry for each function, which answers all calls by the default value.

use std::fmt::Write as _;

use super::FakeError;
use super::contract::Contract;

/// Returns a script for a contract, as JSON text. Reading it gives no fault.
///
/// # Errors
///
/// [`FakeError::Contract`] if the result of a function has no default value.
pub fn starter(contract: &Contract) -> Result<String, FakeError> {
    let mut entries = Vec::new();
    for function in &contract.functions {
        let name = &function.unique_name;
        let answer = function.default_result().ok_or_else(|| FakeError::Contract {
            module: contract.module.clone(),
            reason: format!("{} of `{}` has no default value", function.returns(), function.full_name),
        })?;
        let arguments: Vec<_> = function.shape.parameters.iter().map(|_| "{ \"$any\": null }").collect();
        let mut entry = String::new();
        let _ = write!(
            entry,
            "    {{ \"call\": \"{name}\",\n      \"arguments\": [{}],\n      \"answer\": {answer} }}",
            arguments.join(", ")
        );
        entries.push(entry);
    }
    Ok(format!("{{\n  \"answers\": [\n{}\n  ]\n}}\n", entries.join(",\n")))
}
