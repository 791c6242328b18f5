//! The order in which training pictures are shown.

use rand::seq::SliceRandom;
use vipaint_core::noise::stream;

/// Purpose number of the permutations.
const ORDER: u64 = 0x0a01;

/// The order of the training pictures: a new permutation for each pass over them.
pub(crate) struct Order {
    seed: u64,
    epoch: u64,
    permutation: Vec<usize>,
}

impl Order {
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        Self { seed, epoch: 0, permutation: Self::shuffle(seed, 0, count) }
    }

    fn shuffle(seed: u64, epoch: u64, count: usize) -> Vec<usize> {
        let mut permutation: Vec<usize> = (0..count).collect();
        permutation.shuffle(&mut stream(seed, ORDER, epoch));
        permutation
    }

    /// The picture shown as number `n` of the whole run.
    pub(crate) fn picture(&mut self, n: u64) -> usize {
        let count = self.permutation.len() as u64;
        if n / count != self.epoch {
            self.epoch = n / count;
            self.permutation = Self::shuffle(self.seed, self.epoch, count as usize);
        }
        self.permutation[(n % count) as usize]
    }
}
