//! `vipaint bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Held-out pictures under masks: PSNR, diversity and class agreement inside the hole, with error bars.
    Masks(BenchMasks),
    /// Problems whose posterior is known exactly: the distance of samples to it, at equal cost.
    Gmm(BenchGmm),
    /// A prior made of real pictures, whose posterior is known exactly: distance to it, coverage and spread, at equal cost.
    Dataset(BenchDataset),
    /// Every operator on held-out pictures: PSNR, SSIM and residual with error bars, at equal cost.
    Operators(BenchOperators),
    /// Portraits whose attributes are known: prompts obeyed, visible attributes kept, distance of hidden ones from the truth.
    Avatars(BenchAvatars),
}

#[derive(Debug, Args)]
pub struct BenchAvatars {
    /// Embedded name or file of a prior for portraits.
    #[arg(long, value_name = "PRIOR", default_value = "avatars")]
    pub prior: String,
    /// Methods, separated by commas, each with options if it needs any.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "vipaint particles=1 resample_below=0 correction=krylov spacing=time refine_eta=0.25,blended eta=1,dps zeta=4,psld omega=5 eta=1"
    )]
    pub methods: String,
    /// Portraits to leave out, the first ones: methods are tuned on others than those of the page (which takes none above 100).
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
    /// Portraits for prompts under each mask.
    #[arg(long, value_name = "N", default_value_t = 8)]
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
    /// Samples of the prior alone, whose attributes show the limit of all methods; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub alone: usize,
    /// Cost for each sample in forward calls, a vector-Jacobian product counting two more; twice as much with a prompt.
    #[arg(long, value_name = "CALLS", default_value_t = 48)]
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
    #[arg(long, value_name = "LIST", default_value = "vipaint,vipaint published,mcgdiff,dps,pigdm")]
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
    /// Each becomes the means of its blocks of this many pixels a side: a quarter of the time for 2.
    #[arg(long, value_name = "F", default_value_t = 1)]
    pub shrink: usize,
    /// Standard deviation of the Gaussian on each, in a value range of [-1, 1].
    #[arg(long, value_name = "S", default_value_t = 0.3)]
    pub std: f64,
    /// Standard deviation of the measurement's Gaussian noise.
    #[arg(long, value_name = "S", default_value_t = 0.7)]
    pub noise: f64,
    /// Mask protocols, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "expand,random92")]
    pub masks: String,
    /// Methods, separated by commas, each with options if it needs any (a list's items joined by +); leads are those of the first.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "vipaint particles=39 widen=krylov k=1,dps zeta=1,dps zeta=2,pigdm"
    )]
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
pub struct BenchOperators {
    /// Embedded name or file of a prior on pixels.
    #[arg(long, value_name = "PRIOR", default_value = "fashion")]
    pub prior: String,
    /// The embedded prior whose held-out pictures are used, if --prior is a file.
    #[arg(long, value_name = "NAME")]
    pub held_out: Option<String>,
    /// Operators, separated by commas, or all.
    #[arg(long, value_name = "LIST", default_value = "all")]
    pub operators: String,
    /// Methods, separated by commas, each with options if it needs any (a list's items joined by +, alternatives to be tuned by |);
    /// leads are those of the first.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "vipaint k=1 correction=search particles=4 zeta=0.5|1|1.5,dps zeta=1|2|6|20|60,pigdm scale=1|2|4"
    )]
    pub methods: String,
    /// Pictures of each class (the held-out set has 10).
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub per_class: usize,
    /// Other pictures, one of a class, on which alternatives are compared.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub tuning: usize,
    /// Samples for each picture.
    #[arg(short = 'n', long = "samples", value_name = "N", default_value_t = 4)]
    pub samples: usize,
    /// Cost for each picture and method in forward calls; a vector-Jacobian product counts two more.
    #[arg(long, value_name = "CALLS", default_value_t = 400)]
    pub cost: u64,
    /// Noise of what is measured in a range of [-1, 1], as for restore; Gaussian.
    #[arg(long, value_name = "NOISE", default_value = "gaussian:0.05")]
    pub noise: String,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder for the page, the rows and the pictures.
    #[arg(short, long, value_name = "DIR", default_value = "docs/results")]
    pub output: PathBuf,
}
