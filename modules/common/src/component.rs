//! Converts the types that modules share between the form in contracts and the form in business rules.

use crate::bindings::shop::common::types;
use crate::{Invalid, Money};

pub use watertight_guest::Host;

impl From<types::Money> for Money {
    fn from(money: types::Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<Money> for types::Money {
    fn from(money: Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<types::InvalidField> for Invalid {
    fn from(invalid: types::InvalidField) -> Self {
        Self { field: invalid.field, reason: invalid.reason }
    }
}

impl From<Invalid> for types::InvalidField {
    fn from(invalid: Invalid) -> Self {
        Self { field: invalid.field, reason: invalid.reason }
    }
}
