//! The place where a document needs a type: the module that has the type, and how its values look there. Also the documentation of types.

use std::sync::Arc;

use super::schemas::Form;
use watertight_component::artifact::{Artifact, InterfaceDocs};
use watertight_component::shape::Type;
use watertight_model::config::JsonStyle;
use watertight_model::ids::InterfaceName;

/// The place where a document needs a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// The component of the module whose function has the type.
    pub(super) artifact: &'a Artifact,
    pub(super) style: JsonStyle,
    pub(super) form: Form,
}

impl<'a> Site<'a> {
    /// Returns the place for values that are written as plain text, not as JSON. Wide integers keep the form of the route, so that a client
    /// sends what it got.
    pub(super) fn of_text(self) -> Self {
        Self { form: Form::Request, ..self }
    }

    /// Returns the interface that has the type under this name. An interface that the module imports comes first: others use its types.
    pub(super) fn origin(self, name: &str, ty: &Type) -> Option<&'a InterfaceName> {
        let shape = &self.artifact.shape;
        let imported = shape.imports.iter().filter(|(_, interface)| interface.is_types_only());
        let mut all = imported.chain(&shape.exports);
        let (found, interface) = all.find(|(_, interface)| interface.types.get(name) == Some(ty))?;
        Some(interface.identity(found))
    }

    /// Returns the documentation of the type `name` of an interface.
    pub(super) fn docs(self, origin: Option<&InterfaceName>, name: &'a str) -> TypeDocs<'a> {
        let all = self.artifact.section.as_ref().map(|section| &section.docs.0);
        TypeDocs { interface: all.zip(origin).and_then(|(all, origin)| all.get(origin)), name }
    }
}

/// The documentation of a type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TypeDocs<'a> {
    interface: Option<&'a InterfaceDocs>,
    name: &'a str,
}

impl<'a> TypeDocs<'a> {
    /// Returns the documentation of the type itself.
    pub(super) fn own(self) -> Option<&'a str> {
        Some(self.interface?.types.get(self.name)?)
    }

    /// Returns the documentation of a field, case or flag.
    pub(super) fn part(self, part: &str) -> Option<&'a str> {
        Some(self.interface?.types.get(&format!("{}.{part}", self.name))?)
    }

    /// Returns the documentation of names as a list in Markdown, with the names as JSON has them.
    pub(super) fn list(self, style: JsonStyle, names: &[Arc<str>]) -> Option<String> {
        let line = |name: &Arc<str>| {
            let text = self.part(name)?.split_whitespace().collect::<Vec<_>>().join(" ");
            Some(format!("- `{}`: {text}", style.case.spell(name)))
        };
        let lines: Vec<String> = names.iter().filter_map(line).collect();
        Some(lines.join("\n")).filter(|text| !text.is_empty())
    }
}
