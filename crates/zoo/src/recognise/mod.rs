//! What an opened checkpoint is: the [`Header`] of a prior, and its tensors under the names that networks use.
//!
//! Names tell the family; names and shapes tell the architecture. What they cannot tell (the side of `z`, heads, the
//! schedule, what is predicted) is taken, in this order, from a `prior.toml` beside the checkpoint, from the preset that is
//! asked for, and from the presets whose tensors are exactly these.
//!
//! A new family is a file with a [`Family`] and a row of [`FAMILIES`].

mod autoencoder;
mod complete;
mod edm;
mod guided_diffusion;
mod latent_diffusion;
mod openai;
mod opened;
mod stable_diffusion;
mod stated;
mod table;
mod unet2d;

use std::path::Path;

use burn::tensor::Device;
use serde_json::Value;

pub use opened::{Opened, Part, WHOLE};
pub use table::{Below, Table};

use crate::formats::Layout;
use crate::presets::Preset;
use crate::{Error, Header, Loaded, Loader, Result, assemble_from};

/// A family of checkpoints.
pub struct Family {
    /// What it is called in messages.
    pub name: &'static str,
    /// Whether what was opened is one of it.
    pub is: fn(&Opened) -> bool,
    /// What its files tell.
    pub describe: fn(&Opened) -> Result<Described<'_>>,
}

/// Every family; the first that fits is taken.
pub const FAMILIES: &[Family] =
    &[latent_diffusion::FAMILY, guided_diffusion::FAMILY, stable_diffusion::FAMILY, edm::FAMILY, unet2d::FAMILY];

/// JSON pointers to fields of a [`Header`] that are known together: where one is stated, the others are not filled in.
pub type Group = &'static [&'static str];

/// What the files of a checkpoint tell about it.
pub struct Described<'a> {
    /// Its tensors, by the names that networks use.
    pub table: Table<'a>,
    /// The fields of a [`Header`] that are known, of which [`HEADER_FORMAT`](crate::HEADER_FORMAT), name and class names
    /// need not be.
    pub known: Value,
    /// Fields that must be known in the end, from a preset if nothing else tells.
    pub open: Vec<Group>,
    /// Tensors that may be there and are not read.
    pub allowed: fn(&str) -> bool,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// A checkpoint that is known for what it is.
pub struct Recognised<'a> {
    /// Its family's name.
    pub family: &'static str,
    /// The presets that told what the files do not.
    pub presets: Vec<&'static Preset>,
    /// The prior's description.
    pub header: Header,
    /// Its tensors, by the names that networks use.
    pub table: Table<'a>,
    /// What a user should know.
    pub notes: Vec<String>,
    opened: &'a Opened,
}

impl Opened {
    /// The layout of the only part.
    pub fn layout(&self) -> Option<Layout> {
        self.whole()?.layout()
    }

    /// Whose code it is of.
    ///
    /// # Errors
    /// [`Error::Unrecognised`] says what it holds instead.
    pub fn family(&self) -> Result<&'static Family> {
        FAMILIES.iter().find(|family| (family.is)(self)).ok_or_else(|| self.unrecognised())
    }

    /// Says what this is. `preset` is the known prior that it is said to be, or to be like.
    ///
    /// # Errors
    /// [`Error`] names what is unknown, untold, missing, unexpected or of another shape.
    pub fn recognise(&self, preset: Option<&'static Preset>) -> Result<Recognised<'_>> {
        let family = self.family()?;
        let described = (family.describe)(self)?;
        let (header, presets) = complete::complete(self, &described, preset)?;
        let mismatch = described.table.compare(&header.inventory()?, described.allowed);
        if !mismatch.is_empty() {
            return Err(Error::Mismatch(mismatch));
        }
        let Described { table, notes, .. } = described;
        Ok(Recognised { family: family.name, presets, header, table, notes, opened: self })
    }

    fn unrecognised(&self) -> Error {
        let parts = self.parts().filter_map(|name| {
            let part = self.part(name)?;
            let what = match part.layout() {
                Some(layout) => format!("{layout:?}"),
                None => "unknown names".to_owned(),
            };
            let first = part.checkpoint.names().next().unwrap_or_default();
            let count = part.checkpoint.names().count();
            let place = if name == WHOLE { String::new() } else { format!("{name}: ") };
            Some(format!("{place}{count} tensors, {what} (such as {first})"))
        });
        let class = self.class().map(|class| format!("a {class}"));
        Error::Unrecognised(class.into_iter().chain(parts).collect::<Vec<_>>().join("; "))
    }
}

impl Recognised<'_> {
    /// The prior, on a device. If `half`, packed weights of network and autoencoder are in half precision, see [`Loader::halved`].
    ///
    /// # Errors
    /// [`Error`] names the tensor that cannot be used.
    pub fn load(&self, device: &Device, half: bool) -> Result<Loaded> {
        let loader = Loader::new(&self.table, device);
        let loader = if half { loader.halved() } else { loader };
        let mut loaded = assemble_from(self.header.clone(), &loader)?;
        self.table.rest(); // Texts are read next, from elsewhere.
        if let Some(reader) = crate::stable_diffusion::reader(self.opened, &self.header)? {
            crate::stable_diffusion::attach(&mut loaded.prior, reader);
        }
        loaded.prior.hash = self.hash(half);
        Ok(loaded)
    }

    /// The hash of the prior that [`Self::load`] makes: [`Table::hash`], and whether weights are in half precision.
    pub fn hash(&self, half: bool) -> String {
        self.table.hash(&self.header.to_json()) + if half { "-f16" } else { "" }
    }
}

/// Opens, recognises and loads a checkpoint onto the CPU.
///
/// # Errors
/// [`Error`] names what cannot be read or used.
pub fn load(path: &Path, preset: Option<&'static Preset>) -> Result<Loaded> {
    Opened::open(path)?.recognise(preset)?.load(&Device::flex(), false)
}
