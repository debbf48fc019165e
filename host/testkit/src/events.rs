//! Events of a payment provider, signed as the shop's module of payments expects them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac_sha256::HMAC;

/// Returns the signature of a body that was sent so long ago, with the secret `key`.
///
/// # Panics
///
/// If the clock of this machine is before 1970.
pub fn signature(key: &str, body: &[u8], age: Duration) -> String {
    let seconds = (SystemTime::now() - age).duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut code = HMAC::new(key);
    code.update(format!("{seconds}."));
    code.update(body);
    format!("t={seconds},v1={}", hex::encode(code.finalize()))
}

/// Returns the event by which the provider says that a payment was refunded.
pub fn refunded(id: &str, payment: &str) -> String {
    format!(r#"{{"id": "{id}", "type": "payment.refunded", "data": {{"payment": "{payment}"}}}}"#)
}
