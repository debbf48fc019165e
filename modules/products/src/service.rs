//! The business rules of pictures.

use sha2::{Digest as _, Sha256};
use shop_common::field::check_text;
use shop_common::time::timestamp;
use shop_common::{Clock, Invalid, Sql};

use crate::format::Format;
use crate::model::{self, Error, Picture, PictureInfo};

/// The maximum length of an article number, in bytes.
const MAX_SKU: usize = 64;
/// The maximum size of a picture, in bytes.
pub const MAX_PICTURE: usize = 1 << 20;

/// The pictures of products, with their platform.
#[derive(Debug, Clone)]
pub struct Pictures<P> {
    platform: P,
}

impl<P: Sql + Clock> Pictures<P> {
    /// Creates the service. Pictures are stored in the platform's database.
    pub fn new(platform: P) -> Self {
        Self { platform }
    }

    /// Stores the picture of a product, in the place of the one before. `media_type` is what the client says that the bytes are; parameters
    /// of it count for nothing.
    ///
    /// # Errors
    ///
    /// A field is not valid, the bytes are no picture or too many, or the database fails.
    pub fn put(&self, sku: &str, media_type: &str, bytes: Vec<u8>) -> Result<PictureInfo, Error> {
        check_text("sku", sku, MAX_SKU)?;
        if bytes.len() > MAX_PICTURE {
            return Err(Error::TooLarge);
        }
        let format = Format::of(&bytes)?;
        let told = media_type.split(';').next().unwrap_or_default().trim_ascii();
        if !told.eq_ignore_ascii_case(format.media_type) {
            let reason = format!("must be {}, as the picture is", format.media_type);
            return Err(Invalid::new("media-type", reason).into());
        }
        let info = PictureInfo {
            sku: sku.to_owned(),
            media_type: format.media_type.to_owned(),
            size: u32::try_from(bytes.len()).expect("the size was checked"),
            width: format.width,
            height: format.height,
            digest: hex::encode(Sha256::digest(&bytes)),
            changed_at: timestamp(self.platform.now()),
        };
        model::store(&self.platform, &info, bytes)?;
        Ok(info)
    }

    /// Returns the picture of a product.
    ///
    /// # Errors
    ///
    /// There is no picture, or the database fails.
    pub fn get(&self, sku: &str) -> Result<Picture, Error> {
        model::picture(&self.platform, sku)?.ok_or_else(|| Error::NotFound(sku.to_owned()))
    }

    /// Returns what is known of the picture of a product.
    ///
    /// # Errors
    ///
    /// There is no picture, or the database fails.
    pub fn info(&self, sku: &str) -> Result<PictureInfo, Error> {
        model::info(&self.platform, sku)?.ok_or_else(|| Error::NotFound(sku.to_owned()))
    }

    /// Removes the picture of a product.
    ///
    /// # Errors
    ///
    /// There is no picture, or the database fails.
    pub fn remove(&self, sku: &str) -> Result<(), Error> {
        if model::remove(&self.platform, sku)? { Ok(()) } else { Err(Error::NotFound(sku.to_owned())) }
    }
}
