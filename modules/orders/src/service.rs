//! The business rules of orders.
//!
//! [`Orders::advance`] alone moves an order forward, from any status. Each of its steps is durable before the next begins, and
//! each may be repeated. Four callers use it: a request that places an order, one that repeats it, one that cancels it, and the
//! host when it resumes unfinished work. They may run at the same time and may stop at any point. The following rules protect the
//! money:
//!
//! - An order is stored before it is charged, and the keys of its charge are derived from its id. So it is charged at most once.
//! - Each change of status names the status it starts from. So a cancelled order never becomes paid.
//! - A cancelled order has its refund due from the moment of cancelling, until it is known that no amount of the customer's is
//!   kept, and that no request that found it pending can still take one.

use std::time::{Duration, UNIX_EPOCH};

use shop_common::field::{check_key, check_text};
use shop_common::time::timestamp;
use shop_common::{Level, Page, Paged, Platform};

use crate::model::{Draft, Error, NoticeStatus, Order, OrderStatus, Record};
use crate::ports::{Charge, Event, Notice, Notifications, Payment, PaymentError, PaymentStatus, Payments};
use crate::store;

/// The maximum length of the customer's name in a request for a list, in bytes.
const MAX_CUSTOMER: usize = 128;

/// The maximum number of unfinished orders that one call of [`Orders::resume`] tries to finish. At six commits for each order, the call
/// takes some seconds on a slow disk.
pub const RESUME_BATCH: u32 = 50;

/// The orders service, with its platform and the modules that it needs.
#[derive(Debug, Clone)]
pub struct Orders<P, Pay, Tell> {
    platform: P,
    payments: Pay,
    notifications: Tell,
}

/// The caller that moves an order forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller<'a> {
    /// A request. Another request may work on the same order at the same time.
    Request,
    /// The host, which resumes unfinished orders at its start. Every request of the previous process has ended.
    Start,
    /// The host, which resumes unfinished orders at intervals while it serves requests. Requests that began before this time have ended.
    Schedule(&'a str),
}

impl Caller<'_> {
    /// Returns whether this caller is the only one that can still charge or refund the order: no request is left that found the order
    /// pending before it was cancelled.
    fn is_alone_with(self, record: &Record) -> bool {
        match self {
            Self::Request => false,
            Self::Start => true,
            Self::Schedule(until) => record.cancelled_at.as_deref().is_some_and(|at| at <= until),
        }
    }
}

/// What is known about the charge of a cancelled order.
#[derive(Debug, PartialEq, Eq)]
enum ChargeState {
    /// The payment with this id captured the amount.
    Yes(String),
    /// Nothing was captured, and nothing will be.
    No,
    /// Nothing was captured yet. A request that is still placing the order may capture the amount. It will then find the order
    /// cancelled.
    NotYet,
    /// The payments module did not say whether an amount was captured.
    Unknown,
}

impl<P: Platform, Pay: Payments, Tell: Notifications> Orders<P, Pay, Tell> {
    /// Creates the service. Orders are stored in the platform's database.
    pub fn new(platform: P, payments: Pay, notifications: Tell) -> Self {
        Self { platform, payments, notifications }
    }

    /// Stores an order, charges it, and notifies the customer. If `key` was used before with the same draft, returns the existing
    /// order.
    ///
    /// # Errors
    ///
    /// A field is not valid, the charge is declined, the key belongs to another draft, or a needed module or the database fails.
    pub fn place(&self, draft: Draft, key: Option<&str>) -> Result<Order, Error> {
        if let Some(key) = key {
            check_key("idempotency-key", key)?;
        }
        let record = self.store(draft, key)?;
        let id = record.order.id.clone();
        let placed = self.advance(record, Caller::Request);
        if let (Err(_), None) = (&placed, key) {
            self.abandon(&id);
        }
        let Record { order, decline_reason, .. } = placed?;
        match decline_reason {
            Some(reason) => Err(Error::Declined(reason)),
            None => Ok(order),
        }
    }

    /// Returns one order.
    ///
    /// # Errors
    ///
    /// There is no such order, or the database fails.
    pub fn get(&self, id: &str) -> Result<Order, Error> {
        Ok(self.find(id)?.order)
    }

