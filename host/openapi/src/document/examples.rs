//! Adds examples of calls to operations: what tests of a contract called, and what they got. They are written as the route reads and writes
//! them.
//!
//! An example whose values the function's types don't have any more is left out, so that a document is always valid.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::request::{given, path_names};
use super::site::Site;
use crate::format::{Example, JSON, Media, Operation, PROBLEM, Place};
use watertight_component::shape::{Field, Function, Type};
use watertight_graph::graph::AppGraph;
use watertight_graph::routes::{
    BodyForm, BoundBody, ErrorMapping, ErrorMappings, ParameterSource, Route, RouteTable, StatusMapping,
};
use watertight_json::{Codec, FunctionCodec, Val};
use watertight_model::config::{ExampleCall, JsonStyle, MAX_EXAMPLE};
use watertight_model::problem::{Code, Problem};

/// The name of the example of a success.
const SUCCESS: &str = "example";
/// The id of a request in examples. Real ones differ each time.
const REQUEST: &str = "01JDXAMP1E0000000000000000";
/// The greatest size of a value in a document, in bytes. In another style it may be larger than in its file.
const MAX_VALUE: usize = 2 * MAX_EXAMPLE;

/// A call, as values of the function's types.
struct Called {
    arguments: Vec<Val>,
    result: Outcome,
}

enum Outcome {
    Success(Option<Val>),
    Error(Option<Val>),
}

impl Called {
    /// Returns the values of a call. `None` if the function's types don't have them.
    fn new(function: &Function, call: &ExampleCall) -> Option<Self> {
        let documents: Vec<String> = call.arguments.iter().map(Value::to_string).collect();
        let arguments = FunctionCodec::new(function).ok()?.decode(&documents).ok()?;
        let Some(ty) = &function.result else {
            return call.answer.is_null().then_some(Self { arguments, result: Outcome::Success(None) });
        };
        let value = Codec::new("result", ty).ok()?.decode(call.answer.to_string().as_bytes()).ok()?;
        let result = match value {
            Val::Result(Ok(value)) if matches!(ty, Type::Result { .. }) => Outcome::Success(value.map(|value| *value)),
            Val::Result(Err(value)) if matches!(ty, Type::Result { .. }) => Outcome::Error(value.map(|value| *value)),
            value => Outcome::Success(Some(value)),
        };
        Some(Self { arguments, result })
    }
}

/// Returns a note for each function that has examples which don't fit it, in the modules that export its interface.
pub(super) fn stale(graph: &AppGraph, routes: &RouteTable, manifest: &Path) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (interface, functions) in routes.door().config.examples.iter() {
        let exports = graph.modules.iter().filter_map(|(module, node)| {
            let mut exports = node.artifact.shape.exports.iter();
            Some((module, exports.find(|(export, _)| export.can_serve(interface))?.1))
        });
        for (module, export) in exports {
            let fits = |name: &str, calls: &[ExampleCall]| {
                let function = export.functions.get(name);
                function.is_some_and(|function| calls.iter().all(|call| Called::new(function, call).is_some()))
            };
            for (name, _) in functions.iter().filter(|(name, calls)| !fits(name, calls)) {
                let message = format!(
                    "an example of `{interface}.{name}` doesn't fit module `{module}`, so the OpenAPI document leaves it out"
                );
                let note = Problem::new(Code::StaleExample, message).file(manifest).module(module).interface(interface);
                notes.push(note.function(&**name).help("`watertight test --record` records examples anew"));
            }
        }
    }
    notes
}

/// Adds the examples of a route's function to its operation. `prefix` is the start of the `type` of its problems.
pub(super) fn add(
    operation: &mut Operation,
    route: &Route,
    function: &Function,
    site: Site<'_>,
    prefix: &str,
    calls: &[ExampleCall],
) {
    let called: Vec<Called> = calls.iter().filter_map(|call| Called::new(function, call)).collect();
    let success = called.iter().find_map(|call| match &call.result {
        Outcome::Success(value) => Some((call, value.as_ref())),
        Outcome::Error(_) => None,
    });
    if let Some((call, value)) = success {
        add_request(operation, route, function, site, &call.arguments);
        add_success(operation, route, value);
    }
    for call in &called {
        if let Outcome::Error(error) = &call.result {
            add_error(operation, route, error.as_ref(), prefix);
        }
    }
}

/// Returns a value as JSON. `None` for the absence of an option, and for a value that is too large.
fn written(ty: &Type, value: &Val, style: JsonStyle) -> Option<Value> {
    let value = match (ty, value) {
        (Type::Option(_), Val::Option(value)) => value.as_deref()?,
        (_, value) => value,
    };
    encoded(&Codec::of_field("example", given(ty), style).ok()?, value)
}

