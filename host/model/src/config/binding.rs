//! Reads which parts of a request the parameters of a routed function are: the tables `headers`, `query`, `cookies`, `constants` and
//! `request` of a route, and its key `body`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ::http::HeaderName;

use super::path::PathTemplate;
use super::route::Method;
use super::source::LocatedValue;
use super::tree::{Table, Value};
use super::words::words;
use crate::ids::is_wit_name;
use crate::problem::{Code, Problem};

/// The part of a request that a route binds to a parameter by one of its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// `headers`: the header of this name.
    Header(HeaderName),
    /// `query = { parameter = "field" }`: the query field of this name.
    Query(String),
    /// `query = "parameter"`: the whole query. Its fields are the fields of a record.
    WholeQuery,
    /// `cookies`: the cookie of this name.
    Cookie(String),
    /// `constants`: a value of the route's own, as JSON.
    Constant(String),
    /// `request`: what the request is.
    Request(RequestPart),
}

impl Binding {
    /// Returns the part for a message, such as `a header`.
    fn place(&self) -> &'static str {
        match self {
            Self::Header(_) => "a header",
            Self::Query(_) | Self::WholeQuery => "the query",
            Self::Cookie(_) => "a cookie",
            Self::Constant(_) => "a constant",
            Self::Request(_) => "`request`",
        }
    }
}

words! {
    /// What a request is, as a text.
    RequestPart {
        /// The method, such as `GET`.
        Method = "method",
        /// The template of the route's path, such as `/books/{id}`.
        Route = "route",
        /// The media type of the body as the client sent it, with its parameters.
        ContentType = "content-type",
    }
}

/// The parameters that a body fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyTarget {
    /// The whole body is the value of this parameter.
    Parameter(String),
    /// `*`: the fields of the body are the parameters that nothing else binds.
    Spread,
}

words! {
    /// How a request's body is written.
    BodyFormat {
        /// As JSON.
        Json = "json",
        /// As bytes that the function gets as they were sent.
        Raw = "raw",
        /// As a text: `text/plain`.
        Text = "text",
        /// As the fields of a form: `application/x-www-form-urlencoded`.
        Form = "form",
        /// As the fields and files of a form: `multipart/form-data`.
        Multipart = "multipart",
    }
}

impl BodyFormat {
    /// Whether a body of this format has fields, which several parameters may take.
    fn has_fields(self) -> bool {
        !matches!(self, Self::Raw | Self::Text)
    }
}

/// The key `body` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyBinding {
    /// How the body is written.
    pub format: BodyFormat,
    /// What it fills.
    pub target: BodyTarget,
    /// The media types that a raw body may have, such as `image/*`: the key `types`. Empty: all.
    pub types: Vec<String>,
}

/// The bindings of a route's parameters, by the parameter's name in WIT's spelling.
pub type Bindings = BTreeMap<String, LocatedValue<Binding>>;

/// Reads the tables of a route that bind parameters. Reports a parameter that is bound twice, also by `path` or `body`.
pub(super) fn read_bindings(
    table: &mut Table<'_>,
    path: Option<&PathTemplate>,
    body: Option<&LocatedValue<BodyBinding>>,
) -> Bindings {
    let mut all = Bindings::new();
    let keys: [(&'static str, fn(&Value<'_>) -> Option<Binding>); 4] = [
        ("headers", |value| read_header(value).map(Binding::Header)),
        ("cookies", |value| read_cookie(value).map(Binding::Cookie)),
        ("constants", |value| value.to_json().map(Binding::Constant)),
        ("request", |value| value.parse::<RequestPart>().map(|part| Binding::Request(part.value))),
    ];
    for (key, read) in keys {
        if let Some(value) = table.optional(key) {
            add_named(&value, read, &mut all);
        }
    }
    if let Some(query) = table.optional("query") {
        if query.is_table() {
            add_named(&query, |value| read_query(value).map(Binding::Query), &mut all);
        } else if let Some(name) = query.string().filter(|name| is_parameter(&query, name)) {
            add(&query, name, Binding::WholeQuery, &mut all);
        }
    }
    report_bound_twice(table, path, body, &all);
    all
}

fn add_named(table: &Value<'_>, read: impl Fn(&Value<'_>) -> Option<Binding>, all: &mut Bindings) {
    for (name, value) in table.table(Table::entries).unwrap_or_default() {
        if is_parameter(&value, name)
            && let Some(binding) = read(&value)
        {
            add(&value, name, binding, all);
        }
    }
}

fn is_parameter(value: &Value<'_>, name: &str) -> bool {
    let is_name = is_wit_name(name);
    if !is_name {
        value.refuse(format_args!("`{name}` is not the name of a parameter: write the name in WIT's spelling"));
    }
    is_name
}

fn add(value: &Value<'_>, name: &str, binding: Binding, all: &mut Bindings) {
    match all.entry(name.to_owned()) {
        Entry::Vacant(free) => {
            free.insert(value.at(binding));
        }
        Entry::Occupied(taken) => {
            let places = format!("{} and {}", taken.get().value.place(), binding.place());
            value.report(bound_twice(name, &places));
        }
    }
}

fn bound_twice(name: &str, places: &str) -> Problem {
    Problem::new(Code::BadBinding, format!("the parameter `{name}` is bound twice: by {places}"))
}

