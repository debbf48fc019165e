//! The payment provider's events: checks that the provider signed them, and applies each once.
//!
//! The signature stands over the body as it was sent, so nothing here parses a body before its signature is checked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac_sha256::HMAC;
use serde::Deserialize;
use serde_json::value::RawValue;
use shop_common::field::check_text;
use shop_common::time::timestamp;
use shop_common::{Level, Platform, SqlError, Statements};

use crate::model::{self, State, Status, Step};

/// The name of the secret with which the provider signs.
pub const KEY: &str = "webhook_key";
/// The maximum difference between the time of sending and the module's clock. A recorded event cannot be sent again later.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// The maximum length of an event, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The maximum number of signatures of one event: the provider sends several while it changes its secret.
const MAX_SIGNATURES: usize = 8;
/// The maximum length of an event's id, of its type and of an id in its data, in bytes.
const MAX_TEXT: usize = 128;
/// The type of the event by which the provider says that it gave an amount back.
const REFUNDED: &str = "payment.refunded";

/// The effect of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The event changed a payment.
    Applied,
    /// The event was received before.
    Repeated,
    /// There is nothing to do.
    Ignored,
}

/// A reason for which an event is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The signature is malformed, is not of these five minutes, or does not fit the body.
    #[error("the signature {0}")]
    Signature(&'static str),
    /// The body is signed, but is no event.
    #[error("no event: {0}")]
    Malformed(String),
    /// The payment with this id is not captured yet.
    #[error("the payment {0} is not captured yet")]
    TooEarly(String),
    /// There is no secret, or the database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// The receiver of events, with its platform.
#[derive(Debug, Clone)]
pub struct Webhooks<P> {
    platform: P,
}

impl<P: Platform> Webhooks<P> {
    /// Creates the receiver. It changes payments in the platform's database.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Takes an event. `key` is the provider's secret, `body` the event as it was sent, and `signature` is `t=SECONDS,v1=HEX`.
    ///
    /// # Errors
    ///
    /// There is no key, the signature is bad, the body is no event, the event comes too early, or the database fails.
    pub fn receive(&self, key: Option<&str>, body: &[u8], signature: &str) -> Result<Outcome, Error> {
        // Everybody can sign with an empty key.
        let key = key.filter(|key| !key.is_empty()).ok_or(Error::Unavailable("no key for events is configured"))?;
        if body.len() > MAX_BODY {
            return Err(Error::Malformed(format!("it has more than {MAX_BODY} bytes")));
        }
        Signature::read(signature)?.check(key, body, self.platform.now())?;
        let event = Event::read(body)?;
        if event.kind != REFUNDED {
            return Ok(Outcome::Ignored);
        }
        let refunded = Refunded::read(&event)?;
        let outcome = self.platform.transaction(|transaction| refund(transaction, &event, &refunded, &self.now()))?;
        if outcome == Outcome::Applied {
            self.platform.log(Level::Info, "payments", &format!("{} refunded by the provider", refunded.payment));
        }
        Ok(outcome)
    }

    fn now(&self) -> String {
        timestamp(self.platform.now())
    }
}

/// Applies an event that says that a payment was refunded. An error rolls the transaction back, so that the event counts as new again.
fn refund(sql: &impl Statements, event: &Event<'_>, refunded: &Refunded, now: &str) -> Result<Outcome, Error> {
    let payment = &refunded.payment;
    if !model::insert_event(sql, &event.id, &event.kind, payment, now)? {
        return Ok(Outcome::Repeated);
    }
    if model::step(sql, Step::Refund, payment, &format!("event:{}", event.id))? {
        return Ok(Outcome::Applied);
    }
    match model::find(sql, payment)?.map(|record| record.state) {
        Some(State::Standing(Status::Authorized)) => Err(Error::TooEarly(payment.clone())),
        _ => Ok(Outcome::Ignored),
    }
}

/// A signature that was read and not checked yet.
struct Signature<'a> {
    /// The time of sending, in seconds since 1970, as it was written.
    time: &'a str,
    codes: Vec<Vec<u8>>,
}

impl<'a> Signature<'a> {
    fn read(text: &'a str) -> Result<Self, Error> {
        const MALFORMED: Error = Error::Signature("must be t=SECONDS,v1=HEX");
        let (mut time, mut codes) = (None, Vec::new());
        for field in text.split(',') {
            match field.trim_ascii().split_once('=').ok_or(MALFORMED)? {
                ("t", seconds) => {
                    if time.replace(seconds).is_some() {
                        return Err(MALFORMED);
                    }
                }
                ("v1", code) => codes.push(hex::decode(code).map_err(|_| MALFORMED)?),
                _ => {}
            }
            if codes.len() > MAX_SIGNATURES {
                return Err(MALFORMED);
            }
        }
        let is_number = |time: &&str| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
        match time.filter(is_number) {
            Some(time) if !codes.is_empty() => Ok(Self { time, codes }),
            _ => Err(MALFORMED),
        }
    }

