//! The payment provider, asked over HTTP: `POST {provider}/charges` with the charge as JSON. Where it is says the value `provider` of
//! the module's configuration, and who asks the secret `api_key`.
//!
//! The idempotency key goes along, percent-encoded where a header can't carry it, so a charge that is tried again is made once there as
//! well. 200 and 201 hold the amount, 402 declines it for good; whatever else comes back, or doesn't, says nothing of what happened.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, IncomingResponse, Method as HttpMethod, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};

use crate::bindings::wasi::config::store;
use crate::model::{Charge, Method};

/// Whether to look first whether a key is known: what was answered once is never asked again.
pub const MOVES_MONEY: bool = true;

/// What a header can't carry of a key, or would lose at its ends, and what marks it.
const NOT_IN_HEADERS: AsciiSet = CONTROLS.add(b' ').add(b'%');

/// How long the provider may take to begin its answer, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;
/// Bytes of an answer that are read: a reason is a sentence.
const MAX_ANSWER: u64 = 4096;

/// What the provider says to a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The amount is held.
    Approved,
    /// It isn't, for this reason, and won't be.
    Declined(String),
    /// No answer: the amount may be held or not.
    Silent,
}

/// Asks for an amount to be held.
pub fn authorize(charge: &Charge, key: &str) -> Decision {
    let Some(answer) = ask(charge, key) else { return Decision::Silent };
    match answer.status() {
        200 | 201 => Decision::Approved,
        402 => Decision::Declined(reason(&answer).unwrap_or_else(|| "the provider declined the charge".to_owned())),
        _ => Decision::Silent,
    }
}

/// The answer, if there is one: without an address or a key, as without an answer, nothing is known.
fn ask(charge: &Charge, key: &str) -> Option<IncomingResponse> {
    let (provider, secret) = (setting("provider")?, setting("api_key")?);
    let (scheme, rest) = provider.split_once("://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { "/charges".to_owned() } else { format!("/{path}/charges") };
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };

    let body = body(charge).to_string();
    let fields = [
        ("authorization", format!("Bearer {secret}")),
        ("content-type", "application/json".to_owned()),
        ("content-length", body.len().to_string()),
        ("idempotency-key", utf8_percent_encode(key, &NOT_IN_HEADERS).to_string()),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    let request = OutgoingRequest::new(Fields::from_list(&fields).ok()?);
    request.set_method(&HttpMethod::Post).ok()?;
    request.set_scheme(Some(&scheme)).ok()?;
    request.set_authority(Some(authority)).ok()?;
    request.set_path_with_query(Some(&path)).ok()?;
    let outgoing = request.body().ok()?;
    let options = RequestOptions::new();
    options.set_first_byte_timeout(Some(PATIENCE)).ok()?;
    let pending = handle(request, Some(options)).ok()?;
    let stream = outgoing.write().ok()?;
    // A stream takes at most 4 KiB at once, and a charge's texts are bounded far below.
    stream.blocking_write_and_flush(body.as_bytes()).ok()?;
    drop(stream);
    OutgoingBody::finish(outgoing, None).ok()?;
    pending.subscribe().block();
    pending.get()?.ok()?.ok()
}

fn setting(key: &str) -> Option<String> {
    store::get(key).ok()?
}

fn body(charge: &Charge) -> Value {
    let method = match &charge.method {
        Method::Card(token) => json!({ "card": token }),
        Method::Wallet(id) => json!({ "wallet": id }),
        Method::Invoice => json!("invoice"),
    };
    let amount = json!({ "currency": charge.amount.currency, "minor": charge.amount.minor });
    json!({ "amount": amount, "method": method, "reference": charge.reference })
}

/// `{"reason": "…"}`, where the answer is that.
fn reason(answer: &IncomingResponse) -> Option<String> {
    let body = answer.consume().ok()?;
    let bytes = body.stream().ok()?.blocking_read(MAX_ANSWER).ok()?;
    let answer: Value = serde_json::from_slice(&bytes).ok()?;
    Some(answer["reason"].as_str()?.to_owned())
}
