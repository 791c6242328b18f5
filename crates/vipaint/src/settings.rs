//! How a picture is restored: the method with its hyperparameters, guidance, noise.

use serde_json::{Map, Value};
use vipaint_core::measurement::{Family, Likelihood};
use vipaint_core::sampler::{METHODS, Method, Sampler, Vipaint};

use crate::error::{Error, Result};
use crate::names;

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
    /// Whether it is for VIPaint only.
    fn is_published(self) -> bool {
        matches!(self, Self::PublishedLdm | Self::PublishedSd3)
    }
}

/// [`Preset::PublishedLdm`]: `configs/inpainting/imagenet_config.yaml` and `utils/helper.py` of the release. Its `eta` scales a
/// variance, and ours a standard deviation; its rate for a log-variance is twice ours for a log-deviation; its gradient is of
/// a mean over 5 samples.
const PUBLISHED_LDM: &[(&str, &str)] = &[
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
const PUBLISHED_SD3: &[(&str, &str)] = &[
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

/// Hyperparameters that presets change.
struct Changes {
    method: &'static str,
    fast: &'static [(&'static str, &'static str)],
    best: &'static [(&'static str, &'static str)],
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

/// Most noise that is taken for one: a hundred times the range of a picture.
const LOUDEST: f64 = 200.0;

/// Standard deviation of what rounding to 8 bits adds, in a range of 2: the noise of a noiseless measurement.
const ROUNDING: f64 = 2.0 / 255.0 / 3.464_101_615_137_754_6;

/// Hyperparameters of every method, beside its own.
const SHARED: [&str; 2] = ["cfg_scale", "context"];

/// A method with everything that can be set, checked.
#[derive(Clone)]
pub struct Settings {
    /// The method.
    pub method: &'static Method,
    /// Its options.
    pub options: Map<String, Value>,
    /// Strength of the class (classifier-free guidance) while sampling; 1 is the conditional prior itself.
    pub cfg_scale: f64,
    /// How many times larger than the hole the square is that a large picture is cropped to; `None` is as large as the
    /// picture allows.
    pub context: Option<f64>,
    /// The measurement's noise, in a range of values of 2.
    pub noise: Likelihood,
}

impl Settings {
    /// A method by name with a preset's options, some of them set to other values.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown name or a value outside its domain.
    pub fn new(method: &str, preset: Preset, sets: &[(String, String)], noise: Likelihood) -> Result<Self> {
        let known = METHODS.iter().map(|m| m.name);
        let method = METHODS.iter().find(|m| m.name == method).ok_or_else(|| {
            Error::usage("--method", format!("there is no method {method:?}"), names::remedy(method, known))
        })?;
        let mut settings = Self { method, options: (method.defaults)(), cfg_scale: 1.0, context: None, noise };
        if preset.is_published() && method.name != "vipaint" {
            return Err(Error::usage("--preset", "is a set for vipaint", "use --method vipaint"));
        }
        let changes = PRESETS.iter().find(|changes| changes.method == method.name);
        let changes = changes.map_or(&[][..], |changes| match preset {
            Preset::Fast => changes.fast,
            Preset::Balanced => &[],
            Preset::Best => changes.best,
            Preset::PublishedLdm => PUBLISHED_LDM,
            Preset::PublishedSd3 => PUBLISHED_SD3,
        });
        for (key, value) in changes {
            settings.set(key, value)?;
        }
        for (i, (key, value)) in sets.iter().enumerate() {
            if sets[..i].iter().any(|(earlier, _)| earlier == key) {
                return Err(Error::usage(format!("--set {key}"), "is given twice", "give it once"));
            }
            settings.set(key, value)?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Settings as they were stored with a posterior.
    ///
    /// # Errors
    /// [`Error::Usage`] when this version does not know the method or one of its options.
    pub fn restore(
        method: &str,
        options: Map<String, Value>,
        cfg_scale: f64,
        context: Option<f64>,
        noise: Likelihood,
    ) -> Result<Self> {
        let plain = Self::new(method, Preset::Balanced, &[], noise)?;
        let settings = Self { options, cfg_scale, context, ..plain };
        settings.check()?;
        Ok(settings)
    }

    /// Sets one hyperparameter from its text: JSON, a word, or a comma-separated list.
    fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let option = format!("--set {key}");
        if SHARED.contains(&key) {
            let value: f64 = text.parse().map_err(|_| Error::usage(&option, "is not a number", "give a number"))?;
            match key {
                "context" => self.context = Some(value),
                _ => self.cfg_scale = value,
            }
            return Ok(());
        }
        let Some(before) = self.options.get(key).cloned() else {
            let known = self.options.keys().map(String::as_str).chain(SHARED);
            let problem = format!("method {} has no such hyperparameter", self.method.name);
            return Err(Error::usage(option, problem, names::remedy(key, known)));
        };
        self.method.set(&mut self.options, key, text).map_err(|error| {
            let problem = match error {
                vipaint_core::Error::Option { problem, .. } => {
                    problem.trim_start_matches(&format!("{key}: ")).to_owned()
                }
                other => other.to_string(),
            };
            Error::usage(option, problem, format!("the default is {before}"))
        })
    }

    fn check(&self) -> Result<()> {
        if !self.cfg_scale.is_finite() {
            return Err(Error::usage("--cfg-scale", "is not a finite number", "1 is the conditional prior itself"));
        }
        if self.context.is_some_and(|context| !(1.0..=100.0).contains(&context)) {
            let remedy = "leave it out for the largest square that the picture allows";
            return Err(Error::usage("--set context", "must be between 1 and 100", remedy));
        }
        self.sampler().map(drop)
    }

    /// The method, ready to draw.
    ///
    /// # Errors
    /// [`Error::Usage`] when an option is outside its domain.
    pub fn sampler(&self) -> Result<Box<dyn Sampler>> {
        (self.method.build)(self.options.clone()).map_err(|error| self.explain(error))
    }

    /// VIPaint with these options, if that is the method and it fits: it alone has a posterior to keep.
    pub fn vipaint(&self) -> Option<Vipaint> {
        let vipaint = (self.method.name == "vipaint").then(|| Vipaint::from_options(self.options.clone()).ok());
        vipaint.flatten().filter(Vipaint::fits)
    }

    fn explain(&self, error: vipaint_core::Error) -> Error {
        match error {
            vipaint_core::Error::Option { name, problem } => {
                let default = (self.method.defaults)().get(name).map(|value| format!("the default is {value}"));
                Error::usage(
                    format!("--set {name}"),
                    problem,
                    default.unwrap_or_else(|| "see the values allowed".into()),
                )
            }
            other => Error::from(other),
        }
    }
}

/// A noise model from its text: `gaussian:0.05`, `laplace:0.05`, `poisson:100` (photons at white) or `none`.
///
/// # Errors
/// [`Error::Usage`] when the text is none of these.
pub fn parse_noise(text: &str) -> Result<Likelihood> {
    let wrong = |problem: &str| {
        Error::usage("--noise", format!("{text:?} {problem}"), "write gaussian:0.05, laplace:0.05, poisson:100 or none")
    };
    let (family, sigma) = match text.split_once(':') {
        None if text == "none" => return Ok(Likelihood { family: Family::Gaussian, sigma_y: ROUNDING }),
        Some(("gaussian", sigma)) => (Family::Gaussian, sigma),
        Some(("laplace", sigma)) => (Family::Laplace, sigma),
        Some(("poisson", peak)) => {
            return match peak.parse::<f64>() {
                Ok(peak) if peak > 0.0 && peak.is_finite() => {
                    let family = Family::Poisson { black: -1.0, white: 1.0 };
                    Ok(Likelihood { family, sigma_y: 2.0 / peak.sqrt() })
                }
                _ => Err(wrong("has no positive number of photons")),
            };
        }
        _ => return Err(wrong("is not a kind of noise")),
    };
    match sigma.parse::<f64>() {
        Ok(sigma_y) if sigma_y > 0.0 && sigma_y <= LOUDEST => Ok(Likelihood { family, sigma_y }),
        Ok(sigma_y) if sigma_y > LOUDEST => Err(wrong("would leave nothing of the picture")),
        _ => Err(wrong("has no positive standard deviation")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> Likelihood {
        parse_noise("gaussian:0.05").expect("it is well written")
    }

    fn sets(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn every_preset_of_every_method_is_valid() {
        for method in METHODS {
            for preset in [Preset::Fast, Preset::Balanced, Preset::Best] {
                assert!(Settings::new(method.name, preset, &[], noise()).is_ok(), "{}", method.name);
            }
        }
        assert!(METHODS.iter().all(|m| PRESETS.iter().any(|changes| changes.method == m.name)));
    }

    #[test]
    fn published_presets_are_for_vipaint_and_can_be_changed() {
        let made = |method, pairs: &[(&str, &str)]| Settings::new(method, Preset::PublishedLdm, &sets(pairs), noise());
        let fit = made("vipaint", &[("l1", "100")]).ok().and_then(|s| s.vipaint()).expect("it fits");
        assert_eq!((fit.fit_options().l1, fit.fit_options().lpips), (100.0, 100.0));
        assert!(made("dps", &[]).is_err());
        let made = |method, pairs: &[(&str, &str)]| Settings::new(method, Preset::PublishedSd3, &sets(pairs), noise());
        let settings = made("vipaint", &[("iterations", "3")]).expect("it is valid");
        let fit = settings.vipaint().expect("it fits");
        assert_eq!((fit.fit_options().iterations, fit.fit_options().l2, settings.cfg_scale), (3, 250.0, 4.5));
        assert!(made("vipaint", &[("weights", "true")]).is_err() && made("repaint", &[]).is_err());
    }

    #[test]
    fn errors_name_the_key_and_the_nearest_one() {
        let fails = |pairs: &[(&str, &str)]| match Settings::new("vipaint", Preset::Balanced, &sets(pairs), noise()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(fails(&[("iteratons", "5")]).contains("did you mean \"iterations\""));
        assert!(fails(&[("iterations", "many")]).starts_with("--set iterations: "));
        assert!(fails(&[("eta", "7")]).starts_with("--set eta: must be at most 1"));
        assert!(fails(&[("eta", "1"), ("eta", "0.5")]).contains("twice"));
        assert!(fails(&[("context", "0")]).contains("between 1 and 100"));
        assert_eq!(fails(&[("keypoints", "5, 2"), ("cfg_scale", "3")]), "");
    }

    #[test]
    fn noise_is_positive_or_none() {
        for wrong in ["gaussian", "gaussian:0", "gaussian:-1", "gaussian:nan", "poisson:0", "photons:1", ""] {
            assert!(parse_noise(wrong).is_err(), "{wrong}");
        }
        assert!(parse_noise("none").is_ok_and(|noise| noise.sigma_y < 0.003));
        assert!(parse_noise("poisson:100").is_ok_and(|noise| (noise.sigma_y - 0.2).abs() < 1e-12));
        assert_eq!(parse_noise("laplace:.1").map(|noise| noise.family).ok(), Some(Family::Laplace));
    }
}
