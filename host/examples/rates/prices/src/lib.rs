//! The module `prices`: adds amounts of money in different currencies, at the host's rates.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::acme::rates::rates::{self, convert};
use bindings::exports::acme::prices::prices::{Error, Guest, Money};

/// The exports of the component.
pub(crate) struct Component;

impl Guest for Component {
    fn total(amounts: Vec<Money>, currency: String) -> Result<Money, Error> {
        let mut amount = 0_i64;
        for money in amounts {
            let converted = convert(money.amount, &money.currency, &currency).map_err(|error| match error {
                rates::Error::UnknownCurrency(currency) => Error::UnknownCurrency(currency),
                rates::Error::TooManyConversions(limit) => Error::TooMany(limit),
                rates::Error::OutOfRange => Error::OutOfRange,
            })?;
            amount = amount.checked_add(converted).ok_or(Error::OutOfRange)?;
        }
        Ok(Money { amount, currency })
    }
}
