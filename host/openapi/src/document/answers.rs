//! Describes the answers of a route: the function's value, its error cases, and what the host itself may answer. This is the only file that
//! knows what answers look like.

use std::collections::BTreeMap;

use http::StatusCode;
use indexmap::IndexMap;

use super::schemas::{Form, Schemas};
use super::site::Site;
use crate::format::{Header, Kind, Media, PROBLEM, Response, Schema};
use watertight_component::shape::{Function, Type};
use watertight_graph::routes::{
    AnswerBody, BodyForm, BoundBody, BoundPart, BoundTemplate, ErrorMapping, ErrorMappings, Route,
};
use watertight_model::config::Method;

/// The name of the schema of problem details. No name of WIT is like it.
const PROBLEM_SCHEMA: &str = "Problem";
/// The name of the problem of an error without cases.
const WHOLE_ERROR: &str = "error";
/// The name of the schema of a fault of a request.
const FAULT_SCHEMA: &str = "Fault";
/// The prefix of a problem's `type` where `http.problems` gives none.
pub(super) const TYPE_PREFIX: &str = "/problems/";

/// An answer that the host may give in the place of a function's.
struct HostAnswer {
    /// The name of the answer in a document.
    name: &'static str,
    status: StatusCode,
    /// Whether the answer is about a route.
    is_of: fn(&Route) -> bool,
    description: &'static str,
}

const HOST_ANSWERS: [HostAnswer; 12] = [
    HostAnswer {
        name: "not-modified",
        status: StatusCode::NOT_MODIFIED,
        is_of: has_tag,
        description: "`If-None-Match` names the entity tag of the answer.",
    },
    HostAnswer {
        name: "invalid-request",
        status: StatusCode::BAD_REQUEST,
        is_of: |_| true,
        description: "The request does not fit what is described here. `errors` has every fault. Fields that are not described are faults too.",
    },
    HostAnswer {
        name: "not-acceptable",
        status: StatusCode::NOT_ACCEPTABLE,
        is_of: |route| route.answer.body.as_ref().is_some_and(|body| body.said_type.is_none()),
        description: "`Accept` rules out the media type of the answer.",
    },
    HostAnswer {
        name: "body-too-slow",
        status: StatusCode::REQUEST_TIMEOUT,
        is_of: takes_body,
        description: "The body did not arrive in time.",
    },
    HostAnswer {
        name: "precondition-failed",
        status: StatusCode::PRECONDITION_FAILED,
        is_of: checks_conditions,
        description: "A condition of the request does not hold, or nobody can check it.",
    },
    HostAnswer {
        name: "body-too-large",
        status: StatusCode::PAYLOAD_TOO_LARGE,
        is_of: takes_body,
        description: "The body has more bytes than `x-watertight-max-bytes` says.",
    },
    HostAnswer {
        name: "unsupported-media-type",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        is_of: takes_body,
        description: "The body has another media type, or is compressed. `Accept` lists the media types.",
    },
    HostAnswer {
        name: "range-not-satisfiable",
        status: StatusCode::RANGE_NOT_SATISFIABLE,
        is_of: has_ranges,
        description: "The body does not have the range that the request asks for.",
    },
    HostAnswer {
        name: "precondition-required",
        status: StatusCode::PRECONDITION_REQUIRED,
        is_of: |route| route.answer.conditions.requires_match,
        description: "The request has no `If-Match`.",
    },
    HostAnswer {
        name: "failed",
        status: StatusCode::INTERNAL_SERVER_ERROR,
        is_of: |_| true,
        description: "The application failed.",
    },
    HostAnswer {
        name: "overloaded",
        status: StatusCode::SERVICE_UNAVAILABLE,
        is_of: |_| true,
        description: "The application has no capacity left, or a part of it is unavailable. `Retry-After` says when to try again.",
    },
    HostAnswer {
        name: "deadline",
        status: StatusCode::GATEWAY_TIMEOUT,
        is_of: |_| true,
        description: "The request took too long.",
    },
];

impl HostAnswer {
    fn is_problem(&self) -> bool {
        self.status != StatusCode::NOT_MODIFIED
    }
}

fn takes_body(route: &Route) -> bool {
    !matches!(route.body, BoundBody::Unbound)
}