fn report_bound_twice(
    table: &Table<'_>,
    path: Option<&PathTemplate>,
    body: Option<&LocatedValue<BodyBinding>>,
    all: &Bindings,
) {
    for name in path.into_iter().flat_map(PathTemplate::parameters) {
        if let Some((_, bound)) = all.iter().find(|(bound, _)| bound.eq_ignore_ascii_case(name)) {
            table.report(bound.line, bound_twice(name, &format!("the path and {}", bound.value.place())));
        }
    }
    let Some(LocatedValue { value: BodyBinding { target: BodyTarget::Parameter(name), .. }, line }) = body else {
        return;
    };
    if path.is_some_and(|path| path.parameter_index(name).is_some()) {
        table.report(*line, bound_twice(name, "the path and the body"));
    }
    if let Some(bound) = all.get(name) {
        table.report(*line, bound_twice(name, &format!("{} and the body", bound.value.place())));
    }
}

/// Headers that a route can't bind: HTTP or the host consumes or changes them before a module could read them.
const OWNED_BY_HTTP: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn read_header(value: &Value<'_>) -> Option<HeaderName> {
    let text = value.string()?;
    let Ok(name) = text.parse::<HeaderName>() else {
        value.refuse(format_args!("`{text}` is not the name of a header"));
        return None;
    };
    if OWNED_BY_HTTP.contains(&name.as_str()) {
        let help = (name == ::http::header::CONTENT_TYPE).then_some("`request = { … = \"content-type\" }` binds it");
        let message = format!("the header `{text}` is reserved for HTTP and can't be bound to a parameter");
        let mut problem = Problem::new(Code::BadValue, message);
        problem.help = help.map(ToOwned::to_owned);
        value.report(problem);
        return None;
    }
    Some(name)
}

/// The longest name of a query field or of a cookie that a route may bind, in bytes.
const MAX_NAME: usize = 128;

fn read_query(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if text.is_empty() || text.len() > MAX_NAME {
        value.refuse(format_args!("the name of a query field has 1 to {MAX_NAME} bytes"));
        return None;
    }
    Some(text.to_owned())
}

fn read_cookie(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    if !is_cookie_name(text) {
        value.refuse(format_args!("`{text}` is not the name of a cookie"));
        return None;
    }
    Some(text.to_owned())
}

/// Whether a text is the name of a cookie. RFC 6265, section 4.1.1: the name is a token, as the name of a header is.
pub(super) fn is_cookie_name(text: &str) -> bool {
    text.len() <= MAX_NAME && text.parse::<HeaderName>().is_ok()
}

/// Reads the key `body`. Reports a body of a method that has none.
pub(super) fn read_body(value: &Value<'_>, method: Option<Method>) -> Option<LocatedValue<BodyBinding>> {
    if let Some(method) = method.filter(|method| !method.takes_body()) {
        value.report(Problem::new(Code::BadBinding, format!("a {method} request has no body to bind")));
        return None;
    }
    if !value.is_table() {
        let target = read_target(value, BodyFormat::Json)?;
        return Some(value.at(BodyBinding { format: BodyFormat::Json, target, types: Vec::new() }));
    }
    value.table(|table| read_formatted(value, table)).flatten()
}

/// Reads `body = { FORMAT = "parameter" }`.
fn read_formatted(value: &Value<'_>, table: &mut Table<'_>) -> Option<LocatedValue<BodyBinding>> {
    let formats: Vec<_> =
        BodyFormat::ALL.iter().filter_map(|format| Some((*format, table.optional(format.as_str())?))).collect();
    let types = table.optional("types");
    let [(format, target)] = &formats[..] else {
        let known: Vec<String> = BodyFormat::ALL.iter().map(|format| format!("`{format}`")).collect();
        value.refuse(format_args!("name the parameter under exactly one of {}", known.join(", ")));
        return None;
    };
    let target = read_target(target, *format)?;
    let mut media_types = Vec::new();
    if let Some(types) = types {
        if *format != BodyFormat::Raw {
            types.refuse(format_args!("only a raw body has `types`: {format} has one media type"));
        }
        for one in types.list()? {
            let text = one.string()?;
            if !is_media_range(text) {
                one.refuse(format_args!("`{text}` is not a media type such as `image/png`, `image/*` or `*/*`"));
            }
            media_types.push(text.to_ascii_lowercase());
        }
    }
    Some(value.at(BodyBinding { format: *format, target, types: media_types }))
}

fn read_target(value: &Value<'_>, format: BodyFormat) -> Option<BodyTarget> {
    let text = value.string()?;
    if text == "*" && format.has_fields() {
        return Some(BodyTarget::Spread);
    }
    if is_wit_name(text) {
        return Some(BodyTarget::Parameter(text.to_owned()));
    }
    let or_all = if format.has_fields() { " nor `*`" } else { "" };
    let neither = if format.has_fields() { "neither" } else { "not" };
    value.refuse(format_args!("`{text}` is {neither} a parameter name in WIT's spelling{or_all}"));
    None
}

/// Whether a text is a media type, or a range of them, without parameters.
fn is_media_range(text: &str) -> bool {
    // The name of a header is a token too.
    let is_token = |text: &str| text.parse::<HeaderName>().is_ok();
    match text.split_once('/') {
        Some(("*", "*")) => true,
        Some((kind, "*")) => kind != "*" && is_token(kind),
        Some((kind, subtype)) => !kind.contains('*') && !subtype.contains('*') && is_token(kind) && is_token(subtype),
        None => false,
    }
}
