//! The whole shop in one native process: implements the ports of orders with the services of payments and notifications.

use shop_common::Platform;
use shop_notifications::model as told;
use shop_notifications::service::Notifications as NotificationService;
use shop_orders::model::PaymentMethod;
use shop_orders::ports::{Charge, Notice, Notifications, NotifyError, Payment, PaymentError, PaymentStatus, Payments};
use shop_payments::model as paid;
use shop_payments::service::Payments as PaymentService;

/// The payments service in the same process.
#[derive(Clone)]
pub(crate) struct NativePayments<P>(pub(crate) PaymentService<P>);

impl<P: Platform> Payments for NativePayments<P> {
    fn authorize(&self, charge: &Charge, key: &str) -> Result<Payment, PaymentError> {
        let charge = paid::Charge {
            amount: charge.amount.clone(),
            method: match charge.method.clone() {
                PaymentMethod::Card(token) => paid::Method::Card(token),
                PaymentMethod::Wallet(id) => paid::Method::Wallet(id),
                PaymentMethod::Invoice => paid::Method::Invoice,
            },
            reference: charge.reference.clone(),
        };
        self.0.authorize(charge, key).map(payment).map_err(refusal)
    }

    fn capture(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        self.0.capture(id, key).map(payment).map_err(refusal)
    }

    fn refund(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        self.0.refund(id, key).map(payment).map_err(refusal)
    }

    fn get(&self, id: &str) -> Result<Payment, PaymentError> {
        self.0.get(id).map(payment).map_err(refusal)
    }
}

fn payment(payment: paid::Payment) -> Payment {
    let status = match payment.status {
        paid::Status::Authorized => PaymentStatus::Authorized,
        paid::Status::Captured => PaymentStatus::Captured,
        paid::Status::Refunded => PaymentStatus::Refunded,
    };
    Payment { id: payment.id, status }
}

fn refusal(error: paid::Error) -> PaymentError {
    match error {
        paid::Error::Declined(reason) => PaymentError::Declined(reason),
        paid::Error::Invalid(field) => PaymentError::Declined(field.to_string()),
        paid::Error::Unavailable(reason) => PaymentError::Unavailable(reason),
        paid::Error::Storage(_) => PaymentError::Unavailable(error.to_string()),
        paid::Error::Conflict(_) | paid::Error::NotFound(_) => PaymentError::Refused(error.to_string()),
    }
}

/// The notifications service in the same process.
#[derive(Clone)]
pub(crate) struct NativeNotifications<P>(pub(crate) NotificationService<P>);

impl<P: Platform> Notifications for NativeNotifications<P> {
    fn notify(&self, notice: &Notice, key: &str) -> Result<(), NotifyError> {
        let field = |name: &str, value: &str| told::Field { name: name.to_owned(), value: value.to_owned() };
        let notice = told::Notice {
            recipient: notice.customer.clone(),
            template: notice.event.template().to_owned(),
            fields: vec![field("order", &notice.order), field("total", &notice.total)],
        };
        self.0.notify(notice, key).map(|_| ()).map_err(|error| NotifyError(error.to_string()))
    }
}
