//! Network families, their wrappers into [`vipaint_core::prior::Denoiser`], and prior files.

pub mod autoencoder;
mod blocks;
pub mod clip;
pub mod diffusers;
pub mod edm;
mod error;
pub mod exec;
mod file;
pub mod formats;
mod header;
pub mod imagenet;
pub mod kl_autoencoder;
mod limits;
mod loader;
mod network;
pub mod openai;
mod precondition;
pub mod presets;
pub mod recognise;
mod recompute;
mod resample;
mod source;
pub mod stable_diffusion;
pub mod text;
pub mod text_unet;
mod time;
pub mod unet;
mod weights_file;

pub use error::{Error, Result};
pub use file::{
    Loaded, MAGIC_KEY, assemble, assemble_from, decode, encode, load_bytes, load_bytes_on, load_file, open_bytes_on,
    prior, with_network,
};
pub use header::{FORMAT as HEADER_FORMAT, Header, Parameterization};
pub use loader::{Inventory, Loader, Parts, Shape};
pub use network::{Family, Network};
pub use precondition::{Edm, EdmScales, Headed, Preconditioning};
pub use source::{RandomWeights, Renamed, Source, Values};
pub use weights_file::{read_weights, write_weights};
