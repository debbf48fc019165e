//! Reads the body of a request, of the media type and up to the size that its route takes.

use std::time::Instant;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::super::answer::HostProblem;
use super::super::details::{Failure, RequestFault};
use super::super::media::{self, Declared};
use super::super::server::{BodyError, HeldBytes, RequestBody};
use super::upload::{self, Part, Spool, Upload, UploadFolder};
use watertight_graph::routes::{BoundBody, Route};
use watertight_model::config::{Method, UnknownInput};

/// The header that lists the media types that a resource takes with PATCH (RFC 5789, section 3.1).
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A request body that was read completely. Its bytes count as held in memory for the client until this value is dropped.
pub(in super::super) struct ReadBody {
    pub(super) content: Content,
    _held: Option<HeldBytes>,
}

/// What a body consists of.
pub(super) enum Content {
    /// The bytes of a document.
    Document(Bytes),
    /// Bytes that a function gets as they are.
    Raw(Spool),
    /// The parts of a form, and their bytes.
    Parts(Vec<Part>, Spool),
}

impl ReadBody {
    /// Returns what a route gets for a request without a body. `None` if the route binds no body.
    pub(in super::super) fn absent(route: &Route) -> Option<Self> {
        let is_bound = !matches!(route.body, BoundBody::Unbound);
        let document = Bytes::from_static(route.absent_body.unwrap_or_default());
        is_bound.then(|| Self { content: Content::Document(document), _held: None })
    }

    /// Returns the number of bytes that the function gets as lists of bytes.
    pub(in super::super) fn list_bytes(&self) -> u64 {
        match &self.content {
            Content::Document(_) => 0,
            Content::Raw(spool) | Content::Parts(_, spool) => spool.length(),
        }
    }
}

/// Reads the body of a request that may have one: at most `limit` bytes that arrive before `deadline`. Large uploads wait in `folder`. Returns `None` if the
/// route binds no body.
///
/// # Errors
///
/// The body is not of the route's media type, is too large or arrives too late. Or the route binds no body, refuses unknown input, and the
/// request has a body.
pub(in super::super) async fn read_body(
    route: &Route,
    headers: &HeaderMap,
    mut body: RequestBody,
    limit: u64,
    deadline: Instant,
    folder: &UploadFolder,
) -> Result<Option<ReadBody>, Failure> {
    if matches!(route.body, BoundBody::Unbound) {
        let is_refused = route.unknown_input == UnknownInput::Refuse && has_bytes(body, deadline).await?;
        return if is_refused { Err(invalid(RequestFault::body("", "this route takes no body"))) } else { Ok(None) };
    }
    media::check_coding(headers)?;
    let declared = media::declared(headers);
    if !is_accepted(&route.body, declared, headers) {
        // A body without a declared length may turn out to be empty only at its end.
        let may_be_none = declared == Declared::Nothing && body.size_hint().lower() == 0;
        return if may_be_none && !has_bytes(body, deadline).await? {
            Ok(ReadBody::absent(route))
        } else {
            Err(unsupported(route))
        };
    }
    if body.size_hint().lower() > limit {
        return Err(HostProblem::BodyTooLarge { limit }.into());
    }
    if route.body.is_upload() {
        let reading = read_upload(route, headers, Upload::new(body, limit, folder));
        let read = tokio::time::timeout_at(deadline.into(), reading).await;
        return read.unwrap_or_else(|_| Err(HostProblem::BodyTooSlow.into())).map(Some);
    }
    let limited = Limited::new(&mut body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout_at(deadline.into(), limited.collect()).await {
        Ok(Ok(read)) => {
            let bytes = read.to_bytes();
            if bytes.is_empty() {
                Ok(ReadBody::absent(route))
            } else {
                Ok(Some(ReadBody { content: Content::Document(bytes), _held: body.held() }))
            }
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HostProblem::BodyTooLarge { limit }.into()),
        Ok(Err(error)) => Err(error.downcast_ref().map_or(HostProblem::BodyCutOff, problem).into()),
        Err(_) => Err(HostProblem::BodyTooSlow.into()),
    }
}

/// Reads a body that may be large.
async fn read_upload(route: &Route, headers: &HeaderMap, upload: Upload) -> Result<ReadBody, Failure> {
    if let BoundBody::Raw(_) = route.body {
        let (spool, held) = upload.raw().await?;
        return Ok(ReadBody { content: Content::Raw(spool), _held: held });
    }
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (parts, spool, held) = upload.parts(&upload::boundary(text)?).await?;
    Ok(ReadBody { content: Content::Parts(parts, spool), _held: held })
}

/// Returns the problem to report if a body cannot be read.
pub(super) fn problem(error: &BodyError) -> HostProblem {
    match error {
        BodyError::Stalled => HostProblem::BodyTooSlow,
        BodyError::NoRoom(_) => HostProblem::Overloaded,
        BodyError::Http1(_) | BodyError::Http2(_) => HostProblem::BodyCutOff,
        BodyError::PassedOn(fault) => (*fault).into(),
    }
}

/// Returns whether a body has at least one byte. If the length is not declared, waits for the first byte or the end of the body.
async fn has_bytes(mut body: RequestBody, deadline: Instant) -> Result<bool, Failure> {
    if body.size_hint().lower() > 0 {
        return Ok(true);
    }
    loop {
        match tokio::time::timeout_at(deadline.into(), body.frame()).await {
            Ok(None) => return Ok(false),
            Ok(Some(Ok(frame))) if frame.data_ref().is_some_and(|data| !data.is_empty()) => return Ok(true),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(problem(&error).into()),
            Err(_) => return Err(HostProblem::BodyTooSlow.into()),
        }
    }
}

pub(super) fn invalid(fault: RequestFault) -> Failure {
    HostProblem::Invalid(vec![fault]).into()
}

/// Whether a route takes a body of the media type that a request declares.
fn is_accepted(body: &BoundBody, declared: Declared<'_>, headers: &HeaderMap) -> bool {
    match body {
        BoundBody::Unbound => true,
        BoundBody::Parameter(_) | BoundBody::Spread(_) => declared.is_json(),
        BoundBody::Raw(types) => types.is_empty() || types.iter().any(|range| declared.is_within(range)),
        BoundBody::Text => declared.is(media::TEXT) && media::is_utf8(headers),
        BoundBody::Form(form) if form.is_multipart => declared.is(media::MULTIPART),
        BoundBody::Form(_) => declared.is(media::FORM) && media::is_utf8(headers),
    }
}

/// Returns the answer to a body of another media type than a route takes. It lists the types that the route takes (RFC 9110, section
/// 15.5.16; for PATCH, RFC 5789, section 3.1).
fn unsupported(route: &Route) -> Failure {
    let accepted = match &route.body {
        BoundBody::Unbound | BoundBody::Parameter(_) | BoundBody::Spread(_) => media::JSON.to_owned(),
        BoundBody::Raw(types) => types.join(", "),
        BoundBody::Text => media::TEXT.to_owned(),
        BoundBody::Form(form) if form.is_multipart => media::MULTIPART.to_owned(),
        BoundBody::Form(_) => media::FORM.to_owned(),
    };
    let header = HeaderValue::from_str(&accepted).expect("media types are header text");
    let failure =
        Failure::from(HostProblem::UnsupportedMediaType { accepted }).with_header(header::ACCEPT, header.clone());
    match route.method {
        Method::Patch => failure.with_header(ACCEPT_PATCH.clone(), header),
        _ => failure,
    }
}
