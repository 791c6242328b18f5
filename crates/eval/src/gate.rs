//! What a class-conditional prior must reach before it is shipped.

use rayon::prelude::*;
use serde::Serialize;

use crate::classifier::Classifier;

/// The least share of samples whose class the classifier names.
pub const MIN_AGREEMENT: f64 = 0.85;
/// The least within-class pixel variance of the samples, relative to real pictures.
pub const MIN_VARIANCE_RATIO: f64 = 0.8;
/// Samples (and held-out pictures) whose nearest training pictures are looked for.
const NEIGHBOURS: usize = 200;

/// Labelled pictures, values in `[-1, 1]`.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// Values in a picture.
    pub size: usize,
    /// All pictures, one after the other.
    pub values: Vec<f32>,
    /// The class of each.
    pub labels: Vec<usize>,
}

impl Pictures {
    /// One picture.
    pub fn get(&self, i: usize) -> &[f32] {
        &self.values[i * self.size..(i + 1) * self.size]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// One class.
#[derive(Debug, Clone, Serialize)]
pub struct ClassReport {
    /// Its name.
    pub name: String,
    /// Share of its samples that the classifier gives to it.
    pub agreement: f64,
    /// Share of its held-out real pictures that the classifier gives to it.
    pub real_agreement: f64,
    /// Pixel variance of its samples over that of its training pictures, both averaged over pixels.
    pub variance_ratio: f64,
}

/// The gate's findings.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether both thresholds hold.
    pub passed: bool,
    /// Number of samples.
    pub samples: usize,
    /// Share of samples whose class the classifier names.
    pub class_agreement: f64,
    /// Its standard error (binomial).
    pub class_agreement_error: f64,
    /// The classifier's accuracy on held-out real pictures.
    pub classifier_accuracy: f64,
    /// Within-class pixel variance of the samples over that of training pictures, summed over classes.
    pub variance_ratio: f64,
    /// Median L2 distance of a sample to its nearest training picture.
    pub nearest_sample: f64,
    /// The smallest such distance.
    pub nearest_sample_min: f64,
    /// Median L2 distance of a held-out real picture to its nearest training picture.
    pub nearest_real: f64,
    /// By class.
    pub classes: Vec<ClassReport>,
}

/// Judges class-conditional samples.
pub fn judge(
    classifier: &Classifier,
    names: &[String],
    samples: &Pictures,
    train: &Pictures,
    held_out: &Pictures,
) -> Report {
    let (right, real) = (hits(classifier, samples), hits(classifier, held_out));
    let share = |hits: &[bool], labels: &[usize], class: Option<usize>| {
        let mine = || hits.iter().zip(labels).filter(|(_, label)| class.is_none_or(|c| c == **label));
        mine().filter(|(hit, _)| **hit).count() as f64 / mine().count().max(1) as f64
    };
    let variances: Vec<(f64, f64)> =
        (0..names.len()).map(|class| (pixel_variance(samples, class), pixel_variance(train, class))).collect();
    let classes = (0..names.len()).map(|class| ClassReport {
        name: names[class].clone(),
        agreement: share(&right, &samples.labels, Some(class)),
        real_agreement: share(&real, &held_out.labels, Some(class)),
        variance_ratio: variances[class].0 / variances[class].1,
    });
    let class_agreement = share(&right, &samples.labels, None);
    let (of_samples, of_real) = variances.iter().fold((0.0, 0.0), |sum, v| (sum.0 + v.0, sum.1 + v.1));
    let variance_ratio = of_samples / of_real;
    let (nearest_sample, nearest_real) = (distances(samples, train), distances(held_out, train));
    Report {
        passed: class_agreement >= MIN_AGREEMENT && variance_ratio >= MIN_VARIANCE_RATIO,
        samples: samples.len(),
        class_agreement,
        class_agreement_error: (class_agreement * (1.0 - class_agreement) / samples.len() as f64).sqrt(),
        classifier_accuracy: share(&real, &held_out.labels, None),
        variance_ratio,
        nearest_sample: median(&nearest_sample),
        nearest_sample_min: nearest_sample.iter().copied().fold(f64::INFINITY, f64::min),
        nearest_real: median(&nearest_real),
        classes: classes.collect(),
    }
}

/// The nearest picture of `pool` in L2, and its distance.
pub fn nearest(picture: &[f32], pool: &Pictures) -> (usize, f64) {
    let best = (0..pool.len()).map(|i| (i, squared(pool.get(i), picture))).min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or((0, f64::INFINITY), |(i, d)| (i, f64::from(d).sqrt()))
}

/// Squared L2 distance, in independent sums that fill SIMD lanes.
fn squared(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += (a - b) * (a - b));
    }
    sums.iter().sum()
}

/// Distances to the nearest training picture, of [`NEIGHBOURS`] pictures spread evenly.
fn distances(of: &Pictures, train: &Pictures) -> Vec<f64> {
    let step = (of.len() / NEIGHBOURS).max(1);
    let chosen: Vec<usize> = (0..of.len()).step_by(step).take(NEIGHBOURS).collect();
    chosen.par_iter().map(|i| nearest(of.get(*i), train).1).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn hits(classifier: &Classifier, pictures: &Pictures) -> Vec<bool> {
    classifier.classes(&pictures.values).iter().zip(&pictures.labels).map(|(a, b)| a == b).collect()
}

/// Unbiased variance over the pictures of a class, averaged over pixels.
fn pixel_variance(pictures: &Pictures, class: usize) -> f64 {
    let mine: Vec<usize> = (0..pictures.len()).filter(|i| pictures.labels[*i] == class).collect();
    let n = mine.len() as f64;
    let mut moments = vec![(0.0, 0.0); pictures.size];
    for i in mine {
        for ((sum, squares), x) in moments.iter_mut().zip(pictures.get(i)) {
            *sum += f64::from(*x);
            *squares += f64::from(*x).powi(2);
        }
    }
    let total: f64 = moments.iter().map(|(sum, squares)| (squares - sum * sum / n) / (n - 1.0)).sum();
    total / pictures.size as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(values: &[f32], labels: &[usize]) -> Pictures {
        Pictures { size: 2, values: values.to_vec(), labels: labels.to_vec() }
    }

    #[test]
    fn variance_is_within_the_class() {
        let set = pictures(&[0.0, 1.0, 2.0, 1.0, 9.0, 9.0], &[0, 0, 1]);
        assert!((pixel_variance(&set, 0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_nearest_picture_is_found() {
        let pool = pictures(&[0.0, 0.0, 3.0, 4.0, 1.0, 0.0], &[0, 0, 0]);
        assert_eq!(nearest(&[3.0, 3.0], &pool), (1, 1.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    }
}
