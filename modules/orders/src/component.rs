//! Implements the exported contracts with the service. It contains no business rules.

use std::time::Duration;

use shop_common::component::Host;

use crate::bindings::exports::shop::orders::orders as contract;
use crate::bindings::exports::watertight::lifecycle::resume;
use crate::bindings::watertight::lifecycle::requests;
use crate::model::{Draft, Error, Line, NoticeStatus, Order, OrderStatus, PaymentMethod};
use crate::ports::{Notifications, Payments};
use crate::service::Orders;

mod documents;
mod imports;
mod notes;

use imports::{ImportedNotifications, ImportedPayments};

/// The type that implements the component's exports.
pub(crate) struct Component;

/// Returns the service, with the host's capabilities and the modules that the component imports.
pub fn orders() -> Orders<Host, impl Payments + Send + Sync, impl Notifications + Send + Sync> {
    Orders::new(Host::connect(), ImportedPayments, ImportedNotifications)
}

impl contract::Guest for Component {
    fn place_order(
        draft: contract::Draft,
        idempotency_key: Option<String>,
    ) -> Result<contract::Order, contract::Error> {
        Ok(orders().place(draft.into(), idempotency_key.as_deref())?.into())
    }

    fn get_order(id: String) -> Result<contract::Order, contract::Error> {
        Ok(orders().get(&id)?.into())
    }

    fn list_orders(
        customer: String,
        limit: Option<u32>,
        after: Option<String>,
    ) -> Result<contract::OrderPage, contract::Error> {
        let page = orders().list(&customer, limit, after.as_deref())?;
        Ok(contract::OrderPage { items: page.items.into_iter().map(Into::into).collect(), next: page.next })
    }

    fn cancel_order(id: String) -> Result<contract::Order, contract::Error> {
        Ok(orders().cancel(&id)?.into())
    }
}

impl resume::Guest for Component {
    fn resume() -> Result<bool, String> {
        let longest_request = Duration::from_millis(requests::longest());
        orders().resume(longest_request).map_err(|error| match error {
            Error::Storage(cause) => cause.report(&Host::connect()),
            other => other.to_string(),
        })
    }
}

impl From<contract::Draft> for Draft {
    fn from(draft: contract::Draft) -> Self {
        Self {
            customer: draft.customer,
            lines: draft.lines.into_iter().map(Into::into).collect(),
            payment: match draft.payment {
                contract::PaymentMethod::Card(token) => PaymentMethod::Card(token),
                contract::PaymentMethod::Wallet(id) => PaymentMethod::Wallet(id),
                contract::PaymentMethod::Invoice => PaymentMethod::Invoice,
            },
        }
    }
}

impl From<contract::Line> for Line {
    fn from(line: contract::Line) -> Self {
        Self { sku: line.sku, quantity: line.quantity, unit_price: line.unit_price.into() }
    }
}

impl From<Line> for contract::Line {
    fn from(line: Line) -> Self {
        Self { sku: line.sku, quantity: line.quantity, unit_price: line.unit_price.into() }
    }
}

impl From<Order> for contract::Order {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            customer: order.customer,
            status: match order.status {
                OrderStatus::Pending => contract::OrderStatus::Pending,
                OrderStatus::Paid => contract::OrderStatus::Paid,
                OrderStatus::Declined => contract::OrderStatus::Declined,
                OrderStatus::Cancelled => contract::OrderStatus::Cancelled,
            },
            lines: order.lines.into_iter().map(Into::into).collect(),
            total: order.total.into(),
            payment_id: order.payment_id,
            notice: match order.notice {
                NoticeStatus::Pending => contract::NoticeStatus::Pending,
                NoticeStatus::Sent => contract::NoticeStatus::Sent,
            },
            created_at: order.created_at,
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
