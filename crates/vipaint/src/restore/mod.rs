//! Restoration of a whole picture that was blurred, shrunk, compressed, ...: the picture given is the measurement.

mod degradation;
mod kernel_file;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::{Composition, Operator, Window};
use vipaint_core::prior::Prior;

pub use degradation::Degradation;

use crate::draw::{Cell, Raster};
use crate::error::{Error, Result};
use crate::given::Origin;
use crate::picture::{Picture, read};

/// A picture, and what happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The measured picture; with `simulate` a clean one.
    pub picture: Picture,
    /// Its file.
    pub origin: Origin,
    /// What happened to it.
    pub degradation: Degradation,
    /// Whether it is still to happen, noise included, so that results can be compared with the truth.
    pub simulate: bool,
}

impl Measured {
    /// Reads the picture, and the kernels that the degradation names.
    ///
    /// # Errors
    /// [`Error::Input`] when a file cannot be used.
    pub fn open(picture: &Path, degradation: Degradation, simulate: bool) -> Result<Self> {
        let (bytes, name) = (read(picture)?, picture.display().to_string());
        let (picture, origin) = (Picture::decode(&bytes, &name)?, Origin::of(&name, &bytes));
        Ok(Self { picture, origin, degradation: degradation.resolve()?, simulate })
    }
}

/// A measured picture in its place in the prior's.
///
/// The restored picture is as large as the measured one times the degradation's factor. If it is smaller than the prior's
/// pictures it is looked for in their middle, and what is around it is left to the prior; if it is larger, only its middle
/// is restored.
#[derive(Debug, Clone)]
pub struct Restoration {
    /// First row and column in the prior's picture.
    place: (usize, usize),
    width: usize,
    height: usize,
    size: usize,
    channels: usize,
    /// The measured picture as it is shown, values in [0, 1], and its channels, height and width.
    shown: Vec<f32>,
    shown_shape: [usize; 3],
    /// The true values, `channels` for each pixel, if they are known.
    truth: Option<Vec<f32>>,
    notes: Vec<String>,
    pub(crate) given: Measured,
}

impl Restoration {
    /// Brings a measured picture to the prior's size; noise to be simulated comes from the seed.
    ///
    /// # Errors
    /// When the picture does not suit the prior.
    pub(crate) fn new(given: Measured, prior: &Prior, noise: Likelihood, seed: u64) -> Result<(Self, Measurement)> {
        let device = prior.device.clone();
        let [channels, size, _] = prior.autoencoder.image_shape(prior.shape());
        let (degradation, name) = (&given.degradation, given.origin.name.clone());
        let factor = degradation.factor();
        check_colours(&given, channels, &prior.name)?;
        let cut = |n: usize| -> Result<(usize, usize)> {
            let (factor_here, most) = if given.simulate { (factor, size) } else { (1, size / factor) };
            let length = n.min(most) / factor_here * factor_here;
            if length == 0 {
                let problem = format!("is too small, or prior {} ({size}x{size}) too small for it", prior.name);
                return Err(Error::input(&name, problem, "take a smaller factor"));
            }
            let grid = degradation.grid() * factor_here;
            Ok(((n - length) / 2 / grid * grid, length))
        };
        let ((left, wide), (top, tall)) = (cut(given.picture.width())?, cut(given.picture.height())?);
        let times = if given.simulate { 1 } else { factor };
        let (width, height) = (wide * times, tall * times);
        let place = ((size - height) / 2, (size - width) / 2);
        let (low, high) = prior.value_range;

        let (steps, scale) = degradation.parts([channels, height, width], (low, high), &device)?;
        let mut parts: Vec<Arc<dyn Operator>> = Vec::new();
        if (width, height) != (size, size) {
            parts.push(Arc::new(Window::new(place, (height, width), [channels, size, size], &device)?));
        }
        parts.extend(steps.iter().cloned());
        let operator = chain(parts)?;
        let unit = |x: usize, y: usize, c: usize| given.picture.unit(left + x, top + y, c);
        let planes = |channels: usize| -> Vec<f32> {
            (0..channels * tall * wide).map(|i| unit(i % wide, i / wide % tall, i / (wide * tall))).collect()
        };
        let likelihood = in_units(noise, (low, high), scale);
        let [oc, oh, ow] = operator.output_shape();
        let (to, from) =
            (|v: f32| low + f64::from(v) * (high - low), |v: f32| (f64::from(v) / scale - low) / (high - low));
        let tensor = |values: Vec<f32>, [c, h, w]: [usize; 3]| {
            Tensor::<4>::from_data(TensorData::new(values, [1, c, h, w]), &device)
        };
        let measurement = if given.simulate {
            let clean = tensor(planes(channels).into_iter().map(|v| to(v) as f32).collect(), [channels, height, width]);
            let measured = Measurement::simulate(chain(steps)?, clean, likelihood, seed)?;
            Measurement::new(operator, measured.y, likelihood)?
        } else {
            let y = planes(oc).into_iter().map(|v| (to(v) * scale) as f32).collect();
            Measurement::new(operator, tensor(y, [oc, oh, ow]), likelihood)?
        };
        // Every tensor of the engine is a readable float tensor.
        let y = measurement.y.try_to_vec_as::<f32>().unwrap_or_default();
        let pixels = |i: usize| (0..channels).map(move |c| (i % wide, i / wide, c));
        let truth = (0..wide * tall).flat_map(pixels).map(|(x, y, c)| unit(x, y, c));
        let mut notes = Vec::new();
        if (wide, tall) != (given.picture.width(), given.picture.height()) {
            notes.push(format!(
                "of {name} only the part of {wide}x{tall} pixels at ({left}, {top}) is restored: prior {} makes {size}x{size}",
                prior.name
            ));
        }
        let truth = given.simulate.then(|| truth.collect());
        let shown = y.into_iter().map(|v| from(v) as f32).collect();
        let shown_shape = [oc, oh, ow];
        let restoration = Self { place, width, height, size, channels, shown, shown_shape, truth, notes, given };
        Ok((restoration, measurement))
    }

