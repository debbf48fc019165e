//! What orders need of other modules, in their own words. Each step carries a key, so that it can be repeated.

use shop_common::Money;

use crate::model::PaymentMethod;

/// Takes and gives back money.
pub trait Payments {
    /// Holds an amount. The same key with the same charge always has the same outcome.
    fn authorize(&self, charge: &Charge, key: &str) -> Result<Payment, PaymentError>;

    /// Takes an amount that is held.
    fn capture(&self, id: &str, key: &str) -> Result<Payment, PaymentError>;

    /// Gives an amount back that was taken.
    fn refund(&self, id: &str, key: &str) -> Result<Payment, PaymentError>;

    /// A payment as it stands.
    fn get(&self, id: &str) -> Result<Payment, PaymentError>;
}

/// What is to be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// How much.
    pub amount: Money,
    /// Who is charged.
    pub method: PaymentMethod,
    /// The order's id.
    pub reference: String,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: PaymentStatus,
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStatus {
    /// The amount is held.
    Authorized,
    /// The amount was taken.
    Captured,
    /// The amount was given back.
    Refunded,
}

/// Why a payment's step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// It never will be; nothing was taken.
    #[error("declined: {0}")]
    Declined(String),
    /// It may have been or not; the same step may succeed later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The payment doesn't stand where the step begins.
    #[error("refused: {0}")]
    Refused(String),
}

/// Tells customers.
pub trait Notifications {
    /// Tells a customer once, however often it is repeated with the same key.
    fn notify(&self, notice: &Notice, key: &str) -> Result<(), NotifyError>;
}

/// What a customer is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who.
    pub customer: String,
    /// What happened.
    pub event: Event,
    /// The order's id.
    pub order: String,
    /// The order's total, as people read it.
    pub total: String,
}

/// What can happen to an order that a customer wants to know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was placed and charged.
    Placed,
    /// It was called off.
    Cancelled,
}

impl Event {
    /// The name of the template that tells it.
    pub fn template(self) -> &'static str {
        match self {
            Self::Placed => "order-placed",
            Self::Cancelled => "order-cancelled",
        }
    }
}

/// Why a customer couldn't be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not notified: {0}")]
pub struct NotifyError(pub String);
