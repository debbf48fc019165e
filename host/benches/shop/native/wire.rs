//! The shop's JSON, converted by derived code, and its errors as problem details.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use shop_common::Money;
use shop_orders::model::{Draft, Error, Line, NoticeStatus, Order, OrderStatus, PaymentMethod};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DraftJson {
    customer: String,
    lines: Vec<LineJson>,
    payment: PaymentJson,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineJson {
    sku: String,
    quantity: u32,
    unit_price: MoneyJson,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyJson {
    currency: String,
    minor: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum PaymentJson {
    Card(String),
    Wallet(String),
    Invoice,
}

#[derive(Serialize)]
pub(super) struct OrderJson {
    id: String,
    customer: String,
    status: &'static str,
    lines: Vec<LineJson>,
    total: MoneyJson,
    payment_id: Option<String>,
    notice: &'static str,
    created_at: String,
}

impl From<DraftJson> for Draft {
    fn from(draft: DraftJson) -> Self {
        let line = |line: LineJson| Line { sku: line.sku, quantity: line.quantity, unit_price: line.unit_price.into() };
        Self {
            customer: draft.customer,
            lines: draft.lines.into_iter().map(line).collect(),
            payment: match draft.payment {
                PaymentJson::Card(token) => PaymentMethod::Card(token),
                PaymentJson::Wallet(id) => PaymentMethod::Wallet(id),
                PaymentJson::Invoice => PaymentMethod::Invoice,
            },
        }
    }
}

impl From<Order> for OrderJson {
    fn from(order: Order) -> Self {
        let line = |line: Line| LineJson { sku: line.sku, quantity: line.quantity, unit_price: line.unit_price.into() };
        Self {
            id: order.id,
            customer: order.customer,
            status: match order.status {
                OrderStatus::Pending => "pending",
                OrderStatus::Paid => "paid",
                OrderStatus::Declined => "declined",
                OrderStatus::Cancelled => "cancelled",
            },
            lines: order.lines.into_iter().map(line).collect(),
            total: order.total.into(),
            payment_id: order.payment_id,
            notice: match order.notice {
                NoticeStatus::Pending => "pending",
                NoticeStatus::Sent => "sent",
            },
            created_at: order.created_at,
        }
    }
}

impl From<MoneyJson> for Money {
    fn from(money: MoneyJson) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<Money> for MoneyJson {
    fn from(money: Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

/// An error that is sent as problem details.
pub(super) struct Problem(Error);

#[derive(Serialize)]
struct Details {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = match &self.0 {
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "Invalid"),
            Error::Declined(_) => (StatusCode::PAYMENT_REQUIRED, "declined", "Declined"),
            Error::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Error::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
            Error::Storage(_) => (StatusCode::INTERNAL_SERVER_ERROR, "storage", "Storage"),
        };
        let details =
            Details { r#type: format!("/problems/{name}"), title, status: status.as_u16(), detail: self.0.to_string() };
        let kind = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, kind)], Json(details)).into_response()
    }
}
