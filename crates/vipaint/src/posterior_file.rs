//! Posterior files: the engine's fit, with the picture, its mask and the settings, so that samples can be drawn from the
//! file alone.

use std::collections::BTreeMap;

use burn::tensor::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vipaint_core::measurement::Likelihood;
use vipaint_core::posterior::{Fit, Stored};
use vipaint_core::prior::Prior;

use crate::error::{Error, Result};
use crate::given::{Given, Origin};
use crate::job::{Job, Request};
use crate::picture::{Keep, Mask, Picture};
use crate::restore::{Degradation, Measured};
use crate::scene::{Input, Scene};
use crate::settings::Settings;

const PICTURE: &str = "vipaint.picture.png";
const MASK: &str = "vipaint.mask.png";
const REQUEST: &str = "vipaint.request.json";

/// What the engine's file does not hold.
#[derive(Serialize, Deserialize)]
struct Stated {
    picture: Origin,
    /// Of a picture with a hole.
    #[serde(default)]
    mask: Option<Origin>,
    /// Of a picture that was degraded as a whole, and whether that was simulated.
    #[serde(default)]
    degradation: Option<(Degradation, bool)>,
    method: String,
    options: Map<String, Value>,
    cfg_scale: f64,
    context: Option<f64>,
    noise: Likelihood,
    seed: u64,
}

impl Job {
    /// A posterior file of a fit of this job. The same fit gives the same bytes.
    ///
    /// # Errors
    /// When the file cannot be put together.
    pub fn posterior_file(&self, fit: &Fit) -> Result<Vec<u8>> {
        let failed = |problem: String| Error::input("posterior", problem, "report this as a defect");
        let png = |png: image::ImageResult<Vec<u8>>| png.map_err(|e| failed(e.to_string()));
        let (picture, mask, degradation, mut parts) = match &self.scene {
            Scene::Hole(work, [picture, mask]) => {
                let parts = vec![(PICTURE, png(work.picture().to_png())?), (MASK, png(work.mask().to_png())?)];
                (picture.clone(), Some(mask.clone()), None, parts)
            }
            Scene::Whole(restoration) => {
                let Measured { picture, origin, degradation, simulate } = &restoration.given;
                let parts = vec![(PICTURE, png(picture.to_png())?)];
                (origin.clone(), None, Some((degradation.clone(), *simulate)), parts)
            }
        };
        let Settings { method, options, cfg_scale, context, noise, .. } = self.settings.clone();
        let (method, seed) = (method.name.into(), self.seed);
        let stated = Stated { picture, mask, degradation, method, options, cfg_scale, context, noise, seed };
        parts.push((REQUEST, serde_json::to_vec(&stated).map_err(|e| failed(e.to_string()))?));

        let engine = fit.save(&self.problem, &BTreeMap::new())?;
        let damaged = |e: safetensors::SafeTensorError| failed(e.to_string());
        let (_, metadata) = SafeTensors::read_metadata(&engine).map_err(damaged)?;
        let file = SafeTensors::deserialize(&engine).map_err(damaged)?;
        let mut views = file.tensors();
        for (name, bytes) in &parts {
            views.push(((*name).into(), TensorView::new(Dtype::U8, vec![bytes.len()], bytes).map_err(damaged)?));
        }
        safetensors::serialize(views, metadata.metadata().clone()).map_err(damaged)
    }

