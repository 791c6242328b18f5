//! How a picture is restored: the method with its hyperparameters, guidance, noise.

mod presets;

use serde_json::{Map, Value};
use vipaint_core::measurement::{Family, Likelihood};
use vipaint_core::posterior::FitOptions;
use vipaint_core::sampler::{METHODS, Method, Sampler, Vipaint};

pub use presets::Preset;

use crate::error::{Error, Result};
use crate::names;

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
    preset: Preset,
    /// Keys that were set by hand.
    given: Vec<String>,
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
        let given = sets.iter().map(|(key, _)| key.clone()).collect();
        let options = (method.defaults)();
        let mut settings = Self { method, options, cfg_scale: 1.0, context: None, noise, preset, given };
        if preset.is_published() && method.name != "vipaint" {
            return Err(Error::usage("--preset", "is a set for vipaint", "use --method vipaint"));
        }
        for (key, value) in preset.changes(method.name) {
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

    /// Takes the form of VIPaint that is best where data tell nearly all of a picture: guided, weighted paths without a fit. What
    /// belongs to a fit, or says where samples come from, is not overruled if it was set by hand, nor are published presets. `zeta` is
    /// how far paths go towards the data. Whether anything was changed.
    ///
    /// # Errors
    /// [`Error::Usage`] when a value set by hand does not suit it.
    pub fn suit_near_data(&mut self, zeta: &str) -> Result<bool> {
        self.suit(&[self.preset.near_data(), &[("zeta", zeta)]].concat())
    }

    /// Takes the form of VIPaint that is quickest under a latent prior, if the preset says so: guided walks along the prior's own
    /// covariance, without a fit and without a gradient of the network. Otherwise as [`Self::suit_near_data`].
    ///
    /// # Errors
    /// [`Error::Usage`] when a value set by hand does not suit it.
    pub fn suit_latents(&mut self) -> Result<bool> {
        self.preset.latents().map_or(Ok(false), |changes| self.suit(changes))
    }

    /// Takes values for what was not set by hand, unless that speaks of a fit.
    fn suit(&mut self, changes: &[(&str, &str)]) -> Result<bool> {
        let fit = serde_json::to_value(FitOptions::default()).unwrap_or_default();
        let own = |key: &str| fit.get(key).is_some() || ["particles", "paths", "proposal", "correction"].contains(&key);
        if self.method.name != "vipaint" || self.preset.is_published() || self.given.iter().any(|key| own(key)) {
            return Ok(false);
        }
        for (key, value) in changes {
            if !self.given.iter().any(|given| given == key) {
                self.set(key, value)?;
            }
        }
        self.check().map(|()| true)
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
        assert!(METHODS.iter().all(|m| !Preset::Fast.changes(m.name).is_empty()));
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
    fn near_data_nothing_is_fitted_unless_a_fit_is_asked_for() {
        let suited = |method, preset, pairs: &[(&str, &str)]| {
            let mut settings = Settings::new(method, preset, &sets(pairs), noise()).expect("it is valid");
            settings.suit_near_data("1.5").expect("it is valid").then_some(settings)
        };
        for (preset, steps) in [(Preset::Fast, 20), (Preset::Balanced, 40), (Preset::Best, 100)] {
            let settings = suited("vipaint", preset, &[("zeta", "0.5")]).expect("no fit is asked for");
            assert!(settings.vipaint().is_none() && settings.options["path_steps"] == steps);
            assert!(settings.options["correction"] == "search" && settings.options["zeta"] == 0.5);
        }
        let settings = suited("vipaint", Preset::Balanced, &[("path_steps", "9")]).expect("no fit is asked for");
        assert!(settings.options["path_steps"] == 9 && settings.options["zeta"] == 1.5);
        for set in [("particles", "0"), ("iterations", "50"), ("k", "2"), ("correction", "inside")] {
            assert!(suited("vipaint", Preset::Balanced, &[set]).is_none(), "{set:?}");
        }
        assert!(suited("vipaint", Preset::PublishedLdm, &[]).is_none() && suited("dps", Preset::Fast, &[]).is_none());
    }

    #[test]
    fn latents_are_walked_to_quickly_and_fitted_otherwise() {
        let suited = |preset, pairs: &[(&str, &str)]| {
            let mut settings = Settings::new("vipaint", preset, &sets(pairs), noise()).expect("it is valid");
            settings.suit_latents().expect("it is valid").then_some(settings)
        };
        let settings = suited(Preset::Fast, &[("path_steps", "9")]).expect("no fit is asked for");
        assert!(settings.vipaint().is_none() && settings.options["correction"] == "krylov");
        assert!(settings.options["path_steps"] == 9 && settings.options["refine_steps"] == 6);
        assert!(suited(Preset::Fast, &[("iterations", "20")]).is_none() && suited(Preset::Balanced, &[]).is_none());
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
