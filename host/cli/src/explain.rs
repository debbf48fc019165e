//! `explain`: prints what the code of a problem means, how it comes about and how it is mended.

use clap::Args;

use super::output;
use watertight_author::explain::{self, Explanation};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// Code of a problem, as `check` prints it in brackets, or the last part of the `type` of a problem in an answer.
    code: String,
}

pub(super) fn explain(arguments: &ExplainArguments) -> anyhow::Result<()> {
    let Explanation { code, text } = explain::find(&arguments.code)?;
    output::print(&format!("{code}\n\n{text}\n"));
    Ok(())
}
