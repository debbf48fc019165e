//! The interfaces that orders need from other modules, as traits. Every step carries an idempotency key, so it is safe to repeat.

use shop_common::Money;

use crate::model::PaymentMethod;

/// The payments of orders: authorizes, captures and refunds amounts.
pub trait Payments {
    /// Reserves an amount. The same key with the same charge always has the same result.
    ///
    /// # Errors
    ///
    /// The charge is declined, or payments are unavailable.
    fn authorize(&self, charge: &Charge, key: &str) -> Result<Payment, PaymentError>;

    /// Captures a reserved amount.
    ///
    /// # Errors
    ///
    /// The payment is not authorized, or payments are unavailable.
    fn capture(&self, id: &str, key: &str) -> Result<Payment, PaymentError>;

    /// Refunds a captured amount.
    ///
    /// # Errors
    ///
    /// The payment is not captured, or payments are unavailable.
    fn refund(&self, id: &str, key: &str) -> Result<Payment, PaymentError>;

    /// Returns a payment with its current status.
    ///
    /// # Errors
    ///
    /// There is no such payment, or payments are unavailable.
    fn get(&self, id: &str) -> Result<Payment, PaymentError>;
}

/// A charge to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The amount to charge.
    pub amount: Money,
    /// The account to charge.
    pub method: PaymentMethod,
    /// The id of the order.
    pub reference: String,
}

/// A payment that was authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The id of the payment.
    pub id: String,
    /// The current status of the payment.
    pub status: PaymentStatus,
}

/// The status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// The amount is reserved.
    Authorized,
    /// The amount was captured.
    Captured,
    /// The amount was refunded.
    Refunded,
}

/// A reason for which a step of a payment failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The charge was declined for good. Nothing was taken.
    #[error("the charge was declined: {0}")]
    Declined(String),
    /// The outcome is unknown. The same step may succeed later.
    #[error("payments are unavailable: {0}")]
    Unavailable(String),
    /// The payment's status does not allow the step.
    #[error("payments refused the step: {0}")]
    Refused(String),
}

/// The notifications of orders: informs customers.
pub trait Notifications {
    /// Notifies a customer once, even if the call is repeated with the same key.
    ///
    /// # Errors
    ///
    /// The customer could not be notified.
    fn notify(&self, notice: &Notice, key: &str) -> Result<(), NotifyError>;
}

/// A message for a customer about an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The customer to notify.
    pub customer: String,
    /// The event to report.
    pub event: Event,
    /// The id of the order.
    pub order: String,
    /// The total of the order as text for people: `4.50 EUR`.
    pub total: String,
}

/// An event of an order that its customer is notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The order was placed and charged.
    Placed,
    /// The order was cancelled.
    Cancelled,
}

impl Event {
    /// Returns the name of the template for a message about this event.
    pub fn template(self) -> &'static str {
        match self {
            Self::Placed => "order-placed",
            Self::Cancelled => "order-cancelled",
        }
    }
}

/// The error that a customer could not be notified, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the customer could not be notified: {0}")]
pub struct NotifyError(pub String);
