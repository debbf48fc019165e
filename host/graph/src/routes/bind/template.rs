//! Binds the holes of templates to values of the result and of the call's parameters.

use ::http::HeaderName;

use watertight_component::shape::Type;
use watertight_json::Codec;
use watertight_model::config::{HeaderTemplates, Hole, LocatedValue, Template, TemplatePart};
use watertight_model::ids::json_name;
use watertight_model::problem::{Code, list_names};

use super::super::answer::{BoundPart, BoundTemplate, ParameterValue, ValuePath, ValueStep};
use super::Binder;

impl Binder<'_> {
    /// Binds the templates of headers. `result` is the type of the result, or of the payload of an error case.
    pub(super) fn header_templates(
        &mut self,
        headers: &HeaderTemplates,
        result: Option<&Type>,
    ) -> Option<Vec<(HeaderName, BoundTemplate)>> {
        let bound: Vec<_> =
            headers.iter().map(|(name, template)| Some((name.clone(), self.template(template, result)?))).collect();
        bound.into_iter().collect()
    }

    /// Binds a template. Reports every hole that names no plain value, and returns `None`.
    pub(super) fn template(
        &mut self,
        template: &LocatedValue<Template>,
        result: Option<&Type>,
    ) -> Option<BoundTemplate> {
        let bound: Vec<_> = template
            .parts()
            .iter()
            .map(|part| match part {
                TemplatePart::Text(text) => Some(BoundPart::Text(text.clone())),
                TemplatePart::Hole(hole) => self.hole(hole, result, template.line),
            })
            .collect();
        Some(BoundTemplate { text: template.to_string(), parts: bound.into_iter().collect::<Option<_>>()? })
    }

    fn hole(&mut self, hole: &Hole, result: Option<&Type>, line: u32) -> Option<BoundPart> {
        let bound = match (&hole.parameter, result) {
            (None, Some(ty)) => self.value_path(ty, &hole.path).map(|path| BoundPart::Value(path, hole.place)),
            (None, None) => Err("there is no value here".to_owned()),
            (Some(name), _) => self.parameter_value(name, &hole.path).map(|value| {
                self.values.push(value);
                BoundPart::Parameter(self.values.len() - 1, hole.place)
            }),
        };
        bound
            .map_err(|fault| {
                self.report(Code::BadBinding, format!("`{hole}` names no plain value: {fault}"), line);
            })
            .ok()
    }

    fn parameter_value(&self, name: &str, path: &[String]) -> Result<ParameterValue, String> {
        let parameters = &self.found.function.parameters;
        let Some(index) = parameters.iter().position(|parameter| json_name(&parameter.name) == name) else {
            let known = list_names(parameters.iter().map(|parameter| json_name(&parameter.name)));
            return Err(format!("the function has no parameter `{name}`; it has {known}"));
        };
        Ok(ParameterValue { index, path: self.value_path(&parameters[index].ty, path)? })
    }

    /// Returns the way to the value that the names of `path` lead to from a value of type `ty`.
    fn value_path(&self, ty: &Type, path: &[String]) -> Result<ValuePath, String> {
        let mut ty = present(ty);
        let mut steps = Vec::with_capacity(path.len());
        for name in path {
            let (step, next) = match ty {
                Type::Record(record) => {
                    let fields = &record.body;
                    let Some(index) = fields.iter().position(|field| json_name(&field.name) == *name) else {
                        let known = list_names(fields.iter().map(|field| json_name(&field.name)));
                        return Err(format!("`{}` has no field `{name}`; it has {known}", record.name));
                    };
                    (ValueStep::Field(index), &fields[index].ty)
                }
                Type::Variant(variant) => {
                    let cases = &variant.body;
                    let Some(case) = cases.iter().find(|case| json_name(&case.name) == *name) else {
                        let known = list_names(cases.iter().map(|case| json_name(&case.name)));
                        return Err(format!("`{}` has no case `{name}`; it has {known}", variant.name));
                    };
                    let Some(payload) = &case.ty else { return Err(format!("the case `{name}` carries nothing")) };
                    (ValueStep::Case(case.name.to_string()), payload)
                }
                other => return Err(format!("`{name}` would be a field of `{other}`")),
            };
            steps.push(step);
            ty = present(next);
        }
        match Codec::with_style("", ty, self.route.json) {
            Ok(codec) if codec.accepts_text() => Ok(ValuePath { steps, codec }),
            _ => Err(format!("it is `{ty}`; numbers, booleans, characters, strings and enums are plain")),
        }
    }
}

/// Returns the type of what is in an option, or the type itself if it is none.
fn present(mut ty: &Type) -> &Type {
    while let Type::Option(inner) = ty {
        ty = inner;
    }
    ty
}
