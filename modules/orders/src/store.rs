//! The storage of orders: the SQL that stores and reads records.
//!
//! Every change of an order's status is one statement that names the status it starts from. If two requests race, one of them
//! changes the order and the other learns that it did not.
//!
//! A statement that changes what callers see of an order also gives the order the next change number ([`NEXT_CHANGE`]), so that a
//! stream of changes can be read from the table.

use shop_common::{Money, Page, Row, Sql, SqlError, Statements, Transaction, Value, values};

use crate::model::{Line, NoticeStatus, Order, OrderStatus, PaymentMethod, Record};

/// The condition for orders that are unfinished. It must equal the condition of the index `orders_unfinished` word for word, or
/// SQLite does not use the index.
const UNFINISHED: &str = "(status = 'pending' or refund_due = 1 or (status = 'paid' and notice = 'pending'))";

/// The number of a change that is being made. A database has one writer, so the numbers ascend in the order in which the changes become
/// visible.
const NEXT_CHANGE: &str = "(select coalesce(max(changed), 0) + 1 from orders)";

/// The columns that [`read`] expects. A query returns one row for each line of an order and repeats the order in each.
const COLUMNS: &str =
    "l.sku, l.quantity, l.unit_price, o.currency, o.id, o.customer, o.status, o.total, o.payment_id, o.notice,
    o.created_at, o.method, o.token, o.decline_reason, o.refund_due, o.cancelled_at";

/// Stores an order with its lines. Returns false, and stores nothing, if `key` already names an order.
pub(crate) fn insert(sql: &impl Sql, record: &Record, key: Option<&str>) -> Result<bool, SqlError> {
    let order = &record.order;
    let (method, token) = method_to_columns(&record.payment);
    let transaction = sql.begin()?;
    let statement = format!(
        "insert into orders (id, customer, status, method, token, currency, total, created_at, idempotency_key, changed)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {NEXT_CHANGE})
         on conflict (idempotency_key) do nothing"
    );
    let inserted = transaction.execute(
        &statement,
        values![
            &order.id,
            &order.customer,
            order.status.as_str(),
            method,
            token,
            &order.total.currency,
            order.total.minor,
            &order.created_at,
            key,
        ],
    )?;
    if inserted == 0 {
        return Ok(false);
    }
    let (statement, parameters) = insert_lines(order);
    transaction.execute(&statement, parameters)?;
    transaction.commit()?;
    Ok(true)
}

/// Builds one statement that inserts all lines. Each statement costs a round trip to the database's writer.
fn insert_lines(order: &Order) -> (String, Vec<Value>) {
    let mut parameters = values![&order.id];
    let mut rows = Vec::with_capacity(order.lines.len());
    for (position, line) in order.lines.iter().enumerate() {
        let first = parameters.len() + 1;
        rows.push(format!("(?1, {position}, ?{first}, ?{}, ?{})", first + 1, first + 2));
        parameters.extend(values![&line.sku, line.quantity, line.unit_price.minor]);
    }
    let rows = rows.join(", ");
    (format!("insert into order_lines (order_id, position, sku, quantity, unit_price) values {rows}"), parameters)
}

/// Changes a pending order to paid. Returns whether the order was pending.
pub(crate) fn mark_paid(sql: &impl Sql, id: &str, payment: &str) -> Result<bool, SqlError> {
    change(sql, "status = 'paid', payment_id = ?2 where id = ?1 and status = 'pending'", values![id, payment])
}

/// Changes a pending order to declined. Returns whether the order was pending.
pub(crate) fn mark_declined(sql: &impl Sql, id: &str, reason: &str) -> Result<bool, SqlError> {
    change(sql, "status = 'declined', decline_reason = ?2 where id = ?1 and status = 'pending'", values![id, reason])
}

/// Changes a pending or paid order to cancelled at the time `now`, with its refund due. Returns whether the order was pending or
/// paid.
pub(crate) fn mark_cancelled(sql: &impl Sql, id: &str, now: &str) -> Result<bool, SqlError> {
    change(
        sql,
        "status = 'cancelled', refund_due = 1, cancelled_at = ?2
         where id = ?1 and status in ('pending', 'paid')",
        values![id, now],
    )
}

