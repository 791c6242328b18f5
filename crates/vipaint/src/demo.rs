//! Example pictures that ship with the program: test images that its priors were not trained on, with masks for them.

use vipaint_core::operator::{PROTOCOLS, Protocol};

use crate::draw::DrawError;
use crate::error::{Error, Result};
use crate::given::{Given, Origin};
use crate::names;
use crate::picture::{Keep, Mask, Picture};

macro_rules! asset {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../assets/fashion-mnist/", $name, ".png")).as_slice())
    };
}

/// Names with PNG files.
type Files = &'static [(&'static str, &'static [u8])];

/// The examples of an embedded prior.
pub struct Examples {
    /// The prior's name.
    pub prior: &'static str,
    /// Pictures, that of the demo first.
    pub pictures: Files,
    /// Masks made for them, that of the demo first, besides [`PROTOCOLS`].
    pub masks: Files,
}

/// The examples of every embedded prior.
pub const EXAMPLES: &[Examples] = &[
    Examples {
        prior: "fashion",
        pictures: &[
            asset!("ankle-boot"),
            asset!("bag"),
            asset!("coat"),
            asset!("dress"),
            asset!("sandal"),
            asset!("shirt"),
            asset!("sneaker"),
            asset!("trouser"),
        ],
        masks: &[],
    },
    Examples { prior: "avatars", pictures: vipaint_avatars::PORTRAITS, masks: vipaint_avatars::MASKS },
];

impl Examples {
    /// Those of a prior; of one that is not embedded, those of the first that is.
    pub fn of(prior: &str) -> &'static Self {
        EXAMPLES.iter().find(|set| set.prior == prior).unwrap_or(&EXAMPLES[0])
    }

    /// A picture by its name, hidden by a mask or as one of [`PROTOCOLS`] says; without names, as in the demo.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such picture, mask or protocol.
    pub fn given(&self, name: Option<&str>, hide: Option<&str>, seed: u64) -> Result<Given> {
        let name = name.unwrap_or(self.pictures[0].0); // no set is empty
        let hide = hide.unwrap_or(self.masks.first().map_or("half", |(name, _)| *name));
        let file = find(self.pictures, name);
        let file = file.ok_or_else(|| unknown("--picture", name, self.pictures.iter().map(|(name, _)| *name)))?;
        if let Some(mask) = find(self.masks, hide) {
            return Given::decode((file, name), (mask, hide), Keep::White);
        }
        let protocol = Protocol::named(hide).ok_or_else(|| {
            let own = self.masks.iter().map(|(name, _)| *name);
            unknown("--hide", hide, own.chain(PROTOCOLS.iter().map(|protocol| protocol.name)))
        })?;
        let picture = Picture::decode(file, name)?;
        let (width, height) = (picture.width(), picture.height());
        let known = protocol.mask([1, height, width], seed).into_iter().map(|known| known > 0.0).collect();
        let mask = Mask::new(width, height, known)
            .ok_or_else(|| Error::usage("--hide", "hides nothing or everything here", "hide something else"))?;
        let mask_origin = Origin::of(hide, &mask.to_png().map_err(DrawError::new)?);
        Ok(Given { picture, picture_origin: Origin::of(name, file), mask, mask_origin })
    }
}

fn find(files: Files, name: &str) -> Option<&'static [u8]> {
    files.iter().find(|(known, _)| *known == name).map(|(_, file)| *file)
}

fn unknown(option: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> Error {
    Error::usage(option, format!("there is no {name:?}"), names::remedy(name, known))
}
