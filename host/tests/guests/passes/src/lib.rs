//! A middleware for tests. The header `x-middleware` of a request says what it does; without one it passes the request on. It adds a mark to
//! the header `x-passed` of each answer that it passes back.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export, and the handler that it imports.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wasip3::wit_bindgen::generate!({
        inline: "package test:passes; world passes { import wasi:http/handler@0.3.2; import wasi:config/store@0.2.0-rc.1; }",
        path: ["../../../examples/middleware/wit/middleware", "../../../../wit/config"],
        world: "test:passes/passes",
        runtime_path: "wasip3::wit_bindgen::rt",
        with: { "wasi:http/types@0.3.2": wasip3::http::types, "wasi:http/handler@0.3.2": generate, "wasi:config/store@0.2.0-rc.1": generate },
    });
    wasip3::http::service::export!(Component);
}

use std::cell::RefCell;

use bindings::wasi::config::store;
use bindings::wasi::http::handler::handle as pass_on;
use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, HeaderError, Method, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

/// The header that says what the middleware does.
const ORDER: &str = "x-middleware";
/// The header that lists what an answer has passed.
const PASSED: &str = "x-passed";
/// The maximum number of bytes that are read from a body at once.
const CHUNK: usize = 64 << 10;
const MILLISECOND: u64 = 1_000_000;
/// The time between two requests that are passed on in a loop, in nanoseconds. So time ends the loop, and not the limit of processor time.
const LOOP: u64 = 20 * MILLISECOND;

thread_local! {
    /// Answers that are kept by the order `keep`.
    static KEPT: RefCell<Vec<Response>> = const { RefCell::new(Vec::new()) };
}

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let orders = request.get_headers().get(ORDER);
        let order = orders.first().map(|order| String::from_utf8_lossy(order).into_owned()).unwrap_or_default();
        let (verb, rest) = order.split_once(' ').unwrap_or((&order, ""));
        match verb {
            "" | "pass" => passed(pass_on(request).await?),
            // Passes another path on.
            "path" => {
                request.set_path_with_query(Some(rest)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
                passed(pass_on(without_order(request).await).await?)
            }
            // Passes another method on.
            "method" => {
                request
                    .set_method(&Method::Other(rest.to_owned()))
                    .map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
                passed(pass_on(without_order(request).await).await?)
            }
            // Passes back an answer of any kind as server-sent events.
            "events" => {
                let answer = pass_on(without_order(request).await).await?;
                marked(answer, |headers| headers.set("content-type", &[b"text/event-stream".to_vec()]))
            }
            // Marks the answer with the configuration value `stamp`. As the handler of a mount, it answers with the value.
            "stamp" => stamped(request).await,
            // Keeps the answer that it gets beyond its own.
            "keep" => {
                let answer = pass_on(without_order(request).await).await?;
                KEPT.with_borrow_mut(|kept| kept.push(answer));
                Ok(text(203, "kept"))
            }
            // Passes on a body that is not as long as its `content-length` says, which is the rest of the order.
            "length" => {
                let (length, request) = (rest.as_bytes().to_vec(), without_order(request).await);
                let headers = request.get_headers().clone();
                headers.set("content-length", &[length]).map_err(|_| ErrorCode::ConfigurationError)?;
                passed(pass_on(with_headers(request, headers)).await?)
            }
            "deny" => Ok(text(401, "denied")),
            "error" => Err(ErrorCode::ConfigurationError),
            "trap" => panic!("a middleware was told to trap"),
            "late" => {
                let answer = pass_on(request).await?;
                assert!(answer.get_status_code() == 0, "a middleware was told to trap");
                Ok(answer)
            }
            "forever" => loop {
                monotonic_clock::wait_for(MILLISECOND).await;
            },
            "spin" => loop {
                std::hint::black_box(0);
            },
            // Copies both bodies through the guest.
            "copy" => copied(request, |_| {}).await,
            // As `copy`, and changes the letters of the request's body.
            "upper" => copied(request, <[u8]>::make_ascii_uppercase).await,
            // Reads the whole body before it passes it on.
            "read" => read(request).await,
            // Passes the same request on many times, and answers with the statuses.
            "many" => many(rest.parse().unwrap_or(1)).await,
            // Passes requests on without end, each after the answer to the one before.
            "loop" => loop {
                drop(pass_on(empty("/only")).await);
                monotonic_clock::wait_for(LOOP).await;
            },
            // As `loop`, after its own answer.
            "linger" => {
                spawn_local(async {
                    loop {
                        drop(pass_on(empty("/only")).await);
                        monotonic_clock::wait_for(LOOP).await;
                    }
                });
                Ok(text(202, "lingering"))
            }
            // Passes a request on with a body that never ends.
            "pour" => pour(request).await,
            // Takes the answer, and sends no piece of it on.
            "swallow" => {
                let (output, nothing) = wit_stream::new();
                let answer = pass_on(request).await?;
                let (read, end_of_read) = wit_future::new(|| Ok(()));
                let (body, trailers) = Response::consume_body(answer, end_of_read);
                let (answer, _sent) = Response::new(Fields::new(), Some(nothing), trailers);
                spawn_local(async move {
                    monotonic_clock::wait_for(u64::MAX).await;
                    drop((body, read, output));
                });
                Ok(answer)
            }
            // Gives up what it has passed on.
            "drop" => {
                drop(pass_on(request));
                Ok(text(202, "dropped"))
            }
            _ => Ok(text(400, "what shall this middleware do?")),
        }
    }
}

