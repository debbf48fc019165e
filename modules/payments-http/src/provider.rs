//! The payment provider, called over HTTP: `POST {provider}/charges` with the charge as JSON. The module's configuration has the
//! provider's address as the value `provider`, and the API key as the secret `api_key`.
//!
//! Each request carries the idempotency key, so the provider also makes a repeated charge only once. The key is percent-encoded
//! if a header cannot carry it. Status 200 or 201 means that the amount is reserved; 402 means that the charge is declined for
//! good. Any other response, or none, leaves the outcome unknown.

use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use shop_common::component::Host;
use watertight_guest::http::{Request, Response};
use watertight_guest::{Config, Error, Http};

use crate::model::{Charge, Method};

/// Whether the payments service looks up the idempotency key in the database before it calls the provider. It does: this provider moves
/// money, so a charge whose outcome is known is never sent again.
pub const MOVES_MONEY: bool = true;

/// The characters of a key that are percent-encoded: those that a header cannot carry or would lose at its ends, and `%` itself.
const NOT_IN_HEADERS: AsciiSet = CONTROLS.add(b' ').add(b'%');

/// The time within which the provider must begin its response, and continue it.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    let Ok(answer) = ask(charge, key) else { return Decision::Silent };
    match answer.status {
        200 | 201 => Decision::Approved,
        402 => Decision::Declined(reason(&answer).unwrap_or_else(|| "the provider declined the charge".to_owned())),
        _ => Decision::Silent,
    }
}

/// Sends the charge to the provider. Returns an error if no response arrives, or if the address or the API key is not configured.
fn ask(charge: &Charge, key: &str) -> Result<Response, Error> {
    let host = Host::connect();
    let request = Request::post(format!("{}/charges", host.required("provider")?.trim_end_matches('/')))
        .header("authorization", format!("Bearer {}", host.secret("api_key")?.reveal()))
        .header("idempotency-key", utf8_percent_encode(key, &NOT_IN_HEADERS).to_string())
        .timeout(TIMEOUT);
    Ok(host.send(&request.json(&body(charge))?)?)
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
fn reason(answer: &Response) -> Option<String> {
    let answer: Value = answer.json().ok()?;
    Some(answer["reason"].as_str()?.to_owned())
}