/// Whether the host compares the entity tag of answers with what a request names.
fn has_tag(route: &Route) -> bool {
    matches!(route.method, Method::Get | Method::Head)
        && route.answer.extras.as_ref().is_some_and(|extras| extras.etag.is_some())
}

/// Whether the host answers conditions of requests.
fn checks_conditions(route: &Route) -> bool {
    let conditions = &route.answer.conditions;
    match route.method {
        Method::Get | Method::Head => has_tag(route) && !conditions.takes_match,
        _ => !(conditions.takes_match && conditions.takes_none_match),
    }
}

/// Whether requests may ask for a part of the answer's body.
fn has_ranges(route: &Route) -> bool {
    let is_bytes = |body: &AnswerBody| matches!(body.form, BodyForm::Bytes);
    route.method == Method::Get
        && route.answer.body.as_ref().is_some_and(is_bytes)
        && route.answer.status.all().contains(&StatusCode::OK)
}

/// Whether the host itself may give an answer with this status, which clients of every operation have to expect.
pub(crate) fn is_of_host(status: &str) -> bool {
    // Parts are for clients that ask for them.
    status == StatusCode::PARTIAL_CONTENT.as_str() || HOST_ANSWERS.iter().any(|answer| answer.status.as_str() == status)
}

/// Describes the answers of a route, by their status. `prefix` is the start of the `type` of its problems.
pub(super) fn answers(
    route: &Route,
    function: &Function,
    prefix: &str,
    site: Site<'_>,
    schemas: &mut Schemas,
) -> BTreeMap<String, Response> {
    let site = Site { form: Form::Answer, ..site };
    let mut problems: BTreeMap<StatusCode, Vec<(Schema, String)>> = BTreeMap::new();
    let value = match &function.result {
        Some(Type::Result { ok, err }) => {
            for (status, problem, text) in errors(route, err.as_deref(), prefix, site, schemas) {
                problems.entry(status).or_default().push((problem, text));
            }
            ok.as_deref()
        }
        other => other.as_ref(),
    };
    let mut all = successes(route, value, site, schemas);
    for host in HOST_ANSWERS.iter().filter(|host| (host.is_of)(route)) {
        let same = problems.get_mut(&host.status);
        match same {
            Some(cases) => cases.push((Schema::named(PROBLEM_SCHEMA), host.description.to_owned())),
            // A success may have any status, and comes first.
            None => drop(all.entry(host.status.as_str().to_owned()).or_insert_with(|| reference(host.name))),
        }
    }
    for (status, cases) in problems {
        let texts: Vec<&str> = cases.iter().map(|(_, text)| text.as_str()).collect();
        let description = texts.join("\n\n");
        let mut any_of: Vec<Schema> = cases.into_iter().map(|(schema, _)| schema).collect();
        let schema = if any_of.len() == 1 { any_of.remove(0) } else { Schema { any_of, ..Schema::default() } };
        let headers = error_headers(route, status);
        all.insert(status.as_str().to_owned(), Response { headers, ..problem(description, schema) });
    }
    all
}

/// Describes the successes of a route, by their status.
fn successes(route: &Route, value: Option<&Type>, site: Site<'_>, schemas: &mut Schemas) -> BTreeMap<String, Response> {
    let content = route.answer.body.as_ref().zip(value).map(|(body, value)| content(body, value, site, schemas));
    let headers: IndexMap<String, Header> = success_headers(route).collect();
    let success = |status: StatusCode| {
        let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
        let answer = Response {
            description: status.canonical_reason().map(str::to_owned),
            headers: headers.clone(),
            content: content.clone().filter(|_| !is_empty).into_iter().collect(),
            ..Response::default()
        };
        (status.as_str().to_owned(), answer)
    };
    let mut all: BTreeMap<String, Response> = route.answer.status.all().into_iter().map(&success).collect();
    if has_ranges(route) {
        all.extend([success(StatusCode::PARTIAL_CONTENT)]);
    }
    all
}

/// Describes the body of a success: its media type, and what it is like.
fn content(body: &AnswerBody, value: &Type, site: Site<'_>, schemas: &mut Schemas) -> (String, Media) {
    let of_field = |index: usize| match value {
        Type::Record(record) => record.body.get(index).map(|field| &field.ty),
        _ => None,
    };
    let value = body.field.and_then(of_field).unwrap_or(value);
    let schema = match body.form {
        BodyForm::Json(_) => Some(schemas.of(site, value)),
        BodyForm::Text => Some(Schema::of(Kind::String)),
        BodyForm::Bytes => None,
    };
    let media_type = match (&body.said_type, body.media_type.to_str()) {
        (None, Ok(media_type)) => media_type.to_owned(),
        _ => "*/*".to_owned(),
    };
    (media_type, Media { schema })
}

