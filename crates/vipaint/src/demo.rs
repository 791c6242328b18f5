//! Example pictures that ship with the program: test images that its priors were not trained on.

use vipaint_core::operator::{PROTOCOLS, Protocol};

use crate::draw::DrawError;
use crate::error::{Error, Result};
use crate::given::{Given, Origin};
use crate::names;
use crate::picture::{Mask, Picture};

macro_rules! asset {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../assets/fashion-mnist/", $name, ".png")).as_slice())
    };
}

/// Pictures: name and PNG file.
pub const PICTURES: &[(&str, &[u8])] = &[
    asset!("ankle-boot"),
    asset!("bag"),
    asset!("coat"),
    asset!("dress"),
    asset!("sandal"),
    asset!("shirt"),
    asset!("sneaker"),
    asset!("trouser"),
];

/// A picture by its name, hidden as one of [`PROTOCOLS`] says.
///
/// # Errors
/// [`Error::Usage`] when there is no such picture or protocol.
pub fn given(name: &str, hide: &str, seed: u64) -> Result<Given> {
    let unknown = |option: &str, name: &str, known: Vec<&str>| {
        Error::usage(option, format!("there is no {name:?}"), names::remedy(name, known))
    };
    let file = PICTURES.iter().find(|(known, _)| *known == name).map(|(_, file)| *file);
    let file = file.ok_or_else(|| unknown("--picture", name, PICTURES.iter().map(|(name, _)| *name).collect()))?;
    let protocol = Protocol::named(hide)
        .ok_or_else(|| unknown("--hide", hide, PROTOCOLS.iter().map(|protocol| protocol.name).collect()))?;
    let picture = Picture::decode(file, name)?;
    let (width, height) = (picture.width(), picture.height());
    let known = protocol.mask([1, height, width], seed).into_iter().map(|known| known > 0.0).collect();
    let mask = Mask::new(width, height, known)
        .ok_or_else(|| Error::usage("--hide", "hides nothing or everything here", "hide something else"))?;
    let mask_origin = Origin::of(hide, &mask.to_png().map_err(DrawError::new)?);
    Ok(Given { picture, picture_origin: Origin::of(name, file), mask, mask_origin })
}
