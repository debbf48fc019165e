//! The data types of notifications, and the SQL that stores and reads them.

use shop_common::{Invalid, Page, Sql, SqlError, from_row, values};

/// A value for a placeholder of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name of the placeholder.
    pub name: String,
    /// The text that replaces the placeholder.
    pub value: String,
}

/// A notice to render and store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The person to notify.
    pub recipient: String,
    /// The name of the template.
    pub template: String,
    /// A value for each placeholder of the template.
    pub fields: Vec<Field>,
}

/// A notice that was rendered and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The id of the notification: a ULID.
    pub id: String,
    /// The person who is notified.
    pub recipient: String,
    /// The name of the template.
    pub template: String,
    /// The rendered text.
    pub text: String,
    /// The time at which the notice was rendered.
    pub created_at: String,
}
from_row!(Notification { id, recipient, template, text, created_at });

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field is not valid.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The deduplication key belongs to another notice.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// A notification with the fields from which it was rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) notification: Notification,
    /// The fields in one text, in the format of [`fields_to_column`].
    pub(crate) fields: String,
}
from_row!(Record { notification: Notification, fields });

/// Stores a notification under its deduplication key. Returns false, and stores nothing, if the key already names one.
pub(crate) fn insert(sql: &impl Sql, record: &Record, key: &str) -> Result<bool, SqlError> {
    let Notification { id, recipient, template, text, created_at } = &record.notification;
    let changed = sql.execute(
        "insert into notifications (id, recipient, template, text, created_at, fields, deduplication_key)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         on conflict (deduplication_key) do nothing",
        values![id, recipient, template, text, created_at, &record.fields, key],
    )?;
    Ok(changed == 1)
}

/// Returns the notification with a deduplication key.
pub(crate) fn find_by_key(sql: &impl Sql, key: &str) -> Result<Option<Record>, SqlError> {
    let columns = Notification::COLUMNS;
    sql.optional(&format!("select {columns}, fields from notifications where deduplication_key = ?1"), values![key])
}

/// Lists the notifications of a recipient, newest first. Returns at most [`Page::fetch`] of them.
pub(crate) fn list(sql: &impl Sql, recipient: &str, page: &Page) -> Result<Vec<Notification>, SqlError> {
    let columns = Notification::COLUMNS;
    let statement =
        format!("select {columns} from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3");
    sql.all(&statement, values![recipient, page.before(), page.fetch()])
}

/// Formats sorted fields as one text. Different fields give different texts, because no value contains a line break.
pub(crate) fn fields_to_column(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{}={}\n", field.name, field.value)).collect()
}
