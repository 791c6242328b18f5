//! Network families, their wrappers into [`vipaint_core::prior::Denoiser`], and prior files.

mod error;
mod file;
mod header;
pub mod kl_autoencoder;
mod network;
mod precondition;
pub mod text;
pub mod text_unet;
pub mod unet;
mod weights_file;

pub use error::{Error, Result};
pub use file::{MAGIC_KEY, decode, encode, load_bytes, load_file, prior};
pub use header::{FORMAT as HEADER_FORMAT, Header, Parameterization};
pub use network::{Family, Network};
pub use precondition::{Edm, EdmScales, Headed};
pub use weights_file::{read_weights, write_weights};
