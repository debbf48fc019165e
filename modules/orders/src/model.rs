//! The data types of orders.

use shop_common::{Invalid, Money, SqlError};

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The article number.
    pub sku: String,
    /// The number of pieces.
    pub quantity: u32,
    /// The price of one piece.
    pub unit_price: Money,
}

/// The way in which a customer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentMethod {
    /// The customer pays by card. The text is a token for the card.
    Card(String),
    /// The customer pays from a wallet. The text is the id of the wallet.
    Wallet(String),
    /// The customer pays later, by invoice.
    Invoice,
}

/// An order that a customer wants to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The customer who orders.
    pub customer: String,
    /// The lines of the order.
    pub lines: Vec<Line>,
    /// The account to charge.
    pub payment: PaymentMethod,
}

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// The order is stored, but it is not known whether the charge succeeded.
    Pending,
    /// The order is charged.
    Paid,
    /// The charge was declined. Nothing was taken.
    Declined,
    /// The order is cancelled. An amount that was captured is refunded.
    Cancelled,
}

impl OrderStatus {
    /// Returns the contract's name of the status, which the database also stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether the customer has been notified of a paid order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeStatus {
    /// The customer has not been notified yet.
    Pending,
    /// The customer has been notified.
    Sent,
}

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The id of the order: a ULID.
    pub id: String,
    /// The customer who ordered.
    pub customer: String,
    /// The current status of the order.
    pub status: OrderStatus,
    /// The lines of the order.
    pub lines: Vec<Line>,
    /// The total over the lines.
    pub total: Money,
    /// The id of the payment that charged the order. `None` until the order is charged.
    pub payment_id: Option<String>,
    /// Whether the customer has been notified that the order is paid.
    pub notice: NoticeStatus,
    /// The time at which the order was stored.
    pub created_at: String,
}

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No order has this id.
    #[error("there is no order {0}")]
    NotFound(String),
    /// A field is not valid.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The charge was declined, with the provider's reason.
    #[error("declined: {0}")]
    Declined(String),
    /// The idempotency key belongs to another draft, or the order's status does not allow the step.
    #[error("conflict: {0}")]
    Conflict(String),
    /// Payments or the database are temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// An order with the data that only this module knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) order: Order,
    /// The account to charge.
    pub(crate) payment: PaymentMethod,
    /// The reason for which the charge was declined. `None` if it was not.
    pub(crate) decline_reason: Option<String>,
    /// Whether the order is cancelled, but the customer's money may still have to be refunded.
    pub(crate) refund_due: bool,
    /// The time at which the order was cancelled. `None` if it was not, or if a build before this column existed cancelled it.
    pub(crate) cancelled_at: Option<String>,
}

impl Record {
    /// Returns whether two records were created from the same draft.
    pub(crate) fn is_same_request(&self, other: &Record) -> bool {
        let (one, two) = (&self.order, &other.order);
        one.customer == two.customer && one.lines == two.lines && self.payment == other.payment
    }

    /// Returns whether no step of the order is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        match self.order.status {
            OrderStatus::Pending => false,
            OrderStatus::Paid => self.order.notice == NoticeStatus::Sent,
            OrderStatus::Declined => true,
            OrderStatus::Cancelled => !self.refund_due,
        }
    }
}
