//! Writes orders as JSON: the fields of the contract's records in their order, with names in snake_case.

use serde::Serialize;
use serde_json::Error;
use shop_common::{Money, Paged};
use shop_orders::model::{Line, NoticeStatus, Order, OrderStatus};

#[derive(Serialize)]
struct OrderView<'a> {
    id: &'a str,
    customer: &'a str,
    status: &'static str,
    lines: Vec<LineView<'a>>,
    total: MoneyView<'a>,
    payment_id: Option<&'a str>,
    notice: &'static str,
    created_at: &'a str,
}

#[derive(Serialize)]
struct LineView<'a> {
    sku: &'a str,
    quantity: u32,
    unit_price: MoneyView<'a>,
}

#[derive(Serialize)]
struct MoneyView<'a> {
    currency: &'a str,
    minor: i64,
}

#[derive(Serialize)]
struct PageView<'a> {
    items: Vec<OrderView<'a>>,
    next: Option<&'a str>,
}

impl<'a> From<&'a Order> for OrderView<'a> {
    fn from(order: &'a Order) -> Self {
        Self {
            id: &order.id,
            customer: &order.customer,
            status: match order.status {
                OrderStatus::Pending => "pending",
                OrderStatus::Paid => "paid",
                OrderStatus::Declined => "declined",
                OrderStatus::Cancelled => "cancelled",
            },
            lines: order.lines.iter().map(Into::into).collect(),
            total: (&order.total).into(),
            payment_id: order.payment_id.as_deref(),
            notice: match order.notice {
                NoticeStatus::Pending => "pending",
                NoticeStatus::Sent => "sent",
            },
            created_at: &order.created_at,
        }
    }
}

impl<'a> From<&'a Line> for LineView<'a> {
    fn from(line: &'a Line) -> Self {
        Self { sku: &line.sku, quantity: line.quantity, unit_price: (&line.unit_price).into() }
    }
}

impl<'a> From<&'a Money> for MoneyView<'a> {
    fn from(money: &'a Money) -> Self {
        Self { currency: &money.currency, minor: money.minor }
    }
}

/// The reason why no text, number or list of an order can fail to become JSON.
const PLAIN: &str = "orders are plain JSON";

/// Returns an order as JSON.
pub(crate) fn order(order: &Order) -> Vec<u8> {
    serde_json::to_vec(&OrderView::from(order)).expect(PLAIN)
}

/// Returns a page of orders as JSON.
pub(crate) fn page(page: &Paged<Order>) -> Vec<u8> {
    let items = page.items.iter().map(Into::into).collect();
    serde_json::to_vec(&PageView { items, next: page.next.as_deref() }).expect(PLAIN)
}

/// Returns orders as JSON, each on a line of its own.
pub(crate) fn lines(orders: &[Order]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut line = |order: &Order| -> Result<(), Error> {
        serde_json::to_writer(&mut text, &OrderView::from(order))?;
        text.push(b'\n');
        Ok(())
    };
    orders.iter().try_for_each(&mut line).expect(PLAIN);
    text
}
