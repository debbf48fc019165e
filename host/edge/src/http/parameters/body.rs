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
use watertight_graph::routes::{BoundBody, Route};
use watertight_model::config::{Method, UnknownInput};

/// The header that lists the media types that a resource takes with PATCH (RFC 5789, section 3.1).
static ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A request body that was read completely. Its bytes count as held in memory for the client until this value is dropped.
pub(in super::super) struct ReadBody {
    bytes: Bytes,
    _held: Option<HeldBytes>,
}

impl std::ops::Deref for ReadBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the body of a request: a document of at most `limit` bytes that arrives before `deadline`. Returns `None` if the route binds no
/// body.
///
/// # Errors
///
/// The body is not of the route's media type, is too large or arrives too late. Or the route binds no body, refuses unknown input, and the request has a body.
pub(in super::super) async fn read_body(
    route: &Route,
    headers: &HeaderMap,
    mut body: RequestBody,
    limit: u64,
    deadline: Instant,
) -> Result<Option<ReadBody>, Failure> {
    let is_empty = body.is_end_stream();
    if matches!(route.body, BoundBody::Unbound) {
        let is_refused = route.unknown_input == UnknownInput::Refuse && !is_empty && has_bytes(body, deadline).await?;
        return if is_refused { Err(invalid(RequestFault::body("", "this route takes no body"))) } else { Ok(None) };
    }
    let absent = || {
        let bytes = Bytes::from_static(route.absent_body.unwrap_or_default());
        Ok(Some(ReadBody { bytes, _held: None }))
    };
    if is_empty {
        return absent();
    }
    media::check_coding(headers)?;
    let declared = media::declared(headers);
    if !is_accepted(&route.body, declared, headers) {
        // A body without a declared length may turn out to be empty only at its end.
        let may_be_none = declared == Declared::Nothing && body.size_hint().lower() == 0;
        return if may_be_none && !has_bytes(body, deadline).await? { absent() } else { Err(unsupported(route)) };
    }
    if body.size_hint().lower() > limit {
        return Err(HostProblem::BodyTooLarge { limit }.into());
    }
    let limited = Limited::new(&mut body, usize::try_from(limit).unwrap_or(usize::MAX));
    match tokio::time::timeout_at(deadline.into(), limited.collect()).await {
        Ok(Ok(read)) => {
            let bytes = read.to_bytes();
            if bytes.is_empty() { absent() } else { Ok(Some(ReadBody { bytes, _held: body.held() })) }
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HostProblem::BodyTooLarge { limit }.into()),
        Ok(Err(error)) => Err(error.downcast_ref().map_or(HostProblem::BodyCutOff, problem).into()),
        Err(_) => Err(HostProblem::BodyTooSlow.into()),
    }
}

/// Returns the problem to report if a body cannot be read.
fn problem(error: &BodyError) -> HostProblem {
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

fn invalid(fault: RequestFault) -> Failure {
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