/// Changes a pending order to cancelled at the time `now`, with its refund due. Does not change a paid order. Returns whether the
/// order was pending.
pub(crate) fn abandon(sql: &impl Sql, id: &str, now: &str) -> Result<bool, SqlError> {
    change(
        sql,
        "status = 'cancelled', refund_due = 1, cancelled_at = ?2 where id = ?1 and status = 'pending'",
        values![id, now],
    )
}

/// Records that the customer has been notified that the order is paid. Returns whether the order exists.
pub(crate) fn mark_notified(sql: &impl Sql, id: &str) -> Result<bool, SqlError> {
    change(sql, "notice = 'sent' where id = ?1", values![id])
}

/// Records that no money of the customer is kept for a cancelled order. `payment` is the payment that was refunded, if any. Returns whether
/// the order exists.
pub(crate) fn mark_settled(sql: &impl Sql, id: &str, payment: Option<&str>) -> Result<bool, SqlError> {
    change(sql, "refund_due = 0, payment_id = coalesce(?2, payment_id) where id = ?1", values![id, payment])
}

/// Counts one more attempt to finish the order. Returns whether the order exists.
pub(crate) fn count_attempt(sql: &impl Sql, id: &str) -> Result<bool, SqlError> {
    execute_one(sql, "update orders set attempts = attempts + 1 where id = ?1", values![id])
}

/// Changes one order and gives it the next change number. `what` is the rest of the statement. Returns whether an order was changed.
fn change(sql: &impl Sql, what: &str, parameters: Vec<Value>) -> Result<bool, SqlError> {
    execute_one(sql, &format!("update orders set changed = {NEXT_CHANGE}, {what}"), parameters)
}

fn execute_one(sql: &impl Sql, statement: &str, parameters: Vec<Value>) -> Result<bool, SqlError> {
    Ok(sql.execute(statement, parameters)? == 1)
}

/// Returns the order with an id.
pub(crate) fn find(sql: &impl Sql, id: &str) -> Result<Option<Record>, SqlError> {
    find_by(sql, "o.id", id)
}

/// Returns the order that was created with an idempotency key.
pub(crate) fn find_by_key(sql: &impl Sql, key: &str) -> Result<Option<Record>, SqlError> {
    find_by(sql, "o.idempotency_key", key)
}

fn find_by(sql: &impl Sql, column: &'static str, value: &str) -> Result<Option<Record>, SqlError> {
    let statement = format!(
        "select {COLUMNS} from orders o join order_lines l on l.order_id = o.id where {column} = ?1 order by l.position"
    );
    Ok(read(sql.query(&statement, values![value])?)?.pop())
}

/// Lists a customer's orders, newest first. Returns at most [`Page::fetch`] of them.
pub(crate) fn list(sql: &impl Sql, customer: &str, page: &Page) -> Result<Vec<Record>, SqlError> {
    let statement = format!(
        "select {COLUMNS}
         from (select * from orders where customer = ?1 and id < ?2 order by id desc limit ?3) o
         join order_lines l on l.order_id = o.id
         order by o.id desc, l.position"
    );
    read(sql.query(&statement, values![customer, page.before(), page.fetch()])?)
}

/// Returns the greatest id of an order. `None` if there is no order.
pub(crate) fn last_id(sql: &impl Sql) -> Result<Option<String>, SqlError> {
    sql.one("select max(id) from orders", Vec::new())
}

/// Lists orders in the order of their ids: at most `limit`, from after `after` up to and including `until`.
pub(crate) fn between(sql: &impl Sql, after: &str, until: &str, limit: u32) -> Result<Vec<Record>, SqlError> {
    let statement = format!(
        "select {COLUMNS}
         from (select * from orders where id > ?1 and id <= ?2 order by id limit ?3) o
         join order_lines l on l.order_id = o.id
         order by o.id, l.position"
    );
    read(sql.query(&statement, values![after, until, limit])?)
}

/// Returns the number of the latest change. 0 if there is none.
pub(crate) fn last_change(sql: &impl Sql) -> Result<i64, SqlError> {
    sql.one("select coalesce(max(changed), 0) from orders", Vec::new())
}

