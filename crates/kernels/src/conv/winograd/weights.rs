//! Kernels at the points, in the order in which the micro-kernel reads them.

use super::points::{Four, Two, WithWeights, reciprocal};
use crate::conv::storage::{Panel, Values};
use crate::memory::zeros;
use crate::parallel::Shared;
use crate::simd::{Simd, multiversion};
use crate::team::each;
use crate::tile::COLS;

/// `G w G^T` for every pair of channels: `[point][panel of to][from][COLS]`, zeros past the last channel.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub from: usize,
    pub to: usize,
    pub side: usize,
    values: Values,
}

/// A kernel of 3x3 for each channel of a panel: `[tap][COLS]`.
type Kernels = [[f64; COLS]; 9];

impl Weights {
    /// From `weight` `[to, from, 3, 3]`, in `place`, which grows if it is too small.
    pub fn forward(from: usize, to: usize, side: usize, weight: &[f32], place: Vec<f32>) -> Self {
        Self::new(from, to, side, place, |o, c| &weight[(o * from + c) * 9..][..9], |point| point)
    }

    /// The weights of the adjoint as a convolution, from `weight` `[from, to, 3, 3]`: transposed, the points exchanged.
    pub fn adjoint(from: usize, to: usize, side: usize, weight: &[f32], place: Vec<f32>) -> Self {
        Self::new(from, to, side, place, |c, o| &weight[(o * to + c) * 9..][..9], |point| exchanged(point, side))
    }

    /// Computed in double precision and rounded once. `kernel(to, from)`; `point_of` is where a point's values go.
    fn new<'a>(
        from: usize,
        to: usize,
        side: usize,
        mut values: Vec<f32>,
        kernel: impl Fn(usize, usize) -> &'a [f32] + Sync,
        point_of: impl Fn(usize) -> usize + Sync,
    ) -> Self {
        let (panels, panel_len) = (to.div_ceil(COLS), from * COLS);
        let len = side * side * panels * panel_len;
        if values.len() < len {
            values = zeros(len);
        }
        let shared = Shared::new(&mut values);
        each(panels * from, |task| {
            let (panel, c) = (task / from, task % from);
            let mut kernels: Kernels = [[0.0; COLS]; 9];
            for (j, o) in (panel * COLS..to.min((panel + 1) * COLS)).enumerate() {
                for (taps, &value) in kernels.iter_mut().zip(kernel(o, c)) {
                    taps[j] = f64::from(value);
                }
            }
            let mut at_points: AtPoints = [[0.0; COLS]; 36];
            transform(&kernels, side, &mut at_points);
            for (point, values) in at_points.iter().take(side * side).enumerate() {
                // SAFETY: panel and channel are this task's.
                let row = unsafe { shared.slice((point_of(point) * panels + panel) * panel_len + c * COLS, COLS) };
                row.copy_from_slice(values);
            }
        });
        Self { from, to, side, values: Values::Single(values) }
    }

    /// Their memory, for others.
    pub fn into_place(self) -> Vec<f32> {
        self.values.into_place()
    }

    pub fn bytes(&self) -> usize {
        self.values.bytes()
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// `[panel of to][from][COLS]`.
    pub fn point(&self, point: usize) -> Panel<'_> {
        let len = self.to.div_ceil(COLS) * self.from * COLS;
        self.values.panel(point * len, len)
    }

    /// `[from][COLS]`.
    pub fn panel(&self, point: usize, panel: usize) -> Panel<'_> {
        let len = self.from * COLS;
        self.values.panel((point * self.to.div_ceil(COLS) + panel) * len, len)
    }
}

/// The point whose weights serve `point` of the adjoint.
pub(super) fn exchanged(point: usize, side: usize) -> usize {
    reciprocal(point / side, side) * side + reciprocal(point % side, side)
}

/// Values of the kernels of a panel at the points: `[point][COLS]`.
pub(super) type AtPoints = [[f32; COLS]; 36];

/// `G w G^T`.
fn transform(kernels: &Kernels, side: usize, at_points: &mut AtPoints) {
    match side {
        4 => transform_two(kernels, at_points),
        _ => transform_four(kernels, at_points),
    }
}

/// `G^T u G`, the transpose of `G w G^T`.
pub(super) fn transform_adjoint(at_points: &AtPoints, side: usize, kernels: &mut [[f32; COLS]; 9]) {
    match side {
        4 => transform_adjoint_two(at_points, kernels),
        _ => transform_adjoint_four(at_points, kernels),
    }
}

multiversion! { fn transform_two(kernels: &Kernels, at_points: &mut AtPoints) => transform_by::<Two, 4, 2, _> }
multiversion! { fn transform_four(kernels: &Kernels, at_points: &mut AtPoints) => transform_by::<Four, 6, 4, _> }
multiversion! {
    fn transform_adjoint_two(at_points: &AtPoints, kernels: &mut [[f32; COLS]; 9]) => adjoint_by::<Two, 4, 2, _>
}
multiversion! {
    fn transform_adjoint_four(at_points: &AtPoints, kernels: &mut [[f32; COLS]; 9]) => adjoint_by::<Four, 6, 4, _>
}

#[inline(always)]
fn transform_by<P: WithWeights<IN, OUT>, const IN: usize, const OUT: usize, S: Simd>(
    _: S,
    kernels: &Kernels,
    at_points: &mut AtPoints,
) {
    for i in 0..IN {
        // A row of points, all columns of the kernel: `sum_k G[i][k] w[k][l]`.
        let mut row = [[0.0; COLS]; 3];
        for k in 0..3 {
            for l in 0..3 {
                add(&mut row[l], P::KERNEL[i][k], &kernels[k * 3 + l]);
            }
        }
        for j in 0..IN {
            let mut value = [0.0; COLS];
            for l in 0..3 {
                add(&mut value, P::KERNEL[j][l], &row[l]);
            }
            for (place, value) in at_points[i * IN + j].iter_mut().zip(value) {
                *place = value as f32;
            }
        }
    }
}

#[inline(always)]
fn adjoint_by<P: WithWeights<IN, OUT>, const IN: usize, const OUT: usize, S: Simd>(
    _: S,
    at_points: &AtPoints,
    kernels: &mut [[f32; COLS]; 9],
) {
    let mut sum: Kernels = [[0.0; COLS]; 9];
    for i in 0..IN {
        let mut row = [[0.0; COLS]; 3];
        for j in 0..IN {
            let mut value = [0.0; COLS];
            for (wide, &narrow) in value.iter_mut().zip(&at_points[i * IN + j]) {
                *wide = f64::from(narrow);
            }
            for l in 0..3 {
                add(&mut row[l], P::KERNEL[j][l], &value);
            }
        }
        for k in 0..3 {
            for l in 0..3 {
                add(&mut sum[k * 3 + l], P::KERNEL[i][k], &row[l]);
            }
        }
    }
    for (place, sum) in kernels.iter_mut().zip(&sum) {
        for (place, &sum) in place.iter_mut().zip(sum) {
            *place = sum as f32;
        }
    }
}

/// `sum += factor x`; a constant zero disappears when loops over constants are unrolled.
#[inline(always)]
fn add(sum: &mut [f64; COLS], factor: f64, x: &[f64; COLS]) {
    if factor != 0.0 {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += factor * x;
        }
    }
}
