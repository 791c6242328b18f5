//! The arguments as they are written; [`crate::validate`] makes sense of them.

mod bench;
mod eval;
mod prior;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use bench::*;
pub use eval::*;
pub use prior::*;

/// Image restoration with diffusion priors.
#[derive(Debug, Parser)]
#[command(name = "vipaint", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub machine: Machine,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the work is done and how it is told.
#[derive(Debug, Args)]
pub struct Machine {
    /// Threads; all cores by default. Results do not depend on it.
    #[arg(long, global = true, help_heading = "Machine", value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// cpu, or wgpu, vulkan, cuda, metal or rocm with the cargo feature of that name; of several the second is cuda:1, and so on.
    #[arg(long, global = true, help_heading = "Machine", value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Memory that features may take, in GiB, besides the weights; half of what is free by default, on other devices than the CPU
    /// without limit. On the CPU results do not depend on it.
    #[arg(long, global = true, help_heading = "Machine", value_name = "GIB", allow_negative_numbers = true)]
    pub memory: Option<f64>,
    /// Print the report as JSON on stdout, and nothing else there.
    #[arg(long, global = true, help_heading = "Machine")]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Complete an embedded picture with an embedded prior: a grid to look at, in seconds.
    Demo(Demo),
    /// Complete the hidden part of a picture: by a fitted posterior, or where what is hidden is thin by guided paths without a fit.
    Inpaint(Inpaint),
    /// Sharpen a blurred picture, by guided paths without a fit (--set particles=0 fits).
    Deblur(Deblur),
    /// Enlarge a picture, by guided paths without a fit (--set particles=0 fits).
    Upscale(Upscale),
    /// Undo what a chain of operators did to a picture: blur, shrinking, JPEG, clipping, loss of colour; by guided paths without a
    /// fit (--set particles=0 fits).
    Restore(Restore),
    /// Optimise the posterior of a picture once and keep it in a file.
    Fit(Fit),
    /// Draw samples from a posterior file.
    Sample(Sample),
    /// Train a prior from a recipe; the same command goes on where it was stopped.
    Train(Train),
    /// Look at priors.
    #[command(subcommand)]
    Prior(Prior),
    /// Compare methods at equal cost: tables, JSON, pictures.
    #[command(subcommand)]
    Bench(Bench),
    /// Measure results against true pictures: PSNR, SSIM, LPIPS, KID, FID, diversity, coverage, with error bars.
    Eval(Eval),
    /// The networks that metrics need.
    #[command(subcommand)]
    Metrics(Metrics),
}

#[derive(Debug, Args)]
pub struct Demo {
    /// Embedded picture: ankle-boot, bag, coat, dress, sandal, shirt, sneaker or trouser; with --prior avatars ada, bo, cem,
    /// dora, eve, finn, gus or hana. By default the first.
    #[arg(long, value_name = "NAME")]
    pub picture: Option<String>,
    /// What to hide: half (the default), box, centre (all but it), expand, rotated, thin, thick, rectangles, random70, random92,
    /// lines or grid; with --prior avatars also hair (the default), eyes, mouth or face (all but its centre).
    #[arg(long, value_name = "WHAT")]
    pub hide: Option<String>,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub amount: Amount,
    /// Folder for the results.
    #[arg(short, long, value_name = "DIR", default_value = "out/demo")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Inpaint {
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub amount: Amount,
    /// Folder for the results.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub output: PathBuf,
}

/// What all restorations of whole pictures share.
#[derive(Debug, Args)]
pub struct Whole {
    /// The measured picture: PNG, JPEG or WebP. Of one that is too large for the prior the middle is restored.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// IMAGE is clean: degrade it first, noise included, and compare the results with it.
    #[arg(long)]
    pub simulate: bool,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub amount: Amount,
    /// Folder for the results.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Deblur {
    /// gaussian:SIGMA, motion:LENGTH:ANGLE (pixels, degrees), or a file: a grey picture of the kernel or a table of numbers.
    #[arg(long, value_name = "KERNEL")]
    pub kernel: String,
    #[command(flatten)]
    pub whole: Whole,
}

