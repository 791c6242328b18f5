//! What a run leaves in its folder.

mod credible;
mod files;
mod report;
mod rows;
mod summary;

use std::path::{Path, PathBuf};

pub use files::{Folder, write_atomically};
pub use report::report;
pub use rows::RowFile;

use crate::draw::{self, Cell, DrawError, Raster};
use crate::error::Result;
use crate::job::Outcome;
use summary::Summary;

/// Files that were written.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Their paths, in the order they were written.
    pub files: Vec<PathBuf>,
    /// What is in `report.json`.
    pub report: serde_json::Value,
}

/// The report's file name.
const REPORT: &str = "report.json";
/// The posterior's file name.
const POSTERIOR: &str = "posterior.safetensors";
/// The most samples that the grid shows.
const SHOWN: usize = 64;

impl Outcome {
    /// Writes the samples, the grid, the mean, the uncertainty, the trace, the posterior and the report, each under a
    /// temporary name first; what the run does not have is left out. Pictures that an earlier run left in the folder, and
    /// this one did not replace, are removed; its posterior stays.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Folder, command: &str) -> Result<Saved> {
        let earlier = listed_files(folder);
        let mut names = Vec::new();
        let mut write = |name: &str, bytes: &[u8]| {
            names.push(name.to_owned());
            folder.write(name, bytes).map(drop)
        };
        // What took longest first: should the disk fill up, the fit is safe.
        if let Some(fit) = &self.fit {
            write(POSTERIOR, &self.job.posterior_file(fit)?)?;
        }
        if !self.samples.is_empty() {
            self.save_pictures(&mut write)?;
        }
        if let Some(fit) = self.fit.as_ref().filter(|fit| !fit.trace.is_empty()) {
            let note = report::bound_in_short(fit);
            write("trace.png", &draw::trace(&fit.trace, &note)?.to_png()?)?;
        }
        let mut report = report(self, command);
        names.push(REPORT.into());
        report["files"] = names.clone().into();
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        folder.write(REPORT, (text + "\n").as_bytes())?;
        for name in earlier.iter().filter(|name| !names.contains(name)) {
            // A file that is gone, or cannot be removed, does no harm.
            let _ = std::fs::remove_file(folder.path().join(name));
        }
        Ok(Saved { files: names.iter().map(|name| folder.path().join(name)).collect(), report })
    }

    /// The samples, and what is drawn from them.
    fn save_pictures(&self, write: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        let scene = &self.job.scene;
        if let Some(measured) = scene.simulated() {
            write("measured.png", &encoded(measured.to_png())?)?;
        }
        let order = self.order();
        let shown = &order[..order.len().min(SHOWN)];
        let mut summary = Summary::default();
        let mut cells: Vec<Option<Cell>> = shown.iter().map(|_| None).collect();
        for (index, sample) in self.samples.iter().enumerate() {
            let new = scene.values(sample);
            let result = scene.picture(&new);
            write(&format!("sample-{index:03}.png"), &encoded(result.to_png())?)?;
            if let Some(place) = shown.iter().position(|shown| *shown == index) {
                cells[place] = Some(Cell { label: format!("{index:03}"), picture: Raster::of(&result).for_eyes() });
            }
            summary.add(new);
        }
        let cells: Vec<Cell> = cells.into_iter().flatten().collect();
        write("grid.png", &draw::grid(&scene.cells(), &cells, &self.caption(shown.len()))?.to_png()?)?;
        let mean = scene.picture(summary.mean());
        write("mean.png", &encoded(mean.to_png())?)?;
        // With fewer samples the ends say little.
        if let Some(intervals) = credible::intervals(self).filter(|_| self.samples.len() >= credible::FEWEST) {
            write("interval-low.png", &encoded(scene.picture(&intervals.low).to_png())?)?;
            write("interval-high.png", &encoded(scene.picture(&intervals.high).to_png())?)?;
        }
        let deviation = scene.spread(&summary.deviation(), |values| {
            (values.iter().map(|d| d * d).sum::<f32>() / values.len() as f32).sqrt()
        });
        let caption = format!("standard deviation of {} samples (1 = black to white)", self.samples.len());
        write("uncertainty.png", &draw::uncertainty(&mean, &deviation, &caption)?.to_png()?)
    }

    fn caption(&self, shown: usize) -> String {
        let all = self.samples.len();
        let some = if shown < all { format!("{shown} of {all} samples") } else { "samples".to_owned() };
        match &self.log_weights {
            Some(_) => format!("{some} by importance weight, largest first"),
            None if shown < all => some,
            None => String::new(),
        }
    }
}

/// Pictures that an earlier report in the folder lists.
fn listed_files(folder: &Folder) -> Vec<String> {
    let text = std::fs::read(folder.path().join(REPORT)).unwrap_or_default();
    let report: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let files = report["files"].as_array().filter(|_| report["program"] == "vipaint");
    let names = files.into_iter().flatten().filter_map(|name| name.as_str());
    // Nothing outside the folder, whatever the file says.
    let plain = |name: &&str| {
        let path = Path::new(name);
        path.file_name().is_some_and(|file| file == *name) && path.extension().is_some_and(|kind| kind == "png")
    };
    names.filter(plain).map(str::to_owned).collect()
}

fn encoded(png: image::ImageResult<Vec<u8>>) -> Result<Vec<u8>> {
    png.map_err(|error| DrawError::new(error).into())
}

/// Writes a posterior to a path of its own.
///
/// # Errors
/// When it cannot be put together or written.
pub fn save_posterior(outcome: &Outcome, path: &Path) -> Result<()> {
    match &outcome.fit {
        Some(fit) => write_atomically(path, &outcome.job.posterior_file(fit)?),
        None => Ok(()),
    }
}
