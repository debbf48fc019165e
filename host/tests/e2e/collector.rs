//! An OTLP collector for tests: an HTTP server on the loopback interface that decodes the trace spans that it receives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

/// The maximum time to wait for an expected span.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The time without new spans after which all spans count as received.
const QUIET: Duration = Duration::from_millis(400);

/// A trace span that the collector has received.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// The id of the parent span. It is empty for a root span.
    pub(crate) parent: String,
    /// Whether the parent span belongs to another process, according to the span's flags.
    pub(crate) remote: bool,
    /// The kind of the span: 1 is internal, 2 server, 3 client.
    pub(crate) kind: i32,
    pub(crate) state: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The error message of a span that failed. `None` for a span that did not fail.
    pub(crate) error: Option<String>,
    pub(crate) service: String,
    pub(crate) scope: String,
}

impl Span {
    pub(crate) fn at(&self, key: &str) -> &str {
        self.attributes.get(key).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    pub(crate) fn is_sql(&self) -> bool {
        self.attributes.contains_key("db.system.name")
    }

    pub(crate) fn is_bridged(&self) -> bool {
        self.attributes.contains_key("watertight.callee")
    }
}

/// A running collector of trace spans.
pub(crate) struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Received>>,
}

#[derive(Default)]
struct Received {
    spans: Vec<Span>,
    last: Option<Instant>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Received>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(got.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, got }
    }

    /// Returns manifest text that makes a host send its spans to this collector every 50 ms. `more` is appended to the table `[telemetry]`.
    pub(crate) fn manifest(&self, more: &str) -> String {
        format!("[telemetry]\notlp = \"http://{}\"\ninterval = \"50ms\"\n{more}\n", self.address)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all spans received so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.got.lock().unwrap().spans.clone()
    }

    /// Waits until a span that satisfies `wanted` has arrived and no more spans arrive. Returns all spans.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let start = Instant::now();
        loop {
            let (there, quiet) = {
                let got = self.got.lock().unwrap();
                (got.spans.iter().any(&wanted), got.last.is_some_and(|last| last.elapsed() > QUIET))
            };
            if there && quiet {
                return self.spans();
            }
            assert!(start.elapsed() < TIMEOUT, "timed out while waiting for a span: {:?}", self.spans());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(State(got): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) -> (HeaderMap, Vec<u8>) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut got = got.lock().unwrap();
    got.last = Some(Instant::now());
    for resource in request.resource_spans {
        let service = attributes(&resource.resource.unwrap().attributes)["service.name"].clone();
        for scope in resource.scope_spans {
            let name = scope.scope.unwrap().name;
            got.spans.extend(scope.spans.into_iter().map(|span| Span {
                name: span.name,
                trace: hexadecimal(&span.trace_id),
                id: hexadecimal(&span.span_id),
                parent: hexadecimal(&span.parent_span_id),
                // Bits 8 and 9 say whether the origin is known, and whether the parent is remote.
                remote: span.flags >> 8 & 3 == 3,
                kind: span.kind,
                state: span.trace_state,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: attributes(&span.attributes),
                error: span.status.filter(|s| s.code() == StatusCode::Error).map(|status| status.message),
                service: service.clone(),
                scope: name.clone(),
            }));
        }
    }
    let headers = [("content-type".parse().unwrap(), "application/x-protobuf".parse().unwrap())];
    (headers.into_iter().collect(), ExportTraceServiceResponse::default().encode_to_vec())
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    all.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
