//! The one-dimensional transforms of Winograd's algorithm (Lavin and Gray, 2016, arXiv:1509.09308): a correlation of
//! `OUT + 2` inputs `d` with a kernel `w` of three is `A^T ((G w) * (B^T d))`, one product for each of `IN` points.
//!
//! The error grows with the constants in the transforms, hence with the points. Measured on zero-mean data against the
//! exact result, relative to its root mean square, 256 channels: direct summation 8.7e-7, `F(2, 3)` with points
//! `0, 1, -1, inf` 4.6e-7, `F(4, 3)` with `0, 1, -1, 2, -2, inf` 3.0e-6, with `0, 1, -1, 2, -1/2, inf` (as Barabasz et
//! al., 2018, arXiv:1803.10986, found best) 1.9e-6: the ones used here.
//!
//! # The adjoint
//!
//! The gradient of a convolution's input is a convolution with flipped, transposed weights. A flipped kernel at point
//! `a` is `w(1/a) a^2`: it has the values of the kernel itself at the reciprocal points. So with the points `1/a`, `0` and
//! `inf` exchanged, the adjoint uses the very weights `G w` of the forward pass, in another order, and needs no copy of
//! its own. Powers of two, which are exact, absorb what remains.

use crate::simd::Simd;

/// Transforms with `IN` products for `OUT` outputs.
pub(super) trait Points<const IN: usize, const OUT: usize> {
    /// `B^T d`.
    fn input<S: Simd>(s: S, d: [S::V; IN]) -> [S::V; IN];
    /// `A^T m`.
    fn output<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; OUT];
}

/// Transforms that serve the gradient of the weights too.
pub(super) trait WithWeights<const IN: usize, const OUT: usize>: Points<IN, OUT> {
    /// `G`.
    const KERNEL: [[f64; 3]; IN];
    /// `A y`, the transpose of [`Points::output`].
    fn output_adjoint<S: Simd>(s: S, y: [S::V; OUT]) -> [S::V; IN];
}

/// `F(2, 3)`: the points are their own reciprocals.
pub(super) struct Two;

/// `F(4, 3)` with `0, 1, -1, 2, -1/2, inf`.
pub(super) struct Four;

/// `F(4, 3)` with their reciprocals.
pub(super) struct FourAdjoint;

/// The point whose value of the kernel serves point `i` of the adjoint.
pub(super) fn reciprocal(i: usize, points: usize) -> usize {
    match i {
        0 => points - 1,
        i if i == points - 1 => 0,
        i => i,
    }
}

impl Points<4, 2> for Two {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
        [s.add(s.add(m[0], m[1]), m[2]), s.add(s.sub(m[1], m[2]), m[3])]
    }
}

impl Points<6, 4> for Four {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        four_input(s, d, 1.5, 0.5, -2.0)
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        four_output(s, m, sum, difference, [1.0, 2.0, 4.0, 8.0], [1.0, -0.5, 0.25, -0.125])
    }
}

impl Points<6, 4> for FourAdjoint {
    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        four_input(s, d, -1.5, 2.0, -0.5)
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        // The shared weights differ from `G` at these points by the factors -1, -1, -1/4, -4: undone here.
        let (sum, difference) = (s.add(m[1], m[2]), s.sub(m[2], m[1]));
        let sum = s.sub(s.splat(0.0), sum);
        four_output(s, m, sum, difference, [-4.0, -2.0, -1.0, -0.5], [-0.25, 0.5, -1.0, 2.0])
    }
}

impl WithWeights<4, 2> for Two {
    const KERNEL: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    #[inline(always)]
    fn output_adjoint<S: Simd>(s: S, y: [S::V; 2]) -> [S::V; 4] {
        [y[0], s.add(y[0], y[1]), s.sub(y[0], y[1]), y[1]]
    }
}

impl WithWeights<6, 4> for Four {
    const KERNEL: [[f64; 3]; 6] = [
        [1.0, 0.0, 0.0],
        [-1.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0],
        [1.0 / 3.0, -1.0 / 3.0, 1.0 / 3.0],
        [1.0 / 15.0, 2.0 / 15.0, 4.0 / 15.0],
        [-16.0 / 15.0, 8.0 / 15.0, -4.0 / 15.0],
        [0.0, 0.0, 1.0],
    ];
    #[inline(always)]
    fn output_adjoint<S: Simd>(s: S, y: [S::V; 4]) -> [S::V; 6] {
        let (even, odd) = (s.add(y[0], y[2]), s.add(y[1], y[3]));
        [y[0], s.add(even, odd), s.sub(even, odd), cubic(s, y, 2.0), cubic(s, y, -0.5), y[3]]
    }
}

/// `B^T d` for points `0, 1, -1, a, -1/a, inf`: `half` is `a - 1/a`, `third` and `fourth` are `1/a` and `-a`.
#[inline(always)]
fn four_input<S: Simd>(s: S, d: [S::V; 6], half: f32, third: f32, fourth: f32) -> [S::V; 6] {
    let (even, odd) = (s.sub(d[4], d[2]), s.sub(d[3], d[1]));
    let (plus, minus) = (s.splat(half), s.splat(-half));
    [
        s.fma(minus, odd, s.add(s.sub(d[0], d[2]), even)),
        s.fma(minus, s.add(d[2], d[3]), s.add(even, odd)),
        s.fma(plus, s.sub(d[2], d[3]), s.sub(even, odd)),
        s.fma(s.splat(third), odd, even),
        s.fma(s.splat(fourth), odd, even),
        s.fma(minus, even, s.sub(s.sub(d[5], d[3]), odd)),
    ]
}

/// `A^T m`, given the sum and difference of the products at 1 and -1, and the powers of the third and fourth point.
#[inline(always)]
fn four_output<S: Simd>(
    s: S,
    m: [S::V; 6],
    sum: S::V,
    difference: S::V,
    third: [f32; 4],
    fourth: [f32; 4],
) -> [S::V; 4] {
    [
        four_sum(s, m, s.add(m[0], sum), third[0], fourth[0]),
        four_sum(s, m, difference, third[1], fourth[1]),
        four_sum(s, m, sum, third[2], fourth[2]),
        four_sum(s, m, s.add(difference, m[5]), third[3], fourth[3]),
    ]
}

#[inline(always)]
fn four_sum<S: Simd>(s: S, m: [S::V; 6], start: S::V, third: f32, fourth: f32) -> S::V {
    s.fma(s.splat(third), m[3], s.fma(s.splat(fourth), m[4], start))
}

/// The polynomial with coefficients `y` at `a`.
#[inline(always)]
fn cubic<S: Simd>(s: S, y: [S::V; 4], a: f32) -> S::V {
    let a = s.splat(a);
    s.fma(a, s.fma(a, s.fma(a, y[3], y[2]), y[1]), y[0])
}
