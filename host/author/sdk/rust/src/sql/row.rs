//! Rows, and the types that are read from rows.

use super::{FromValue, SqlError, Value};

/// One row of a query's result, read column by column from the left.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// Creates a row from its columns.
    pub fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    /// Reads the next column, or as many as `T` has.
    ///
    /// # Errors
    ///
    /// The row has no more columns, or a column is not what `T` expects.
    pub fn get<T: FromRow>(&mut self) -> Result<T, SqlError> {
        T::from_row(self)
    }

    /// Reads the whole row.
    ///
    /// # Errors
    ///
    /// The row has fewer or more columns than `T`, or a column is not what `T` expects.
    pub fn read<T: FromRow>(mut self) -> Result<T, SqlError> {
        let read = self.get()?;
        if self.0.len() == 0 {
            Ok(read)
        } else {
            Err(SqlError::Storage("a row has more columns than its type".to_owned()))
        }
    }

    fn next(&mut self) -> Result<Value, SqlError> {
        self.0.next().ok_or_else(|| SqlError::Storage("a row has too few columns".to_owned()))
    }
}

/// A type that is read from the columns of a row: the type of one column, a tuple of such types, or a struct with
/// [`from_row!`](crate::from_row).
pub trait FromRow: Sized {
    /// Reads as many columns as the type has.
    ///
    /// # Errors
    ///
    /// The row has too few columns, or a column is not what the type expects.
    fn from_row(row: &mut Row) -> Result<Self, SqlError>;
}

impl<T: FromValue> FromRow for T {
    fn from_row(row: &mut Row) -> Result<Self, SqlError> {
        T::from_value(row.next()?)
    }
}

macro_rules! tuple {
    ($($part:ident)+) => {
        impl<$($part: FromRow),+> FromRow for ($($part,)+) {
            fn from_row(row: &mut Row) -> Result<Self, SqlError> {
                Ok(($(row.get::<$part>()?,)+))
            }
        }
    };
}

tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{from_row, text_column, values};

    #[derive(Debug, PartialEq, Clone, Copy)]
    enum Status {
        Pending,
        Paid,
    }
    text_column!(Status { Pending = "pending", Paid = "paid" });

    #[derive(Debug, PartialEq)]
    struct Order {
        id: String,
        status: Status,
        total: u32,
        note: Option<String>,
    }
    from_row!(Order { id, status, total, note });

    #[derive(Debug, PartialEq)]
    struct Shown {
        order: Order,
        paid: bool,
    }
    from_row!(Shown { order: Order, paid });

    fn row() -> Vec<Value> {
        values!["1", Status::Paid, 450_u32, None::<String>]
    }

    #[test]
    fn a_row_is_a_struct() {
        assert_eq!(Order::COLUMNS, "id, status, total, note");
        let order = || Order { id: "1".to_owned(), status: Status::Paid, total: 450, note: None };
        assert_eq!(Row::new(row()).read::<Order>(), Ok(order()));
        let nested = [row(), values![true]].concat();
        assert_eq!(Row::new(nested.clone()).read(), Ok(Shown { order: order(), paid: true }));
        assert_eq!(Row::new(nested).read(), Ok((order(), true)));
    }

    #[test]
    fn what_is_no_such_row_is_refused() {
        let refused = |columns: Vec<Value>| Row::new(columns).read::<Order>().unwrap_err().to_string();
        assert_eq!(refused(row()[..3].to_vec()), "storage: a row has too few columns");
        assert_eq!(refused([row(), values![1]].concat()), "storage: a row has more columns than its type");
        let wrong = |at: usize, value: Value| {
            let mut columns = row();
            columns[at] = value;
            refused(columns)
        };
        assert_eq!(wrong(0, Value::Null), "storage: a column that holds a text holds something else");
        assert_eq!(wrong(1, "lost".into()), "storage: a column that holds a Status holds something else");
        let beyond = wrong(2, (-1).into());
        assert_eq!(beyond, "storage: a column that holds a number of type u32 holds something else");
    }
}