/// Adds the mark of this middleware to an answer.
fn passed(answer: Response) -> Result<Response, ErrorCode> {
    marked(answer, |headers| {
        let mut marks = headers.get(PASSED);
        marks.push(b"yes".to_vec());
        headers.set(PASSED, &[marks.join(&b", "[..])])
    })
}

/// Changes the headers of an answer, whose body stays with the host.
fn marked(answer: Response, mark: impl FnOnce(&Fields) -> Result<(), HeaderError>) -> Result<Response, ErrorCode> {
    let status = answer.get_status_code();
    let headers = answer.get_headers().clone();
    mark(&headers).map_err(|_| ErrorCode::ConfigurationError)?;
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(answer, end_of_read);
    drop(read);
    let (answer, _sent) = Response::new(headers, Some(body), trailers);
    answer.set_status_code(status).map_err(|()| ErrorCode::ConfigurationError)?;
    Ok(answer)
}

/// Marks an answer with the configuration value `stamp`. With the value `mounted`, answers requests below `/stamp` with it.
async fn stamped(request: Request) -> Result<Response, ErrorCode> {
    let value = |key| store::get(key).ok().flatten();
    let stamp = value("stamp").unwrap_or_default();
    let is_below = request.get_path_with_query().is_some_and(|path| path.starts_with("/stamp/"));
    if is_below && value("mounted").is_some() {
        return Ok(text(200, &stamp));
    }
    marked(pass_on(request).await?, |headers| headers.append("x-stamp", stamp.as_bytes()))
}

/// Takes the order away, so that the next middleware only passes the request on.
async fn without_order(request: Request) -> Request {
    rebuilt(request, |body| body)
}

/// Rebuilds a request without its order. `change` gets the stream of its body.
fn rebuilt(
    request: Request,
    change: impl FnOnce(wasip3::wit_bindgen::StreamReader<u8>) -> wasip3::wit_bindgen::StreamReader<u8>,
) -> Request {
    let headers = request.get_headers().clone();
    let _ = headers.delete(ORDER);
    with(request, headers, change)
}

/// Rebuilds a request with other headers.
fn with_headers(request: Request, headers: Fields) -> Request {
    with(request, headers, |body| body)
}