fn encoded(codec: &Codec, value: &Val) -> Option<Value> {
    let mut text = Vec::new();
    codec.encode(value, &mut text, MAX_VALUE).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Adds the arguments of a call to the parameters and the body.
fn add_request(operation: &mut Operation, route: &Route, function: &Function, site: Site<'_>, arguments: &[Val]) {
    let text = site.of_text().style;
    let in_path = path_names(route);
    let mut in_body: Vec<(&Field, &Val)> = Vec::new();
    let mut set = |place: Place, name: &str, value: Option<Value>| {
        let mut parameters = operation.parameters.iter_mut();
        if let Some(parameter) = parameters.find(|known| known.place == place && known.name == name) {
            parameter.example = value;
        }
    };
    for ((bound, field), value) in route.parameters.iter().zip(&function.parameters).zip(arguments) {
        let one = || written(&field.ty, value, text);
        match &bound.source {
            ParameterSource::Path(index, _) => set(Place::Path, in_path[*index], one()),
            ParameterSource::Query(query) => set(Place::Query, &query.name, one()),
            ParameterSource::Header(name, _) => set(Place::Header, name.as_str(), one()),
            ParameterSource::Cookie(name, _) => set(Place::Cookie, name, one()),
            ParameterSource::WholeQuery(fields) => {
                let (Type::Record(record), Val::Record(values)) = (&field.ty, value) else { continue };
                for query in fields {
                    let field = record.body.iter().find(|field| field.name == query.wit);
                    let value = values.iter().find(|(name, _)| **name == *query.wit);
                    let value = field.zip(value).and_then(|(field, (_, value))| written(&field.ty, value, text));
                    set(Place::Query, &query.name, value);
                }
            }
            ParameterSource::Body(_) => in_body.push((field, value)),
            ParameterSource::Constant(_) | ParameterSource::Request(..) => {}
        }
    }
    let named = |(field, value): &(&Field, &Val)| {
        Some((site.style.case.spell(&field.name), written(&field.ty, value, site.style)?))
    };
    let (media_type, value) = match &route.body {
        BoundBody::Parameter(_) => {
            let Some((field, value)) = in_body.first() else { return };
            (JSON, written(&field.ty, value, site.style))
        }
        BoundBody::Spread(_) => (JSON, Some(in_body.iter().filter_map(named).collect::<Map<_, _>>().into())),
        BoundBody::Text => ("text/plain", in_body.first().and_then(|(field, value)| written(&field.ty, value, text))),
        BoundBody::Unbound | BoundBody::Raw(_) | BoundBody::Form(_) => return,
    };
    let body = operation.request_body.as_mut().and_then(|body| body.content.get_mut(media_type));
    show(body, SUCCESS, value);
}

/// Adds the value of a success to the answer with its status.
fn add_success(operation: &mut Operation, route: &Route, value: Option<&Val>) {
    let (Some(body), Some(value)) = (&route.answer.body, value) else { return };
    let status = match (&route.answer.status, value) {
        (StatusMapping::One(status), _) => Some(status),
        (StatusMapping::ByCase(cases), Val::Variant(case, _) | Val::Enum(case)) => cases.get(case),
        (StatusMapping::ByCase(_), _) => None,
    };
    let value = match (body.field, value) {
        (None, value) => Some(value),
        (Some(index), Val::Record(fields)) => fields.get(index).map(|(_, value)| value),
        (Some(_), _) => None,
    };
    let value = value.and_then(|value| match (&body.form, value) {
        (BodyForm::Json(codec), value) => encoded(codec, value),
        (BodyForm::Text, Val::String(text)) => Some(Value::from(text.clone())),
        _ => None,
    });
    let answer = status.and_then(|status| operation.responses.get_mut(status.as_str()));
    show(answer.and_then(|answer| answer.content.values_mut().next()), SUCCESS, value);
}

/// Adds the problem details of an error to the answer with its status.
fn add_error(operation: &mut Operation, route: &Route, error: Option<&Val>, prefix: &str) {
    let (case, payload, mapping): (Option<&str>, _, &ErrorMapping) = match (&route.answer.errors, error) {
        (Some(ErrorMappings::Whole(mapping)), payload) => (None, payload, mapping),
        (Some(ErrorMappings::Cases(cases)), Some(Val::Variant(case, payload))) => {
            let Some(mapping) = cases.get(case) else { return };
            (Some(case), payload.as_deref(), mapping)
        }
        (Some(ErrorMappings::Cases(cases)), Some(Val::Enum(case))) => {
            let Some(mapping) = cases.get(case) else { return };
            (Some(case), None, mapping)
        }
        _ => return,
    };
    let name = case.unwrap_or(super::answers::WHOLE_ERROR);
    let docs = mapping.docs.as_ref();
    let title = docs.map_or_else(|| words(name), |docs| docs.title.to_string());
    let detail = match (payload, docs.and_then(|docs| docs.detail.as_ref())) {
        (Some(Val::String(text)), _) => text.clone(),
        (_, Some(detail)) => detail.to_string(),
        _ => title.clone(),
    };
    let mut problem = json!({
        "type": format!("{prefix}{name}"),
        "title": title,
        "status": mapping.status.as_u16(),
        "detail": detail,
        "instance": REQUEST,
    });
    if let Some(case) = case {
        problem["case"] = case.into();
    }
    if let (Some(payload), Some(codec)) = (payload, &mapping.payload) {
        let Some(payload) = encoded(codec, payload) else { return };
        problem["payload"] = payload;
    }
    let answer = operation.responses.get_mut(mapping.status.as_str());
    show(answer.and_then(|answer| answer.content.get_mut(PROBLEM)), name, Some(problem));
}

/// Adds an example to a body, if there are both.
fn show(body: Option<&mut Media>, name: &str, value: Option<Value>) {
    if let (Some(body), Some(value)) = (body, value) {
        body.examples.insert(name.to_owned(), Example { value });
    }
}

/// Converts a name in kebab-case to a title, as the host does: `not-found` becomes `Not found`.
fn words(name: &str) -> String {
    let mut title = name.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}
