//! What orders are made of.

use shop_common::{Invalid, Money, SqlError};

/// One position of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What is bought.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// The price of one piece.
    pub unit_price: Money,
}

/// How the customer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentMethod {
    /// A token that stands for a card.
    Card(String),
    /// The id of a wallet.
    Wallet(String),
    /// Pays later, on an invoice.
    Invoice,
}

/// An order that a customer wants to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who orders.
    pub customer: String,
    /// What is ordered.
    pub lines: Vec<Line>,
    /// Who is charged.
    pub payment: PaymentMethod,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStatus {
    /// Written down; the charge is not known to have succeeded yet.
    Pending,
    /// The charge succeeded.
    Paid,
    /// The charge was declined; nothing was taken.
    Declined,
    /// Called off; what was taken is given back.
    Cancelled,
}

/// Whether the customer was told of a paid order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeStatus {
    /// Not yet.
    Pending,
    /// Yes.
    Sent,
}

/// An order that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// A ULID.
    pub id: String,
    /// Who ordered.
    pub customer: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// The sum over the lines.
    pub total: Money,
    /// The payment that it was charged by.
    pub payment_id: Option<String>,
    /// Whether the customer was told.
    pub notice: NoticeStatus,
    /// When it was written down.
    pub created_at: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such order.
    #[error("there is no order {0}")]
    NotFound(String),
    /// A field can't be accepted.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The charge was declined.
    #[error("declined: {0}")]
    Declined(String),
    /// The key belongs to another draft, or the order's status forbids the step.
    #[error("conflict: {0}")]
    Conflict(String),
    /// Payments or the database don't answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        if error.is_passing() { Self::Unavailable("the database is busy".to_owned()) } else { Self::Storage(error) }
    }
}

/// An order with what only this module knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) order: Order,
    /// Who is charged.
    pub(crate) payment: PaymentMethod,
    /// Why the charge was declined, where it was.
    pub(crate) decline_reason: Option<String>,
    /// Called off, and not known yet that nothing of the customer's is kept.
    pub(crate) refund_due: bool,
    /// When it was called off, where that was written down: builds before the column didn't.
    pub(crate) cancelled_at: Option<String>,
}

impl Record {
    /// Whether the same draft made both.
    pub(crate) fn is_same_request(&self, other: &Record) -> bool {
        let (one, two) = (&self.order, &other.order);
        one.customer == two.customer && one.lines == two.lines && self.payment == other.payment
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_finished(&self) -> bool {
        match self.order.status {
            OrderStatus::Pending => false,
            OrderStatus::Paid => self.order.notice == NoticeStatus::Sent,
            OrderStatus::Declined => true,
            OrderStatus::Cancelled => !self.refund_due,
        }
    }
}