/// Lists the orders that changed after the change with the number `after`, each with the number of its latest change, in the order of these
/// numbers. Returns at most `limit` of them.
pub(crate) fn changed(sql: &impl Sql, after: i64, limit: u32) -> Result<Vec<(i64, Record)>, SqlError> {
    let statement = format!(
        "select o.changed, {COLUMNS}
         from (select * from orders where changed > ?1 order by changed limit ?2) o
         join order_lines l on l.order_id = o.id
         order by o.changed, l.position"
    );
    let mut rows = sql.query(&statement, values![after, limit])?;
    let mut numbers = rows.iter_mut().map(Row::get::<i64>).collect::<Result<Vec<_>, _>>()?;
    // All lines of an order have the number of their order.
    numbers.dedup();
    Ok(numbers.into_iter().zip(read(rows)?).collect())
}

/// Returns the ids of unfinished orders, each with the number of attempts so far, fewest attempts first. If `until` is given, returns only
/// orders that were neither stored nor cancelled after that time.
pub(crate) fn unfinished(sql: &impl Sql, until: Option<&str>, limit: u32) -> Result<Vec<(String, i64)>, SqlError> {
    let statement = format!(
        "select id, attempts from orders
         where {UNFINISHED} and (?1 is null or coalesce(cancelled_at, created_at) <= ?1)
         order by attempts, id limit ?2"
    );
    sql.all(&statement, values![until, limit])
}

/// Builds records from rows. The rows of one order must be adjacent.
fn read(rows: Vec<Row>) -> Result<Vec<Record>, SqlError> {
    let mut records: Vec<Record> = Vec::new();
    for mut row in rows {
        let (sku, quantity, price): (String, u32, i64) = row.get()?;
        let currency: String = row.get()?;
        let line = Line { sku, quantity, unit_price: Money { currency: currency.clone(), minor: price } };
        let id: String = row.get()?;
        match records.last_mut() {
            Some(record) if record.order.id == id => record.order.lines.push(line),
            _ => records.push(read_order(id, currency, line, row)?),
        }
    }
    Ok(records)
}

fn read_order(id: String, currency: String, first_line: Line, mut row: Row) -> Result<Record, SqlError> {
    let order = Order {
        id,
        customer: row.get()?,
        status: status_from_column(&row.get::<String>()?)?,
        lines: vec![first_line],
        total: Money { currency, minor: row.get()? },
        payment_id: row.get()?,
        notice: notice_from_column(&row.get::<String>()?)?,
        created_at: row.get()?,
    };
    let payment = method_from_columns(&row.get::<String>()?, row.get()?)?;
    let decline_reason = row.get()?;
    let refund_due = row.get()?;
    Ok(Record { order, payment, decline_reason, refund_due, cancelled_at: row.get()? })
}

fn status_from_column(text: &str) -> Result<OrderStatus, SqlError> {
    match text {
        "pending" => Ok(OrderStatus::Pending),
        "paid" => Ok(OrderStatus::Paid),
        "declined" => Ok(OrderStatus::Declined),
        "cancelled" => Ok(OrderStatus::Cancelled),
        _ => Err(SqlError::wrong_type("an order's status")),
    }
}

fn notice_from_column(text: &str) -> Result<NoticeStatus, SqlError> {
    match text {
        "pending" => Ok(NoticeStatus::Pending),
        "sent" => Ok(NoticeStatus::Sent),
        _ => Err(SqlError::wrong_type("a notice's status")),
    }
}

fn method_to_columns(method: &PaymentMethod) -> (&'static str, Option<&String>) {
    match method {
        PaymentMethod::Card(token) => ("card", Some(token)),
        PaymentMethod::Wallet(id) => ("wallet", Some(id)),
        PaymentMethod::Invoice => ("invoice", None),
    }
}

fn method_from_columns(method: &str, token: Option<String>) -> Result<PaymentMethod, SqlError> {
    match (method, token) {
        ("card", Some(token)) => Ok(PaymentMethod::Card(token)),
        ("wallet", Some(id)) => Ok(PaymentMethod::Wallet(id)),
        ("invoice", None) => Ok(PaymentMethod::Invoice),
        _ => Err(SqlError::wrong_type("a payment method")),
    }
}
