//! The data types of pictures, and the SQL that stores and reads them.

use shop_common::{Invalid, Sql, SqlError, Statements, from_row, values};

/// What is known of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureInfo {
    /// The article number of the product.
    pub sku: String,
    /// The media type, by the bytes.
    pub media_type: String,
    /// The number of bytes.
    pub size: u32,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The SHA-256 of the bytes in hexadecimal digits.
    pub digest: String,
    /// The time at which the bytes were stored.
    pub changed_at: String,
}
from_row!(PictureInfo { sku, media_type, size, width, height, digest, changed_at });

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The media type, by the bytes.
    pub media_type: String,
    /// The SHA-256 of the bytes in hexadecimal digits.
    pub digest: String,
    /// The time at which the bytes were stored.
    pub changed_at: String,
    /// The picture itself.
    pub bytes: Vec<u8>,
}
from_row!(Picture { media_type, digest, changed_at, bytes });

/// A reason for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The product with this article number has no picture.
    #[error("there is no picture of {0}")]
    NotFound(String),
    /// A field is not valid.
    #[error("a field can't be accepted")]
    Invalid(#[from] Invalid),
    /// The bytes are no picture that can be shown, for this reason.
    #[error("unsupported: {0}")]
    Unsupported(&'static str),
    /// The picture has too many bytes.
    #[error("the picture is too large")]
    TooLarge,
    /// The database is temporarily unavailable.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[source] SqlError),
}

shop_common::from_sql_error!(Error);

/// Stores the picture of a product, in the place of the one before.
pub(crate) fn store(sql: &impl Sql, info: &PictureInfo, bytes: Vec<u8>) -> Result<(), SqlError> {
    sql.transaction(|transaction| {
        transaction.execute(
            "insert into pictures (sku, media_type, size, width, height, digest, changed_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             on conflict (sku) do update set media_type = excluded.media_type, size = excluded.size, width = excluded.width,
                 height = excluded.height, digest = excluded.digest, changed_at = excluded.changed_at",
            values![
                &info.sku,
                &info.media_type,
                info.size,
                info.width,
                info.height,
                &info.digest,
                &info.changed_at
            ],
        )?;
        transaction.execute(
            "insert into picture_bytes (sku, bytes) values (?1, ?2) on conflict (sku) do update set bytes = excluded.bytes",
            values![&info.sku, bytes],
        )?;
        Ok(())
    })
}

/// Returns what is known of the picture of a product.
pub(crate) fn info(sql: &impl Statements, sku: &str) -> Result<Option<PictureInfo>, SqlError> {
    sql.optional(&format!("select {} from pictures where sku = ?1", PictureInfo::COLUMNS), values![sku])
}

/// Returns the picture of a product.
pub(crate) fn picture(sql: &impl Statements, sku: &str) -> Result<Option<Picture>, SqlError> {
    let statement = "select p.media_type, p.digest, p.changed_at, b.bytes
         from pictures p join picture_bytes b on b.sku = p.sku where p.sku = ?1";
    sql.optional(statement, values![sku])
}

/// Removes the picture of a product. Returns whether there was one.
pub(crate) fn remove(sql: &impl Sql, sku: &str) -> Result<bool, SqlError> {
    sql.transaction(|transaction| {
        transaction.execute("delete from picture_bytes where sku = ?1", values![sku])?;
        Ok(transaction.execute("delete from pictures where sku = ?1", values![sku])? == 1)
    })
}
