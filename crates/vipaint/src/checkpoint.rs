//! Files and folders as priors: this program's own, and checkpoints of other programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::presets::{PRESETS, Preset};
use vipaint_zoo::recognise::{Opened, Recognised};
use vipaint_zoo::{Header, Loaded};

use crate::error::{Error, Result};
use crate::names;

/// Where a prior is, and which known prior it is said to be.
#[derive(Debug, Clone)]
pub struct Place {
    /// A file or a folder.
    pub path: PathBuf,
    /// What tells what a checkpoint itself does not.
    pub preset: Option<&'static Preset>,
    /// Whether weights are kept in half precision.
    pub half: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.preset.map_or(Ok(()), |preset| write!(f, "{SAID}{}", preset.name))?;
        f.write_str(if self.half { HALF } else { "" })
    }
}

/// Comes between the path and the name of a preset.
const SAID: &str = ",preset=";
/// Asks for weights in half precision.
const HALF: &str = ",weights=f16";

impl Place {
    /// What `PATH[,preset=NAME][,weights=f16]` means; none if nothing is there.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such option or preset, or nothing to load in a folder.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let (mut path, mut options) = (text, Vec::new());
        while !Path::new(path).exists() {
            let Some((rest, option)) = path.rsplit_once(',') else { return Ok(None) };
            options.push(option);
            path = rest;
        }
        let mut place = Self { path: PathBuf::from(path), preset: None, half: false };
        for option in options {
            match option.split_once('=') {
                Some(("preset", name)) => place.preset = Some(preset(name)?),
                Some(("weights", "f16")) => place.half = true,
                _ => {
                    let problem = format!("there is nothing like {option:?} to say after a path");
                    return Err(Error::usage("--prior", problem, "known: preset=NAME, weights=f16"));
                }
            }
        }
        if place.half && place.is_own() {
            let problem = "weights=f16 is for checkpoints of other programs";
            return Err(Error::usage("--prior", problem, "leave it out: prior files of this program are small"));
        }
        if place.path.is_dir() && !place.is_model() {
            let problem =
                format!("the folder {} holds no weights by the names that diffusers gives", place.path.display());
            return Err(Error::usage("--prior", problem, "give the file in it"));
        }
        Ok(Some(place))
    }

    fn is_model(&self) -> bool {
        self.path.join("model_index.json").is_file() || vipaint_zoo::formats::weights_file(&self.path).is_ok()
    }

    /// Whether it is a prior file of this program.
    pub(crate) fn is_own(&self) -> bool {
        let own = |file: Checkpoint| file.metadata().keys().any(|key| key.starts_with("vipaint."));
        !self.path.is_dir() && Checkpoint::open(&self.path).is_ok_and(own)
    }

    /// Loads a checkpoint onto a device.
    ///
    /// # Errors
    /// [`Error::Input`] says why it cannot be used.
    pub(crate) fn load(&self, device: &Device) -> Result<Loaded> {
        let opened = self.open()?;
        let recognised = self.recognise(&opened)?;
        recognised.load(device, self.half).map_err(|error| self.refuse(Some(&opened), &error))
    }

    /// The description of a checkpoint's prior.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn header(&self) -> Result<Header> {
        Ok(self.recognise(&self.open()?)?.header)
    }

    fn open(&self) -> Result<Opened> {
        Opened::open(&self.path).map_err(|error| self.refuse(None, &error))
    }

    fn recognise<'a>(&self, opened: &'a Opened) -> Result<Recognised<'a>> {
        opened.recognise(self.preset).map_err(|error| self.refuse(Some(opened), &error))
    }

    /// What is known about a checkpoint, without loading its weights.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn info(&self) -> Result<Value> {
        let opened = self.open()?;
        let recognised = self.recognise(&opened)?;
        let (header, mut types, mut parameters) = (&recognised.header, BTreeMap::new(), 0);
        for (_, tensor) in recognised.table.tensors() {
            *types.entry(format!("{:?}", tensor.dtype())).or_insert(0) += 1;
            parameters += tensor.shape().iter().product::<usize>();
        }
        let pictures = match &header.autoencoder {
            Some(autoencoder) => autoencoder.image_shape(header.network.shape()),
            None => header.network.shape(),
        };
        let average = opened.parts().any(|part| opened.part(part).is_some_and(|part| part.checkpoint.is_ema()));
        let footprint = header.footprint().map_err(|error| self.refuse(Some(&opened), &error))?;
        Ok(json!({
            "name": header.name,
            "family": recognised.family,
            "presets": recognised.presets.iter().map(|preset| preset.name).collect::<Vec<_>>(),
            "hash": recognised.hash(self.half),
            "shape": header.network.shape(),
            "pictures": pictures,
            "value_range": header.value_range,
            "data_std": header.data_std,
            "classes": header.classes,
            "schedule": header.schedule,
            "prediction": header.parameterization,
            "network": header.network,
            "autoencoder": header.autoencoder,
            "averaged": average,
            "tensors": types,
            "parameters": parameters,
            "weights": if self.half { "f16" } else { "f32" },
            "held_bytes": { "denoiser": footprint.denoiser, "decoder": footprint.decoder },
            "notes": recognised.notes,
        }))
    }

    fn refuse(&self, opened: Option<&Opened>, error: &vipaint_zoo::Error) -> Error {
        let family = opened.and_then(|opened| opened.family().ok()).map_or("", |family| family.name);
        let separator = if family.is_empty() { "" } else { ": " };
        let problem = format!("cannot be used as a prior ({family}{separator}{error})");
        let remedy = "see docs/checkpoints.md, or serve it with --prior exec:COMMAND (docs/exec.md)";
        Error::input(self.path.display().to_string(), problem, remedy)
    }
}

/// The preset of a name.
fn preset(name: &str) -> Result<&'static Preset> {
    Preset::named(name).ok_or_else(|| {
        let known = PRESETS.iter().map(|preset| preset.name);
        Error::usage("--prior", format!("there is no preset {name:?}"), names::remedy(name, known))
    })
}