/// Describes the headers of a success that belong to its meaning.
fn success_headers(route: &Route) -> impl Iterator<Item = (String, Header)> {
    let extras = route.answer.extras.as_deref();
    let templates = extras.into_iter().flat_map(|extras| &extras.headers);
    let own = templates.map(|(name, template)| (name.to_string(), header(None, Some(template))));
    let fixed = extras.into_iter().flat_map(|extras| &extras.fixed);
    let fixed = fixed.map(|(name, value)| {
        let constant = Schema::constant(String::from_utf8_lossy(value.as_bytes()));
        (name.to_string(), Header { description: None, required: true, schema: constant })
    });
    let tag = extras.and_then(|extras| extras.etag.as_ref()).map(|tag| {
        let template = tag.value.as_ref();
        ("etag".to_owned(), Header { required: template.is_none(), ..header(Some("The entity tag."), template) })
    });
    let filename = extras.and_then(|extras| extras.filename.as_ref());
    let filename = filename.map(|_| {
        let header = header(Some("The name under which browsers store the body."), None);
        ("content-disposition".to_owned(), Header { required: true, ..header })
    });
    let cookies: Vec<String> =
        extras.into_iter().flat_map(|extras| &extras.cookies).map(|(cookie, _)| format!("`{}`", cookie.name)).collect();
    let cookies = (!cookies.is_empty())
        .then(|| ("set-cookie".to_owned(), header(Some(&format!("Sets cookies: {}.", cookies.join(", "))), None)));
    own.chain(fixed).chain(tag).chain(filename).chain(cookies)
}

/// Describes a header. It is required if its template has no holes, whose values may be absent.
fn header(description: Option<&str>, template: Option<&BoundTemplate>) -> Header {
    let is_fixed = |template: &BoundTemplate| template.parts.iter().all(|part| matches!(part, BoundPart::Text(_)));
    Header {
        description: description.map(str::to_owned),
        required: template.is_some_and(is_fixed),
        schema: Schema::of(Kind::String),
    }
}

/// Describes the headers of the errors with a status.
fn error_headers(route: &Route, status: StatusCode) -> IndexMap<String, Header> {
    let errors: Vec<&ErrorMapping> = match &route.answer.errors {
        Some(ErrorMappings::Cases(cases)) => cases.values().collect(),
        Some(ErrorMappings::Whole(error)) => vec![error],
        None => Vec::new(),
    };
    let same = errors.into_iter().filter(|error| error.status == status);
    let optional = |template| Header { required: false, ..header(None, Some(template)) };
    same.flat_map(|error| &error.headers).map(|(name, template)| (name.to_string(), optional(template))).collect()
}

/// Describes the errors of a function: for each its status, its problem details, and when it happens.
fn errors(
    route: &Route,
    err: Option<&Type>,
    prefix: &str,
    site: Site<'_>,
    schemas: &mut Schemas,
) -> Vec<(StatusCode, Schema, String)> {
    match &route.answer.errors {
        Some(ErrorMappings::Cases(cases)) => {
            err.map_or_else(Vec::new, |err| error_cases(cases, err, prefix, site, schemas))
        }
        Some(ErrorMappings::Whole(error)) => {
            let payload = err.map(|err| schemas.of(site, err));
            let own = own_problem(prefix, WHOLE_ERROR, false, payload);
            let all_of = vec![Schema::named(PROBLEM_SCHEMA), own];
            vec![(error.status, Schema { all_of, ..Schema::default() }, "The function failed.".to_owned())]
        }
        None => Vec::new(),
    }
}

/// Returns the schema of what a problem of a module has beyond all problems.
fn own_problem(prefix: &str, name: &str, is_case: bool, payload: Option<Schema>) -> Schema {
    let mut own = Schema::of(Kind::Object);
    own.properties.insert("type".to_owned(), Schema::constant(format!("{prefix}{name}")));
    if is_case {
        own.properties.insert("case".to_owned(), Schema::constant(name));
        own.required.push("case".to_owned());
    }
    if let Some(payload) = payload {
        own.properties.insert("payload".to_owned(), payload);
        own.required.push("payload".to_owned());
    }
    own
}

