//! Kernels at the points, in the order in which the micro-kernel reads them.

use super::points::{kernel_four, kernel_two, reciprocal};
use crate::parallel::Shared;
use crate::tile::COLS;
use rayon::prelude::*;

/// `G w G^T` for every pair of channels: `[point][panel of to][from][COLS]`, zeros past the last channel.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub from: usize,
    pub to: usize,
    pub side: usize,
    values: Vec<f32>,
}

impl Weights {
    fn empty(from: usize, to: usize, side: usize) -> Self {
        Self { from, to, side, values: vec![0.0; side * side * to.div_ceil(COLS) * from * COLS] }
    }

    /// From `weight` `[to, from, 3, 3]`, computed in double precision and rounded once.
    pub fn new(from: usize, to: usize, side: usize, weight: &[f32]) -> Self {
        let mut weights = Self::empty(from, to, side);
        let (panels, panel_len) = (to.div_ceil(COLS), from * COLS);
        let values = Shared::new(&mut weights.values);
        (0..panels * from).into_par_iter().for_each(|task| {
            let (panel, c) = (task / from, task % from);
            for (j, o) in (panel * COLS..to.min((panel + 1) * COLS)).enumerate() {
                let kernel: &[f32] = &weight[(o * from + c) * 9..][..9];
                for (point, value) in at_points(kernel, side).into_iter().enumerate() {
                    // SAFETY: panel and channel are this task's.
                    unsafe { *values.at((point * panels + panel) * panel_len + c * COLS + j) = value };
                }
            }
        });
        weights
    }

    /// The weights of the adjoint as a convolution: transposed, the points exchanged.
    pub fn adjoint(&self) -> Self {
        let mut adjoint = Self::empty(self.to, self.from, self.side);
        let panels = adjoint.to.div_ceil(COLS);
        adjoint.values.par_chunks_mut(adjoint.from * COLS).enumerate().for_each(|(i, values)| {
            let (point, panel) = (i / panels, i % panels);
            let point = exchanged(point, self.side);
            for (o, row) in values.chunks_exact_mut(COLS).enumerate() {
                let from = self.panel(point, o / COLS);
                for (c, value) in (panel * COLS..self.from.min((panel + 1) * COLS)).zip(row) {
                    *value = from[c * COLS + o % COLS];
                }
            }
        });
        adjoint
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// `[from][COLS]`.
    pub fn panel(&self, point: usize, panel: usize) -> &[f32] {
        let len = self.from * COLS;
        &self.values[(point * self.to.div_ceil(COLS) + panel) * len..][..len]
    }
}

/// The point whose weights serve `point` of the adjoint.
pub(super) fn exchanged(point: usize, side: usize) -> usize {
    reciprocal(point / side, side) * side + reciprocal(point % side, side)
}

fn at_points(kernel: &[f32], side: usize) -> Vec<f32> {
    let transform = |w: [f64; 3]| if side == 4 { kernel_two(w).to_vec() } else { kernel_four(w).to_vec() };
    let rows: Vec<Vec<f64>> = (0..3).map(|k| transform([0, 1, 2].map(|l| f64::from(kernel[k * 3 + l])))).collect();
    let columns: Vec<Vec<f64>> = (0..side).map(|j| transform([rows[0][j], rows[1][j], rows[2][j]])).collect();
    (0..side * side).map(|p| columns[p % side][p / side] as f32).collect()
}
