//! The built-in payment provider. It moves no money. Two card tokens fail, so that failures can be tried; every other charge
//! succeeds.
//!
//! A real provider also gets the idempotency key, so that it makes a repeated charge only once: see `payments-http`.

use crate::model::{Charge, Method};

/// Whether the payments service looks up the idempotency key in the database before it calls the provider. It does not: this provider keeps
/// no state, so repeating a charge does no harm, and the database would only cost time.
pub const MOVES_MONEY: bool = false;

/// The card token for which the provider always declines.
const DECLINED_TOKEN: &str = "tok_declined";
/// The card token for which the provider never responds.
const SILENT_TOKEN: &str = "tok_timeout";

/// The provider's decision on a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The amount is reserved.
    Approved,
    /// The charge is declined for good, for this reason.
    Declined(String),
    /// There is no response. The amount may be reserved or not.
    Silent,
}

/// Asks the provider to reserve the amount of a charge.
pub fn authorize(charge: &Charge, _key: &str) -> Decision {
    match &charge.method {
        Method::Card(token) if token == DECLINED_TOKEN => Decision::Declined("the card was declined".to_owned()),
        Method::Card(token) if token == SILENT_TOKEN => Decision::Silent,
        _ => Decision::Approved,
    }
}