#[derive(Debug, Args)]
pub struct Upscale {
    /// How many times larger the sides become: 2, 4 or 8.
    #[arg(long, value_name = "N", default_value_t = 4, allow_negative_numbers = true)]
    pub factor: usize,
    /// How the picture was made small: by means over blocks, or the antialiased bicubic kernel.
    #[arg(long, value_name = "KERNEL", value_enum, default_value_t = Shrink::Bicubic)]
    pub kernel: Shrink,
    #[command(flatten)]
    pub whole: Whole,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shrink {
    Box,
    Bicubic,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// What happened to the picture, in its order, joined by `+`: gaussian:SIGMA, motion:LENGTH:ANGLE, kernel:FILE, box:N,
    /// bicubic:N, blocks:N (sums), grey, jpeg:QUALITY, hdr[:GAIN] (contrast times the gain, 2 by default, clipped).
    #[arg(long, value_name = "OPERATORS")]
    pub operator: String,
    #[command(flatten)]
    pub whole: Whole,
}

#[derive(Debug, Args)]
pub struct Fit {
    /// The picture: PNG, JPEG or WebP.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The mask, a picture of the same size: white is known, black is hidden.
    #[arg(long, value_name = "MASK", conflicts_with = "operator")]
    pub mask: Option<PathBuf>,
    /// The colour of known pixels in the mask.
    #[arg(long, value_name = "COLOUR", value_enum, default_value_t = Keep::White)]
    pub mask_keep: Keep,
    /// What happened to the picture as a whole, as for `vipaint restore`.
    #[arg(long, value_name = "OPERATORS")]
    pub operator: Option<String>,
    /// IMAGE is clean: degrade it by --operator first, noise included.
    #[arg(long)]
    pub simulate: bool,
    #[command(flatten)]
    pub ask: Ask,
    /// Posterior file to write.
    #[arg(long, value_name = "FILE")]
    pub posterior: PathBuf,
}

#[derive(Debug, Args)]
pub struct Sample {
    /// Posterior file to draw from; a fit that was interrupted is completed first.
    #[arg(long, value_name = "FILE")]
    pub posterior: PathBuf,
    /// The prior it was fitted under, if that is not an embedded one: a file.
    #[arg(long, value_name = "PRIOR")]
    pub prior: Option<String>,
    #[command(flatten)]
    pub amount: Amount,
    /// Folder for the results.
    #[arg(short, long, value_name = "DIR", default_value = "out")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Train {
    /// The recipe, a TOML file (see priors/fashion/recipe.toml).
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Folder of the run: checkpoints, sample grids, curves, the prior file. By default runs/ and the recipe's name.
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Files {
    /// The picture: PNG, JPEG or WebP, of any size.
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The mask, a picture of the same size: white is known, black is hidden.
    #[arg(long, value_name = "MASK")]
    pub mask: PathBuf,
    /// The colour of known pixels in the mask.
    #[arg(long, value_name = "COLOUR", value_enum, default_value_t = Keep::White)]
    pub mask_keep: Keep,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Keep {
    White,
    Black,
}

/// How a picture is restored.
#[derive(Debug, Args)]
pub struct Ask {
    /// Embedded name (see `vipaint prior list`), file or folder (a checkpoint may have ,preset=NAME and
    /// ,weights=f16 after it, see docs/checkpoints.md), hf:ORG/REPO (see docs/hub.md), or exec:COMMAND (an external program, see docs/exec.md).
    #[arg(long, value_name = "PRIOR", default_value = "fashion")]
    pub prior: String,
    /// The class the picture is said to be of: a name or an index of the prior's.
    #[arg(long, value_name = "CLASS")]
    pub class: Option<String>,
    /// What the picture shows, in words, for a prior that reads text.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// What it does not show, in words; needs a --cfg-scale other than 1.
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Strength of class or prompt while sampling; 1 is the conditional prior itself.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub cfg_scale: Option<f64>,
    /// vipaint, dps, repaint, pigdm, ddnm, reddiff, daps, mcgdiff, blended, psld, resample or unconditional.
    #[arg(long, value_name = "METHOD", default_value = "vipaint")]
    pub method: String,
    /// A set of hyperparameters.
    #[arg(long, value_enum, default_value_t = Preset::Balanced)]
    pub preset: Preset,
    /// Set a hyperparameter; may be repeated. A wrong key lists the right ones. Whole pictures and thin holes are restored with
    /// particles=4 and correction=search under a prior on pixels, and --preset fast takes particles=1 and correction=krylov under a latent
    /// one, unless one of these or something of a fit is set.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Noise of the known pixels in a range of [-1, 1]: gaussian:S, laplace:S, poisson:PEAK (photons at white) or none.
    #[arg(long, value_name = "NOISE", default_value = "gaussian:0.05")]
    pub noise: String,
    /// Seed of everything random: the same seed gives the same pictures.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Preset {
    Fast,
    Balanced,
    Best,
    PublishedLdm,
    PublishedSd3,
}

#[derive(Debug, Args)]
pub struct Amount {
    /// Samples to draw.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 8, allow_negative_numbers = true)]
    pub samples: usize,
    /// Samples that go through the network together. Results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true)]
    pub batch: usize,
}
