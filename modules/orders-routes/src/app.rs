//! What the handlers use: the service of orders, the readers for streams, and a timer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use shop_common::{Paged, Platform, SqlError};
use shop_orders::feed::{Change, Feed};
use shop_orders::model::{Draft, Error, Order};
use shop_orders::ports::{Notifications, Payments};
use shop_orders::service::Orders;

/// The function that waits for a time.
pub type Sleep = fn(Duration) -> BoxFuture<'static, ()>;

/// The application behind the routes. Clones share it.
#[derive(Clone)]
pub struct App {
    api: Arc<dyn Api>,
    sleep: Sleep,
}

/// The functions of the module, without the types of its environment. So handlers are no generic functions.
pub(crate) trait Api: Send + Sync {
    fn place(&self, draft: Draft, key: Option<&str>) -> Result<Order, Error>;
    fn get(&self, id: &str) -> Result<Order, Error>;
    fn list(&self, customer: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Order>, Error>;
    fn cancel(&self, id: &str) -> Result<Order, Error>;
    fn last_id(&self) -> Result<Option<String>, Error>;
    fn orders(&self, after: &str, until: &str) -> Result<Vec<Order>, Error>;
    fn last_change(&self) -> Result<i64, Error>;
    fn changes(&self, after: i64) -> Result<Vec<Change>, Error>;
    /// Logs an error of the database and returns a text that clients may see.
    fn report(&self, cause: &SqlError) -> String;
}

struct Module<P, Pay, Tell> {
    orders: Orders<P, Pay, Tell>,
    feed: Feed<P>,
    platform: P,
}

impl App {
    /// Creates the application of a service. `platform` is the one that the service has.
    pub fn new<P, Pay, Tell>(orders: Orders<P, Pay, Tell>, platform: P, sleep: Sleep) -> Self
    where
        P: Platform + Clone + Send + Sync + 'static,
        Pay: Payments + Send + Sync + 'static,
        Tell: Notifications + Send + Sync + 'static,
    {
        let api = Arc::new(Module { orders, feed: Feed::new(platform.clone()), platform });
        Self { api, sleep }
    }

    /// Returns the functions of the module.
    pub(crate) fn api(&self) -> &dyn Api {
        &*self.api
    }

    /// Returns the next orders of a stream. An error breaks the stream off, so it is logged here.
    pub(crate) fn orders_of_stream(&self, after: &str, until: &str) -> Result<Vec<Order>, Error> {
        self.api.orders(after, until).inspect_err(|error| self.log(error))
    }

    /// Returns the next changes of a stream. An error breaks the stream off, so it is logged here.
    pub(crate) fn changes_of_stream(&self, after: i64) -> Result<Vec<Change>, Error> {
        self.api.changes(after).inspect_err(|error| self.log(error))
    }

    fn log(&self, error: &Error) {
        if let Error::Storage(cause) = error {
            self.api.report(cause);
        }
    }

    /// Waits for a time.
    pub(crate) async fn sleep(&self, time: Duration) {
        (self.sleep)(time).await;
    }
}

impl<P, Pay, Tell> Api for Module<P, Pay, Tell>
where
    P: Platform + Send + Sync,
    Pay: Payments + Send + Sync,
    Tell: Notifications + Send + Sync,
{
    fn place(&self, draft: Draft, key: Option<&str>) -> Result<Order, Error> {
        self.orders.place(draft, key)
    }

    fn get(&self, id: &str) -> Result<Order, Error> {
        self.orders.get(id)
    }

    fn list(&self, customer: &str, limit: Option<u32>, after: Option<&str>) -> Result<Paged<Order>, Error> {
        self.orders.list(customer, limit, after)
    }

    fn cancel(&self, id: &str) -> Result<Order, Error> {
        self.orders.cancel(id)
    }

    fn last_id(&self) -> Result<Option<String>, Error> {
        self.feed.last_id()
    }

    fn orders(&self, after: &str, until: &str) -> Result<Vec<Order>, Error> {
        self.feed.orders(after, until)
    }

    fn last_change(&self) -> Result<i64, Error> {
        self.feed.last_change()
    }

    fn changes(&self, after: i64) -> Result<Vec<Change>, Error> {
        self.feed.changes(after)
    }

    fn report(&self, cause: &SqlError) -> String {
        cause.report(&self.platform)
    }
}