    /// What a user should hear about its place.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The true values, if the measurement was simulated: `channels` for each pixel, row by row, in [0, 1].
    pub fn truth(&self) -> Option<&[f32]> {
        self.truth.as_deref()
    }

    /// Channels, height and width of results.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// The restored part of a result `[channels, size, size]`: `channels` values for each pixel, row by row.
    ///
    /// # Panics
    /// If `result` has not the prior's shape.
    pub fn values(&self, result: &[f32]) -> Vec<f32> {
        assert_eq!(result.len(), self.channels * self.size * self.size, "a result has the prior's shape");
        let at = |i: usize, c: usize| {
            let (x, y) = (self.place.1 + i % self.width, self.place.0 + i / self.width);
            result[(c * self.size + y) * self.size + x]
        };
        (0..self.width * self.height)
            .flat_map(|i| (0..self.channels).map(move |c| (i, c)))
            .map(|(i, c)| at(i, c))
            .collect()
    }

    /// A picture of such values, of the given picture's kind.
    pub fn picture(&self, values: &[f32]) -> Picture {
        let colours =
            self.channels == 3 && (self.given.picture.layout().colours() == 3 || self.given.degradation.is_grey());
        self.given.picture.another(self.width, self.height, colours, self.channels, values)
    }

    /// The measured picture, enlarged to the size of the results.
    pub fn measured(&self) -> Raster {
        let [channels, height, width] = self.shown_shape;
        let (by_x, by_y) = (self.width / width, self.height / height);
        Raster::from_fn(self.width, self.height, |x, y| {
            [0, 1, 2].map(|c: usize| {
                let at = (c.min(channels - 1) * height + y / by_y) * width + x / by_x;
                (self.shown[at].clamp(0.0, 1.0) * 255.0).round() as u8
            })
        })
    }

    /// The measured picture in its own size, as a file may hold it.
    pub fn measured_picture(&self) -> Picture {
        let [channels, height, width] = self.shown_shape;
        let values: Vec<f32> = (0..height * width)
            .flat_map(|i| (0..channels).map(move |c| c * height * width + i))
            .map(|at| self.shown[at])
            .collect();
        let colours = channels == 3 && self.given.picture.layout().colours() == 3;
        self.given.picture.another(width, height, colours, channels, &values)
    }

    /// What was given, as the sheet of results shows it.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = vec![Cell { label: "measured".into(), picture: self.measured().for_eyes() }];
        if let Some(truth) = &self.truth {
            cells.push(Cell { label: "truth".into(), picture: Raster::of(&self.picture(truth)).for_eyes() });
        }
        cells
    }
}

/// Colours that the prior does not know, or that were lost.
fn check_colours(given: &Measured, channels: usize, prior: &str) -> Result<()> {
    let (name, grey) = (&given.origin.name, given.picture.is_grey());
    if channels == 1 && given.degradation.is_grey() {
        let problem = format!("prior {prior} knows no colours that could be given back");
        return Err(Error::usage("--operator", problem, "take a prior for colour with --prior"));
    }
    if channels == 1 && !grey {
        let problem = "has colour, but the prior knows only grey";
        return Err(Error::input(name, problem, "convert the picture to grey, or take a prior for colour"));
    }
    if given.degradation.is_grey() && !given.simulate && !grey {
        let problem = "has colour, so that it has not lost it";
        return Err(Error::input(name, problem, "give a grey picture, or a colour one with --simulate"));
    }
    Ok(())
}

fn chain(mut parts: Vec<Arc<dyn Operator>>) -> Result<Arc<dyn Operator>> {
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Ok(Arc::new(Composition::new(parts)?)),
    }
}

/// Noise that is stated in a range of [-1, 1], in the measurement's own units.
pub(crate) fn in_units(noise: Likelihood, (low, high): (f64, f64), scale: f64) -> Likelihood {
    let family = match noise.family {
        Family::Poisson { .. } => Family::Poisson { black: low * scale, white: high * scale },
        other => other,
    };
    Likelihood { family, sigma_y: noise.sigma_y * scale * (high - low) / 2.0 }
}