fn with(
    request: Request,
    headers: Fields,
    change: impl FnOnce(wasip3::wit_bindgen::StreamReader<u8>) -> wasip3::wit_bindgen::StreamReader<u8>,
) -> Request {
    let (method, path) = (request.get_method(), request.get_path_with_query());
    let (scheme, authority) = (request.get_scheme(), request.get_authority());
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, end_of_read);
    drop(read);
    let (rebuilt, _sent) = Request::new(headers, Some(change(body)), trailers, None);
    let _ = rebuilt.set_method(&method);
    let _ = rebuilt.set_path_with_query(path.as_deref());
    let _ = rebuilt.set_scheme(scheme.as_ref());
    let _ = rebuilt.set_authority(authority.as_deref());
    rebuilt
}

async fn copied(request: Request, change: fn(&mut [u8])) -> Result<Response, ErrorCode> {
    let request = rebuilt(request, move |mut body| {
        let (mut output, copy) = wit_stream::new();
        spawn_local(async move {
            loop {
                let (_, mut bytes) = body.read(Vec::with_capacity(CHUNK)).await;
                change(&mut bytes);
                if bytes.is_empty() || !output.write_all(bytes).await.is_empty() {
                    break;
                }
            }
        });
        copy
    });
    let answer = pass_on(request).await?;
    let status = answer.get_status_code();
    let headers = answer.get_headers().clone();
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Response::consume_body(answer, end_of_read);
    let (mut output, copy) = wit_stream::new();
    spawn_local(async move {
        loop {
            let (_, bytes) = body.read(Vec::with_capacity(CHUNK)).await;
            if bytes.is_empty() || !output.write_all(bytes).await.is_empty() {
                break;
            }
        }
        drop(body);
        let _ = read.write(Ok(())).await;
    });
    let (answer, _sent) = Response::new(headers, Some(copy), trailers);
    answer.set_status_code(status).map_err(|()| ErrorCode::ConfigurationError)?;
    Ok(answer)
}

async fn read(request: Request) -> Result<Response, ErrorCode> {
    let (read, end_of_read) = wit_future::new(|| Ok(()));
    let headers = request.get_headers().clone();
    let (method, path) = (request.get_method(), request.get_path_with_query());
    let (mut body, trailers) = Request::consume_body(request, end_of_read);
    let mut whole = Vec::new();
    loop {
        let (_, bytes) = body.read(Vec::with_capacity(CHUNK)).await;
        if bytes.is_empty() {
            break;
        }
        whole.extend(bytes);
    }
    drop(body);
    let _ = read.write(Ok(())).await;
    trailers.await?;
    let (mut output, again) = wit_stream::new();
    spawn_local(async move {
        output.write_all(whole).await;
    });
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(headers, Some(again), no_trailers, None);
    let _ = request.set_method(&method);
    let _ = request.set_path_with_query(path.as_deref());
    passed(pass_on(request).await?)
}

/// Creates a request without a body.
fn empty(path: &str) -> Request {
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers, None);
    let _ = request.set_path_with_query(Some(path));
    request
}

async fn pour(request: Request) -> Result<Response, ErrorCode> {
    let request = rebuilt(request, |_| {
        let (mut output, poured) = wit_stream::new();
        spawn_local(async move { while output.write_all(vec![b'x'; CHUNK]).await.is_empty() {} });
        poured
    });
    passed(pass_on(request).await?)
}

async fn many(count: u32) -> Result<Response, ErrorCode> {
    let (mut results, mut sent) = (String::new(), Vec::new());
    for _ in 0..count {
        sent.push(pass_on(empty("/wait?milliseconds=300")));
    }
    for answer in futures::future::join_all(sent).await {
        results += &match answer {
            Ok(answer) => format!("{} ", answer.get_status_code()),
            Err(code) => format!("{code:?} "),
        };
    }
    Ok(text(200, &results))
}

/// Creates an answer with a short text.
fn text(status: u16, text: &str) -> Response {
    let bytes = text.as_bytes().to_vec();
    let (mut output, body) = wit_stream::new();
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let headers = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())]).expect("a valid header");
    let (response, _sent) = Response::new(headers, Some(body), no_trailers);
    response.set_status_code(status).expect("a valid status");
    spawn_local(async move {
        output.write_all(bytes).await;
        drop(output);
        let _ = trailers.write(Ok(None)).await;
    });
    response
}
