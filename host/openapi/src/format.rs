//! The parts of an OpenAPI 3.1 document that the host writes, as types: the order of their fields is that of the text. Reading passes over
//! keys that are none of these.
//!
//! This file knows no route and no WIT type.

mod schema;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use schema::{Additional, Kind, Kinds, Schema};

/// The version of OpenAPI that documents have.
pub const VERSION: &str = "3.1.0";
/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of JSON Merge Patch (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// The media type of problem details (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// An OpenAPI document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenApi {
    /// The version of OpenAPI.
    pub openapi: String,
    /// What the document describes.
    pub info: Info,
    /// The addresses that requests are sent to. Empty if clients know them otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// The modules whose functions answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// The operations, by the templates of their paths.
    #[serde(default)]
    pub paths: BTreeMap<String, PathItem>,
    /// The paths below which modules do their own HTTP.
    #[serde(rename = "x-watertight-mounts", default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountEntry>,
    /// What several operations share.
    #[serde(default)]
    pub components: Components,
}

/// What a document describes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The application's name.
    pub title: String,
    /// The version of the interface.
    pub version: String,
    /// What holds for all operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A module whose functions answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// The module's name.
    pub name: String,
    /// The documentation of the interfaces that answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A path below which a module does its own HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// The path.
    pub path: String,
    /// The module.
    pub module: String,
    /// The methods that the mount takes. `None` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
}

/// The operations of a path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are HTTP's own")]
pub struct PathItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub get: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub put: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Operation>,
}

impl PathItem {
    /// Returns the operations, each with its method in capital letters.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, &Operation)> {
        let all = [
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("PATCH", &self.patch),
            ("DELETE", &self.delete),
            ("OPTIONS", &self.options),
        ];
        all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
    }

    fn operations_mut(&mut self) -> impl Iterator<Item = &mut Operation> {
        let Self { get, head, post, put, patch, delete, options } = self;
        [get, head, post, put, patch, delete, options].into_iter().flatten()
    }
}

/// What a request with a method and a path does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The name of the module whose function answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The first sentence of the function's documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The function's documentation, if it has more than one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name of the operation. No other operation has it.
    #[serde(default)]
    pub operation_id: String,
    /// The hosts that the request must be for, if not for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// How names are spelled in JSON and queries, if not in snake_case.
    #[serde(rename = "x-watertight-case", default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The parts of the request apart from its body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// The body that the request may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<RequestBody>,
    /// The answers, by their status.
    #[serde(default)]
    pub responses: BTreeMap<String, Response>,
}

/// A host that requests are for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The address. It has no scheme where a proxy in front may have TLS.
    pub url: String,
    /// The parts of the address that clients choose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, ServerVariable>,
}

/// A part of an address that clients choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerVariable {
    /// A value that is possible.
    pub default: String,
}

/// The place of a parameter in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A segment of the path.
    Path,
    /// A field of the query.
    Query,
    /// A header.
    Header,
    /// A cookie.
    Cookie,
}

impl Place {
    /// Returns the place for a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// A part of a request apart from its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// The name of the segment, field, header or cookie.
    pub name: String,
    /// Where it stands.
    #[serde(rename = "in")]
    pub place: Place,
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether a request must have it.
    #[serde(default)]
    pub required: bool,
    /// Its values.
    #[serde(default)]
    pub schema: Schema,
}

/// The body that a request may have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestBody {
    /// Whether a request must have it.
    #[serde(default)]
    pub required: bool,
    /// The greatest size of the body, in bytes.
    #[serde(rename = "x-watertight-max-bytes", default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The forms of the body, by media type.
    #[serde(default)]
    pub content: IndexMap<String, Media>,
}

/// A body of a media type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// What the body is like. `None` means any bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

/// An answer, or a reference to one in the components.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The place of the answer in this document: `#/components/responses/NAME`. The other fields are empty then.
    #[serde(rename = "$ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the answer is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The headers of the answer that belong to its meaning, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, Header>,
    /// The forms of the answer's body, by media type. Empty if it has none.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub content: IndexMap<String, Media>,
}

/// A header of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// What it means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether every such answer has it.
    #[serde(default)]
    pub required: bool,
    /// Its values.
    #[serde(default)]
    pub schema: Schema,
}

/// What several operations share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Components {
    /// Named types.
    #[serde(default)]
    pub schemas: BTreeMap<String, Schema>,
    /// Answers of the host itself.
    #[serde(default)]
    pub responses: BTreeMap<String, Response>,
}

impl Response {
    /// Returns every schema of the answer.
    fn schemas_mut(&mut self) -> impl Iterator<Item = &mut Schema> {
        let bodies = self.content.values_mut().filter_map(|media| media.schema.as_mut());
        bodies.chain(self.headers.values_mut().map(|header| &mut header.schema))
    }
}

impl OpenApi {
    /// Lets requests be sent to `address`, which has a scheme. Those of operations for certain hosts are sent to these, with the same
    /// scheme.
    pub fn set_server(&mut self, address: &str) {
        let scheme = address.split("//").next().unwrap_or_default();
        self.servers = vec![Server { url: address.to_owned(), variables: BTreeMap::new() }];
        let operations = self.paths.values_mut().flat_map(PathItem::operations_mut);
        operations.flat_map(|operation| &mut operation.servers).for_each(|server| server.url.insert_str(0, scheme));
    }

    /// Calls `change` for each schema of the document and all schemas within it.
    pub fn for_each_schema(&mut self, change: &mut dyn FnMut(&mut Schema)) {
        for operation in self.paths.values_mut().flat_map(PathItem::operations_mut) {
            operation.parameters.iter_mut().for_each(|parameter| parameter.schema.for_each(change));
            let bodies = operation.request_body.iter_mut().flat_map(|body| body.content.values_mut());
            bodies.filter_map(|media| media.schema.as_mut()).for_each(|schema| schema.for_each(change));
            let answers = operation.responses.values_mut().flat_map(Response::schemas_mut);
            answers.for_each(|schema| schema.for_each(change));
        }
        self.components.schemas.values_mut().for_each(|schema| schema.for_each(change));
        let answers = self.components.responses.values_mut().flat_map(Response::schemas_mut);
        answers.for_each(|schema| schema.for_each(change));
    }
}
