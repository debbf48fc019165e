//! Says what the bytes of a picture are, by their first bytes. Nothing here decodes a picture.

use imagesize::{ImageError, ImageType};

use crate::model::Error;

/// The format and size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The media type.
    pub media_type: &'static str,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
}

impl Format {
    /// Reads the format of a picture.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`]: the bytes are no picture, are one of another format, or are cut off before their size.
    pub fn of(bytes: &[u8]) -> Result<Self, Error> {
        let media_type = match imagesize::image_type(bytes) {
            Ok(ImageType::Gif) => "image/gif",
            Ok(ImageType::Jpeg) => "image/jpeg",
            Ok(ImageType::Png) => "image/png",
            Ok(ImageType::Webp) => "image/webp",
            Ok(_) | Err(ImageError::NotSupported) => {
                return Err(Error::Unsupported("it is no GIF, JPEG, PNG or WebP"));
            }
            Err(_) => return Err(Error::Unsupported("it is cut off")),
        };
        let size = imagesize::blob_size(bytes).map_err(|_| Error::Unsupported("it is cut off"))?;
        let pixels = |length| u32::try_from(length).ok().filter(|length| *length > 0);
        match (pixels(size.width), pixels(size.height)) {
            (Some(width), Some(height)) => Ok(Self { media_type, width, height }),
            _ => Err(Error::Unsupported("it has no size")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The start of a picture of 2 × 3 pixels in each format.
    fn starts() -> [(&'static str, Vec<u8>); 4] {
        let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &[0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0]].concat();
        let gif = [b"GIF89a".as_slice(), &[2, 0, 3, 0, 0, 0, 0]].concat();
        let jpeg =
            vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0, 0xff, 0xc0, 0, 11, 8, 0, 3, 0, 2, 1, 1, 0x11, 0, 0xff, 0xd9];
        let webp = [b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0".as_slice(), &[0, 0, 0, 0, 1, 0, 0, 2, 0, 0]].concat();
        [("image/png", png), ("image/gif", gif), ("image/jpeg", jpeg), ("image/webp", webp)]
    }

    #[test]
    fn the_first_bytes_say_what_a_picture_is() {
        for (media_type, bytes) in starts() {
            assert_eq!(Format::of(&bytes), Ok(Format { media_type, width: 2, height: 3 }), "{media_type}");
        }
    }

    #[test]
    fn other_bytes_are_no_picture() {
        let others = [
            b"".as_slice(),
            b"GIF",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"%PDF-1.7 and more than twelve bytes",
            b"BM\x1a\0\0\0\0\0\0\0\x1a\0\0\0\x0c\0\0\0\x02\0\x03\0\x01\0\x18\0",
            b"<html><script>alert(1)</script></html>",
        ];
        for bytes in others {
            assert!(matches!(Format::of(bytes), Err(Error::Unsupported(_))), "{bytes:?}");
        }
        for (media_type, bytes) in starts() {
            for length in 0..12 {
                assert!(Format::of(&bytes[..length]).is_err(), "{media_type}, {length}");
            }
        }
    }
}
