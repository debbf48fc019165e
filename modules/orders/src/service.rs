//! The rules of orders.
//!
//! An order is moved on by [`Orders::advance`] alone, from whatever state it stands in: each step is durable before the next begins,
//! and may be repeated. So a request that places an order, one that repeats it, one that cancels it and the host that resumes what was
//! left all do the same, may do it at once, and may stop anywhere. The money is safe because
//!
//! - the order is written down before it is charged, and the charge's keys are made of its id: it is charged at most once;
//! - each change of status says which status it starts from: an order that was cancelled never becomes paid;
//! - what is cancelled has its refund due from that moment, until it is known that nothing of the customer's is kept: also not by a
//!   request that found it pending before.

use std::time::{Duration, UNIX_EPOCH};

use shop_common::field::{check_key, check_text};
use shop_common::time::timestamp;
use shop_common::{Level, Page, Paged, Platform};

use crate::model::{Draft, Error, NoticeStatus, Order, OrderStatus, Record};
use crate::ports::{Charge, Event, Notice, Notifications, Payment, PaymentError, PaymentStatus, Payments};
use crate::store;

/// The longest customer to list for, in bytes.
const MAX_CUSTOMER: usize = 128;

/// How many orders one call of [`Orders::resume`] tries: at six commits each, some seconds on a slow disk.
pub const RESUME_BATCH: u32 = 50;

/// Orders over a platform and the modules that they need.
#[derive(Debug, Clone)]
pub struct Orders<P, Pay, Tell> {
    platform: P,
    payments: Pay,
    notifications: Tell,
}

/// By whom an order is moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By<'a> {
    /// By a request: another may be at work on the same order.
    Request,
    /// By a start: every request of the last run has ended.
    Start,
    /// While requests are served, by the host's schedule: requests that began until that moment have ended.
    Schedule(&'a str),
}

impl By<'_> {
    /// Whether nobody can be at work any more who found a cancelled order pending.
    fn is_alone_with(self, record: &Record) -> bool {
        match self {
            Self::Request => false,
            Self::Start => true,
            Self::Schedule(until) => record.cancelled_at.as_deref().is_some_and(|at| at <= until),
        }
    }
}

/// What is known of the charge of an order that was cancelled.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// This payment took the amount.
    Yes(String),
    /// Nothing was taken, and never will be.
    No,
    /// Nothing was taken yet. A request that is still placing the order may take it, and will then find it cancelled.
    NotYet,
    /// Payments don't say.
    Unknown,
}

impl<P: Platform, Pay: Payments, Tell: Notifications> Orders<P, Pay, Tell> {
    /// Orders that are kept in the platform's database.
    pub fn new(platform: P, payments: Pay, notifications: Tell) -> Self {
        Self { platform, payments, notifications }
    }

    /// Writes an order down, charges it, and tells the customer. With a key, the same draft again returns the same order.
    pub fn place(&self, draft: Draft, key: Option<&str>) -> Result<Order, Error> {
        if let Some(key) = key {
            check_key("idempotency-key", key)?;
        }
        let record = self.write_down(draft, key)?;
        let id = record.order.id.clone();
        let placed = self.advance(record, By::Request);
        if let (Err(_), None) = (&placed, key) {
            self.abandon(&id);
        }
        let Record { order, decline_reason, .. } = placed?;
        match decline_reason {
            Some(reason) => Err(Error::Declined(reason)),
            None => Ok(order),
        }
    }

    /// One order.
    pub fn get(&self, id: &str) -> Result<Order, Error> {
        Ok(self.find(id)?.order)
    }

