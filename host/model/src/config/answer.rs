//! Reads what the answers of a route say beside their bodies: the keys `status` and `errors` of a route, and its table `answer`.
//!
//! All of it is plain data. Whether the fields that templates name exist takes the shape of the component.

use std::collections::BTreeMap;

use ::http::{HeaderName, HeaderValue, StatusCode, header};

use super::source::LocatedValue;
use super::tree::{Table, Value};
use crate::ids::is_wit_name;
use crate::problem::{Code, Problem};

mod cookie;
mod template;

pub use cookie::{CookieConfig, SameSite};
pub use template::{
    BadTemplate, Hole, HolePlace, Template, TemplateKind, TemplatePart, is_cookie_character, is_tag_character,
    is_url_character,
};

/// The key of `errors` that stands for every error without a key of its own.
pub const ANY_ERROR: &str = "*";
/// The greatest number of headers, and of cookies, that a route adds to an answer.
const MAX_ADDED: usize = 32;

/// The status of a success: the key `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SuccessStatus {
    /// Every success has this status.
    One(StatusCode),
    /// The case of the result decides, which is a variant or an enum. The names of cases are in WIT's spelling.
    ByCase(BTreeMap<String, LocatedValue<StatusCode>>),
}

impl Default for SuccessStatus {
    fn default() -> Self {
        Self::One(StatusCode::OK)
    }
}

impl SuccessStatus {
    /// Returns all statuses that a success can have.
    pub fn all(&self) -> Vec<StatusCode> {
        match self {
            Self::One(status) => vec![*status],
            Self::ByCase(cases) => cases.values().map(|status| status.value).collect(),
        }
    }
}

/// Headers that templates fill, by name.
pub type HeaderTemplates = Vec<(HeaderName, LocatedValue<Template>)>;

/// The answer to an error case: a value of the table `errors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorConfig {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers of the answer, with fields of the case's payload.
    pub headers: HeaderTemplates,
}

/// The answers to error cases, by the name of the case in WIT's spelling or [`ANY_ERROR`].
pub type Errors = BTreeMap<String, LocatedValue<ErrorConfig>>;

/// The table `answer` of a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerConfig {
    /// Headers of the answer.
    pub headers: HeaderTemplates,
    /// The field of the result that is the body, in WIT's spelling. `None`: the whole result.
    pub body: Option<LocatedValue<String>>,
    /// The media type of the body: the key `type`.
    pub media_type: Option<LocatedValue<Template>>,
    /// The name under which browsers store the body.
    pub filename: Option<LocatedValue<Template>>,
    /// Cookies that the answer sets.
    pub cookies: Vec<LocatedValue<CookieConfig>>,
    /// The header `Cache-Control`: the key `cache`.
    pub cache: Option<HeaderValue>,
    /// The headers of requests on which the answer depends.
    pub vary: Vec<HeaderName>,
    /// The entity tag of the answer.
    pub etag: Option<LocatedValue<EtagConfig>>,
    /// Whether requests must have the header `If-Match`: the key `require_match`.
    pub requires_match: bool,
}

/// The entity tag of an answer: the key `etag`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtagConfig {
    /// The text between the quotes. `None`: a digest of the body.
    pub value: Option<Template>,
    /// Whether the tag is weak: equal tags mean that bodies say the same, not that they are equal byte by byte.
    pub is_weak: bool,
}

