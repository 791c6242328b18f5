//! A picture with its mask, and the files they came from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::picture::{Keep, Mask, Picture, read};

/// Which file something came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file's name.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Origin {
    /// The origin of `bytes` called `name`.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), sha256: format!("{:x}", Sha256::digest(bytes)) }
    }
}

/// A picture with a mask of its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The picture.
    pub picture: Picture,
    /// The picture's file.
    pub picture_origin: Origin,
    /// What is known of it.
    pub mask: Mask,
    /// The mask's file.
    pub mask_origin: Origin,
}

impl Given {
    /// Reads both files.
    ///
    /// # Errors
    /// [`crate::Error::Input`] when one of them cannot be used, or they do not fit.
    pub fn open(picture: &Path, mask: &Path, keep: Keep) -> Result<Self> {
        let named = |path: &Path| Ok::<_, Error>((read(path)?, path.display().to_string()));
        let (picture, picture_name) = named(picture)?;
        let (mask, mask_name) = named(mask)?;
        Self::decode((&picture, &picture_name), (&mask, &mask_name), keep)
    }

    /// From the bytes of both files and their names.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn decode(picture: (&[u8], &str), mask: (&[u8], &str), keep: Keep) -> Result<Self> {
        let given = Self {
            picture: Picture::decode(picture.0, picture.1)?,
            picture_origin: Origin::of(picture.1, picture.0),
            mask: Mask::decode(mask.0, mask.1, keep)?,
            mask_origin: Origin::of(mask.1, mask.0),
        };
        given.mask.check(&given.picture, mask.1)?;
        Ok(given)
    }
}