    /// Checks the signature of a body at the time `now`.
    fn check(&self, key: &str, body: &[u8], now: SystemTime) -> Result<(), Error> {
        let mut expected = HMAC::new(key);
        expected.update(self.time);
        expected.update(b".");
        expected.update(body);
        // The comparison takes the same time for every wrong code.
        let fits = |code: &Vec<u8>| code.as_slice().try_into().is_ok_and(|code| expected.clone().finalize_verify(code));
        if !self.codes.iter().any(fits) {
            return Err(Error::Signature("does not fit the body"));
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let sent = Duration::from_secs(self.time.parse().unwrap_or(u64::MAX));
        if now.abs_diff(sent) <= TOLERANCE { Ok(()) } else { Err(Error::Signature("is not of these five minutes")) }
    }
}

/// An event of the provider.
#[derive(Deserialize)]
struct Event<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// What the event is about, as JSON: each type has its own.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> Event<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Error> {
        let event: Self = serde_json::from_slice(body).map_err(|error| Error::Malformed(error.to_string()))?;
        check("id", &event.id)?;
        check("type", &event.kind)?;
        Ok(event)
    }
}

/// The data of an event that says that a payment was refunded.
#[derive(Deserialize)]
struct Refunded {
    /// The id of the payment.
    payment: String,
}

impl Refunded {
    fn read(event: &Event<'_>) -> Result<Self, Error> {
        let data = event.data.map_or("null", RawValue::get);
        let refunded: Self = serde_json::from_str(data).map_err(|error| Error::Malformed(format!("data: {error}")))?;
        check("data.payment", &refunded.payment)?;
        Ok(refunded)
    }
}

fn check(field: &str, text: &str) -> Result<(), Error> {
    check_text(field, text, MAX_TEXT).map_err(|invalid| Error::Malformed(invalid.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The body, the time and the code of an event that was signed with OpenSSL:
    /// `printf '1700000000.{"id":"e"}' | openssl dgst -sha256 -hmac hush`.
    const BODY: &[u8] = br#"{"id":"e"}"#;
    const TIME: u64 = 1_700_000_000;
    const CODE: &str = "3c1ace3558c057e4990e96e92c8ea53ec62d1e50bd3d1eb13524ea15d9606c11";

    fn checked(signature: &str, key: &str, body: &[u8], at: u64) -> Result<(), Error> {
        Signature::read(signature)?.check(key, body, UNIX_EPOCH + Duration::from_secs(at))
    }

    #[test]
    fn a_signature_fits_its_body_its_key_and_its_time() {
        let signed = format!("t={TIME},v1={CODE}");
        let ok = |at| checked(&signed, "hush", BODY, at);
        for at in [TIME - 300, TIME, TIME + 300] {
            assert_eq!(ok(at), Ok(()));
        }
        for at in [0, TIME - 301, TIME + 301] {
            assert_eq!(ok(at), Err(Error::Signature("is not of these five minutes")));
        }
        let wrong = Err(Error::Signature("does not fit the body"));
        assert_eq!(checked(&signed, "other", BODY, TIME), wrong);
        assert_eq!(checked(&signed, "hush", b"{\"id\": \"e\"}", TIME), wrong);
        assert_eq!(checked(&format!("t=1700000001,v1={CODE}"), "hush", BODY, TIME), wrong);
        assert_eq!(checked(&format!("t={TIME},v1={}", &CODE[2..]), "hush", BODY, TIME), wrong);
        // While the provider changes its key, one of several signatures fits. Fields of other names are skipped.
        let several = format!("t={TIME}, v0=zz, v1={}, v1={CODE}", "00".repeat(32));
        assert_eq!(checked(&several, "hush", BODY, TIME), Ok(()));
    }

    #[test]
    fn a_malformed_signature_is_told() {
        let many = format!("t=1{}", ",v1=00".repeat(9));
        let texts = ["", "t", "t=1", "v1=00", "t=,v1=00", "t=-1,v1=00", "t=1,t=1,v1=00", "t=1,v1=0", "t=1,v1=zz"];
        for text in texts.into_iter().chain([many.as_str()]) {
            assert_eq!(Signature::read(text).err(), Some(Error::Signature("must be t=SECONDS,v1=HEX")), "{text}");
        }
        assert!(checked("t=99999999999999999999,v1=00", "hush", BODY, TIME).is_err());
    }
}
