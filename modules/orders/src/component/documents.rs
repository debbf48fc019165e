//! Implements the contract of documents.

use shop_common::component::Host;

use super::Component;
use crate::bindings::exports::shop::orders::documents as contract;
use crate::documents::{Documents, Error};

impl contract::Guest for Component {
    fn receipt(id: String) -> Result<String, contract::Error> {
        Ok(Documents::new(Host::connect()).receipt(&id)?)
    }

    fn export_orders(customer: String) -> Result<String, contract::Error> {
        Ok(Documents::new(Host::connect()).export(&customer)?)
    }
}

/// Converts an error for callers. A database error is logged here, and its cause is not passed on.
impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(id) => Self::NotFound(id),
            Error::Invalid(field) => Self::Invalid(field.into()),
            Error::NotPaid(status) => Self::NotPaid(format!("an order that is {status} has no receipt")),
            Error::Unavailable(reason) => Self::Unavailable(reason.to_owned()),
            Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}
