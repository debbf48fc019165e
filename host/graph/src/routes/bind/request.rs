//! Gives each parameter of a routed function a part of the request.

use std::sync::Arc;

use watertight_component::shape::{Field, Function, Type};
use watertight_json::{Codec, ObjectCodec, UnknownFields, Unsupported};
use watertight_model::config::{Binding, BodyBinding, BodyFormat, BodyTarget};
use watertight_model::problem::{Code, list_names};

use super::super::request::{
    BoundBody, BoundForm, FieldValue, FilePart, FileShape, FormField, Parameter, ParameterSource,
};
use super::{Binder, is_bytes};

/// The names of the fields that a record for a file may have.
const FILE_FIELDS: [&str; 3] = ["bytes", "name", "media-type"];

impl Binder<'_> {
    /// Gives each parameter of the function a part of the request, and reports bindings that name no parameter.
    pub(super) fn parameters(&mut self) -> Vec<Parameter> {
        let function: &Function = self.found.function;
        let route = self.route;
        let has = |name: &str| function.parameters.iter().any(|parameter| &*parameter.name == name);
        let has_in_any_case = |name: &&str| function.parameters.iter().any(|p| p.name.eq_ignore_ascii_case(name));
        let known = list_names(function.parameters.iter().map(|parameter| &parameter.name));
        let mut unknown: Vec<(String, u32)> = Vec::new();
        let in_path = route.path.value.parameters().filter(|name| !has_in_any_case(name));
        unknown.extend(in_path.map(|name| (name.to_owned(), route.path.line)));
        unknown.extend(route.bindings.iter().filter(|(name, _)| !has(name)).map(|(n, at)| (n.clone(), at.line)));
        if let Some(body) = &route.body
            && let BodyTarget::Parameter(name) = &body.value.target
            && !has(name)
        {
            unknown.push((name.clone(), body.line));
        }
        let is_free = |parameter: &&Field| !self.is_bound(&parameter.name) && !self.is_in_body(&parameter.name);
        let free: Vec<&Field> = function.parameters.iter().filter(is_free).collect();
        for (name, line) in &unknown {
            let instead = match (&unknown[..], &free[..]) {
                ([_], [only]) => format!("`{}`", only.name),
                _ => "an existing parameter".to_owned(),
            };
            let message = format!("the function has no parameter `{name}`; it has {known}");
            self.report(Code::BadBinding, message, *line).help = Some(format!("bind {instead} instead of `{name}`"));
        }
        if let Some(body) = &route.body
            && body.value.target == BodyTarget::Spread
            && function.parameters.iter().all(|parameter| self.is_bound(&parameter.name))
        {
            let message = "`body = \"*\"` has no parameter to fill: the path and tables already bind all of them";
            self.report(Code::BadBinding, message.to_owned(), body.line).help = Some("leave `body` out".to_owned());
        }
        let mut in_body = 0;
        function.parameters.iter().filter_map(|parameter| self.parameter(parameter, &mut in_body)).collect()
    }

    /// Whether the path or a table of the route binds a parameter.
    fn is_bound(&self, name: &str) -> bool {
        self.route.path.value.parameter_index(name).is_some() || self.route.bindings.contains_key(name)
    }

    /// Whether `body` names a parameter that the function doesn't have.
    fn has_unknown_body(&self) -> bool {
        match self.route.body.as_ref().map(|body| &body.value.target) {
            Some(BodyTarget::Parameter(name)) => self.found.function.parameters.iter().all(|p| *p.name != **name),
            _ => false,
        }
    }

    /// Whether the body gives a parameter its value.
    fn is_in_body(&self, name: &str) -> bool {
        match self.route.body.as_ref().map(|body| &body.value.target) {
            Some(BodyTarget::Parameter(bound)) => bound == name,
            Some(BodyTarget::Spread) => !self.is_bound(name),
            None => false,
        }
    }

    fn parameter(&mut self, parameter: &Field, in_body: &mut usize) -> Option<Parameter> {
        let name = &parameter.name;
        let source = if let Some(place) = self.route.path.value.parameter_index(name) {
            ParameterSource::Path(place, self.text(parameter, "a path")?)
        } else if let Some(bound) = self.route.bindings.get(&**name).cloned() {
            self.bound(parameter, bound.value, bound.line)?
        } else if self.is_in_body(name) {
            *in_body += 1;
            ParameterSource::Body(*in_body - 1)
        } else {
            ParameterSource::Query(self.query_field(parameter, self.route.json.case.spell(name))?)
        };
        Some(Parameter { name: name.clone(), source })
    }

    fn bound(&mut self, parameter: &Field, bound: Binding, line: u32) -> Option<ParameterSource> {
        Some(match bound {
            Binding::Header(name) => ParameterSource::Header(name, self.text(parameter, "a header")?),
            Binding::Cookie(name) => ParameterSource::Cookie(name, self.text(parameter, "a cookie")?),
            Binding::Query(name) => ParameterSource::Query(self.query_field(parameter, name)?),
            Binding::WholeQuery => {
                let Type::Record(record) = &parameter.ty else {
                    let message =
                        format!("`query` gives `{}` the whole query, and its type is no record", parameter.name);
                    self.report(Code::BadBinding, message, line).help =
                        Some("bind single fields: a parameter that nothing binds is a query field".to_owned());
                    return None;
                };
                let fields = self.form_fields(&record.body, false)?;
                ParameterSource::WholeQuery(fields)
            }
            Binding::Constant(json) => {
                let codec = self.codec(&parameter.name, &parameter.ty)?;
                match codec.decode_with(json.as_bytes(), UnknownFields::Refused) {
                    Ok(value) => ParameterSource::Constant(value),
                    Err(faults) => {
                        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                        let message =
                            format!("the constant for `{}` does not fit: {}", parameter.name, faults.join("; "));
                        self.report(Code::BadBinding, message, line);
                        return None;
                    }
                }
            }
            Binding::Request(part) => {
                let is_text = |ty: &Type| *ty == Type::String;
                if !is_text(&parameter.ty) && !matches!(&parameter.ty, Type::Option(inner) if is_text(inner)) {
                    let message = format!("`{part}` of a request is a text, and `{}` is no `string`", parameter.name);
                    self.report(Code::BadBinding, message, line);
                    return None;
                }
                ParameterSource::Request(part, self.codec(&parameter.name, &parameter.ty)?)
            }
        })
    }

    /// Returns the codec of a parameter that is read from the text of `place`.
    fn text(&mut self, parameter: &Field, place: &str) -> Option<Codec> {
        let codec = self.codec(&parameter.name, &parameter.ty)?;
        if codec.accepts_text() {
            return Some(codec);
        }
        let message = format!("parameter `{}` is bound to text, but its type is not a plain value", parameter.name);
        self.report(Code::BadBinding, message, self.route.line).help = Some(format!(
            "only numbers, booleans, characters, strings, enums and options of those are read from {place}"
        ));
        None
    }

    /// Returns the codec of a type if it is a plain value, which a text can hold.
    fn plain(&self, ty: &Type) -> Option<Codec> {
        Codec::with_style("", ty, self.route.json).ok().filter(Codec::accepts_text)
    }

    fn query_field(&mut self, parameter: &Field, name: String) -> Option<FormField> {
        let value = match &parameter.ty {
            Type::List(item) if **item != Type::U8 => self.plain(item).map(FieldValue::Many),
            ty => self.plain(ty).map(FieldValue::One),
        };
        if let Some(value) = value {
            return Some(FormField { wit: parameter.name.clone(), name, value });
        }
        // If the body names no parameter, it is most likely meant for this one. That it names none was reported.
        if self.carried(Codec::of_field(&parameter.name, &parameter.ty, self.route.json)).is_some()
            && !self.has_unknown_body()
        {
            let name = &parameter.name;
            let message = format!(
                "nothing binds parameter `{name}`: its type is neither a plain value nor a list of those, so query fields can't hold it"
            );
            let help = if self.route.method.takes_body() {
                format!("write `body = \"{name}\"`, or `body = \"*\"`")
            } else if matches!(parameter.ty, Type::Record(_)) {
                format!("write `query = \"{name}\"` to take its fields from the query")
            } else {
                let method = &self.route.method;
                format!("a {method} request has no body to take `{name}` from: use another method")
            };
            self.report(Code::BadBinding, message, self.route.line).help = Some(help);
        }
        None
    }

    /// Returns how the fields of a record, or parameters, are read from a query or form. Reports those that can't be.
    fn form_fields(&mut self, fields: &[Field], is_multipart: bool) -> Option<Vec<FormField>> {
        let found: Vec<Option<FormField>> = fields.iter().map(|field| self.form_field(field, is_multipart)).collect();
        let found: Vec<FormField> = found.into_iter().collect::<Option<_>>()?;
        for (index, field) in found.iter().enumerate() {
            if let Some(other) = found[..index].iter().find(|other| other.name == field.name) {
                let message = format!("`{}` and `{}` are one field, `{}`", other.wit, field.wit, field.name);
                self.report(Code::BadBinding, message, self.route.line);
                return None;
            }
        }
        Some(found)
    }

    fn form_field(&mut self, field: &Field, is_multipart: bool) -> Option<FormField> {
        let file = |ty: &Type| if is_multipart { file_shape(ty) } else { None };
        let value = match &field.ty {
            Type::List(item) if file(item).is_some() => file(item).map(FieldValue::Files),
            Type::Option(inner) if file(inner).is_some() => file(inner).map(FieldValue::MaybeFile),
            ty if file(ty).is_some() => file(ty).map(FieldValue::File),
            Type::List(item) if **item != Type::U8 => self.plain(item).map(FieldValue::Many),
            ty => self.plain(ty).map(FieldValue::One),
        };
        let Some(value) = value else {
            self.carried(Codec::of_field(&field.name, &field.ty, self.route.json))?;
            let message = format!("the field `{}` is neither a plain value nor a list of those", field.name);
            let files = format!(
                "a field is a number, boolean, character, string, enum, an option or a list of those{}",
                if is_multipart { ", or a file: a record of `bytes` and any of `name` and `media-type`" } else { "" }
            );
            self.report(Code::BadBinding, message, self.route.line).help = Some(files);
            return None;
        };
        Some(FormField { wit: field.name.clone(), name: self.route.json.case.spell(&field.name), value })
    }

    pub(super) fn body(&mut self) -> Option<BoundBody> {
        let Some(body) = self.route.body.clone() else { return Some(BoundBody::Unbound) };
        let line = body.line;
        let BodyBinding { format, target, types } = body.value;
        let function = self.found.function;
        let fields: Vec<Field> = function.parameters.iter().filter(|p| self.is_in_body(&p.name)).cloned().collect();
        let one = match (&target, &fields[..]) {
            (BodyTarget::Parameter(_), [one]) => Some(one.clone()),
            // The parameter does not exist, which is reported.
            (BodyTarget::Parameter(_), _) => return None,
            (BodyTarget::Spread, _) => None,
        };
        match (format, one) {
            (BodyFormat::Json, Some(one)) => self.codec(&one.name, &one.ty).map(BoundBody::Parameter),
            (BodyFormat::Json, None) => self.object(&fields).map(BoundBody::Spread),
            (BodyFormat::Raw, Some(one)) if is_bytes(&one.ty) => Some(BoundBody::Raw(types)),
            (BodyFormat::Text, Some(one)) if one.ty == Type::String => Some(BoundBody::Text),
            (BodyFormat::Raw | BodyFormat::Text, _) => {
                let expected = if format == BodyFormat::Raw { "list<u8>" } else { "string" };
                let message = format!("a {format} body is a `{expected}`, and the parameter is none");
                self.report(Code::BadBinding, message, line);
                None
            }
            (BodyFormat::Form | BodyFormat::Multipart, one) => {
                let is_multipart = format == BodyFormat::Multipart;
                let is_spread = one.is_none();
                let record = match one.as_ref().map(|one| &one.ty) {
                    None => fields,
                    Some(Type::Record(record)) => record.body.to_vec(),
                    Some(_) => {
                        let message = "a form fills a record, and the parameter is none".to_owned();
                        self.report(Code::BadBinding, message, line).help =
                            Some(format!("write `body = {{ {format} = \"*\" }}` to fill several parameters"));
                        return None;
                    }
                };
                let fields = self.form_fields(&record, is_multipart)?;
                Some(BoundBody::Form(BoundForm { is_multipart, fields, is_spread }))
            }
        }
    }

    fn object(&mut self, fields: &[Field]) -> Option<ObjectCodec> {
        for field in fields {
            self.carried(Codec::of_field(&field.name, &field.ty, self.route.json));
        }
        let all: Vec<(&str, &Type)> = fields.iter().map(|field| (&*field.name, &field.ty)).collect();
        match ObjectCodec::with_style(&all, self.route.json) {
            Ok(codec) => Some(codec),
            Err(parts) => {
                // The faults of single fields are reported. Only faults between fields, such as equal names, are new here.
                for Unsupported { reason, path } in parts.into_iter().filter(|part| part.path.is_empty()) {
                    let message = format!("the body can't be spread over the parameters: {reason}");
                    self.report(Code::UnsupportedType, message, self.route.call.line).type_path = Some(path);
                }
                None
            }
        }
    }

    /// Returns the JSON document that stands for an absent body: an empty object if all fields are options, `null` if the body itself is an
    /// option. `None` if the body is required, or is no JSON.
    pub(super) fn absent_body(&self) -> Option<&'static [u8]> {
        const OBJECT: &[u8] = b"{}";
        let is_option = |ty: &Type| matches!(ty, Type::Option(_));
        let body = &self.route.body.as_ref()?.value;
        if body.format != BodyFormat::Json {
            return None;
        }
        let mut fields = self.found.function.parameters.iter().filter(|field| self.is_in_body(&field.name));
        match body.target {
            BodyTarget::Spread => fields.all(|field| is_option(&field.ty)).then_some(OBJECT),
            BodyTarget::Parameter(_) => match &fields.next()?.ty {
                Type::Option(_) => Some(b"null"),
                Type::Record(record) => record.body.iter().all(|field| is_option(&field.ty)).then_some(OBJECT),
                _ => None,
            },
        }
    }
}

/// Returns the shape of a file if `ty` is a record for one.
fn file_shape(ty: &Type) -> Option<FileShape> {
    let Type::Record(record) = ty else { return None };
    let text = |ty: &Type| match ty {
        Type::String => Some(false),
        Type::Option(inner) if **inner == Type::String => Some(true),
        _ => None,
    };
    let part = |field: &Field| -> Option<(Arc<str>, FilePart)> {
        let part = match FILE_FIELDS.iter().position(|name| **name == *field.name)? {
            0 => is_bytes(&field.ty).then_some(FilePart::Bytes)?,
            1 => FilePart::Name { is_option: text(&field.ty)? },
            _ => FilePart::MediaType { is_option: text(&field.ty)? },
        };
        Some((field.name.clone(), part))
    };
    let parts: Vec<_> = record.body.iter().map(part).collect::<Option<_>>()?;
    parts.iter().any(|(_, part)| *part == FilePart::Bytes).then_some(FileShape(parts))
}
