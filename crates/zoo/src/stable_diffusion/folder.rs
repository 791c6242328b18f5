//! A diffusers folder: `model_index.json`, and a part in each subfolder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use vipaint_core::prior::Prior;

use super::{attach, scheduler, text, unet, vae};
use crate::formats::{Checkpoint, Folder, FormatError, Mismatch};
use crate::{Error, Family, HEADER_FORMAT, Header, Parameterization, Result, Source, assemble};

/// An opened folder.
pub struct Model {
    path: PathBuf,
    /// The prior's description.
    pub header: Header,
    tensors: Tensors,
    /// Width of each number's embedding among the conditions on the picture.
    picture_width: Option<usize>,
}

/// What the pipelines that are read are called, at the beginning.
const PIPELINES: &str = "StableDiffusion";
/// Parts without an influence on what is generated from a text.
const UNREAD: [&str; 3] = ["safety_checker", "feature_extractor", "image_encoder"];
/// Parts that are read, each with its classes.
const PARTS: [(&str, &[&str]); 7] = [
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel", "CLIPTextModelWithProjection"]),
    ("text_encoder_2", &["CLIPTextModelWithProjection"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("tokenizer_2", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("scheduler", &[]),
];

/// Whether a folder holds a pipeline of this family.
pub fn is_folder(folder: &Path) -> bool {
    matches!(Folder::open(folder), Ok(Folder::Pipeline { class, .. }) if class.starts_with(PIPELINES))
}

impl Model {
    /// Reads the configurations, and checks the tensors of U-Net and autoencoder against them.
    ///
    /// # Errors
    /// [`Error`] names the file, and what in it is missing or not supported.
    pub fn open(folder: &Path) -> Result<Self> {
        check_parts(folder)?;
        let unet::Described { config, picture_width } = unet::describe(&folder.join("unet/config.json"))?;
        let autoencoder = vae::describe(&folder.join("vae/config.json"))?;
        let schedule = folder.join("scheduler/scheduler_config.json");
        let (schedule, head) =
            if schedule.is_file() { scheduler::describe(&schedule)? } else { return Err(scheduler::missing(folder)) };
        let (unet, vae) = (Checkpoint::open(&folder.join("unet"))?, Checkpoint::open(&folder.join("vae"))?);
        let old = vae.names().any(|name| name.ends_with(".query.weight"));
        let tensors = Tensors { unet, vae, config: config.clone(), autoencoder: autoencoder.clone(), old };
        let header = Header {
            format: HEADER_FORMAT,
            name: folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
            classes: Vec::new(),
            network: Family::Openai(config),
            schedule,
            parameterization: Parameterization::Head { head },
            data_std: 1.0,
            value_range: (-1.0, 1.0),
            autoencoder: Some(autoencoder),
        };
        header.check()?;
        tensors.compare(&header)?;
        Ok(Self { path: folder.to_path_buf(), header, tensors, picture_width })
    }

    /// Loads the prior.
    ///
    /// # Errors
    /// [`Error`] names the tensor or the tokenizer that cannot be used.
    pub fn prior(&self) -> Result<Prior> {
        let mut prior = assemble(self.header.clone(), &self.tensors)?;
        let [_, side, _] = prior.autoencoder.image_shape(prior.shape());
        attach(&mut prior, text::of_folder(&self.path, self.picture_width.map(|width| (side, width)))?);
        prior.hash = self.hash();
        Ok(prior)
    }

    /// Hash of the description and of a part of each tensor: training changes nearly every weight, and gigabytes need not be
    /// read for it.
    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.header.to_json());
        for tensor in self.tensors.unet.tensors().chain(self.tensors.vae.tensors()) {
            hash.update(format!("\n{} {:?} {:?}\n", tensor.name(), tensor.dtype(), tensor.shape()));
            let bytes = tensor.bytes();
            let middle = bytes.len() / 2;
            hash.update(&bytes[..bytes.len().min(PIECE)]);
            hash.update(&bytes[middle..bytes.len().min(middle + PIECE)]);
        }
        hash.finalize()[..8].iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

/// Bytes of a piece that goes into the hash.
const PIECE: usize = 64;

fn check_parts(folder: &Path) -> Result<()> {
    let wrong =
        |problem: String| Err(FormatError::Folder { path: folder.join("model_index.json"), problem }.into());
    let Folder::Pipeline { class, parts } = Folder::open(folder)? else {
        return wrong("is not there".into());
    };
    if !class.starts_with(PIPELINES) {
        return wrong(format!("is of a {class}, not of Stable Diffusion 1, 2 or XL"));
    }
    for (name, part) in &parts {
        match PARTS.iter().find(|(known, _)| known == name) {
            Some((_, classes)) if classes.is_empty() || classes.contains(&part.class.as_str()) => {}
            Some((_, classes)) => {
                return wrong(format!("{name}: is a {}, not a {}", part.class, classes.join(" or a ")));
            }
            None if UNREAD.contains(&name.as_str()) => {}
            None => return wrong(format!("{name}: a part of this name ({}) is not supported", part.class)),
        }
    }
    match ["unet", "vae", "text_encoder"].into_iter().find(|needed| !parts.contains_key(*needed)) {
        Some(missing) => wrong(format!("{missing}: is missing")),
        None => Ok(()),
    }
}

/// The tensors of U-Net and autoencoder by the names of the original code.
struct Tensors {
    unet: Checkpoint,
    vae: Checkpoint,
    config: crate::openai::Config,
    autoencoder: crate::autoencoder::Config,
    old: bool,
}

impl Tensors {
    /// The checkpoint that holds a tensor, its name there, and how many of its dimensions are kept.
    fn place(&self, name: &str) -> Option<(&Checkpoint, String, Option<usize>)> {
        if let Some(name) = name.strip_prefix("model.diffusion_model.") {
            return Some((&self.unet, unet::name(&self.config, name)?, None));
        }
        let name = name.strip_prefix("first_stage_model.")?;
        // Attention is kept as linear maps, not as 1x1 convolutions.
        let linear = name.contains(".attn_1.") && !name.contains(".norm.") && name.ends_with(".weight");
        Some((&self.vae, vae::name(&self.autoencoder, name, self.old), linear.then_some(2)))
    }

    /// Checks that the files have all that is read, and no more.
    fn compare(&self, header: &Header) -> Result<()> {
        let mut inventory = header.network.inventory()?;
        if let Some(autoencoder) = &header.autoencoder {
            inventory.entries.extend(autoencoder.inventory(header.network.shape()[1])?.entries);
        }
        for (file, checkpoint) in [("unet", &self.unet), ("vae", &self.vae)] {
            let mut needed = Vec::new();
            for entry in &inventory.entries {
                let (place, name, kept) = self.place(&entry.name).ok_or_else(|| unet::unknown(&entry.name))?;
                if std::ptr::eq(place, checkpoint) {
                    needed.push((name, entry.shape[..kept.unwrap_or(entry.shape.len())].to_vec()));
                }
            }
            let needed = needed.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
            let found = checkpoint.tensors().map(|tensor| (tensor.name().to_owned(), tensor.shape().to_vec()));
            let found: Vec<_> = found.collect();
            let found = found.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
            let mismatch = Mismatch::between(needed, found);
            if !mismatch.is_empty() {
                let problem = format!("its tensors are not those of its config.json: {mismatch}");
                return Err(FormatError::Folder { path: file.into(), problem }.into());
            }
        }
        Ok(())
    }
}

impl Source for Tensors {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (checkpoint, name, kept) = self.place(name).ok_or_else(|| unet::unknown(name))?;
        checkpoint.tensor(&name, &shape[..kept.unwrap_or(shape.len())])
    }
}

/// A checkpoint that several may read.
pub(super) fn shared(path: &Path) -> Result<Arc<Checkpoint>> {
    Ok(Arc::new(Checkpoint::open(path).map_err(Error::from)?))
}
