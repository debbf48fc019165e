//! A test module that sends HTTP requests to servers.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::fetch::fetch::{Answer, Guest, Request};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

/// The maximum number of bytes of a request's body that are written to its stream at once.
const CHUNK: usize = 4096;
/// The maximum number of bytes of a response's body that the module returns to the test.
const SHOWN: usize = 1000;
/// The maximum number of redirects that the module follows.
const MAX_REDIRECTS: usize = 5;

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn send(request: Request) -> Result<Answer, String> {
        start(&request).and_then(|pending| finish(&pending))
    }

    fn send_many(request: Request, times: u32) -> Vec<String> {
        let pending: Vec<_> = (0..times).map(|_| start(&request)).collect();
        // All response heads are read before any response is dropped.
        let heads: Vec<_> =
            pending.iter().map(|pending| pending.as_ref().map_err(Clone::clone).and_then(head)).collect();
        heads.iter().map(|head| head.as_ref().map_or_else(Clone::clone, |head| head.status().to_string())).collect()
    }

    fn send_and_leave(request: Request) {
        // The request is leaked on purpose, whatever its outcome.
        std::mem::forget(start(&request));
    }

    fn follow(mut request: Request) -> Result<Answer, String> {
        for _ in 0..MAX_REDIRECTS {
            let answer = start(&request).and_then(|pending| finish(&pending))?;
            let Some(location) = answer.location.as_ref() else { return Ok(answer) };
            let (scheme, rest) = location.split_once("://").ok_or("a redirect without a scheme")?;
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            (request.scheme, request.authority) = (scheme.to_owned(), authority.to_owned());
            request.path = format!("/{path}");
        }
        Err("too many redirects".to_owned())
    }
}

fn name(error: &ErrorCode) -> String {
    format!("{error:?}")
}

fn start(request: &Request) -> Result<FutureIncomingResponse, String> {
    let outgoing = OutgoingRequest::new(Fields::new());
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let scheme = match request.scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| "method")?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    outgoing.set_authority(Some(&request.authority)).map_err(|()| "authority")?;
    outgoing.set_path_with_query(Some(&request.path)).map_err(|()| "path")?;
    let options = RequestOptions::new();
    let wait = request.first_byte_milliseconds.map(|wait| u64::from(wait) * 1_000_000);
    options.set_first_byte_timeout(wait).map_err(|()| "timeout")?;
    let body = (request.body > 0).then(|| outgoing.body().expect("it is asked for once"));
    let pending = handle(outgoing, Some(options)).map_err(|error| name(&error))?;
    if let Some(body) = body {
        let stream = body.write().expect("it is asked for once");
        let mut left = request.body as usize;
        while left > 0 {
            let now = left.min(CHUNK);
            // The stream closes if the host stops reading. The response says why.
            if stream.blocking_write_and_flush(&[b'b'; CHUNK][..now]).is_err() {
                break;
            }
            left -= now;
        }
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
    Ok(pending)
}

fn head(pending: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    pending.subscribe().block();
    let answered = pending.get().expect("it is ready").expect("it is asked for once");
    answered.map_err(|error| name(&error))
}

fn finish(pending: &FutureIncomingResponse) -> Result<Answer, String> {
    let head = head(pending)?;
    let location = head.headers().get("location").into_iter().next();
    let body = head.consume().expect("it is asked for once");
    let stream = body.stream().expect("it is asked for once");
    let (mut text, mut length) = (Vec::new(), 0);
    loop {
        match stream.blocking_read(CHUNK as u64) {
            Ok(bytes) => {
                length += bytes.len() as u64;
                text.extend_from_slice(&bytes[..bytes.len().min(SHOWN - text.len())]);
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.as_ref().map_or_else(|| error.to_debug_string(), name));
            }
        }
    }
    drop(stream);
    drop(IncomingBody::finish(body));
    let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Answer { status: head.status(), location: location.map(lossy), text: lossy(text), length })
}
