//! The test environment: a shop of three modules in one process.

use std::sync::Arc;
use std::time::Duration;

use shop_common::Money;
use shop_common::testing::{Fuse, TestPlatform};
use shop_notifications::service::Notifications as NotificationService;
use shop_orders::model::{Draft, Line, PaymentMethod};
use shop_orders::ports::{Charge, Payment, PaymentError, Payments};
use shop_orders::service::Orders;
use shop_payments::service::Payments as PaymentService;

use crate::native::{NativeNotifications, NativePayments};

pub(crate) type Hook = Arc<dyn Fn(&Shop, &str) + Send + Sync>;

/// The three modules with their databases. One fuse ends the process for all of them.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) orders_db: TestPlatform,
    pub(crate) payments_db: TestPlatform,
    pub(crate) notifications_db: TestPlatform,
    pub(crate) fuse: Fuse,
    /// A function that is called after each step of the payments module, with the step's name: `authorize`, `capture` or `refund`.
    hook: Option<Hook>,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let fuse = Fuse::default();
        let platform =
            |name| TestPlatform::with_fuse(&format!("{}/../{name}", env!("CARGO_MANIFEST_DIR")), fuse.clone());
        Self {
            orders_db: platform("orders"),
            payments_db: platform("payments"),
            notifications_db: platform("notifications"),
            fuse: fuse.clone(),
            hook: None,
        }
    }

    /// Returns this shop with a hook that runs after each step of the payments module, before the orders module continues.
    pub(crate) fn with_hook(&self, hook: impl Fn(&Shop, &str) + Send + Sync + 'static) -> Self {
        Self { hook: Some(Arc::new(hook)), ..self.clone() }
    }

    pub(crate) fn orders(&self) -> Orders<TestPlatform, HookedPayments, NativeNotifications<TestPlatform>> {
        let payments = HookedPayments { payments: NativePayments(self.payments()), shop: self.clone() };
        let notifications = NativeNotifications(NotificationService::new(self.notifications_db.clone()));
        Orders::new(self.orders_db.clone(), payments, notifications)
    }

    pub(crate) fn payments(&self) -> PaymentService<TestPlatform> {
        PaymentService::new(self.payments_db.clone())
    }

    /// Returns the number of orders that match an SQL condition.
    pub(crate) fn orders_where(&self, condition: &str) -> i64 {
        self.orders_db.count(&format!("select count(*) from orders where {condition}"))
    }

    /// Returns the number of payments that match an SQL condition.
    pub(crate) fn payments_where(&self, condition: &str) -> i64 {
        self.payments_db.count(&format!("select count(*) from payments where {condition}"))
    }

    /// Returns the number of notifications that match an SQL condition.
    pub(crate) fn notifications_where(&self, condition: &str) -> i64 {
        self.notifications_db.count(&format!("select count(*) from notifications where {condition}"))
    }

    /// Simulates a restart of the host: the databases can be reached again, and unfinished orders are resumed.
    pub(crate) fn restart(&self) {
        self.fuse.restart();
        while self.orders().resume(Duration::ZERO).unwrap() {}
    }

    /// Calls `resume` as the host does while it serves requests that take up to `longest`. Returns whether to call again.
    pub(crate) fn resume_beside(&self, longest: Duration) -> bool {
        self.orders().resume(longest).unwrap()
    }

    /// Moves all stored times so far back that no request can still be at work.
    pub(crate) fn let_time_pass(&self) {
        self.orders_db.execute_directly(
            "update orders set created_at = '2016-07-30T22:36:16.385Z',
             cancelled_at = iif(cancelled_at is null, null, '2016-07-30T22:36:17.385Z')",
        );
    }
}

/// The payments module with a hook that runs after each of its steps.
pub(crate) struct HookedPayments {
    payments: NativePayments<TestPlatform>,
    shop: Shop,
}

impl HookedPayments {
    fn after<T>(&self, step: &str, result: T) -> T {
        if let Some(hook) = &self.shop.hook {
            hook(&Shop { hook: None, ..self.shop.clone() }, step);
        }
        result
    }
}

impl Payments for HookedPayments {
    fn authorize(&self, charge: &Charge, key: &str) -> Result<Payment, PaymentError> {
        self.after("authorize", self.payments.authorize(charge, key))
    }

    fn capture(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        self.after("capture", self.payments.capture(id, key))
    }

    fn refund(&self, id: &str, key: &str) -> Result<Payment, PaymentError> {
        self.after("refund", self.payments.refund(id, key))
    }

    fn get(&self, id: &str) -> Result<Payment, PaymentError> {
        self.payments.get(id)
    }
}

pub(crate) fn line(sku: &str, quantity: u32, minor: i64) -> Line {
    Line { sku: sku.to_owned(), quantity, unit_price: Money { currency: "EUR".to_owned(), minor } }
}

/// Returns a draft of two teas for 9.00 EUR, paid by the card `token`.
pub(crate) fn draft(token: &str) -> Draft {
    let payment = PaymentMethod::Card(token.to_owned());
    Draft { customer: "ada".to_owned(), lines: vec![line("tea", 2, 450)], payment }
}
