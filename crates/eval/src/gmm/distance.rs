//! The sliced Wasserstein distance between sets of samples (Bonneel, Rabin, Peyre, Pfister, 2015).

use rand_distr::{Distribution, StandardNormal};
use vipaint_core::noise::stream;

/// Random unit directions.
pub struct Slices(Vec<Vec<f64>>);

/// Projections of a set onto directions, each sorted.
pub struct Projected(Vec<Vec<f64>>);

impl Slices {
    /// `count` directions in `dim` dimensions, uniformly distributed.
    pub fn new(count: usize, dim: usize, seed: u64) -> Self {
        let mut rng = stream(seed, 80, 0);
        let direction = |rng: &mut _| {
            let u: Vec<f64> = StandardNormal.sample_iter(rng).take(dim).collect();
            let norm = u.iter().map(|x| x * x).sum::<f64>().sqrt();
            u.into_iter().map(|x: f64| x / norm).collect()
        };
        Self((0..count).map(|_| direction(&mut rng)).collect())
    }

    /// Projects a set of samples.
    pub fn project(&self, set: &[Vec<f64>]) -> Projected {
        let project = |u: &Vec<f64>| {
            let mut p: Vec<f64> = set.iter().map(|x| dot(x, u)).collect();
            p.sort_by(f64::total_cmp);
            p
        };
        Projected(self.0.iter().map(project).collect())
    }
}

impl Projected {
    /// The mean over directions of the one-dimensional Wasserstein-1 distance between sets of one size, or with another one whose
    /// size is a multiple of this one's. A sample that is not a number makes it NaN.
    pub fn distance(&self, other: &Self) -> f64 {
        let one = |(a, b): (&Vec<f64>, &Vec<f64>)| {
            let each = b.len() / a.len().max(1);
            b.iter().enumerate().map(|(j, b)| (a[j / each] - b).abs()).sum::<f64>() / b.len() as f64
        };
        self.0.iter().zip(&other.0).map(one).sum::<f64>() / self.0.len() as f64
    }
}

/// Sums that are added side by side: a single one waits for itself.
const LANES: usize = 16;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; LANES];
    for (a, b) in a_chunks.zip(b_chunks) {
        (0..LANES).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_has_a_known_distance() {
        let mut rng = stream(0, 0, 0);
        let a: Vec<Vec<f64>> = (0..50).map(|_| StandardNormal.sample_iter(&mut rng).take(3).collect()).collect();
        let b: Vec<Vec<f64>> = a.iter().rev().map(|x| vec![x[0] + 2.0, x[1], x[2]]).collect();
        let slices = Slices::new(20_000, 3, 1);
        // W1 of a shift is its projected length; the mean of |u_1| on the sphere is 1/2 in three dimensions.
        let distance = slices.project(&a).distance(&slices.project(&b));
        assert!((distance - 1.0).abs() < 0.02, "{distance}");
        assert_eq!(slices.project(&a).distance(&slices.project(&a)), 0.0);
        // Every sample three times is the same set.
        let thrice: Vec<Vec<f64>> = a.iter().flat_map(|x| vec![x.clone(); 3]).collect();
        assert_eq!(slices.project(&a).distance(&slices.project(&thrice)), 0.0);
    }
}