impl AnswerConfig {
    /// Reads the table `answer`. A part with a fault is missing.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            headers: table.optional("headers").map(|value| read_headers(&value)).unwrap_or_default(),
            body: table.optional("body").and_then(|value| read_field(&value)),
            media_type: table.optional("type").and_then(|value| read_type(&value)),
            filename: table.optional("filename").and_then(|value| read_template(&value, TemplateKind::FileName)),
            cookies: table.optional("cookies").map(|value| cookie::read_cookies(&value)).unwrap_or_default(),
            cache: table.optional("cache").and_then(|value| read_text(&value)),
            vary: table.optional("vary").and_then(|value| read_vary(&value)).unwrap_or_default(),
            etag: table.optional("etag").and_then(|value| read_etag(&value)),
            requires_match: table.optional("require_match").and_then(|value| value.boolean()).unwrap_or(false),
        }
    }

    /// Returns what decides how a route answers: all but the lines of the values.
    pub fn without_lines(&self) -> Self {
        fn of<T: Clone>(at: &LocatedValue<T>) -> LocatedValue<T> {
            LocatedValue { value: at.value.clone(), line: 0 }
        }
        Self {
            headers: headers_without_lines(&self.headers),
            body: self.body.as_ref().map(of),
            media_type: self.media_type.as_ref().map(of),
            filename: self.filename.as_ref().map(of),
            cookies: self.cookies.iter().map(of).collect(),
            etag: self.etag.as_ref().map(of),
            ..self.clone()
        }
    }

    /// Whether the answer has a header `Location`.
    fn has_location(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == header::LOCATION)
    }
}

/// Returns headers without the lines of their values.
fn headers_without_lines(headers: &HeaderTemplates) -> HeaderTemplates {
    headers.iter().map(|(name, at)| (name.clone(), LocatedValue { value: at.value.clone(), line: 0 })).collect()
}

impl SuccessStatus {
    /// Returns the status without the lines of its values.
    pub fn without_lines(&self) -> Self {
        match self {
            Self::One(status) => Self::One(*status),
            Self::ByCase(cases) => {
                let case = |(name, at): (&String, &LocatedValue<StatusCode>)| {
                    (name.clone(), LocatedValue { value: at.value, line: 0 })
                };
                Self::ByCase(cases.iter().map(case).collect())
            }
        }
    }
}

impl ErrorConfig {
    /// Returns the answer without the lines of its values.
    pub fn without_lines(&self) -> Self {
        Self { status: self.status, headers: headers_without_lines(&self.headers) }
    }
}

/// Whether a status means nothing without the header `Location` (RFC 9110, section 15.4).
pub fn needs_location(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 305 | 307 | 308)
}

/// Reads the key `status`: one status, or one for each case of the result. Reports a value that can't be one, and returns `None` for it.
pub(super) fn read_success(value: &Value<'_>) -> Option<SuccessStatus> {
    if !value.is_table() {
        return Some(SuccessStatus::One(read_success_status(value)?.value));
    }
    let before = value.reported();
    let (cases, _) = named(Some(value), "a case of the result", &[], read_success_status);
    if cases.is_empty() {
        if value.reported() == before {
            value.refuse("no case is named");
        }
        return None;
    }
    Some(SuccessStatus::ByCase(cases))
}

fn read_success_status(value: &Value<'_>) -> Option<LocatedValue<StatusCode>> {
    let status = read_status(value, 200)?;
    if status.value == StatusCode::NOT_MODIFIED {
        value.report(
            Problem::new(Code::BadValue, "a route can't choose the status 304: it answers a condition of the client")
                .help("write `etag` into the table `answer`: then the host answers 304 where the client has the body"),
        );
        return None;
    }
    Some(status)
}

/// Reports a status that needs a `Location` if the answer has none. `line` is that of the key `status`.
pub(super) fn check_redirects(status: &SuccessStatus, answer: &AnswerConfig, table: &Table<'_>, line: u32) {
    if answer.has_location() {
        return;
    }
    let all: Vec<LocatedValue<StatusCode>> = match status {
        SuccessStatus::One(status) => vec![LocatedValue { value: *status, line }],
        SuccessStatus::ByCase(cases) => cases.values().copied().collect(),
    };
    for LocatedValue { value: status, line } in all {
        if needs_location(status) {
            let message = format!("an answer of status {} needs a `Location`", status.as_u16());
            let help = "add `answer = { headers = { Location = \"…\" } }`";
            table.report(line, Problem::new(Code::BadValue, message).help(help));
        }
    }
}

