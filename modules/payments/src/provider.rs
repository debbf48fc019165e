//! The built-in payment provider. It moves no money: two card tokens fail, so that failures can be tried, and all else succeeds.
//!
//! A real provider gets the idempotency key too, so that a charge that is tried again is made once there as well: see `payments-http`.

use crate::model::{Charge, Method};

/// Whether to look first whether a key is known. This one forgets what it was asked, so that asking again does no harm and a look at
/// the database would only cost.
pub const MOVES_MONEY: bool = false;

/// The card that is always declined.
const DECLINED_TOKEN: &str = "tok_declined";
/// The card for which the provider never answers.
const SILENT_TOKEN: &str = "tok_timeout";

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
pub fn authorize(charge: &Charge, _key: &str) -> Decision {
    match &charge.method {
        Method::Card(token) if token == DECLINED_TOKEN => Decision::Declined("the card was declined".to_owned()),
        Method::Card(token) if token == SILENT_TOKEN => Decision::Silent,
        _ => Decision::Approved,
    }
}
