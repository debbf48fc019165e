//! Makes the OpenAPI document of an application from its graph and its routes.
//!
//! The order of everything in a document is fixed, so that two documents can be compared line by line.

mod answers;
mod examples;
mod names;
mod request;
mod schemas;
mod site;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::format::{Info, MountEntry, OpenApi, Operation, PathItem, Server, ServerVariable, Tag, VERSION};
use schemas::{Form, Schemas};
use site::Site;
use watertight_component::shape::{Function, Interface};
use watertight_graph::graph::AppGraph;
use watertight_graph::routes::{Mount, Route, RouteTable};
use watertight_model::config::{HostPattern, Method, NameCase};
use watertight_model::ids::Digest;
use watertight_model::problem::Problem;

pub(crate) use answers::is_of_host;

/// The number of characters of a document's version.
const VERSION_LENGTH: usize = 12;

/// The greatest size of a document that is read from a file, in bytes. The host's own have tens of kilobytes.
pub const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// What a document says about all operations.
const DESCRIPTION: &str = "Every error is answered with problem details (RFC 9457). An answer has the id of its request in the header \
    `X-Request-Id`. A GET operation also answers HEAD. Objects in answers may get further fields.";

/// The reason that a text is no document of the host.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableDocument {
    /// The text has another form.
    #[error("it is not an OpenAPI document as `watertight openapi` prints it")]
    Form(#[from] serde_json::Error),
    /// The document is of another version of OpenAPI.
    #[error("it is a document of OpenAPI {found:?}, and `watertight openapi` prints {VERSION}")]
    Version {
        /// The version that it names.
        found: String,
    },
}

impl OpenApi {
    /// Makes the document of an application that has no problems.
    pub fn new(graph: &AppGraph, routes: &RouteTable) -> Self {
        let mut document = Self {
            openapi: VERSION.to_owned(),
            info: Info {
                title: graph.app.to_string(),
                version: String::new(),
                description: Some(DESCRIPTION.to_owned()),
            },
            servers: Vec::new(),
            tags: Vec::new(),
            paths: BTreeMap::new(),
            mounts: routes.mounts().iter().map(mount).collect(),
            components: Default::default(),
        };
        document.mounts.sort_by(|one, other| one.path.cmp(&other.path));
        let mut schemas = Schemas::default();
        let functions = |route: &Route| {
            (format!("{}.{}", route.module, route.function), format!("{} {}", route.method, route.label))
        };
        let names = names::operation_ids(&routes.routes().iter().map(functions).collect::<Vec<_>>());
        let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (route, name) in routes.routes().iter().zip(names) {
            let Some((interface, function)) = answered_by(graph, route) else { continue };
            let docs = tags.entry(route.module.to_string()).or_default();
            if let Some(text) = interface.docs.as_deref().filter(|text| !docs.iter().any(|known| known == text)) {
                docs.push(text.to_owned());
            }
            let operation = operation(graph, routes, route, function, name, &mut schemas);
            let path = document.paths.entry(path_key(&route.path, route.host.as_ref())).or_default();
            *method_of(path, route.method) = operation;
        }
        let tag = |(name, docs): (String, Vec<String>)| Tag {
            name,
            description: Some(docs.join("\n\n")).filter(|text| !text.is_empty()),
        };
        document.tags = tags.into_iter().map(tag).collect();
        document.components.responses = answers::host_answers();
        schemas.finish(&mut document);
        document.components.schemas.extend(answers::problem_schemas());
        document.info.version = Digest::of(&document.to_json()).hex()[..VERSION_LENGTH].to_owned();
        document
    }

    /// Returns a note for each function with recorded examples that don't fit it any more. Documents leave them out. `manifest` is the file
    /// that names the examples.
    pub fn stale_examples(graph: &AppGraph, routes: &RouteTable, manifest: &Path) -> Vec<Problem> {
        examples::stale(graph, routes, manifest)
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`UnreadableDocument`] if the text is no OpenAPI document of the form that the host writes.
    pub fn parse(text: &[u8]) -> Result<Self, UnreadableDocument> {
        // Editors of some systems put an invisible mark before a text.
        let document: Self = serde_json::from_slice(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))?;
        match document.openapi == VERSION {
            true => Ok(document),
            false => Err(UnreadableDocument::Version { found: document.openapi }),
        }
    }

    /// Returns the text of the document.
    pub fn to_json(&self) -> Bytes {
        let mut text = serde_json::to_vec_pretty(self).expect("texts, numbers and maps keyed by texts are JSON");
        text.push(b'\n');
        text.into()
    }
}

/// Returns the interface and the function that answer a route.
fn answered_by<'a>(graph: &'a AppGraph, route: &Route) -> Option<(&'a Interface, &'a Function)> {
    let interface = graph.modules.get(&route.module)?.artifact.shape.exports.get(&route.interface)?;
    Some((interface, interface.functions.get(&route.function)?))
}

fn operation(
    graph: &AppGraph,
    routes: &RouteTable,
    route: &Route,
    function: &Function,
    operation_id: String,
    schemas: &mut Schemas,
) -> Option<Operation> {
    let limits = &graph.compartments.get(graph.compartment_of(&route.module)?)?.limits;
    let site = Site { artifact: &graph.modules[&route.module].artifact, style: route.json, form: Form::Request };
    let prefix = routes.door().config.problems.as_deref().unwrap_or(answers::TYPE_PREFIX);
    let (summary, description) = request::summary(function.docs.as_ref());
    let mut operation = Operation {
        tags: vec![route.module.to_string()],
        summary,
        description,
        operation_id,
        servers: route.host.iter().map(server).collect(),
        case: (route.json.case != NameCase::Snake).then(|| route.json.case.to_string()),
        parameters: request::parameters(route, function, site, schemas),
        request_body: request::body(route, function, limits, site, schemas),
        responses: answers::answers(route, function, prefix, site, schemas),
    };
    let calls = routes.door().config.examples.of(&route.interface, &route.function);
    examples::add(&mut operation, route, function, site, prefix, calls);
    Some(operation)
}

/// Returns the key of a path. It names the host of routes that are for one, because several hosts may have the same path. Clients send no part
/// after `#`.
fn path_key(path: &str, host: Option<&HostPattern>) -> String {
    host.map_or_else(|| path.to_owned(), |host| format!("{path}#{host}"))
}

/// Describes the hosts that a pattern matches.
fn server(host: &HostPattern) -> Server {
    let Some(suffix) = host.suffix() else {
        return Server { url: format!("//{host}"), variables: BTreeMap::new() };
    };
    let variable = ServerVariable { default: "www".to_owned() };
    let url = format!("//{{subdomain}}.{}", suffix.trim_start_matches('.'));
    Server { url, variables: [("subdomain".to_owned(), variable)].into() }
}

fn method_of(path: &mut PathItem, method: Method) -> &mut Option<Operation> {
    match method {
        Method::Get => &mut path.get,
        Method::Head => &mut path.head,
        Method::Post => &mut path.post,
        Method::Put => &mut path.put,
        Method::Patch => &mut path.patch,
        Method::Delete => &mut path.delete,
        Method::Options => &mut path.options,
    }
}

fn mount(mount: &Mount) -> MountEntry {
    let methods = mount.methods.as_ref().map(|methods| {
        let mut methods: Vec<String> = methods.iter().map(ToString::to_string).collect();
        methods.sort();
        methods
    });
    MountEntry { path: mount.label.to_string(), module: mount.module.to_string(), methods }
}
