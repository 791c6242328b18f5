//! The most that the machine does.

use crate::table::best;
use std::hint::black_box;
use vipaint_kernels::{map, threads};

/// Rates a second, all threads together.
pub struct Machine {
    /// Multiply-adds of single precision whose values are in registers.
    pub multiply_adds: f64,
    /// Bytes read and bytes written by a copy that no cache holds.
    pub bytes: f64,
}

const ROUNDS: usize = 1 << 20;
const COPIED: usize = 1 << 25;

impl Machine {
    pub fn measure() -> Self {
        let mut count = 0usize;
        let time = best(&mut || count = map(threads(), |_| chains(ROUNDS)).iter().sum());
        let multiply_adds = count as f64 / time.as_secs_f64();
        let from = vec![1f32; COPIED];
        // Its time is that of the slowest thread, which has memory of its own.
        let each = COPIED / threads();
        let mut to: Vec<Vec<f32>> = (0..threads()).map(|_| vec![0.0; each]).collect();
        let places: Vec<_> = to.iter_mut().map(std::sync::Mutex::new).collect();
        let time = best(&mut || {
            map(threads(), |i| {
                if let Ok(mut to) = places[i].lock() {
                    to.copy_from_slice(&from[i * each..][..each]);
                }
            });
        });
        Self { multiply_adds, bytes: (8 * each * threads()) as f64 / time.as_secs_f64() }
    }
}

/// Runs sums that do not wait for each other; returns the number of multiply-adds.
fn chains(rounds: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the processor has the features.
        if is_x86_feature_detected!("avx512f") {
            return unsafe { x86::wide(rounds) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return unsafe { x86::narrow(rounds) };
        }
    }
    let mut sums = black_box([0f32; 32]);
    let factor = black_box(0.999f32);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * factor + factor;
        }
    }
    black_box(sums);
    32 * rounds
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    use std::hint::black_box;

    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident, $lanes:literal) => {
            #[target_feature(enable = $features)]
            pub fn $name(rounds: usize) -> usize {
                let factor = $set(black_box(0.999));
                let mut sums = [$set(black_box(0.0)); 12];
                for _ in 0..rounds {
                    for sum in &mut sums {
                        *sum = $fma(*sum, factor, factor);
                    }
                }
                black_box(sums);
                $lanes * 12 * rounds
            }
        };
    }
    chains!(wide, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps, 16);
    chains!(narrow, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps, 8);
}
