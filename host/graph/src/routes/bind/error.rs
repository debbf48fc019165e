//! Gives each error of a routed function its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use watertight_component::shape::Type;
use watertight_model::config::{ANY_ERROR, ErrorConfig, LocatedValue};
use watertight_model::problem::{Code, list_names};

use super::super::answer::{CaseDocs, ErrorMapping, ErrorMappings};
use super::Binder;

/// The greatest length of what an answer says from the documentation of an error case, in bytes.
const MAX_DOCS: usize = 1_000;

impl Binder<'_> {
    /// Binds the answers to errors. The inner `None` means that the function returns no `result`.
    pub(super) fn errors(&mut self) -> Option<Option<ErrorMappings>> {
        let route = self.route;
        let function = self.found.function;
        let Some(Type::Result { err, .. }) = &function.result else {
            for (case, at) in &route.errors {
                let message = format!("the function has no error case `{case}`: it returns no `result`");
                self.report(Code::ErrorTable, message, at.line).help = Some("leave `errors` out".to_owned());
            }
            return route.errors.is_empty().then_some(None);
        };
        let (ty, cases): (_, Vec<(Arc<str>, Option<&Type>)>) = match err.as_deref() {
            Some(Type::Variant(variant)) => {
                (&variant.name, variant.body.iter().map(|case| (case.name.clone(), case.ty.as_ref())).collect())
            }
            Some(Type::Enum(cases)) => (&cases.name, cases.body.iter().map(|name| (name.clone(), None)).collect()),
            other => return self.whole_error(other).map(Some),
        };
        for (case, at) in route.errors.iter().filter(|(case, _)| *case != ANY_ERROR) {
            if !cases.iter().any(|(name, _)| &**name == case) {
                let names = list_names(cases.iter().map(|(name, _)| name));
                let message = format!("the function has no error case `{case}`; it has {names}");
                self.report(Code::ErrorTable, message, at.line).help = Some(format!("take `{case}` out of `errors`"));
            }
        }
        let bound: Vec<_> = cases.iter().map(|(name, payload)| self.error_case(ty, name, *payload)).collect();
        bound.into_iter().collect::<Option<BTreeMap<_, _>>>().map(|cases| Some(ErrorMappings::Cases(cases)))
    }

    /// Binds the one answer to all errors of a type without cases.
    fn whole_error(&mut self, ty: Option<&Type>) -> Option<ErrorMappings> {
        let route = self.route;
        for (case, at) in route.errors.iter().filter(|(case, _)| *case != ANY_ERROR) {
            let message = format!("the function has no error case `{case}`: its error type has no cases");
            self.report(Code::ErrorTable, message, at.line).help =
                Some(format!("write `\"{ANY_ERROR}\"` in place of `{case}`"));
        }
        let Some(error) = route.errors.get(ANY_ERROR) else {
            let found = ty.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            let message = "the function's error type has no cases that could have a status".to_owned();
            let problem = self.report(Code::ErrorTable, message, route.call.line);
            problem.expected = Some("a variant or an enum".to_owned());
            problem.found = Some(found);
            problem.help = Some(format!(
                "write `errors = {{ \"{ANY_ERROR}\" = 500 }}`, or give the error a case for each kind of failure"
            ));
            return None;
        };
        self.error("result.err", error, ty, None).map(ErrorMappings::Whole)
    }

    fn error_case(&mut self, ty: &str, name: &Arc<str>, payload: Option<&Type>) -> Option<(String, ErrorMapping)> {
        let route = self.route;
        let Some(error) = route.errors.get(&**name).or_else(|| route.errors.get(ANY_ERROR)) else {
            let message = format!("error case `{name}` has no status");
            self.report(Code::ErrorTable, message, route.line).help = Some(format!("add `{name} = …` to `errors`"));
            return None;
        };
        let docs = self.docs.and_then(|docs| docs.types.get(&format!("{ty}.{name}")));
        let docs = docs.map(|text| case_docs(text));
        Some((name.to_string(), self.error(&format!("result.err.{name}"), error, payload, docs)?))
    }

    fn error(
        &mut self,
        place: &str,
        error: &LocatedValue<ErrorConfig>,
        payload: Option<&Type>,
        docs: Option<CaseDocs>,
    ) -> Option<ErrorMapping> {
        let headers = self.header_templates(&error.headers, payload);
        let codec = match payload {
            Some(ty) => Some(self.codec(place, ty)?),
            None => None,
        };
        Some(ErrorMapping { status: error.status, payload: codec, headers: headers?, docs })
    }
}

/// Takes the documentation of an error case apart: its first sentence, and the rest of its first paragraph.
fn case_docs(text: &str) -> CaseDocs {
    let paragraph = text.trim().split("\n\n").next().unwrap_or_default();
    let paragraph = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraph = &paragraph[..paragraph.floor_char_boundary(MAX_DOCS)];
    let (title, detail) = match paragraph.split_once(". ") {
        Some((title, detail)) => (title, Some(detail)),
        None => (paragraph.strip_suffix('.').unwrap_or(paragraph), None),
    };
    CaseDocs { title: title.into(), detail: detail.map(Into::into) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_are_a_sentence_and_the_rest() {
        let docs = |title: &str, detail: Option<&str>| CaseDocs { title: title.into(), detail: detail.map(Into::into) };
        assert_eq!(case_docs("No order has this id."), docs("No order has this id", None));
        assert_eq!(case_docs("No order\nhas it. Look again.\n\nMore."), docs("No order has it", Some("Look again.")));
        assert_eq!(case_docs("words"), docs("words", None));
    }
}
