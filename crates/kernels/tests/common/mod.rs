//! Random data, the error bound of sums and the versions of the kernels, for their tests.
#![allow(dead_code)] // each test uses some of it

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::{Mutex, PoisonError};
use vipaint_kernels::Version;

/// Zero-mean values in `[-1, 1)`.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A value in double precision beside the sum of its terms' magnitudes.
#[derive(Clone, Copy, Default)]
pub struct Exact {
    pub value: f64,
    pub magnitude: f64,
    pub terms: usize,
}

impl Exact {
    pub fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
        self.terms += 1;
    }

    /// A sum of `n` products in any order is within `gamma_n sum |a||b|` of the exact one, `gamma_n = n u / (1 - n u)`.
    /// Two more roundings cover a bias and the reduction of partial sums.
    ///
    /// On tile registers a product of two values, each the sum of two numbers of eight bits and an error below `2^-17` of
    /// itself, lacks those of the errors and that of the second numbers, together below `1.01 2^-15` of it; sums of 32 terms have 18
    /// roundings more than their terms are added up with.
    pub fn check(&self, got: f32, what: &str) {
        let (product, more) = if Version::current() == Version::Amx { (1.01 / 32768.0, 20) } else { (0.0, 2) };
        let n = (self.terms + more) as f64 * f64::from(f32::EPSILON) / 2.0;
        let bound = (n / (1.0 - n) + product) * self.magnitude;
        let error = (f64::from(got) - self.value).abs();
        assert!(error <= bound, "{what}: {got} instead of {}, error {error:.2e} > {bound:.2e}", self.value);
    }
}

/// Runs `f` in a pool of `threads`.
pub fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Runs `test` with a version of the kernels, if this processor has it; one such call of a process at a time.
pub fn in_version(version: Version, test: fn()) {
    static LOCK: Mutex<()> = Mutex::new(());
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    version.limit();
    if Version::current() == version {
        test();
    } else {
        println!("not run: this processor has no {version:?}");
    }
}

/// Declares functions as tests of every version of the kernels.
#[macro_export]
macro_rules! in_every_version {
    ($($test:ident),* $(,)?) => {
        $crate::in_every_version!(portable Portable: $($test),*);
        $crate::in_every_version!(avx2 Avx2: $($test),*);
        $crate::in_every_version!(avx512 Avx512: $($test),*);
        $crate::in_every_version!(amx Amx: $($test),*);
    };
    ($module:ident $version:ident: $($test:ident),*) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::common::in_version(vipaint_kernels::Version::$version, super::$test);
            })*
        }
    };
}