    /// The job and the fit in a posterior file. `prior` gives the prior of a name and a hash.
    ///
    /// # Errors
    /// [`Error::Input`] when the file is damaged, or of another prior.
    pub fn load(bytes: &[u8], name: &str, prior: impl FnOnce(&str, &str) -> Result<Prior>) -> Result<(Self, Fit)> {
        let bad = |problem: String| Error::input(name, problem, "make it again with `vipaint fit`");
        let engine = |error: vipaint_core::Error| match error {
            vipaint_core::Error::PosteriorFile(problem) => bad(problem),
            other => bad(other.to_string()),
        };
        let stored = Stored::load(bytes, &Device::flex()).map_err(engine)?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| bad(format!("is damaged ({e})")))?;
        let part = |part: &str| {
            let view = file.tensor(part).map_err(|_| bad(format!("has no part {part}")))?;
            if view.dtype() == Dtype::U8 { Ok(view.data()) } else { Err(bad(format!("has a damaged part {part}"))) }
        };
        let stated: Stated = serde_json::from_slice(part(REQUEST)?).map_err(|e| bad(format!("is damaged ({e})")))?;
        let picture = Picture::decode(part(PICTURE)?, name)?;
        let given: Input = match (stated.mask, stated.degradation) {
            (Some(mask_origin), None) => {
                let mask = Mask::decode(part(MASK)?, name, Keep::White)?;
                mask.check(&picture, name)?;
                Given { picture, picture_origin: stated.picture, mask, mask_origin }.into()
            }
            (None, Some((degradation, simulate))) => {
                Measured { picture, origin: stated.picture, degradation, simulate }.into()
            }
            _ => return Err(bad("says neither what is hidden nor what happened to the picture".into())),
        };
        let settings =
            Settings::restore(&stated.method, stated.options, stated.cfg_scale, stated.context, stated.noise)
                .map_err(|e| bad(format!("was made with options that this version does not know ({e})")))?;
        let request = Request {
            given,
            prior: prior(&stored.prior_name, &stored.prior_hash)?,
            condition: stored.guidance.condition.clone(),
            negative: stored.guidance.negative.clone(),
            settings,
            seed: stated.seed,
        };
        let job = Self::new(request)?;
        let fit = stored.fit(&job.problem).map_err(engine)?;
        Ok((job, fit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use vipaint_core::Schedule;
    use vipaint_core::event::silent;
    use vipaint_core::prior::analytic::Gaussian;

    use super::*;
    use crate::{Amount, Preset, parse_noise};

    const SIDE: usize = 8;

    /// A prior that is a Gaussian, so that it costs nothing.
    fn prior() -> Prior {
        let shape = [1, SIDE, SIDE];
        let (mean, variance) = ([0.1; SIDE * SIDE], [0.2; SIDE * SIDE]);
        let denoiser = Gaussian::new(&mean, &variance, shape, &Device::flex()).expect("it has the right shape");
        let schedule = Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 };
        Prior::new("gaussian", Arc::new(denoiser), schedule, 0.45)
    }

    /// A picture with its right half hidden, to be completed in a few steps.
    fn job() -> Job {
        let sets = [("iterations", "4"), ("mc_samples", "2"), ("refine_steps", "3"), ("grid_steps", "3")];
        let sets: Vec<(String, String)> = sets.map(|(key, value)| (key.into(), value.into())).to_vec();
        let noise = parse_noise("gaussian:0.1").expect("it is well written");
        let samples = (0..SIDE * SIDE).map(|i| (i * 4) as u8).collect();
        let known = (0..SIDE * SIDE).map(|i| i % SIDE < SIDE / 2).collect();
        let given = Given {
            picture: Picture::grey(SIDE, SIDE, samples).expect("it has the right size"),
            picture_origin: Origin::of("picture", b""),
            mask: Mask::new(SIDE, SIDE, known).expect("half is hidden"),
            mask_origin: Origin::of("mask", b""),
        };
        let settings = Settings::new("vipaint", Preset::Balanced, &sets, noise).expect("they are valid");
        let (condition, negative) = Default::default();
        let request = Request { given: given.into(), prior: prior(), condition, negative, settings, seed: 3 };
        Job::new(request).expect("it suits the prior")
    }

    fn file() -> Vec<u8> {
        let outcome = job().fit(&mut silent()).expect("it can be fitted");
        let fit = outcome.fit.as_ref().expect("it was fitted");
        outcome.job.posterior_file(fit).expect("it can be put together")
    }

    #[test]
    fn samples_from_the_file_are_those_of_one_run() {
        let amount = Amount { samples: 3, batch: 2 };
        let one = job().run(amount, &mut silent()).expect("it runs");
        let (job, fit) = Job::load(&file(), "file", |_, _| Ok(prior())).expect("it is whole");
        let two = job.resume(fit, amount, &mut silent()).expect("it runs");
        assert_eq!(one.samples, two.samples);
        assert_eq!(one.log_weights, two.log_weights);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damaged_files_are_errors_or_posteriors(
            cut in 0.0..1.0f64, changes in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..8),
        ) {
            static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut bytes = FILE.get_or_init(file).clone();
            for (place, byte) in changes {
                // Half of the changes hit the description at the start.
                let span = if byte % 2 == 0 { bytes.len().min(4000) } else { bytes.len() };
                bytes[(place * span as f64) as usize] = byte;
            }
            let _ = Job::load(&bytes, "file", |_, _| Ok(prior()));
            bytes.truncate((cut * bytes.len() as f64) as usize);
            let _ = Job::load(&bytes, "file", |_, _| Ok(prior()));
        }
    }
}
