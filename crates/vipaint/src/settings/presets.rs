//! Sets of hyperparameters that belong together.

/// A set of hyperparameters that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// A quick look.
    Fast,
    /// The methods' own defaults.
    #[default]
    Balanced,
    /// The best pictures, at several times the price.
    Best,
    /// VIPaint as its latent-diffusion release computes it on ImageNet; see docs/method.md.
    PublishedLdm,
    /// VIPaint as its Stable Diffusion 3 release computes it; see docs/method.md.
    PublishedSd3,
}

impl Preset {
    /// What it changes of a method's options.
    pub(super) fn changes(self, method: &str) -> Sets {
        let changes = PRESETS.iter().find(|changes| changes.method == method);
        changes.map_or(&[][..], |changes| match self {
            Self::Fast => changes.fast,
            Self::Balanced => &[],
            Self::Best => changes.best,
            Self::PublishedLdm => PUBLISHED_LDM,
            Self::PublishedSd3 => PUBLISHED_SD3,
        })
    }

    /// VIPaint's options where data tell nearly all of a picture, see [`super::Settings::suit_near_data`].
    pub(super) fn near_data(self) -> Sets {
        match self {
            Self::Fast => &[("particles", "4"), ("correction", "search"), ("path_steps", "20")],
            Self::Best => &[("particles", "4"), ("correction", "search"), ("path_steps", "100")],
            Self::Balanced | Self::PublishedLdm | Self::PublishedSd3 => &[("particles", "4"), ("correction", "search")],
        }
    }

    /// VIPaint's options under a latent prior if they are others than its own, see [`super::Settings::suit_latents`].
    pub(super) fn latents(self) -> Option<Sets> {
        (self == Self::Fast).then_some(&[
            ("particles", "1"),
            ("resample_below", "0"),
            ("correction", "krylov"),
            ("spacing", "time"),
            ("path_steps", "18"),
            ("refine_steps", "6"),
            ("refine_eta", "0.25"),
        ])
    }

    /// Whether it is for VIPaint only.
    pub(super) fn is_published(self) -> bool {
        matches!(self, Self::PublishedLdm | Self::PublishedSd3)
    }
}

/// [`Preset::PublishedLdm`]: `configs/inpainting/imagenet_config.yaml` and `utils/helper.py` of the release. Its `eta` scales a
/// variance, and ours a standard deviation; its rate for a log-variance is twice ours for a log-deviation; its gradient is of
/// a mean over 5 samples.
const PUBLISHED_LDM: Sets = &[
    ("objective", "ldm"),
    ("keypoints", "550,400"),
    ("iterations", "50"),
    ("mc_samples", "5"),
    ("eta", "0.4472135954999579"), // sqrt(.2)
    ("beta_prior", "100"),
    ("beta_hierarchy", "100"),
    ("lr_mu", "0.1"),
    ("lr_tau", "0.0005"),
    ("lr_gamma", "0.01"),
    ("lr_decay", "0.99"),
    ("l1", "156.0762651549526"), // 100 / (2 .566^2)
    ("lpips", "100"),
    ("init_samples", "0"),
    ("init_noise", "1.2806248474865698"), // of the encoder 1 and of the top .8
    ("init_tau", "1.5652475842498528"),   // .7 / sqrt(.2)
    ("init_gamma", "5"),
    ("fit_cfg_scale", "1"),
    ("cfg_scale", "3"),
    ("zeta", "0.4"), // 2 / 5
    ("refine_steps", "401"),
    ("refine_eta", "0.2"),
    ("weights", "false"),
];

/// [`Preset::PublishedSd3`]: `run.py` and `VIPaint.py` of the release. Keypoints are numbers 500 and 750 of its grid under a shift
/// of 3.
const PUBLISHED_SD3: Sets = &[
    ("objective", "sd3"),
    ("keypoints", "0.7507477567298106,0.50199203187251"),
    ("iterations", "50"),
    ("mc_samples", "1"),
    ("prior_steps", "9"),
    ("eta", "1"),
    ("beta_prior", "50"), // 100 x .5
    ("beta_hierarchy", "50"),
    ("lr_mu", "0.2"),
    ("lr_tau", "0.2"),
    ("lr_gamma", "0.2"),
    ("lr_decay", "1"),
    ("beta2", "0.999"),
    ("l2", "250"), // 100 x .05 x 50
    ("latent", "600"),
    ("l1", "20"),
    ("lpips", "1"),
    ("init_noise", "0.5"),
    ("init_tau", "1"),
    ("init_gamma", "1"),
    ("fit_cfg_scale", "4.5"),
    ("cfg_scale", "4.5"),
    ("zeta", "650"),
    ("refine_steps", "250"),
    ("weights", "false"),
];

/// Hyperparameters and their values.
type Sets = &'static [(&'static str, &'static str)];

/// Hyperparameters that presets change.
struct Changes {
    method: &'static str,
    fast: Sets,
    best: Sets,
}

/// Presets of every method.
const PRESETS: &[Changes] = &[
    Changes {
        method: "vipaint",
        fast: &[("iterations", "25"), ("mc_samples", "3"), ("refine_steps", "15"), ("grid_steps", "15")],
        best: &[("k", "4"), ("iterations", "100"), ("mc_samples", "8"), ("refine_steps", "50")],
    },
    Changes { method: "dps", fast: &[("steps", "50")], best: &[("steps", "400")] },
    Changes { method: "repaint", fast: &[("steps", "25")], best: &[("resamplings", "10")] },
    Changes { method: "pigdm", fast: &[("steps", "50")], best: &[("steps", "400")] },
    Changes { method: "ddnm", fast: &[("steps", "50")], best: &[("steps", "400")] },
    Changes { method: "reddiff", fast: &[("steps", "200")], best: &[("steps", "1000")] },
    Changes { method: "daps", fast: &[("steps", "50")], best: &[("steps", "200")] },
    Changes { method: "mcgdiff", fast: &[("particles", "16")], best: &[("particles", "128")] },
    Changes { method: "blended", fast: &[("steps", "25")], best: &[("steps", "200")] },
    Changes { method: "psld", fast: &[("steps", "50")], best: &[("steps", "400")] },
    Changes { method: "resample", fast: &[("steps", "50")], best: &[("steps", "200")] },
    Changes { method: "unconditional", fast: &[("steps", "15")], best: &[("steps", "50")] },
];
