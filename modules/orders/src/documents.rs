//! Orders as documents: the receipt of an order as an HTML page, and the lines of a customer's orders as CSV.

use csv::{Terminator, Writer, WriterBuilder};
use shop_common::field::check_text;
use shop_common::{Invalid, Page, Sql, SqlError};

use crate::model::{Line, Order, OrderStatus};
use crate::store;

/// The maximum length of the customer's name, in bytes.
const MAX_CUSTOMER: usize = 128;
/// The number of orders that are read at once. With the maximum of lines, so many take 7 MB of SQL values.
const PAGE: u32 = 100;
/// The maximum number of lines of an export, without the names of the columns. So many take at most 2 MB.
pub const MAX_LINES: usize = 10_000;
/// The names of the columns of an export.
const COLUMNS: [&str; 8] = ["order", "created_at", "status", "line", "sku", "quantity", "unit_price", "currency"];
/// The first characters of a text that a spreadsheet takes for a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// The style of a receipt.
const STYLE: &str = "body { font-family: sans-serif; max-width: 40rem; margin: 2rem auto }
table { width: 100%; border-collapse: collapse } th, td { text-align: left; padding: .3rem } td.number, th.number { text-align: right }";

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No order has this id.
    #[error("there is no order {0}")]
    NotFound(String),
    /// An argument is not valid.
    #[error("an argument can't be accepted")]
    Invalid(#[from] Invalid),
    /// The order is not paid: it has this status.
    #[error("the order is {0}")]
    NotPaid(&'static str),
    /// The database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// Makes documents of the orders in a database.
#[derive(Debug, Clone)]
pub struct Documents<S> {
    sql: S,
}

impl<S: Sql> Documents<S> {
    /// Creates the service.
    pub fn new(sql: S) -> Self {
        Self { sql }
    }

    /// Returns the receipt of a paid order: an HTML page.
    ///
    /// # Errors
    ///
    /// There is no such order, it is not paid, or the database fails.
    pub fn receipt(&self, id: &str) -> Result<String, Error> {
        let order = store::find(&self.sql, id)?.ok_or_else(|| Error::NotFound(id.to_owned()))?.order;
        match order.status {
            OrderStatus::Paid => Ok(page(&order)),
            other => Err(Error::NotPaid(other.as_str())),
        }
    }

    /// Returns the lines of a customer's orders as CSV, newest order first. Ends before the first order that would make the export longer
    /// than [`MAX_LINES`].
    ///
    /// # Errors
    ///
    /// The customer's name is not valid, or the database fails.
    pub fn export(&self, customer: &str) -> Result<String, Error> {
        check_text("customer", customer, MAX_CUSTOMER)?;
        let mut sheet = Sheet::new();
        let mut after = None;
        loop {
            let page = Page::new(Some(PAGE), after.as_deref())?;
            let found = store::list(&self.sql, customer, &page)?.into_iter().map(|record| record.order).collect();
            let orders = page.cut(found, |order: &Order| &order.id);
            let is_full = !orders.items.iter().all(|order| sheet.add(order));
            after = orders.next;
            if is_full || after.is_none() {
                return Ok(sheet.finish());
            }
        }
    }
}

/// Returns the receipt of an order.
fn page(order: &Order) -> String {
    let mut lines = String::new();
    for line in &order.lines {
        let (sku, price, sum) = (escaped(&line.sku), escaped(&line.unit_price), escaped(&sum(line)));
        let numbers =
            [escaped(&line.quantity), price, sum].map(|text| format!("<td class=\"number\">{text}</td>")).concat();
        lines += &format!("<tr><td>{sku}</td>{numbers}</tr>\n");
    }
    let paid =
        order.payment_id.as_ref().map(|id| format!("<p>Paid, payment {}</p>\n", escaped(id))).unwrap_or_default();
    let (id, customer, time) = (escaped(&order.id), escaped(&order.customer), escaped(&order.created_at));
    let total = escaped(&order.total);
    format!(
        "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>Receipt {id}</title>
<style>
{STYLE}
</style>
</head>
<body>
<h1>Receipt</h1>
<p>Order {id} of {customer}, <time datetime=\"{time}\">{time}</time></p>
<table>
<tr><th>Article</th><th class=\"number\">Pieces</th><th class=\"number\">Price</th><th class=\"number\">Sum</th></tr>
{lines}<tr><th colspan=\"3\">Total</th><th class=\"number\">{total}</th></tr>
</table>
{paid}</body>
</html>
"
    )
}

/// Returns a value as text of HTML, also within the quotes of an attribute. Every value of a page goes through this.
fn escaped(value: &impl ToString) -> String {
    html_escape::encode_quoted_attribute(&value.to_string()).into_owned()
}

/// Returns the price of all pieces of a line. A stored order has a total, so none of its sums overflows.
fn sum(line: &Line) -> String {
    line.unit_price.times(line.quantity).map(|sum| sum.to_string()).unwrap_or_default()
}

/// Lines of orders as CSV.
struct Sheet {
    writer: Writer<Vec<u8>>,
    lines: usize,
}

impl Sheet {
    fn new() -> Self {
        let mut sheet =
            Self { writer: WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new()), lines: 0 };
        sheet.write(COLUMNS);
        sheet
    }

    /// Adds the lines of an order. Returns false, and adds nothing, if they don't fit.
    fn add(&mut self, order: &Order) -> bool {
        self.lines += order.lines.len();
        if self.lines > MAX_LINES {
            return false;
        }
        for (index, line) in order.lines.iter().enumerate() {
            let price = &line.unit_price;
            let (number, quantity) = ((index + 1).to_string(), line.quantity.to_string());
            let (sku, minor) = (harmless(&line.sku), price.minor.to_string());
            let status = order.status.as_str();
            self.write([&order.id, &order.created_at, status, &number, &sku, &quantity, &minor, &price.currency]);
        }
        true
    }

    fn write(&mut self, fields: [&str; COLUMNS.len()]) {
        self.writer.write_record(fields).expect("a vector takes every line, and each has the same number of fields");
    }

    fn finish(self) -> String {
        let bytes = self.writer.into_inner().expect("a vector takes every line");
        String::from_utf8(bytes).expect("all fields are texts")
    }
}

/// Puts an apostrophe before a text that a spreadsheet would take for a formula.
fn harmless(text: &str) -> String {
    let sign = if text.starts_with(FORMULA) { "'" } else { "" };
    format!("{sign}{text}")
}