    /// A customer's orders, newest first.
    pub fn list(&self, customer: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Order>, Error> {
        check_text("customer", customer, MAX_CUSTOMER)?;
        let page = Page::new(limit, after)?;
        let orders = store::list(&self.platform, customer, &page)?.into_iter().map(|record| record.order).collect();
        Ok(page.cut(orders, |order: &Order| &order.id))
    }

    /// Calls an order off and gives back what was taken.
    ///
    /// It is called off even where this fails: `unavailable` then says that the refund is still due. Repeating the request gives it, and so
    /// does resuming.
    pub fn cancel(&self, id: &str) -> Result<Order, Error> {
        store::mark_cancelled(&self.platform, id, &timestamp(self.platform.now()))?;
        let record = self.find(id)?;
        match record.order.status {
            OrderStatus::Cancelled => Ok(self.advance(record, By::Request)?.order),
            _ => Err(Error::Conflict("a declined order can't be cancelled".to_owned())),
        }
    }

    /// Picks up what the end of a process or of a request left unfinished: at most [`RESUME_BATCH`] orders. Returns whether to call again.
    ///
    /// `longest_request` is how long a request that began before may still be at work; none is where that is zero. Orders that are younger,
    /// or were called off since, are passed by: their own request may finish them, or has yet to call them off. Beyond that requests may
    /// race with this as they do with each other.
    ///
    /// Nothing is remembered between calls but in the database. Each try is counted before it is made, and those go first that were
    /// tried least: an order that keeps failing, even one that ends the process, holds up no other. Calls go on as long as a whole
    /// batch was there of which some got finished or had never been tried before; so they end, everything new is tried the first
    /// time, and an order whose charge stays unavailable waits for the next.
    pub fn resume(&self, longest_request: Duration) -> Result<bool, Error> {
        // At a start the clock isn't asked: it may have been set since.
        let until = (!longest_request.is_zero()).then(|| self.moment_before(longest_request));
        let by = until.as_deref().map_or(By::Start, By::Schedule);
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

    /// The moment that long ago, as orders have it.
    fn moment_before(&self, age: Duration) -> String {
        timestamp(self.platform.now().checked_sub(age).unwrap_or(UNIX_EPOCH).max(UNIX_EPOCH))
    }

    /// The order of a draft: a new one, or the one that its key names.
    fn write_down(&self, draft: Draft, key: Option<&str>) -> Result<Record, Error> {
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

    /// Moves an order on as far as it goes now.
    fn advance(&self, record: Record, by: By<'_>) -> Result<Record, Error> {
        let record = if record.order.status == OrderStatus::Pending { self.charge(record)? } else { record };
        match record.order.status {
            OrderStatus::Paid if record.order.notice == NoticeStatus::Pending => Ok(self.tell_placed(record)),
            OrderStatus::Cancelled if record.refund_due => self.give_back(record, by),
            _ => Ok(record),
        }
    }

    /// Takes the money for a pending order. Returns the order as it then stands, which may be cancelled by another request.
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

    /// Tells the customer of a paid order. That this fails doesn't fail the order: it is told later.
    fn tell_placed(&self, mut record: Record) -> Record {
        let id = &record.order.id;
        if self.tell(&record.order, Event::Placed) {
            match store::mark_told(&self.platform, id) {
                Ok(_) => record.order.notice = NoticeStatus::Sent,
                Err(error) => self.warn_of(id, "is told, and that is not written down", &error),
            }
        }
        record
    }

    /// Gives back what was taken for a cancelled order, and tells the customer.
    fn give_back(&self, mut record: Record, by: By<'_>) -> Result<Record, Error> {
        let id = &record.order.id;
        let taken = self.taken(&record);
        if let Taken::Yes(payment) = &taken {
            self.refund(id, payment)?;
        }
        let told = self.tell(&record.order, Event::Cancelled);
        let payment = match taken {
            Taken::Yes(payment) => Some(payment),
            Taken::No => None,
            Taken::NotYet if by.is_alone_with(&record) => None,
            // Whoever takes it finds the order cancelled and gives it back; if it ends before, that is resumed.
            Taken::NotYet | Taken::Unknown => return Ok(record),
        };
        if told {
            store::mark_settled(&self.platform, id, payment.as_deref())?;
            record.refund_due = false;
            record.order.payment_id = payment.or(record.order.payment_id);
        }
        Ok(record)
    }

    /// Whether a cancelled order was charged. Only repeating the authorization with its key tells; it takes nothing.
    fn taken(&self, record: &Record) -> Taken {
        if let Some(payment) = &record.order.payment_id {
            return Taken::Yes(payment.clone());
        }
        match self.authorize(record) {
            Ok(Payment { status: PaymentStatus::Authorized, .. }) => Taken::NotYet,
            Ok(payment) => Taken::Yes(payment.id),
            Err(PaymentError::Declined(_)) => Taken::No,
            Err(error) => {
                self.warn_of(&record.order.id, "is cancelled, and whether it was charged is not known", &error);
                Taken::Unknown
            }
        }
    }

    fn refund(&self, id: &str, payment: &str) -> Result<(), Error> {
        match self.payments.refund(payment, &format!("order:{id}:refund")) {
            Ok(_) => Ok(()),
            // Somebody may have refunded the payment itself.
            Err(PaymentError::Refused(reason)) => match self.payments.get(payment) {
                Ok(Payment { status: PaymentStatus::Refunded, .. }) => Ok(()),
                _ => Err(Error::Conflict(reason)),
            },
            Err(PaymentError::Declined(reason) | PaymentError::Unavailable(reason)) => Err(Error::Unavailable(reason)),
        }
    }

    /// Tells the customer. Returns whether that is certain.
    fn tell(&self, order: &Order, event: Event) -> bool {
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

    /// Calls off an order whose request failed and can't be repeated for want of a key, so that nothing charges it later.
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
