//! Reads the shop's three databases directly, and checks the invariants between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

/// The orders, payments and notices in the shop's three databases.
#[derive(Debug, Default)]
pub struct Ledger {
    pub orders: Vec<Order>,
    pub payments: Vec<Payment>,
    pub notices: Vec<String>,
}

#[derive(Debug)]
pub struct Order {
    pub id: String,
    pub status: String,
    pub total: i64,
    pub payment: Option<String>,
    pub notice: String,
    pub refund_due: bool,
    pub key: Option<String>,
    pub token: String,
}

#[derive(Debug)]
pub struct Payment {
    pub id: String,
    pub reference: String,
    pub status: String,
    pub amount: i64,
}

impl Ledger {
    /// Reads the databases of a state folder. Its host must be running, or the folder must be a copy that nothing else uses.
    pub fn read(state: &Path) -> Self {
        let orders =
            "select id, status, total, payment_id, notice, refund_due, idempotency_key, ifnull(token, '') from orders";
        let torn = "select id from orders where id not in (select order_id from order_lines)";
        let torn: Vec<String> = rows(state, "orders", torn, |row| row.get(0));
        assert!(torn.is_empty(), "orders have no lines: {torn:?}");
        Self {
            orders: rows(state, "orders", orders, |row| {
                Ok(Order {
                    id: row.get(0)?,
                    status: row.get(1)?,
                    total: row.get(2)?,
                    payment: row.get(3)?,
                    notice: row.get(4)?,
                    refund_due: row.get(5)?,
                    key: row.get(6)?,
                    token: row.get(7)?,
                })
            }),
            payments: rows(state, "payments", "select id, reference, status, amount from payments", |row| {
                Ok(Payment { id: row.get(0)?, reference: row.get(1)?, status: row.get(2)?, amount: row.get(3)? })
            }),
            notices: rows(state, "notifications", "select deduplication_key from notifications", |row| row.get(0)),
        }
    }

    /// Returns the only order in the ledger. Panics if there is not exactly one.
    pub fn only(&self) -> &Order {
        assert_eq!(self.orders.len(), 1, "{self}");
        &self.orders[0]
    }

    /// Checks what must hold at every moment, even at a power cut: nobody is charged twice, or for nothing.
    ///
    /// # Panics
    ///
    /// Panics and lists all faults if an invariant is violated.
    pub fn check_always(&self, when: &str) {
        let mut faults = Vec::new();
        let orders: BTreeMap<_, _> = self.orders.iter().map(|order| (order.id.as_str(), order)).collect();
        let mut charged = BTreeSet::new();
        for payment in &self.payments {
            if !charged.insert(&payment.reference) {
                faults.push(format!("{} was charged twice", payment.reference));
            }
            match orders.get(payment.reference.as_str()) {
                None => faults.push(format!("{payment:?} has no order")),
                Some(order) if order.total != payment.amount => {
                    faults.push(format!("{payment:?} is not for {order:?}"));
                }
                Some(_) => {}
            }
        }
        let keys: Vec<_> = self.orders.iter().filter_map(|order| order.key.as_ref()).collect();
        if keys.iter().collect::<BTreeSet<_>>().len() != keys.len() {
            faults.push("a key made two orders".to_owned());
        }
        let payments: BTreeMap<_, _> = self.payments.iter().map(|payment| (&payment.id, payment)).collect();
        for order in self.orders.iter().filter(|order| order.status == "paid") {
            let payment = order.payment.as_ref().and_then(|id| payments.get(id));
            if payment.is_none_or(|payment| payment.reference != order.id || payment.status == "authorized") {
                faults.push(format!("{order:?} is paid without its payment: {payment:?}"));
            }
        }
        let told = self.notices.iter().filter_map(|key| key.split(':').nth(1));
        faults.extend(told.filter(|id| !orders.contains_key(id)).map(|id| format!("a notice of {id} has no order")));
        assert!(faults.is_empty(), "{when}: {faults:#?}\n{self}");
    }

    /// Checks what must hold once a started host is ready and before it gets requests: no order is unfinished, except those for whose card
    /// the payment provider never answers.
    ///
    /// # Panics
    ///
    /// Panics and lists all faults if an invariant is violated.
    pub fn check_settled(&self, when: &str) {
        self.check_always(when);
        let payments = self.payments.iter().map(|payment| (payment.reference.as_str(), payment)).collect();
        let mut notices = BTreeMap::new();
        for key in &self.notices {
            *notices.entry(key.as_str()).or_default() += 1;
        }
        let faults: Vec<_> = self.orders.iter().filter_map(|order| fault(order, &payments, &notices)).collect();
        assert!(faults.is_empty(), "{when}: {faults:#?}\n{self}");
    }
}

/// Returns the fault of an order that is not finished, or `None`. `payments` has the payment for each order by the order's id. `notices`
/// has the number of notices for each deduplication key.
fn fault(order: &Order, payments: &BTreeMap<&str, &Payment>, notices: &BTreeMap<&str, u32>) -> Option<String> {
    let payment = payments.get(order.id.as_str());
    let status = payment.map(|payment| payment.status.as_str());
    let told = |event| notices.get(format!("order:{}:{event}", order.id).as_str()) == Some(&1);
    let settled = match order.status.as_str() {
        "pending" => order.token == "tok_timeout" && status.is_none(),
        "paid" => status == Some("captured") && order.notice == "sent" && told("placed"),
        "declined" => status == Some("declined"),
        // Payments may answer for a silent card at a later start.
        "cancelled" if order.refund_due => order.token == "tok_timeout" && status.is_none(),
        "cancelled" => status != Some("captured") && told("cancelled"),
        _ => false,
    };
    (!settled).then(|| format!("{order:?} is not settled, its payment is {payment:?}"))
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With many orders, the list of faults is enough.
        if self.orders.len() > 20 { Ok(()) } else { write!(f, "{self:#?}") }
    }
}

fn rows<T>(state: &Path, module: &str, query: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let file = state.join("data").join(module).with_extension("db");
    let connection = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let mut statement = connection.prepare(query).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rows = statement.query_map([], read).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
