//! What a run leaves in its folder.

mod files;
mod report;
mod summary;

use std::path::{Path, PathBuf};

pub use files::{Folder, write_atomically};
pub use report::report;

use crate::draw::{self, Cell, DrawError, Raster};
use crate::error::{Error, Result};
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

impl Outcome {
    /// Writes the samples, the grid, the mean, the uncertainty, the trace, the posterior and the report, each under a
    /// temporary name first; what the run does not have is left out.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Folder, command: &str) -> Result<Saved> {
        let work = &self.job.workspace;
        let picture = work.picture();
        let mut files = Vec::new();
        let mut write = |name: &str, bytes: &[u8]| {
            files.push(folder.write(name, bytes)?);
            Ok::<_, Error>(())
        };
        // What took longest first: should the disk fill up, the fit is safe.
        if let Some(fit) = &self.fit {
            write("posterior.safetensors", &self.job.posterior_file(fit)?)?;
        }
        let mut summary = Summary::default();
        let mut cells = Vec::new();
        for (index, sample) in self.samples.iter().enumerate() {
            let hidden = work.hidden_values(sample);
            let result = work.paste(&hidden);
            write(&format!("sample-{index:03}.png"), &encoded(result.to_png())?)?;
            cells.push(Cell { label: format!("{index:03}"), picture: Raster::of(&result).for_eyes() });
            summary.add(hidden);
        }
        if !cells.is_empty() {
            let mut cells: Vec<Option<Cell>> = cells.into_iter().map(Some).collect();
            let ordered: Vec<Cell> = self.order().into_iter().filter_map(|index| cells[index].take()).collect();
            let given = [
                Cell { label: "input".into(), picture: Raster::of(picture).for_eyes() },
                Cell { label: "masked".into(), picture: Raster::masked(picture, work.mask()) },
            ];
            let caption = if self.log_weights.is_some() { "samples by importance weight, largest first" } else { "" };
            write("grid.png", &drawn(draw::grid(&given, &ordered, caption).and_then(|sheet| sheet.to_png()))?)?;
            write("mean.png", &encoded(work.paste(summary.mean()).to_png())?)?;
            let deviation = work.spread(&summary.deviation(), |values| {
                (values.iter().map(|d| d * d).sum::<f32>() / values.len() as f32).sqrt()
            });
            let caption = format!("standard deviation of {} samples (1 = black to white)", self.samples.len());
            write(
                "uncertainty.png",
                &drawn(draw::uncertainty(picture, &deviation, &caption).and_then(|s| s.to_png()))?,
            )?;
        }
        if let Some(fit) = self.fit.as_ref().filter(|fit| !fit.trace.is_empty()) {
            let note = report::bound_in_short(fit);
            write("trace.png", &drawn(draw::trace(&fit.trace, note).and_then(|sheet| sheet.to_png()))?)?;
        }
        let report = report(self, command);
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        files.push(folder.write("report.json", (text + "\n").as_bytes())?);
        Ok(Saved { files, report })
    }
}

fn encoded(png: image::ImageResult<Vec<u8>>) -> Result<Vec<u8>> {
    png.map_err(|error| DrawError::new(error).into())
}

fn drawn(png: std::result::Result<Vec<u8>, DrawError>) -> Result<Vec<u8>> {
    Ok(png?)
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
