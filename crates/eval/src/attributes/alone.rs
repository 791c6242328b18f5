//! What the prior does alone, with no picture to complete: the limit of every method that works under it.

use std::fmt::Write as _;

use burn::tensor::Device;
use vipaint_core::Noise;
use vipaint_core::prior::{Condition, Guidance};
use vipaint_core::sampler::{Unconditional, UnconditionalOptions};

use super::distances::{Look, floor, histogram, looks_at, total_variation};
use super::{BATCH, Benchmark, Row, Watch};
use crate::Result;
use crate::stats::Mean;

/// Task and method of rows of the prior itself.
pub(super) const ALONE: &str = "nothing known";
/// The same with a prompt that tells every attribute of a portrait.
pub(super) const PROMPTED: &str = "nothing known, prompt";

/// Samples in a row.
const SAMPLES: usize = 64;
/// The random stream of these samples.
const PURPOSE: u64 = 0xa10e;

impl Benchmark<'_> {
    /// Rows of the prior alone: task, the row's number (with a prompt, the portrait that it describes), and its samples.
    pub(super) fn alone(&self) -> Vec<(&'static str, usize, usize)> {
        let rows = (0..self.alone.div_ceil(SAMPLES)).map(|i| (ALONE, i, SAMPLES.min(self.alone - i * SAMPLES)));
        // Every mask has prompts for the same portraits.
        let task = self.tasks.iter().find(|task| task.is_prompt() && self.alone > 0);
        let prompts = task.into_iter().flat_map(|task| task.portraits.iter().map(|p| (PROMPTED, *p, task.samples)));
        rows.chain(prompts).collect()
    }

    /// Draws from the prior, by the steps that are usual for it whatever the methods may spend, and reads the attributes.
    pub(super) fn alone_row(&self, (task, index, samples): (&'static str, usize, usize), watch: &Watch) -> Result<Row> {
        let prior = self.prior.counting_anew();
        let told: Vec<_> = match task {
            PROMPTED => self.portraits[index].attributes.iter().copied().enumerate().collect(),
            _ => Vec::new(),
        };
        let prompt = (!told.is_empty()).then(|| self.world.prompt(&told));
        let guidance = self.guidance(&prior, prompt.as_deref())?;
        let started = std::time::Instant::now();
        let sampler = Unconditional::new(UnconditionalOptions::default())?;
        let mut images = Vec::new();
        for first in (0..samples).step_by(BATCH) {
            let indices = index * SAMPLES + first..index * SAMPLES + samples.min(first + BATCH);
            let mut noise = Noise::new(self.seed, PURPOSE, indices);
            let start = noise.normal(prior.shape(), &Device::flex()) * prior.schedule.start_std();
            let z = sampler.draw(&prior, &guidance, start, &mut noise, &mut || (watch.tick)())?;
            images.extend(prior.autoencoder.decode(z).try_into_vec_as::<f32>().unwrap_or_default());
        }
        let (low, high) = (prior.value_range.0 as f32, prior.value_range.1 as f32);
        for v in &mut images {
            *v = v.clamp(low, high);
        }
        let calls = prior.calls();
        Ok(Row {
            task: task.into(),
            portrait: index,
            method: self.prior.name.clone(),
            prompt,
            told,
            read: self.reader.read(&images),
            known_psnr: Vec::new(),
            calls: calls.denoiser,
            vjps: calls.vjp,
            seconds: started.elapsed().as_secs_f64(),
            images: Vec::new(),
        })
    }

    /// The condition of a prompt.
    pub(super) fn guidance(&self, prior: &vipaint_core::prior::Prior, prompt: Option<&str>) -> Result<Guidance> {
        let Some(prompt) = prompt else { return Ok(Guidance::default()) };
        let encoder = prior.text.as_ref().ok_or_else(|| crate::Error::World("the prior reads no text".into()))?;
        Ok(Guidance::new(Condition::context(encoder.read(prompt)?.context), self.cfg_scale))
    }
}

/// The page's section.
pub(super) fn section(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    let of = |task: &str| rows.iter().filter(|r| r.task == task).collect::<Vec<_>>();
    let (own, prompted) = (of(ALONE), of(PROMPTED));
    let read: Vec<&Vec<usize>> = own.iter().flat_map(|r| &r.read).collect();
    if read.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "## The prior alone\n\nWith nothing known and no prompt the samples should be distributed as declared. Total variation of \
         {} samples (Heun, {} calls each) from it, the limit of every method below.\n\n| attribute | exact | `{}` |\n| --- | --- | --- |",
        read.len(),
        own[0].calls / own[0].read.len() as u64,
        benchmark.prior.name,
    );
    let all: Vec<usize> = (0..benchmark.world.len()).collect();
    let known = vec![None; all.len()];
    for Look { of, exact, .. } in looks_at(benchmark.world, &known, &all) {
        let names: Vec<&str> = of.iter().map(|a| benchmark.world.name(*a)).collect();
        let found = total_variation(&histogram(&read, &of, benchmark.world), &exact);
        let _ = writeln!(text, "| {} | {:.3} | {found:.3} |", names.join(" and "), floor(&exact, read.len()));
    }
    let told = |r: &&Row, all: bool| {
        let right = |read: &Vec<usize>| r.told.iter().filter(|(a, v)| read[*a] == *v).count();
        let share = |read: &Vec<usize>| {
            let (right, told) = (right(read), r.told.len());
            if all { f64::from(u8::from(right == told)) } else { right as f64 / told as f64 }
        };
        r.read.iter().map(share).sum::<f64>() / r.read.len() as f64
    };
    if !prompted.is_empty() {
        let mean = |all: bool| Mean::of(&prompted.iter().map(|r| told(r, all)).collect::<Vec<_>>());
        let percent = |m: Mean| format!("{:.1} ± {:.1} %", 100.0 * m.mean, 100.0 * m.ci);
        let _ = writeln!(
            text,
            "\nSamples from a prompt that tells all {} attributes of a portrait ({} prompts): {} of the attributes are as told, and \
             in {} of the samples all of them.",
            benchmark.world.len(),
            prompted.len(),
            percent(mean(false)),
            percent(mean(true)),
        );
    }
    text.push('\n');
}
