//! How different the samples of one picture are from each other.

/// The standard deviation (unbiased) of a pixel's values over the samples, averaged over the values for which `inside` holds
/// (all, if there is no `inside`). None without two samples of one length and a value inside.
pub fn spread(samples: &[&[f32]], inside: Option<&[bool]>) -> Option<f64> {
    let n = samples.len() as f64;
    let length = samples.first()?.len();
    let fits =
        samples.iter().all(|sample| sample.len() == length) && inside.is_none_or(|inside| inside.len() == length);
    if samples.len() < 2 || !fits {
        return None;
    }
    let (mut sum, mut count) = (0.0, 0.0);
    for i in (0..length).filter(|i| inside.is_none_or(|inside| inside[*i])) {
        let values = || samples.iter().map(|sample| f64::from(sample[i]));
        let mean = values().sum::<f64>() / n;
        sum += (values().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

/// All pairs of `n` samples, or the first `most` of a fixed order that touches all samples evenly.
pub fn pairs(n: usize, most: usize) -> Vec<(usize, usize)> {
    let steps = 1..=n / 2;
    let all = steps.flat_map(|step| {
        // Half way round, every pair would come twice.
        let starts = if 2 * step == n { n / 2 } else { n };
        (0..starts).map(move |i| (i, (i + step) % n))
    });
    all.take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn known_values() {
        let samples: [&[f32]; 3] = [&[0.0, 1.0, 5.0], &[1.0, 1.0, 5.0], &[2.0, 1.0, 9.0]];
        assert!((spread(&samples[..2], None).unwrap() - 0.5f64.sqrt() / 3.0).abs() < 1e-9);
        assert!((spread(&samples, Some(&[true, true, false])).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(spread(&samples[..1], None), None);
        assert_eq!(spread(&samples, Some(&[false; 3])), None);
    }

    #[test]
    fn every_pair_comes_once() {
        for n in 0..9usize {
            let found = pairs(n, usize::MAX);
            let set: BTreeSet<_> = found.iter().map(|(i, j)| (i.min(j), i.max(j))).collect();
            assert_eq!((found.len(), set.len()), (n * n.saturating_sub(1) / 2, found.len()));
            assert!(found.iter().all(|(i, j)| i != j));
        }
        let few = pairs(10, 10);
        assert!((0..10).all(|i| few.iter().filter(|(a, b)| *a == i || *b == i).count() == 2));
    }
}
