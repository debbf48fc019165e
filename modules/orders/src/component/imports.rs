//! Implements the traits of `ports`, by which orders use other modules, with the contracts that the component imports.

use shop_common::Invalid;

use crate::bindings::shop::notifications::notifications;
use crate::bindings::shop::payments::payments;
use crate::model::PaymentMethod;
use crate::ports::{Charge, Notice, Notifications, NotifyError, Payment, PaymentError, PaymentStatus, Payments};

/// Payments, called through the imported contract.
pub(super) struct ImportedPayments;

impl Payments for ImportedPayments {
    fn authorize(&self, charge: &Charge, key: &str) -> Result<Payment, PaymentError> {
        Ok(payments::authorize(&charge.into(), key)?.into())
    }

    fn capture(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        Ok(payments::capture(id, key)?.into())
    }

    fn refund(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        Ok(payments::refund(id, key)?.into())
    }

    fn get(&self, id: &str) -> Result<Payment, PaymentError> {
        Ok(payments::get_payment(id)?.into())
    }
}

impl From<&Charge> for payments::Charge {
    fn from(charge: &Charge) -> Self {
        Self {
            amount: charge.amount.clone().into(),
            method: match &charge.method {
                PaymentMethod::Card(token) => payments::Method::Card(token.clone()),
                PaymentMethod::Wallet(id) => payments::Method::Wallet(id.clone()),
                PaymentMethod::Invoice => payments::Method::Invoice,
            },
            reference: charge.reference.clone(),
        }
    }
}

impl From<payments::Payment> for Payment {
    fn from(payment: payments::Payment) -> Self {
        let status = match payment.status {
            payments::Status::Authorized => PaymentStatus::Authorized,
            payments::Status::Captured => PaymentStatus::Captured,
            payments::Status::Refunded => PaymentStatus::Refunded,
        };
        Self { id: payment.id, status }
    }
}

impl From<payments::Error> for PaymentError {
    fn from(error: payments::Error) -> Self {
        match error {
            payments::Error::Declined(reason) => Self::Declined(reason),
            // A charge that payments reject as invalid will never be accepted, and nothing was taken for it.
            payments::Error::Invalid(field) => Self::Declined(Invalid::from(field).to_string()),
            payments::Error::Unavailable(reason) | payments::Error::Storage(reason) => Self::Unavailable(reason),
            payments::Error::Conflict(reason) => Self::Refused(reason),
            payments::Error::NotFound(id) => Self::Refused(format!("there is no payment {id}")),
        }
    }
}

/// Notifications, called through the imported contract.
pub(super) struct ImportedNotifications;

impl Notifications for ImportedNotifications {
    fn notify(&self, notice: &Notice, key: &str) -> Result<(), NotifyError> {
        let field = |name: &str, value: &str| notifications::Field { name: name.to_owned(), value: value.to_owned() };
        let notice = notifications::Notice {
            recipient: notice.customer.clone(),
            template: notice.event.template().to_owned(),
            fields: vec![field("order", &notice.order), field("total", &notice.total)],
        };
        match notifications::notify(&notice, key) {
            Ok(_) => Ok(()),
            Err(notifications::Error::Invalid(field)) => Err(NotifyError(Invalid::from(field).to_string())),
            Err(
                notifications::Error::Conflict(reason)
                | notifications::Error::Unavailable(reason)
                | notifications::Error::Storage(reason),
            ) => Err(NotifyError(reason)),
        }
    }
}
