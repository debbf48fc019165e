//! The data types of payments, and the SQL that stores and reads them.

use shop_common::{Invalid, Money, Row, SqlError, Statements, values};

/// The account to charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A card, by a token for it.
    Card(String),
    /// A wallet, by its id.
    Wallet(String),
    /// The customer pays later, by invoice.
    Invoice,
}

/// The status of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The amount is reserved.
    Authorized,
    /// The amount was captured.
    Captured,
    /// The amount was refunded.
    Refunded,
}

/// A charge to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The amount to charge. Zero if nothing has to be paid.
    pub amount: Money,
    /// The account to charge.
    pub method: Method,
    /// The caller's own reference for what is paid, such as an order's id.
    pub reference: String,
}

/// A payment that was authorized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The id of the payment: a ULID.
    pub id: String,
    /// The charge that created the payment.
    pub charge: Charge,
    /// The current status of the payment.
    pub status: Status,
    /// The time at which the payment was authorized.
    pub created_at: String,
}

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No payment has this id.
    #[error("there is no payment {0}")]
    NotFound(String),
    /// A field is not valid.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The provider declined the charge, with its reason.
    #[error("declined: {0}")]
    Declined(String),
    /// The payment's status does not allow the step, or the idempotency key belongs to another request.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The provider or the database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// The result of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// The provider declined the charge for this reason. There is no payment.
    Declined(String),
    /// The charge created a payment, which has this status.
    Standing(Status),
}

/// A stored charge with its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) charge: Charge,
    pub(crate) state: State,
    pub(crate) created_at: String,
    /// The idempotency key of the request that captured the payment. `None` if it was not captured.
    pub(crate) capture_key: Option<String>,
    /// The idempotency key of the request that refunded the payment. `None` if it was not refunded.
    pub(crate) refund_key: Option<String>,
}

impl Record {
    /// Converts the record to a payment.
    ///
    /// # Errors
    ///
    /// The charge was declined.
    pub(crate) fn into_payment(self) -> Result<Payment, Error> {
        match self.state {
            State::Declined(reason) => Err(Error::Declined(reason)),
            State::Standing(status) => {
                Ok(Payment { id: self.id, charge: self.charge, status, created_at: self.created_at })
            }
        }
    }
}

/// A step of a payment after its authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Capture,
    Refund,
}

const COLUMNS: &str =
    "id, reference, currency, amount, method, token, status, reason, created_at, capture_key, refund_key";

/// Stores a charge under its idempotency key. Returns false, and stores nothing, if the key already names a charge.
pub(crate) fn insert(sql: &impl Statements, record: &Record, key: &str) -> Result<bool, SqlError> {
    let charge = &record.charge;
    let (method, token) = method_to_columns(&charge.method);
    let (status, reason) = match &record.state {
        State::Declined(reason) => ("declined", Some(reason)),
        State::Standing(status) => (status.as_str(), None),
    };
    let changed = sql.execute(
        "insert into payments (id, reference, currency, amount, method, token, status, reason, created_at, authorize_key)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         on conflict (authorize_key) do nothing",
        values![
            &record.id,
            &charge.reference,
            &charge.amount.currency,
            charge.amount.minor,
            method,
            token,
            status,
            reason,
            &record.created_at,
            key,
        ],
    )?;
    Ok(changed == 1)
}

/// Takes a step if the payment's status is the one before the step. Returns whether the step was taken.
pub(crate) fn step(sql: &impl Statements, step: Step, id: &str, key: &str) -> Result<bool, SqlError> {
    let statement = match step {
        Step::Capture => {
            "update payments set status = 'captured', capture_key = ?2 where id = ?1 and status = 'authorized'"
        }
        Step::Refund => {
            "update payments set status = 'refunded', refund_key = ?2 where id = ?1 and status = 'captured'"
        }
    };
    Ok(sql.execute(statement, values![id, key])? == 1)
}

/// Stores that the provider's event with an id was received at the time `now`. Returns false, and stores nothing, if it was received before.
pub(crate) fn insert_event(
    sql: &impl Statements,
    id: &str,
    kind: &str,
    payment: &str,
    now: &str,
) -> Result<bool, SqlError> {
    let changed = sql.execute(
        "insert into provider_events (id, type, payment, received_at) values (?1, ?2, ?3, ?4) on conflict (id) do nothing",
        values![id, kind, payment, now],
    )?;
    Ok(changed == 1)
}

/// Returns the charge with an id.
pub(crate) fn find(sql: &impl Statements, id: &str) -> Result<Option<Record>, SqlError> {
    one(sql.query(&format!("select {COLUMNS} from payments where id = ?1"), values![id])?)
}

/// Returns the charge that was created with an idempotency key.
pub(crate) fn find_by_key(sql: &impl Statements, key: &str) -> Result<Option<Record>, SqlError> {
    one(sql.query(&format!("select {COLUMNS} from payments where authorize_key = ?1"), values![key])?)
}

fn one(rows: Vec<Row>) -> Result<Option<Record>, SqlError> {
    rows.into_iter().next().map(read).transpose()
}

fn read(mut row: Row) -> Result<Record, SqlError> {
    let (id, reference) = row.get()?;
    let amount = Money { currency: row.get()?, minor: row.get()? };
    let method = method_from_columns(&row.get::<String>()?, row.get()?)?;
    let state = match row.get::<(String, Option<String>)>()? {
        (status, Some(reason)) if status == "declined" => State::Declined(reason),
        (status, _) => State::Standing(Status::from_str(&status)?),
    };
    Ok(Record {
        id,
        charge: Charge { amount, method, reference },
        state,
        created_at: row.get()?,
        capture_key: row.get()?,
        refund_key: row.get()?,
    })
}

fn method_to_columns(method: &Method) -> (&'static str, Option<&String>) {
    match method {
        Method::Card(token) => ("card", Some(token)),
        Method::Wallet(id) => ("wallet", Some(id)),
        Method::Invoice => ("invoice", None),
    }
}

fn method_from_columns(method: &str, token: Option<String>) -> Result<Method, SqlError> {
    match (method, token) {
        ("card", Some(token)) => Ok(Method::Card(token)),
        ("wallet", Some(id)) => Ok(Method::Wallet(id)),
        ("invoice", None) => Ok(Method::Invoice),
        _ => Err(SqlError::wrong_type("a payment method")),
    }
}

impl Status {
    /// Returns the contract's name of the status, which the database also stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Refunded => "refunded",
        }
    }

    fn from_str(text: &str) -> Result<Self, SqlError> {
        let all = [Self::Authorized, Self::Captured, Self::Refunded];
        all.into_iter().find(|status| status.as_str() == text).ok_or_else(|| SqlError::wrong_type("a payment's status"))
    }
}