/// Reads the key `errors`. The second result is whether all keys could be read, so that it is known which cases have an answer.
pub(super) fn read_errors(value: Option<&Value<'_>>) -> (Errors, bool) {
    named(value, "an error case", &[ANY_ERROR], |value| {
        // The map must have the case even if its status has a fault: it is known that the case has one.
        let failed = || value.at(StatusCode::INTERNAL_SERVER_ERROR);
        if !value.is_table() {
            let status = read_status(value, 400).unwrap_or_else(failed).value;
            return Some(value.at(ErrorConfig { status, headers: Vec::new() }));
        }
        let error = value.table(|table| ErrorConfig {
            status: table.required("status").and_then(|value| read_status(&value, 400)).unwrap_or_else(failed).value,
            headers: table.optional("headers").map(|value| read_headers(&value)).unwrap_or_default(),
        });
        Some(value.at(error?))
    })
}

/// Reads a status from `least` to 599. For a success `least` is 200 or more, because lower statuses are interim answers; for an error it is
/// 400 or more.
fn read_status(value: &Value<'_>, least: u32) -> Option<LocatedValue<StatusCode>> {
    let number = u16::try_from(value.count(least..=599)?).expect("at most 599");
    Some(value.at(StatusCode::from_u16(number).expect("between 200 and 599")))
}

/// Reads a table whose keys are names in WIT's spelling, or one of `others`; `what` says in messages what they name. The second result is
/// whether all keys are such names.
fn named<'a, T>(
    value: Option<&Value<'a>>,
    what: &str,
    others: &[&str],
    read: impl Fn(&Value<'a>) -> Option<LocatedValue<T>>,
) -> (BTreeMap<String, LocatedValue<T>>, bool) {
    let mut all_are_names = value.is_none_or(Value::is_table);
    let entry = |(key, value): (&str, Value<'a>)| {
        if !is_wit_name(key) && !others.contains(&key) {
            value.refuse(format_args!("`{key}` is not the name of {what}: write the name in WIT's spelling"));
            all_are_names = false;
            return None;
        }
        Some((key.to_owned(), read(&value)?))
    };
    let entries = value.and_then(|value| value.table(Table::entries)).unwrap_or_default();
    let named = entries.into_iter().filter_map(entry).collect();
    (named, all_are_names)
}

/// Headers that no template can fill, each with the key that says it instead, if there is one. The others belong to HTTP and to the host.
const OWNED_BY_HOST: [(&str, &str); 20] = [
    ("accept-ranges", ""),
    ("cache-control", "`cache`"),
    ("connection", ""),
    ("content-disposition", "`filename`"),
    ("content-encoding", ""),
    ("content-length", ""),
    ("content-range", ""),
    ("content-type", "`type`"),
    ("date", ""),
    ("etag", "`etag`"),
    ("keep-alive", ""),
    ("proxy-connection", ""),
    ("set-cookie", "`cookies`"),
    ("te", ""),
    ("traceparent", ""),
    ("trailer", ""),
    ("transfer-encoding", ""),
    ("upgrade", ""),
    ("vary", "`vary`"),
    ("watertight-generation", ""),
];

/// Reads a table from header to template.
fn read_headers(value: &Value<'_>) -> HeaderTemplates {
    let mut headers = HeaderTemplates::new();
    for (key, value) in value.table(Table::entries).unwrap_or_default() {
        let Ok(name) = key.parse::<HeaderName>() else {
            value.refuse(format_args!("`{key}` is not the name of a header"));
            continue;
        };
        if let Some(instead) = owner(&name) {
            let message = format!("the header `{key}` belongs to the host, and no template can fill it");
            let mut problem = Problem::new(Code::BadValue, message);
            problem.help = Some(instead).filter(|key| !key.is_empty()).map(|key| format!("{key} says it"));
            value.report(problem);
            continue;
        }
        if headers.iter().any(|(other, _)| *other == name) {
            value.report(Problem::new(Code::Duplicate, format!("the header `{name}` is given twice")));
            continue;
        }
        let kind = match name {
            header::LOCATION | header::CONTENT_LOCATION => TemplateKind::Url,
            header::LINK => TemplateKind::Links,
            _ => TemplateKind::Header,
        };
        headers.extend(read_template(&value, kind).map(|template| (name, template)));
    }
    check_number(value, headers.len());
    headers
}