/// Describes each case of a function's error: its status, its problem details, and when it happens.
fn error_cases(
    mappings: &BTreeMap<String, ErrorMapping>,
    err: &Type,
    prefix: &str,
    site: Site<'_>,
    schemas: &mut Schemas,
) -> Vec<(StatusCode, Schema, String)> {
    let (name, cases): (_, Vec<(&str, Option<&Type>)>) = match err {
        Type::Variant(variant) => {
            (&variant.name, variant.body.iter().map(|case| (&*case.name, case.ty.as_ref())).collect())
        }
        Type::Enum(names) => (&names.name, names.body.iter().map(|name| (&**name, None)).collect()),
        _ => return Vec::new(),
    };
    let origin = site.origin(name, err);
    let docs = site.docs(origin, name);
    let describe = |(case, payload): (&str, Option<&Type>)| {
        let status = mappings.get(case)?.status;
        let text = docs.part(case).map_or_else(|| format!("`{case}`."), |text| format!("`{case}`: {text}"));
        let payload = payload.map(|payload| schemas.of(site, payload));
        let own = own_problem(prefix, case, true, payload);
        let all_of = vec![Schema::named(PROBLEM_SCHEMA), own];
        let schema = Schema { description: docs.part(case).map(str::to_owned), all_of, ..Schema::default() };
        Some((status, schemas.refer_to(format!("{name}.{case}"), origin, site.style, schema), text))
    };
    cases.into_iter().filter_map(describe).collect()
}

fn reference(name: &str) -> Response {
    Response { reference: Some(format!("#/components/responses/{name}")), ..Response::default() }
}

fn problem(description: String, schema: Schema) -> Response {
    let content = IndexMap::from([(PROBLEM.to_owned(), Media { schema: Some(schema) })]);
    Response { description: Some(description), content, ..Response::default() }
}

/// Returns the answers of the host, by their names in a document.
pub(super) fn host_answers() -> BTreeMap<String, Response> {
    let answer = |host: &HostAnswer| match host.is_problem() {
        true => problem(host.description.to_owned(), Schema::named(PROBLEM_SCHEMA)),
        false => Response { description: Some(host.description.to_owned()), ..Response::default() },
    };
    HOST_ANSWERS.iter().map(|host| (host.name.to_owned(), answer(host))).collect()
}

/// Returns the schemas of problem details, by their names in a document.
pub(super) fn problem_schemas() -> BTreeMap<String, Schema> {
    let text = |description: &str| Schema::of(Kind::String).described(Some(description));
    let object = |fields: Vec<(&str, Schema)>, required: &[&str], description: &str| Schema {
        properties: fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect(),
        required: required.iter().map(|name| (*name).to_owned()).collect(),
        ..Schema::of(Kind::Object).described(Some(description))
    };
    let status = Schema {
        minimum: Some(400.into()),
        maximum: Some(599.into()),
        ..Schema::of(Kind::Integer).described(Some("The status of the answer."))
    };
    let fields = vec![
        ("type", text("The kind of the problem, a URL that ends with its name.")),
        ("title", text("The name of the problem, in words.")),
        ("status", status),
        ("detail", text("A sentence for people.")),
        ("instance", text("The id of the request.")),
        ("errors", Schema::list(Schema::named(FAULT_SCHEMA)).described(Some("The faults of the request."))),
    ];
    let required = ["type", "title", "status", "detail", "instance"];
    let problem = object(fields, &required, "Problem details (RFC 9457).");
    let part = Schema {
        names: ["path", "query", "header", "cookie"].map(str::to_owned).into(),
        ..text("The part of the request. Absent for the body.")
    };
    let fields = vec![
        ("pointer", text("The place in the body, as a JSON pointer.")),
        ("detail", text("A sentence for people.")),
        ("in", part),
        ("name", text("The name of the parameter. Absent for the body.")),
    ];
    let fault = object(fields, &["pointer", "detail"], "A fault of a request.");
    BTreeMap::from([(PROBLEM_SCHEMA.to_owned(), problem), (FAULT_SCHEMA.to_owned(), fault)])
}
