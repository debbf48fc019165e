//! What notifications are made of, and how they are kept: types, and the SQL between them and rows.

use shop_common::{Invalid, Page, Row, Sql, SqlError, values};

/// A value for one of a template's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The place.
    pub name: String,
    /// What stands there.
    pub value: String,
}

/// What somebody is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who.
    pub recipient: String,
    /// The template's name.
    pub template: String,
    /// A value for each of its places.
    pub fields: Vec<Field>,
}

/// A notice that was rendered and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// A ULID.
    pub id: String,
    /// Who is told.
    pub recipient: String,
    /// The template's name.
    pub template: String,
    /// The rendered text.
    pub text: String,
    /// When it was rendered.
    pub created_at: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field can't be accepted.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The key belongs to another notice.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The database doesn't answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        if error.is_passing() { Self::Unavailable("the database is busy".to_owned()) } else { Self::Storage(error) }
    }
}

/// A notification with the fields that it was rendered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) notification: Notification,
    /// In one text: see [`fields_to_column`].
    pub(crate) fields: String,
}

const COLUMNS: &str = "id, recipient, template, text, created_at, fields";

/// Keeps a notification under its key. Returns false, and keeps nothing, where the key names one already.
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

/// The notification that this key names.
pub(crate) fn find_by_key(sql: &impl Sql, key: &str) -> Result<Option<Record>, SqlError> {
    let statement = format!("select {COLUMNS} from notifications where deduplication_key = ?1");
    sql.query(&statement, values![key])?.into_iter().next().map(read).transpose()
}

/// What a recipient was told, newest first: as much as the page has to fetch.
pub(crate) fn list(sql: &impl Sql, recipient: &str, page: &Page) -> Result<Vec<Notification>, SqlError> {
    let statement =
        format!("select {COLUMNS} from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3");
    let rows = sql.query(&statement, values![recipient, page.before(), page.fetch()])?;
    rows.into_iter().map(|row| Ok(read(row)?.notification)).collect()
}

fn read(mut row: Row) -> Result<Record, SqlError> {
    let notification = Notification {
        id: row.text()?,
        recipient: row.text()?,
        template: row.text()?,
        text: row.text()?,
        created_at: row.text()?,
    };
    Ok(Record { notification, fields: row.text()? })
}

/// Arranged fields as one text. Two lists of fields give the same only where they are the same: no value has a line break.
pub(crate) fn fields_to_column(fields: &[Field]) -> String {
    fields.iter().map(|field| format!("{}={}\n", field.name, field.value)).collect()
}
