//! The notes beside orders: what customers and staff write. They change nothing of an order.

use shop_common::field::check_text;
use shop_common::time::timestamp;
use shop_common::{Clock, Invalid, Sql, SqlError, from_row, values};

/// The maximum length of a text, in bytes.
const MAX_TEXT: usize = 2_000;

/// The notes of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A message for whoever opens the parcel.
    pub gift: Option<String>,
    /// What the carrier should know.
    pub delivery: Option<String>,
    /// The time of the latest change. `None` if nothing was ever noted.
    pub changed_at: Option<String>,
}
from_row!(Note { gift, delivery, changed_at });

/// A change of an order's notes. In each field, `None` leaves it as it is, and `Some(None)` removes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoteChange {
    /// The change of the message for whoever opens the parcel.
    pub gift: Option<Option<String>>,
    /// The change of what the carrier should know.
    pub delivery: Option<Option<String>>,
}

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No order has this id.
    #[error("there is no order {0}")]
    NotFound(String),
    /// A field is not valid.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// The notes, with their platform.
#[derive(Debug, Clone)]
pub struct Notes<P> {
    platform: P,
}

impl<P: Sql + Clock> Notes<P> {
    /// Creates the service. Notes are stored in the database of the orders.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Returns the notes of an order.
    ///
    /// # Errors
    ///
    /// There is no such order, or the database fails.
    pub fn get(&self, id: &str) -> Result<Note, Error> {
        let statement = "select n.gift, n.delivery, n.changed_at
             from orders o left join order_notes n on n.order_id = o.id where o.id = ?1";
        self.platform.optional(statement, values![id])?.ok_or_else(|| Error::NotFound(id.to_owned()))
    }

    /// Changes the notes of an order, and returns them. One statement changes them, so changes of different fields at the same time all take
    /// effect.
    ///
    /// # Errors
    ///
    /// A text is not valid, there is no such order, or the database fails.
    pub fn patch(&self, id: &str, change: &NoteChange) -> Result<Note, Error> {
        for (field, text) in [("gift", &change.gift), ("delivery", &change.delivery)] {
            if let Some(Some(text)) = text {
                check_text(field, text, MAX_TEXT)?;
            }
        }
        if *change == NoteChange::default() {
            return self.get(id);
        }
        let changed = self.platform.execute(
            "insert into order_notes (order_id, gift, delivery, changed_at)
             select id, ?3, ?5, ?6 from orders where id = ?1
             on conflict (order_id) do update set
                 gift = case when ?2 then excluded.gift else gift end,
                 delivery = case when ?4 then excluded.delivery else delivery end,
                 changed_at = excluded.changed_at",
            values![
                id,
                i64::from(change.gift.is_some()),
                change.gift.clone().flatten(),
                i64::from(change.delivery.is_some()),
                change.delivery.clone().flatten(),
                timestamp(self.platform.now()),
            ],
        )?;
        if changed == 0 { Err(Error::NotFound(id.to_owned())) } else { self.get(id) }
    }
}
