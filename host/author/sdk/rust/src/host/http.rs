//! Requests to other hosts, by `wasi:http/outgoing-handler`.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

use crate::http::{Request, Response};
use crate::{Host, Http, HttpError};

/// The number of bytes that an output stream accepts at once.
const CHUNK: usize = 4096;
/// The number of bytes that are asked for at once.
const READ: u64 = 64 << 10;

impl Http for Host {
    fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let outgoing = head(request)?;
        let body = outgoing.body().map_err(|()| HttpError::Invalid("its body is taken"))?;
        let pending = handle(outgoing, Some(options(request)?)).map_err(|code| error(&code))?;
        write(body, &request.body);
        pending.subscribe().block();
        match pending.get() {
            Some(Ok(response)) => read(&response.map_err(|code| error(&code))?, request.max_body),
            _ => Err(HttpError::Unreachable("no response".to_owned())),
        }
    }
}

fn head(request: &Request) -> Result<OutgoingRequest, HttpError> {
    let (https, authority, path) = request.target()?;
    let field = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone().into_bytes());
    let mut fields: Vec<_> = request.headers.iter().map(field).collect();
    if !request.body.is_empty() && fields.iter().all(|(name, _)| name != "content-length") {
        fields.push(("content-length".to_owned(), request.body.len().to_string().into_bytes()));
    }
    let fields = Fields::from_list(&fields).map_err(|_| HttpError::Invalid("a header field can't be sent"))?;
    let outgoing = OutgoingRequest::new(fields);
    let invalid = |what| move |()| HttpError::Invalid(what);
    outgoing.set_method(&method(&request.method)).map_err(invalid("its method"))?;
    let scheme = if https { Scheme::Https } else { Scheme::Http };
    outgoing.set_scheme(Some(&scheme)).map_err(invalid("its scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(invalid("the host in its address"))?;
    outgoing.set_path_with_query(Some(&path)).map_err(invalid("the path in its address"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(request: &Request) -> Result<RequestOptions, HttpError> {
    let nanoseconds = u64::try_from(request.timeout.as_nanos()).unwrap_or(u64::MAX);
    let options = RequestOptions::new();
    let set = options.set_connect_timeout(Some(nanoseconds));
    let set = set.and_then(|()| options.set_first_byte_timeout(Some(nanoseconds)));
    let set = set.and_then(|()| options.set_between_bytes_timeout(Some(nanoseconds)));
    set.map_err(|()| HttpError::Invalid("its timeout")).map(|()| options)
}

/// Writes the body. If the other side stops reading, the response or its absence says why.
fn write(body: OutgoingBody, bytes: &[u8]) {
    if let Ok(stream) = body.write() {
        for chunk in bytes.chunks(CHUNK) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn read(response: &IncomingResponse, max_body: usize) -> Result<Response, HttpError> {
    let headers = response.headers().entries();
    let taken = |()| HttpError::Unreachable("the body is taken".to_owned());
    let body = response.consume().map_err(taken)?;
    let stream = body.stream().map_err(taken)?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ) {
            Ok(chunk) => bytes.extend(chunk),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(failed)) => {
                let code = http_error_code(&failed);
                return Err(code.map_or_else(|| HttpError::Unreachable(failed.to_debug_string()), |code| error(&code)));
            }
        }
        if bytes.len() > max_body {
            return Err(HttpError::TooLarge);
        }
    }
    Ok(Response { status: response.status(), headers, body: bytes })
}

fn error(code: &ErrorCode) -> HttpError {
    match code {
        ErrorCode::HttpRequestDenied => HttpError::Denied,
        ErrorCode::DnsTimeout
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => HttpError::Timeout,
        ErrorCode::HttpResponseBodySize(_) => HttpError::TooLarge,
        other => HttpError::Unreachable(format!("{other:?}")),
    }
}
