//! The payment provider, called over HTTP: `POST {provider}/charges` with the charge as JSON. The module's configuration has the
//! provider's address as the value `provider`, and the API key as the secret `api_key`.
//!
//! Each request carries the idempotency key, so the provider also makes a repeated charge only once. The key is percent-encoded
//! if a header cannot carry it. Status 200 or 201 means that the amount is reserved; 402 means that the charge is declined for
//! good. Any other response, or none, leaves the outcome unknown.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, IncomingResponse, Method as HttpMethod, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};

use crate::bindings::wasi::config::store;
use crate::model::{Charge, Method};

/// Whether the payments service looks up the idempotency key in the database before it calls the provider. It does: this provider moves
/// money, so a charge whose outcome is known is never sent again.
pub const MOVES_MONEY: bool = true;

/// The characters of a key that are percent-encoded: those that a header cannot carry or would lose at its ends, and `%` itself.
const NOT_IN_HEADERS: AsciiSet = CONTROLS.add(b' ').add(b'%');

/// The time within which the provider must begin its response, in nanoseconds.
const RESPONSE_TIMEOUT: u64 = 5_000_000_000;
/// The maximum number of bytes of a response's body that are read: enough for a reason of one sentence.
const MAX_ANSWER: u64 = 4096;

/// The provider's decision on a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The amount is reserved.
    Approved,
    /// The charge is declined for good, for this reason.
    Declined(String),
    /// There is no usable response. The amount may be reserved or not.
    Silent,
}

/// Asks the provider to reserve the amount of a charge. `key` is the idempotency key.
pub fn authorize(charge: &Charge, key: &str) -> Decision {
    let Some(answer) = ask(charge, key) else { return Decision::Silent };
    match answer.status() {
        200 | 201 => Decision::Approved,
        402 => Decision::Declined(reason(&answer).unwrap_or_else(|| "the provider declined the charge".to_owned())),
        _ => Decision::Silent,
    }
}

/// Sends the charge to the provider. Returns `None` if no response arrives, or if the address or the API key is not configured.
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
    options.set_first_byte_timeout(Some(RESPONSE_TIMEOUT)).ok()?;
    let pending = handle(request, Some(options)).ok()?;
    let stream = outgoing.write().ok()?;
    // A stream accepts up to 4 KiB at once. The texts of a charge are bounded far below that.
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

/// Returns the reason from a response body of the form `{"reason": "…"}`.
fn reason(answer: &IncomingResponse) -> Option<String> {
    let body = answer.consume().ok()?;
    let bytes = body.stream().ok()?.blocking_read(MAX_ANSWER).ok()?;
    let answer: Value = serde_json::from_slice(&bytes).ok()?;
    Some(answer["reason"].as_str()?.to_owned())
}
