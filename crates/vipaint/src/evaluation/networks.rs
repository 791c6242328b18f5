//! What networks see in pictures, if their weights are there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_eval::metrics::{Features, Lpips, LpipsKind, LpipsWeights, MobileNet, mobilenet};
use vipaint_zoo::formats::Checkpoint;

use super::{shown, weights};
use crate::error::{Error, Result};
use crate::picture::Picture;

/// The networks, and what they have seen.
pub(super) struct Networks {
    lpips: Option<LpipsWeights>,
    sizes: HashMap<[usize; 2], Lpips>,
    mobilenet: Option<MobileNet>,
    /// Features of all results.
    pub results: Features,
    /// Features of all true pictures.
    pub truths: Features,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Distances of one picture's samples.
pub(super) struct Distances {
    /// From the truth, one a sample.
    pub to_truth: Vec<f64>,
    /// Between pairs of samples.
    pub between: Vec<f64>,
}

impl Networks {
    /// Those whose weights are there; `file` has those of LPIPS, if not the shift-tolerant one's.
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let mut notes = Vec::new();
        let mut there = |name: &str, what: &str| {
            let path = weights::find(name);
            if path.is_none() {
                notes.push(format!("{what} left out: weights are not here; `vipaint metrics pull` fetches them"));
            }
            path
        };
        let lpips = match file {
            Some(path) => Some(lpips(path)?),
            None => there("lpips-st-alex", "LPIPS is").map(|path| lpips(&path)).transpose()?,
        };
        let mobilenet = there("mobilenet-v2", "KID and FID are").map(|path| mobile(&path)).transpose()?;
        if let Some(lpips) = &lpips {
            notes.push(format!(
                "lpips: {}; its values compare with those of the same network only",
                lpips.kind().name()
            ));
        }
        if mobilenet.is_some() {
            notes.push(
                "kid, fid: features of MobileNetV2, not of Inception: they do not compare with published ones".into(),
            );
        }
        Ok(Self {
            lpips,
            sizes: HashMap::new(),
            mobilenet,
            results: Features::default(),
            truths: Features::default(),
            notes,
        })
    }

    /// LPIPS of a picture's samples from the truth, and between `pairs` of them. None without weights, or for pictures too
    /// small for the network.
    pub fn distances(
        &mut self,
        truth: &Picture,
        samples: &[Picture],
        pairs: &[(usize, usize)],
    ) -> Result<Option<Distances>> {
        let Some(weights) = &self.lpips else { return Ok(None) };
        let sides = [truth.height(), truth.width()];
        let lpips = match self.sizes.entry(sides) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match weights.at(sides, &Device::flex()) {
                Ok(lpips) => place.insert(lpips),
                Err(error @ vipaint_eval::Error::TooSmall { .. }) => {
                    self.notes.push(format!("lpips: {error}"));
                    return Ok(None);
                }
                Err(error) => return Err(refuse("--lpips-weights", &error)),
            },
        };
        let look = |picture: &Picture| lpips.look(tensor(picture));
        let distance = |a: &_, b: &_| lpips.between(a, b).into_data().iter::<f64>().sum::<f64>();
        let (true_look, looks) = (look(truth), samples.iter().map(look).collect::<Vec<_>>());
        Ok(Some(Distances {
            to_truth: looks.iter().map(|look| distance(look, &true_look)).collect(),
            between: pairs.iter().map(|(i, j)| distance(&looks[*i], &looks[*j])).collect(),
        }))
    }

    /// Looks at pictures for distances between sets.
    pub fn look(&mut self, truth: &Picture, samples: &[Picture]) {
        let Some(network) = &self.mobilenet else { return };
        self.truths.append(network.features(at_side(truth)));
        for sample in samples {
            self.results.append(network.features(at_side(sample)));
        }
    }
}

pub(super) fn lpips(path: &Path) -> Result<LpipsWeights> {
    let heads = |kind: LpipsKind| {
        let name = format!("lpips-heads-{}", kind.name());
        let missing = || {
            let problem =
                format!("{} has no weightings of its stages, and those of {} are not here", shown(path), kind.name());
            Error::usage("--lpips-weights", problem, "run `vipaint metrics pull`")
        };
        checkpoint(&weights::find(&name).ok_or_else(missing)?)
    };
    LpipsWeights::open(path, heads)
}

fn mobile(path: &Path) -> Result<MobileNet> {
    MobileNet::new(&checkpoint(path)?).map_err(|error| refuse(&shown(path), &error))
}

fn checkpoint(path: &Path) -> Result<Checkpoint> {
    let again = "delete it and run `vipaint metrics pull`";
    Checkpoint::open(path).map_err(|error| Error::input(shown(path), format!("cannot be read ({error})"), again))
}

pub(super) fn refuse(name: &str, error: &vipaint_eval::Error) -> Error {
    let remedy = "give torchvision's weights of AlexNet or VGG-16, or run `vipaint metrics pull`";
    Error::input(name, format!("cannot be used ({error})"), remedy)
}

impl From<vipaint_eval::Error> for Error {
    fn from(error: vipaint_eval::Error) -> Self {
        match error {
            vipaint_eval::Error::Core(error) => error.into(),
            error => refuse("--lpips-weights", &error),
        }
    }
}

/// // [1, 3, height, width] in [-1, 1]
fn tensor(picture: &Picture) -> Tensor<4> {
    let (width, height) = (picture.width(), picture.height());
    let planes = (0..3).flat_map(|channel| (0..height).flat_map(move |y| (0..width).map(move |x| (x, y, channel))));
    let values: Vec<f32> = planes.map(|(x, y, channel)| 2.0 * picture.unit(x, y, channel) - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [1, 3, height, width]), &Device::flex())
}

/// At the side that the network wants, by means or linear interpolation. // [1, 3, SIDE, SIDE] in [-1, 1]
fn at_side(picture: &Picture) -> Tensor<4> {
    let values: Vec<f32> = picture.resized(mobilenet::SIDE).into_iter().map(|value| 2.0 * value - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [1, 3, mobilenet::SIDE, mobilenet::SIDE]), &Device::flex())
}