/// Returns the key that says what a header says, or an empty text, if the header is the host's.
fn owner(name: &HeaderName) -> Option<&'static str> {
    if name.as_str().starts_with("access-control-") {
        return Some("`[[cors]]`");
    }
    if name.as_str() == "x-request-id" {
        return Some("");
    }
    OWNED_BY_HOST.iter().find(|(owned, _)| *owned == name.as_str()).map(|(_, instead)| *instead)
}

fn check_number(value: &Value<'_>, number: usize) {
    if number > MAX_ADDED {
        value.refuse(format_args!("there are more than {MAX_ADDED} entries"));
    }
}

fn read_template(value: &Value<'_>, kind: TemplateKind) -> Option<LocatedValue<Template>> {
    match Template::parse(value.string()?, kind) {
        Ok(template) => Some(value.at(template)),
        Err(fault) => {
            value.refuse(fault);
            None
        }
    }
}

fn read_type(value: &Value<'_>) -> Option<LocatedValue<Template>> {
    let template = read_template(value, TemplateKind::MediaType)?;
    if let Some(text) = template.value.fixed()
        && !is_media_type(text)
    {
        value.refuse(format_args!("`{text}` is not a media type such as `text/html; charset=utf-8`"));
        return None;
    }
    Some(template)
}

/// Whether a text is a media type that an answer can have, which is no range of types.
pub fn is_media_type(text: &str) -> bool {
    text.parse::<mime::Mime>().is_ok_and(|found| found.type_() != mime::STAR && found.subtype() != mime::STAR)
}

/// Whether a media type is JSON: `application/json`, or a type with the suffix `+json` (RFC 6839).
pub fn is_json_type(text: &str) -> bool {
    text.parse::<mime::Mime>()
        .is_ok_and(|found| found.essence_str() == "application/json" || found.suffix() == Some(mime::JSON))
}

fn read_field(value: &Value<'_>) -> Option<LocatedValue<String>> {
    let text = value.string()?;
    if !is_wit_name(text) {
        value.refuse(format_args!("`{text}` is not the name of a field: write the name in WIT's spelling"));
        return None;
    }
    Some(value.at(text.to_owned()))
}

/// Reads the text of a header that has no holes.
fn read_text(value: &Value<'_>) -> Option<HeaderValue> {
    let text = value.string()?;
    let found = HeaderValue::from_str(text).ok().filter(|_| !text.is_empty() && text.is_ascii());
    if found.is_none() {
        value.refuse(format_args!("`{}` is not text that a header can hold", text.escape_debug()));
    }
    found
}

fn read_vary(value: &Value<'_>) -> Option<Vec<HeaderName>> {
    let name = |value: &Value<'_>| {
        let text = value.string()?;
        let name = text.parse::<HeaderName>().ok();
        if name.is_none() {
            value.refuse(format_args!("`{text}` is not the name of a header"));
        }
        name
    };
    let list = value.list()?;
    check_number(value, list.len());
    Some(list.iter().filter_map(name).collect())
}

/// Reads the key `etag`: `strong` or `weak` for a digest, a template, or `{ weak = TEMPLATE }`.
fn read_etag(value: &Value<'_>) -> Option<LocatedValue<EtagConfig>> {
    for (word, is_weak) in [("strong", false), ("weak", true)] {
        if value.is_word(word) {
            return Some(value.at(EtagConfig { value: None, is_weak }));
        }
    }
    let (template, is_weak) = if value.is_table() {
        let template = value
            .table(|table| table.required("weak").and_then(|value| read_template(&value, TemplateKind::EntityTag)));
        (template??, true)
    } else {
        (read_template(value, TemplateKind::EntityTag)?, false)
    };
    if template.value.fixed().is_some() {
        value.refuse(format_args!(
            "`{}` is the same for all bodies: write `strong` or `weak` for a digest of the body, or name a field",
            template.value
        ));
        return None;
    }
    Some(value.at(EtagConfig { value: Some(template.value), is_weak }))
}