    /// Lists a customer's orders, newest first.
    ///
    /// # Errors
    ///
    /// An argument is not valid, or the database fails.
    pub fn list(&self, customer: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Order>, Error> {
        check_text("customer", customer, MAX_CUSTOMER)?;
        let page = Page::new(limit, after)?;
        let orders = store::list(&self.platform, customer, &page)?.into_iter().map(|record| record.order).collect();
        Ok(page.cut(orders, |order: &Order| &order.id))
    }

    /// Cancels an order and refunds the amount that was captured.
    ///
    /// The order may be cancelled even if this function fails: `unavailable` then means that the refund is still due. Repeating
    /// the request pays the refund, and so does resuming.
    ///
    /// # Errors
    ///
    /// There is no such order, the order was declined, or a needed module or the database fails.
    pub fn cancel(&self, id: &str) -> Result<Order, Error> {
        store::mark_cancelled(&self.platform, id, &timestamp(self.platform.now()))?;
        let record = self.find(id)?;
        match record.order.status {
            OrderStatus::Cancelled => Ok(self.advance(record, Caller::Request)?.order),
            _ => Err(Error::Conflict("a declined order can't be cancelled".to_owned())),
        }
    }

    /// Resumes orders that an ended process or request left unfinished: at most [`RESUME_BATCH`] of them. Returns whether to call
    /// again.
    ///
    /// `longest_request` is the longest time that an earlier request may still be at work. Zero means that no request is at work.
    /// Orders that were stored or cancelled more recently are skipped: their own request may still finish them. Older orders may
    /// race with requests as requests race with each other.
    ///
    /// The database holds the only state between calls. Each attempt is counted before it is made, and orders with the fewest
    /// attempts go first. So an order that keeps failing, even one that ends the process, does not block others. Calls continue
    /// while a whole batch was found and some of it either was finished or had never been tried before. So calls end, every new
    /// order is tried at least once, and an order whose charge stays unavailable waits for the next time.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn resume(&self, longest_request: Duration) -> Result<bool, Error> {
        // At a start the clock is not read, because it may have been changed since the orders were stored.
        let until = (!longest_request.is_zero()).then(|| self.moment_before(longest_request));
        let by = until.as_deref().map_or(Caller::Start, Caller::Schedule);
        let orders = store::unfinished(&self.platform, until.as_deref(), RESUME_BATCH)?;
        let some_are_new = orders.iter().any(|(_, attempts)| *attempts == 0);
        let mut finished = 0;
        for (id, _) in &orders {
            store::count_attempt(&self.platform, id)?;
            match self.find(id).and_then(|record| self.advance(record, by)) {
                Ok(record) if record.is_finished() => finished += 1,
                Ok(_) => self.warn(id, "is still unfinished"),
                Err(error) => self.warn_of(id, "is still unfinished", &error),
            }
        }
        if !orders.is_empty() {
            let message = format!("{finished} of {} unfinished orders were finished", orders.len());
            self.platform.log(Level::Info, "resume", &message);
        }
        Ok(orders.len() == RESUME_BATCH as usize && (finished > 0 || some_are_new))
    }

