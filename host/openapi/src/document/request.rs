//! Describes what a route reads from a request: its parameters and its body.

use std::sync::Arc;

use indexmap::IndexMap;

use super::schemas::{Form, Schemas};
use super::site::{Site, TypeDocs};
use crate::format::{JSON, Kind, MERGE_PATCH, Media, Parameter, Place, RequestBody, Schema};
use watertight_component::shape::{Field, Function, Type};
use watertight_graph::routes::{self, BoundBody, BoundForm, FieldValue, FormField, ParameterSource, Route};
use watertight_model::config::{Limits, Method};

/// The media type of a form that is written like a query.
const FORM: &str = "application/x-www-form-urlencoded";

/// Describes the parts of a request that fill parameters, apart from the body. Values that the route gives itself are none.
pub(super) fn parameters(route: &Route, function: &Function, site: Site<'_>, schemas: &mut Schemas) -> Vec<Parameter> {
    let mut found = Vec::new();
    let in_path: Vec<&str> =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    for (routes::Parameter { source, .. }, field) in route.parameters.iter().zip(&function.parameters) {
        match source {
            ParameterSource::Path(index, _) => {
                let parameter = text(Place::Path, in_path[*index], &field.ty, site, schemas);
                found.push(Parameter { required: true, ..parameter });
            }
            ParameterSource::Query(bound) => found.push(text(Place::Query, &bound.name, &field.ty, site, schemas)),
            ParameterSource::WholeQuery(fields) => {
                let (record, docs) = record(&field.ty, site);
                for bound in fields {
                    let Some(field) = record.iter().find(|field| field.name == bound.wit) else { continue };
                    let parameter = text(Place::Query, &bound.name, &field.ty, site, schemas);
                    let description = docs.part(&field.name).map(str::to_owned);
                    found.push(Parameter { description, ..parameter });
                }
            }
            ParameterSource::Header(name, _) => {
                found.push(text(Place::Header, name.as_str(), &field.ty, site, schemas));
            }
            ParameterSource::Cookie(name, _) => found.push(text(Place::Cookie, name, &field.ty, site, schemas)),
            ParameterSource::Constant(_) | ParameterSource::Request(..) | ParameterSource::Body(_) => {}
        }
    }
    found
}

/// Describes a parameter that is read from text. An option may be absent, and so may a list, which is empty then.
fn text(place: Place, name: &str, ty: &Type, site: Site<'_>, schemas: &mut Schemas) -> Parameter {
    let schema = schemas.of(site.of_text(), given(ty));
    Parameter { name: name.to_owned(), place, description: None, required: !is_optional(ty), schema }
}

/// Returns the type of a text that is there.
fn given(ty: &Type) -> &Type {
    if let Type::Option(inner) = ty { inner } else { ty }
}

fn is_optional(ty: &Type) -> bool {
    matches!(ty, Type::Option(_)) || matches!(ty, Type::List(item) if **item != Type::U8)
}

/// Returns the fields of a record, and their documentation.
fn record<'a>(ty: &'a Type, site: Site<'a>) -> (&'a [Field], TypeDocs<'a>) {
    let Type::Record(record) = ty else { return (&[], TypeDocs::default()) };
    (&record.body, site.docs(site.origin(&record.name, ty), &record.name))
}

/// Describes the body that a route takes. `None` if it takes none.
pub(super) fn body(
    route: &Route,
    function: &Function,
    limits: &Limits,
    site: Site<'_>,
    schemas: &mut Schemas,
) -> Option<RequestBody> {
    let site = Site { form: Form::Request, ..site };
    let bound = route.parameters.iter().zip(&function.parameters);
    let in_body = bound.filter(|(parameter, _)| matches!(parameter.source, ParameterSource::Body(_)));
    let fields: Vec<Field> = in_body.map(|(_, field)| field.clone()).collect();
    let json = |types: &[&str], schema: Schema| {
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        (types, Some(schema), route.absent_body.is_none())
    };
    let (types, schema, required) = match &route.body {
        BoundBody::Unbound => return None,
        BoundBody::Parameter(_) => {
            let ty = &fields.first()?.ty;
            json(json_types(route.method, record(ty, site).0), schemas.of(site, ty))
        }
        BoundBody::Spread(_) => {
            json(json_types(route.method, &fields), schemas.record(site, &fields, TypeDocs::default()))
        }
        BoundBody::Raw(types) if types.is_empty() => (vec!["*/*".to_owned()], None, false),
        BoundBody::Raw(types) => (types.clone(), None, false),
        BoundBody::Text => (vec!["text/plain".to_owned()], Some(Schema::of(Kind::String)), false),
        BoundBody::Form(form) => {
            let schema = self::form(form, &fields, site, schemas);
            let media_type = if form.is_multipart { "multipart/form-data" } else { FORM };
            let required = !schema.required.is_empty();
            (vec![media_type.to_owned()], Some(schema), required)
        }
    };
    let max_bytes = Some(if route.body.is_upload() { limits.upload } else { limits.body });
    let content: IndexMap<String, Media> =
        types.into_iter().map(|media_type| (media_type, Media { schema: schema.clone() })).collect();
    Some(RequestBody { required, max_bytes, content })
}

/// Returns the media types of a JSON body with these fields. A patch whose fields may be absent, and whose nulls remove values, is a merge
/// patch (RFC 7396). The host takes every other type that ends in `+json` too.
fn json_types(method: Method, fields: &[Field]) -> &'static [&'static str] {
    let can_be_removed = |field: &Field| matches!(&field.ty, Type::Option(inner) if matches!(**inner, Type::Option(_)));
    match method {
        Method::Patch if fields.iter().any(can_be_removed) => &[JSON, MERGE_PATCH],
        _ => &[JSON],
    }
}

/// Returns the schema of a form. `parameters` are those that it fills.
fn form(form: &BoundForm, parameters: &[Field], site: Site<'_>, schemas: &mut Schemas) -> Schema {
    let (fields, docs) = match parameters {
        [one] if !form.is_spread => record(&one.ty, site),
        all => (all, TypeDocs::default()),
    };
    let mut schema = Schema::of(Kind::Object);
    for FormField { wit, name, value } in &form.fields {
        let ty = || fields.iter().find(|field| field.name == *wit).map_or(&Type::String, |field| &field.ty);
        let (values, is_required) = match value {
            FieldValue::One(_) => (schemas.of(site.of_text(), given(ty())), !is_optional(ty())),
            FieldValue::Many(_) => (schemas.of(site.of_text(), ty()), false),
            FieldValue::File(_) => (file(), true),
            FieldValue::MaybeFile(_) => (file(), false),
            FieldValue::Files(_) => (Schema::list(file()), false),
        };
        schema.properties.insert(name.clone(), values.described(docs.part(wit)));
        if is_required {
            schema.required.push(name.clone());
        }
    }
    schema
}

/// Returns the schema of a file of a form in parts.
fn file() -> Schema {
    Schema { content_media_type: Some("application/octet-stream".to_owned()), ..Schema::of(Kind::String) }
}

/// Returns the summary and the description for a documentation: its first sentence, and the whole if that is more.
pub(super) fn summary(docs: Option<&Arc<str>>) -> (Option<String>, Option<String>) {
    let Some(docs) = docs else { return (None, None) };
    let paragraph = docs.split("\n\n").next().unwrap_or_default();
    let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = words.split_inclusive(". ").next().unwrap_or_default().trim_end();
    let is_whole = docs.split_whitespace().eq(first.split_whitespace());
    let first = first.strip_suffix('.').unwrap_or(first);
    (Some(first.to_owned()), (!is_whole).then(|| docs.to_string()))
}
