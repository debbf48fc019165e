//! Describes the answers of a route: the function's value, its error cases, and what the host itself may answer. This is the only file that
//! knows what answers look like.

use std::collections::BTreeMap;

use http::StatusCode;
use indexmap::IndexMap;

use super::schemas::{Form, Schemas};
use super::site::Site;
use crate::format::{JSON, Kind, Media, PROBLEM, Response, Schema};
use watertight_component::shape::{Function, Type};
use watertight_graph::routes::{BoundBody, Route};

/// The name of the schema of problem details. No name of WIT is like it.
const PROBLEM_SCHEMA: &str = "Problem";
/// The name of the schema of a fault of a request.
const FAULT_SCHEMA: &str = "Fault";
/// The prefix of a problem's `type`, before an error case or the name of an answer of the host.
const TYPE_PREFIX: &str = "/problems/";

/// An answer that the host may give in the place of a function.
struct HostAnswer {
    /// The name of the answer in a document.
    name: &'static str,
    status: StatusCode,
    /// Whether only routes that take a body give it.
    needs_body: bool,
    description: &'static str,
}

const HOST_ANSWERS: [HostAnswer; 7] = [
    HostAnswer {
        name: "invalid-request",
        status: StatusCode::BAD_REQUEST,
        needs_body: false,
        description: "The request does not fit what is described here. `errors` has every fault. Fields that are not described are faults too.",
    },
    HostAnswer {
        name: "body-too-slow",
        status: StatusCode::REQUEST_TIMEOUT,
        needs_body: true,
        description: "The body did not arrive in time.",
    },
    HostAnswer {
        name: "body-too-large",
        status: StatusCode::PAYLOAD_TOO_LARGE,
        needs_body: true,
        description: "The body has more bytes than `x-watertight-max-bytes` says.",
    },
    HostAnswer {
        name: "unsupported-media-type",
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        needs_body: true,
        description: "The body has another media type, or is compressed. `Accept` lists the media types.",
    },
    HostAnswer {
        name: "failed",
        status: StatusCode::INTERNAL_SERVER_ERROR,
        needs_body: false,
        description: "The application failed.",
    },
    HostAnswer {
        name: "overloaded",
        status: StatusCode::SERVICE_UNAVAILABLE,
        needs_body: false,
        description: "The application has no capacity left, or a part of it is unavailable. `Retry-After` says when to try again.",
    },
    HostAnswer {
        name: "deadline",
        status: StatusCode::GATEWAY_TIMEOUT,
        needs_body: false,
        description: "The request took too long.",
    },
];

/// Whether the host itself may give an answer with this status, which clients of every operation have to expect.
pub(crate) fn is_of_host(status: &str) -> bool {
    HOST_ANSWERS.iter().any(|answer| answer.status.as_str() == status)
}

/// Describes the answers of a route, by their status.
pub(super) fn answers(
    route: &Route,
    function: &Function,
    site: Site<'_>,
    schemas: &mut Schemas,
) -> BTreeMap<String, Response> {
    let site = Site { form: Form::Answer, ..site };
    let mut all = BTreeMap::new();
    let mut problems: BTreeMap<StatusCode, Vec<(Schema, String)>> = BTreeMap::new();
    let value = match &function.result {
        Some(Type::Result { ok, err }) => {
            for (status, problem, text) in err.iter().flat_map(|err| error_cases(route, err, site, schemas)) {
                problems.entry(status).or_default().push((problem, text));
            }
            ok.as_deref()
        }
        other => other.as_ref(),
    };
    let status = route.answer.status;
    let content = value.map(|ty| (JSON.to_owned(), Media { schema: Some(schemas.of(site, ty)) }));
    let description = status.canonical_reason().map(str::to_owned);
    let answer = Response { description, content: content.into_iter().collect(), ..Response::default() };
    all.insert(status.as_str().to_owned(), answer);
    let takes_body = !matches!(route.body, BoundBody::Unbound);
    for host in HOST_ANSWERS.iter().filter(|host| takes_body || !host.needs_body) {
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
        all.insert(status.as_str().to_owned(), problem(description, schema));
    }
    all
}

/// Describes each case of a function's error: its status, its problem details, and when it happens.
fn error_cases(route: &Route, err: &Type, site: Site<'_>, schemas: &mut Schemas) -> Vec<(StatusCode, Schema, String)> {
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
        let status = route.answer.errors.as_ref()?.get(case)?.status;
        let text = docs.part(case).map_or_else(|| format!("`{case}`."), |text| format!("`{case}`: {text}"));
        let mut own = Schema::of(Kind::Object);
        own.properties.insert("type".to_owned(), Schema::constant(format!("{TYPE_PREFIX}{case}")));
        own.properties.insert("case".to_owned(), Schema::constant(case));
        own.required.push("case".to_owned());
        if let Some(payload) = payload {
            own.properties.insert("payload".to_owned(), schemas.of(site, payload));
            own.required.push("payload".to_owned());
        }
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
    let answer = |host: &HostAnswer| problem(host.description.to_owned(), Schema::named(PROBLEM_SCHEMA));
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
        ("type", text("The kind of the problem: `/problems/` and its name.")),
        ("title", text("The name of the problem, in words.")),
        ("status", status),
        ("detail", text("A sentence for people.")),
        ("instance", text("The id of the request.")),
        ("case", text("The error case, if the application reports the problem, and not the host.")),
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
