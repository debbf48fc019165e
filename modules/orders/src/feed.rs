//! Reads orders for those who want many of them: all orders page by page, and the orders that change.
//!
//! Nothing here writes, and nothing waits: a reader of changes asks again when it likes.

use shop_common::Sql;

use crate::model::{Error, Order};
use crate::store;

/// The maximum number of orders that one call returns. With the maximum of lines, so many orders take 7 MB of SQL values.
pub const PAGE: u32 = 100;

/// Reads orders from the module's database.
#[derive(Debug, Clone)]
pub struct Feed<S> {
    sql: S,
}

/// An order that was placed or has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The number of the order's latest change. Greater than the numbers of all earlier changes of all orders.
    pub number: i64,
    /// The order as it is now.
    pub order: Order,
}

impl<S: Sql> Feed<S> {
    /// Creates a reader of the orders in a database.
    pub fn new(sql: S) -> Self {
        Self { sql }
    }

    /// Returns the greatest id of an order. `None` if there is no order. Ids begin with the time at which their orders were placed.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn last_id(&self) -> Result<Option<String>, Error> {
        Ok(store::last_id(&self.sql)?)
    }

    /// Returns the next orders by id: at most [`PAGE`], from after `after` up to and including `until`. An empty text sorts before all ids.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn orders(&self, after: &str, until: &str) -> Result<Vec<Order>, Error> {
        let records = store::between(&self.sql, after, until, PAGE)?;
        Ok(records.into_iter().map(|record| record.order).collect())
    }

    /// Returns the number of the latest change. 0 if there is none.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn last_change(&self) -> Result<i64, Error> {
        Ok(store::last_change(&self.sql)?)
    }

    /// Returns the orders that were placed or changed after the change with the number `after`, at most [`PAGE`], in the order of their
    /// numbers. An order that changed several times is there once, as it is now.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn changes(&self, after: i64) -> Result<Vec<Change>, Error> {
        let changed = store::changed(&self.sql, after, PAGE)?;
        Ok(changed.into_iter().map(|(number, record)| Change { number, order: record.order }).collect())
    }
}