    /// Returns the time `age` ago, in the format in which orders store times.
    fn moment_before(&self, age: Duration) -> String {
        timestamp(self.platform.now().checked_sub(age).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH))
    }

    /// Stores a draft as a new order, or returns the order that `key` already names.
    fn store(&self, draft: Draft, key: Option<&str>) -> Result<Record, Error> {
        let order = Order {
            total: draft.check()?,
            id: self.platform.new_id(),
            customer: draft.customer,
            status: OrderStatus::Pending,
            lines: draft.lines,
            payment_id: None,
            notice: NoticeStatus::Pending,
            created_at: timestamp(self.platform.now()),
        };
        let payment = draft.payment;
        let record = Record { order, payment, decline_reason: None, refund_due: false, cancelled_at: None };
        if store::insert(&self.platform, &record, key)? {
            return Ok(record);
        }
        key.map_or(Ok(None), |key| store::find_by_key(&self.platform, key))?
            .filter(|known| known.is_same_request(&record))
            .ok_or_else(|| Error::Conflict("the idempotency key belongs to another order".to_owned()))
    }

    /// Moves an order forward as far as possible now.
    fn advance(&self, record: Record, by: Caller<'_>) -> Result<Record, Error> {
        let record = if record.order.status == OrderStatus::Pending { self.charge(record)? } else { record };
        match record.order.status {
            OrderStatus::Paid if record.order.notice == NoticeStatus::Pending => Ok(self.notify_placed(record)),
            OrderStatus::Cancelled if record.refund_due => self.refund_order(record, by),
            _ => Ok(record),
        }
    }

    /// Authorizes and captures the payment of a pending order. Returns the order with its new status, which may be cancelled by
    /// another request.
    fn charge(&self, mut record: Record) -> Result<Record, Error> {
        let id = &record.order.id;
        let payment = match self.authorize(&record).and_then(|payment| self.capture(id, payment)) {
            Ok(payment) => payment,
            Err(PaymentError::Declined(reason)) => {
                if !store::mark_declined(&self.platform, id, &reason)? {
                    return self.find(id);
                }
                record.order.status = OrderStatus::Declined;
                record.decline_reason = Some(reason);
                return Ok(record);
            }
            Err(PaymentError::Unavailable(reason)) => return Err(Error::Unavailable(reason)),
            Err(PaymentError::Refused(reason)) => return Err(Error::Conflict(reason)),
        };
        if !store::mark_paid(&self.platform, id, &payment.id)? {
            return self.find(id);
        }
        record.order.status = OrderStatus::Paid;
        record.order.payment_id = Some(payment.id);
        Ok(record)
    }

    fn authorize(&self, record: &Record) -> Result<Payment, PaymentError> {
        let order = &record.order;
        let charge =
            Charge { amount: order.total.clone(), method: record.payment.clone(), reference: order.id.clone() };
        self.payments.authorize(&charge, &format!("order:{}:authorize", order.id))
    }

    fn capture(&self, id: &str, payment: Payment) -> Result<Payment, PaymentError> {
        match payment.status {
            PaymentStatus::Authorized => self.payments.capture(&payment.id, &format!("order:{id}:capture")),
            PaymentStatus::Captured | PaymentStatus::Refunded => Ok(payment),
        }
    }

    /// Notifies the customer of a paid order. A failure does not fail the order: the customer is notified later.
    fn notify_placed(&self, mut record: Record) -> Record {
        let id = &record.order.id;
        if self.notify(&record.order, Event::Placed) {
            match store::mark_notified(&self.platform, id) {
                Ok(_) => record.order.notice = NoticeStatus::Sent,
                Err(error) => self.warn_of(id, "is told, and that is not written down", &error),
            }
        }
        record
    }

    /// Refunds what was captured for a cancelled order, and notifies the customer.
    fn refund_order(&self, mut record: Record, by: Caller<'_>) -> Result<Record, Error> {
        let id = &record.order.id;
        let taken = self.charge_state(&record);
        if let ChargeState::Yes(payment) = &taken {
            self.refund(id, payment)?;
        }
        let told = self.notify(&record.order, Event::Cancelled);
        let payment = match taken {
            ChargeState::Yes(payment) => Some(payment),
            ChargeState::No => None,
            ChargeState::NotYet if by.is_alone_with(&record) => None,
            // A request that captures the amount later finds the order cancelled and refunds it. If that request ends before,
            // resuming does so.
            ChargeState::NotYet | ChargeState::Unknown => return Ok(record),
        };
        if told {
            store::mark_settled(&self.platform, id, payment.as_deref())?;
            record.refund_due = false;
            record.order.payment_id = payment.or(record.order.payment_id);
        }
        Ok(record)
    }

    /// Finds out whether a cancelled order was charged. Only repeating the authorization with its key tells, and that captures
    /// nothing.
    fn charge_state(&self, record: &Record) -> ChargeState {
        if let Some(payment) = &record.order.payment_id {
            return ChargeState::Yes(payment.clone());
        }
        match self.authorize(record) {
            Ok(Payment { status: PaymentStatus::Authorized, .. }) => ChargeState::NotYet,
            Ok(payment) => ChargeState::Yes(payment.id),
            Err(PaymentError::Declined(_)) => ChargeState::No,
            Err(error) => {
                self.warn_of(&record.order.id, "is cancelled, and whether it was charged is not known", &error);
                ChargeState::Unknown
            }
        }
    }

    fn refund(&self, id: &str, payment: &str) -> Result<(), Error> {
        match self.payments.refund(payment, &format!("order:{id}:refund")) {
            Ok(_) => Ok(()),
            // The payment may have been refunded directly, without this module.
            Err(PaymentError::Refused(reason)) => match self.payments.get(payment) {
                Ok(Payment { status: PaymentStatus::Refunded, .. }) => Ok(()),
                _ => Err(Error::Conflict(reason)),
            },
            Err(PaymentError::Declined(reason) | PaymentError::Unavailable(reason)) => Err(Error::Unavailable(reason)),
        }
    }

    /// Notifies the customer of an event. Returns whether it is certain that the notification was stored.
    fn notify(&self, order: &Order, event: Event) -> bool {
        let (customer, total) = (order.customer.clone(), order.total.to_string());
        let notice = Notice { customer, event, order: order.id.clone(), total };
        let key = match event {
            Event::Placed => format!("order:{}:placed", order.id),
            Event::Cancelled => format!("order:{}:cancelled", order.id),
        };
        let told = self.notifications.notify(&notice, &key);
        if let Err(error) = &told {
            self.warn_of(&order.id, "has a customer who is not told yet", error);
        }
        told.is_ok()
    }

    /// Cancels an order whose request failed and had no idempotency key. Such a request cannot be repeated, so nothing must charge the
    /// order later.
    fn abandon(&self, id: &str) {
        match store::abandon(&self.platform, id, &timestamp(self.platform.now())) {
            Ok(true) => self.warn(id, "failed without an idempotency key and is called off"),
            Ok(false) => {}
            Err(error) => self.warn_of(id, "failed without an idempotency key and stays pending", &error),
        }
    }

    fn find(&self, id: &str) -> Result<Record, Error> {
        store::find(&self.platform, id)?.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    fn warn(&self, id: &str, what: &str) {
        self.platform.log(Level::Warn, "orders", &format!("order {id} {what}"));
    }

    fn warn_of(&self, id: &str, what: &str, error: &dyn std::error::Error) {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.warn(id, &format!("{what}: {error}{cause}"));
    }
}
