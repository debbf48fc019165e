//! A client that speaks HTTP/1.1 or HTTP/2, reads pieces as they come, and notices whether an answer is whole.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, Version, header, request};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// The maximum number of headers that the client takes, and the maximum size of all of them in HTTP/2, in bytes.
const MOST_HEADERS: (usize, u32) = (20_000, 1 << 20);

/// A connection for one request.
enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) trailers: HeaderMap,
    /// Whether the answer ended as one that is complete.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Returns the name of the problem that the answer reports.
    pub(crate) fn problem(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_default();
        body["type"].as_str().and_then(|text| text.strip_prefix("/problems/")).unwrap_or_default().to_owned()
    }

    /// Asserts that the answer is whole and has the HTTP status `status`, and returns it.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!((self.status, self.is_whole), (status, true), "{self:?}");
        self
    }
}

/// Returns the start of a request. HTTP/2 takes the host from the target.
pub(crate) fn start(version: Version, method: &str, path: &str) -> request::Builder {
    match version {
        Version::HTTP_2 => Request::builder().method(method).uri(format!("http://test{path}")),
        _ => Request::builder().method(method).uri(path).header(header::HOST, "test"),
    }
}

/// Sends a request on a connection of its own. Returns the head of the answer, whose body is still to be read. Dropping it closes the
/// connection.
///
/// # Panics
///
/// If there is no answer.
pub(crate) async fn ask(address: SocketAddr, version: Version, request: Request<Body>) -> Response<Incoming> {
    try_ask(address, version, request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// As [`ask`].
///
/// # Errors
///
/// The connection or the stream ended without an answer.
pub(crate) async fn try_ask(
    address: SocketAddr,
    version: Version,
    request: Request<Body>,
) -> Result<Response<Incoming>, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = TokioIo::new(stream);
    let mut connection = if version == Version::HTTP_2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.max_header_list_size(MOST_HEADERS.1).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Connection::Http2(sender)
    } else {
        let mut builder = http1::Builder::new();
        let (sender, connection) = builder.max_headers(MOST_HEADERS.0).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Connection::Http1(sender)
    };
    match &mut connection {
        Connection::Http1(sender) => sender.send_request(request).await,
        Connection::Http2(sender) => sender.send_request(request).await,
    }
}

/// Sends a `GET` request.
pub(crate) async fn get(address: SocketAddr, version: Version, path: &str) -> Response<Incoming> {
    ask(address, version, start(version, "GET", path).body(Body::empty()).unwrap()).await
}

/// Reads the next piece of an answer's body. `None` is the end of a whole answer.
///
/// # Errors
///
/// The answer was cut off.
pub(crate) async fn piece(answer: &mut Response<Incoming>) -> Result<Option<String>, hyper::Error> {
    loop {
        match answer.body_mut().frame().await {
            Some(Ok(frame)) => {
                // The end of a stream in HTTP/2 may be an empty piece.
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
                }
            }
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        }
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(answer: Response<Incoming>) -> Answer {
    let (head, mut body) = answer.into_parts();
    let (mut bytes, mut trailers, mut is_whole) = (Vec::new(), HeaderMap::new(), true);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(other)) => trailers = other.into_trailers().unwrap(),
            Err(_) => {
                is_whole = false;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: head.status.as_u16(), headers: head.headers, text, trailers, is_whole }
}

/// Sends a `GET` request, and reads the answer to its end.
pub(crate) async fn whole(address: SocketAddr, version: Version, path: &str) -> Answer {
    read(get(address, version, path).await).await
}

/// Returns a body whose frames are sent to the other end of a channel, and that end. The body ends when that end is dropped.
pub(crate) fn flowing() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    (sender, Body::new(StreamBody::new(frames.map(Ok::<_, Infallible>).boxed())))
}
