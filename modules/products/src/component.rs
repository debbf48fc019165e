//! Implements the exported contract with the service. It contains no business rules.

use shop_common::component::Host;

use crate::bindings::exports::shop::products::pictures as contract;
use crate::model::{Error, Picture, PictureInfo};
use crate::service::Pictures;

/// The type that implements the component's exports.
pub(crate) struct Component;

fn pictures() -> Pictures<Host> {
    Pictures::new(Host::connect())
}

impl contract::Guest for Component {
    fn put_picture(sku: String, media_type: String, bytes: Vec<u8>) -> Result<contract::PictureInfo, contract::Error> {
        Ok(pictures().put(&sku, &media_type, bytes)?.into())
    }

    fn upload_picture(sku: String, picture: contract::Upload) -> Result<contract::PictureInfo, contract::Error> {
        Ok(pictures().put(&sku, &picture.media_type, picture.bytes)?.into())
    }

    fn get_picture(sku: String) -> Result<contract::Picture, contract::Error> {
        Ok(pictures().get(&sku)?.into())
    }

    fn get_picture_info(sku: String) -> Result<contract::PictureInfo, contract::Error> {
        Ok(pictures().info(&sku)?.into())
    }

    fn remove_picture(sku: String) -> Result<(), contract::Error> {
        Ok(pictures().remove(&sku)?)
    }
}

impl From<PictureInfo> for contract::PictureInfo {
    fn from(info: PictureInfo) -> Self {
        Self {
            sku: info.sku,
            media_type: info.media_type,
            size: info.size,
            width: info.width,
            height: info.height,
            digest: info.digest,
            changed_at: info.changed_at,
        }
    }
}

impl From<Picture> for contract::Picture {
    fn from(picture: Picture) -> Self {
        Self {
            media_type: picture.media_type,
            digest: picture.digest,
            changed_at: picture.changed_at,
            bytes: picture.bytes,
        }
    }
}

/// Converts an error for callers. A database error is logged here, and its cause is not passed on.
impl From<Error> for contract::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(sku) => Self::NotFound(sku),
            Error::Invalid(field) => Self::Invalid(field.into()),
            Error::Unsupported(reason) => Self::Unsupported(reason.to_owned()),
            Error::TooLarge => Self::TooLarge,
            Error::Unavailable(reason) => Self::Unavailable(reason.to_owned()),
            Error::Storage(cause) => Self::Storage(cause.report(&Host::connect())),
        }
    }
}
