//! How good results are: PSNR, SSIM, LPIPS, KID, FID, diversity and coverage of folders of pictures.

mod cases;
mod networks;
mod perceptual;
mod scores;
mod weights;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vipaint_eval::metrics::{frechet, kid};
use vipaint_eval::stats::Mean;

use crate::error::{Error, Result};
use crate::picture::Mask;

pub use cases::{Case, cases};
pub use weights::{Pulled, WEIGHTS, Weights, folder, pull};

use networks::Networks;
pub(crate) use perceptual::perceptual;

/// What is evaluated.
#[derive(Debug)]
pub struct Ask<'a> {
    /// A folder of results.
    pub results: &'a Path,
    /// The true pictures: a folder, or one file.
    pub against: &'a Path,
    /// Where pixels were hidden; without it every pixel counts as hidden.
    pub mask: Option<(&'a Mask, &'a str)>,
    /// The weights of LPIPS, unless the shift-tolerant one's are used.
    pub lpips_weights: Option<&'a Path>,
    /// The level of the credible intervals whose coverage is measured, in (0, 1).
    pub level: f64,
}

/// A metric over all pictures.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub metric: String,
    /// Its mean, or the value itself of a distance between sets.
    pub value: f64,
    /// Half the width of its 95 % interval; none where it is not known.
    pub ci: Option<f64>,
    /// Pictures (of a distance between sets: results) that it is over.
    pub count: usize,
    /// What is better.
    pub better: &'static str,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Over all pictures.
    pub rows: Vec<Row>,
    /// Each picture's own, by its name.
    pub pictures: BTreeMap<String, BTreeMap<String, f64>>,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Names of the metrics of a picture, in the order of a table, and what is better.
const METRICS: [(&str, &str); 9] = [
    ("psnr", "higher"),
    ("psnr of the mean", "higher"),
    ("ssim", "higher"),
    ("lpips", "lower"),
    ("pixel sd", "neither"),
    ("pairwise lpips", "neither"),
    ("coverage", "nominal"),
    ("nominal coverage", "neither"),
    ("known pixels' error", "lower"),
];

/// Measures. `done` hears how many of how many pictures are done, and may stop the work.
///
/// # Errors
/// [`Error`] names the file that cannot be read or does not fit.
pub fn evaluate(ask: &Ask, done: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<Report> {
    let cases = cases(ask.results, ask.against)?;
    let mut networks = Networks::open(ask.lpips_weights)?;
    let mut pictures = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        pictures.insert(case.name.clone(), scores::of(case, ask, &mut networks)?);
        if done(i + 1, cases.len()).is_break() {
            return Err(Error::Interrupted("nothing was saved".into()));
        }
    }
    let mut rows: Vec<Row> = METRICS.iter().filter_map(|(metric, better)| row(&pictures, metric, better)).collect();
    rows.extend(of_sets(&networks));
    Ok(Report { rows, pictures, notes: networks.notes })
}

/// A metric's mean over the pictures that have it.
fn row(pictures: &BTreeMap<String, BTreeMap<String, f64>>, metric: &str, better: &'static str) -> Option<Row> {
    let values: Vec<f64> = pictures.values().filter_map(|scores| scores.get(metric)).copied().collect();
    let Mean { mean, ci } = Mean::of(&values);
    let ci = Some(ci).filter(|ci| ci.is_finite());
    (!values.is_empty()).then(|| Row { metric: metric.to_owned(), value: mean, ci, count: values.len(), better })
}

/// Distances between the results and the true pictures as sets.
fn of_sets(networks: &Networks) -> Vec<Row> {
    let (results, truths) = (&networks.results, &networks.truths);
    let row = |metric: &str, value, ci| {
        let count = results.len();
        Row { metric: metric.to_owned(), value, ci, count, better: "lower" }
    };
    let kid = kid(results, truths);
    let kid = kid.map(|kid| row("kid", kid.value, Some(1.96 * kid.error).filter(|ci| ci.is_finite())));
    let fid = frechet(results, truths).map(|value| row("fid", value, None));
    kid.into_iter().chain(fid).collect()
}

/// Where a path is from, for messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The pictures directly in a folder, by name.
fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    const ENDS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];
    let entries = std::fs::read_dir(folder).map_err(|error| Error::unreadable(folder, &error))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_picture = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase);
        path.is_file() && end.is_some_and(|end| ENDS.contains(&end.as_str()))
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_picture).collect();
    paths.sort();
    Ok(paths)
}
