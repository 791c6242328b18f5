//! The seam between a hole that was worked on at another resolution and the picture around it.
//!
//! What the scaled result misses at the known pixels (its residual) is continued into the hole as a smooth membrane and
//! added there, so that values meet at the edge while detail inside stays as it is (the idea of Poisson image editing,
//! Pérez et al., 2003). The membrane comes from a pyramid (pull-push, Gortler et al., 1996) and a few sweeps of
//! relaxation.

/// Sweeps of relaxation over the filled pixels; the pyramid has done the long distances.
const SWEEPS: usize = 12;

/// One level: values and how much is known of each.
struct Level {
    width: usize,
    height: usize,
    values: Vec<f32>,
    weights: Vec<f32>,
}

/// Continues `values` from the `known` pixels of a `width` x `height` field smoothly into the others.
pub(super) fn fill(values: &mut [f32], known: &[bool], width: usize, height: usize) {
    let weights = known.iter().map(|known| f32::from(u8::from(*known))).collect();
    let mut level = Level { width, height, values: values.to_vec(), weights };
    let mut finer = Vec::new();
    while level.width.max(level.height) > 1 {
        let coarser = pull(&level);
        finer.push(std::mem::replace(&mut level, coarser));
    }
    for mut fine in finer.into_iter().rev() {
        push(&level, &mut fine);
        level = fine;
    }
    values.copy_from_slice(&level.values);
    for _ in 0..SWEEPS {
        relax(values, known, width, height);
    }
}

/// Weighted means over blocks of 2 x 2.
fn pull(fine: &Level) -> Level {
    let (width, height) = (fine.width.div_ceil(2), fine.height.div_ceil(2));
    let mut coarse = Level { width, height, values: vec![0.0; width * height], weights: vec![0.0; width * height] };
    for y in 0..fine.height {
        for x in 0..fine.width {
            let (from, to) = (y * fine.width + x, (y / 2) * width + x / 2);
            coarse.values[to] += fine.weights[from] * fine.values[from];
            coarse.weights[to] += fine.weights[from];
        }
    }
    for (value, weight) in coarse.values.iter_mut().zip(&mut coarse.weights) {
        if *weight > 0.0 {
            *value /= *weight;
        }
        *weight = weight.min(1.0);
    }
    coarse
}

/// Fills what is not known with the coarser level, interpolated linearly.
fn push(coarse: &Level, fine: &mut Level) {
    for y in 0..fine.height {
        for x in 0..fine.width {
            let at = y * fine.width + x;
            let weight = fine.weights[at];
            if weight < 1.0 {
                fine.values[at] = weight * fine.values[at] + (1.0 - weight) * interpolate(coarse, x, y);
            }
        }
    }
}

fn interpolate(coarse: &Level, x: usize, y: usize) -> f32 {
    let axis = |i: usize, n: usize| {
        let at = (i as f32 / 2.0 - 0.25).clamp(0.0, (n - 1) as f32);
        (at as usize, (at as usize + 1).min(n - 1), at.fract())
    };
    let ((x0, x1, fx), (y0, y1, fy)) = (axis(x, coarse.width), axis(y, coarse.height));
    let row = |y: usize| {
        let row = &coarse.values[y * coarse.width..][..coarse.width];
        row[x0] * (1.0 - fx) + row[x1] * fx
    };
    row(y0) * (1.0 - fy) + row(y1) * fy
}

/// Sets every filled pixel to the mean of its neighbours, in place.
fn relax(values: &mut [f32], known: &[bool], width: usize, height: usize) {
    for y in 0..height {
        for x in 0..width {
            let at = y * width + x;
            if known[at] {
                continue;
            }
            let (mut sum, mut count) = (0.0, 0.0);
            let mut add = |inside: bool, index: usize| {
                if inside {
                    sum += values[index];
                    count += 1.0;
                }
            };
            add(x > 0, at.wrapping_sub(1));
            add(x + 1 < width, at + 1);
            add(y > 0, at.wrapping_sub(width));
            add(y + 1 < height, at + width);
            if count > 0.0 {
                values[at] = sum / count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_continued_exactly_and_a_ramp_closely() {
        let (width, height) = (37, 23);
        let known: Vec<bool> = (0..width * height).map(|i| !(8..25).contains(&(i % width))).collect();
        for (slope, tolerance) in [(0.0, 1e-6), (0.01, 0.02)] {
            let truth: Vec<f32> = (0..width * height).map(|i| 0.3 + slope * (i % width) as f32).collect();
            let mut values: Vec<f32> = truth.iter().zip(&known).map(|(v, k)| if *k { *v } else { 9.0 }).collect();
            fill(&mut values, &known, width, height);
            for (value, truth) in values.iter().zip(&truth) {
                assert!((value - truth).abs() < tolerance, "{value} {truth}");
            }
        }
    }
}
