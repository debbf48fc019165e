//! Implements the exported contracts with the service. It contains no business rules.

use shop_common::Config as _;
use shop_common::component::Host;

use crate::bindings::exports::shop::payments::{payments as contract, webhooks as events};
use crate::model::{Charge, Error, Method, Payment, Status};
use crate::service::Payments;
use crate::webhooks::{self, Outcome, Webhooks};

/// The type that implements the component's exports.
pub(crate) struct Component;

fn payments() -> Payments<Host> {
    Payments::new(Host::connect())
}

impl contract::Guest for Component {
    fn authorize(charge: contract::Charge, idempotency_key: String) -> Result<contract::Payment, contract::Error> {
        Ok(payments().authorize(charge.into(), &idempotency_key)?.into())
    }

    fn capture(id: String, idempotency_key: String) -> Result<contract::Payment, contract::Error> {
        Ok(payments().capture(&id, &idempotency_key)?.into())
    }

    fn refund(id: String, idempotency_key: String) -> Result<contract::Payment, contract::Error> {
        Ok(payments().refund(&id, &idempotency_key)?.into())
    }

    fn get_payment(id: String) -> Result<contract::Payment, contract::Error> {
        Ok(payments().get(&id)?.into())
    }
}

impl events::Guest for Component {
    fn receive(body: Vec<u8>, signature: String) -> Result<events::Outcome, events::Error> {
        let host = Host::connect();
        let key = host.setting(webhooks::KEY).map_err(|error| events::Error::Unavailable(error.to_string()))?;
        Ok(match Webhooks::new(host).receive(key.as_deref(), &body, &signature)? {
            Outcome::Applied => events::Outcome::Applied,
            Outcome::Repeated => events::Outcome::Repeated,
            Outcome::Ignored => events::Outcome::Ignored,
        })
    }
}

impl From<contract::Charge> for Charge {
    fn from(charge: contract::Charge) -> Self {
        Self { amount: charge.amount.into(), method: charge.method.into(), reference: charge.reference }
    }
}

impl From<contract::Method> for Method {
    fn from(method: contract::Method) -> Self {
        match method {
            contract::Method::Card(token) => Self::Card(token),
            contract::Method::Wallet(id) => Self::Wallet(id),
            contract::Method::Invoice => Self::Invoice,
        }
    }
}

impl From<Method> for contract::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Card(token) => Self::Card(token),
            Method::Wallet(id) => Self::Wallet(id),
            Method::Invoice => Self::Invoice,
        }
    }
}

impl From<Payment> for contract::Payment {
    fn from(payment: Payment) -> Self {
        Self {
            id: payment.id,
            reference: payment.charge.reference,
            amount: payment.charge.amount.into(),
            method: payment.charge.method.into(),
            status: match payment.status {
                Status::Authorized => contract::Status::Authorized,
                Status::Captured => contract::Status::Captured,
                Status::Refunded => contract::Status::Refunded,
            },
            created_at: payment.created_at,
        }
    }
}

/// Converts an error for callers. A database error is logged here, and its cause is not passed on.
impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(id) => Self::NotFound(id),
            Error::Invalid(field) => Self::Invalid(field.into()),
            Error::Declined(reason) => Self::Declined(reason),
            Error::Conflict(reason) => Self::Conflict(reason),
            Error::Unavailable(reason) => Self::Unavailable(reason),
            Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}

/// Converts an error for the provider. A database error is logged here, and its cause is not passed on.
impl From<webhooks::Error> for events::Error {
    fn from(error: webhooks::Error) -> Self {
        match error {
            webhooks::Error::Signature(reason) => Self::BadSignature(reason.to_owned()),
            webhooks::Error::Malformed(reason) => Self::Malformed(reason),
            webhooks::Error::TooEarly(id) => Self::TooEarly(format!("the payment {id} is not captured yet")),
            webhooks::Error::Unavailable(reason) => Self::Unavailable(reason.to_owned()),
            webhooks::Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}
