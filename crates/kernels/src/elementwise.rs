//! Activations.

use crate::parallel::Shared;
use crate::simd::{Simd, multiversion};
use crate::team::parts;

/// Values of a task, small enough for the nearest cache.
const PIECE: usize = 4096;

/// `exp(x)` for `x` clamped to `[-87, 88]`, relative error below 3e-7.
///
/// `exp(x) = 2^n exp(r)` with `n = round(x / ln 2)` and `|r| <= ln(2) / 2`, and the Taylor polynomial of degree 6 for
/// `exp(r)`: its remainder is below `r^7 / 7! * 1.5 < 2e-7`, and rounding adds about one unit in the last place. There are
/// no branches or calls, so the compiler vectorises loops around it.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: f32) -> f32 {
    // Added to a small number, leaves its rounded integer in the low bits.
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23
    // ln 2 in two parts, so that n times the first is exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = s.fma1(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = s.fma1(n, -LN2_LOW, s.fma1(n, -LN2_HIGH, x));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma1(p, r, c);
    }
    let exponent = shifted.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu1<S: Simd>(s: S, x: f32) -> f32 {
    x / (1.0 + exp(s, -x))
}

/// The derivative of `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu_slope<S: Simd>(s: S, x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + exp(s, -x));
    sigmoid * s.fma1(x, 1.0 - sigmoid, 1.0)
}

/// `Phi(x)`, the normal distribution function, and the density times `sqrt(2 pi)`.
///
/// The tail beyond `|x|` is `t (a_1 + .. + a_5 t^4) exp(-x^2 / 2) / 2` with `t = 1 / (1 + p |x| / sqrt(2))`, within 7.5e-8 of the
/// exact one (Abramowitz and Stegun, 1964, eq. 7.1.26); rounding adds about as much.
#[inline(always)]
fn normal<S: Simd>(s: S, x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    let density = exp(s, -0.5 * x * x);
    let t = 1.0 / s.fma1(P, x.abs(), 1.0);
    let mut a = 1.061_405_4;
    for c in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        a = s.fma1(a, t, c);
    }
    let tail = 0.5 * a * t * density;
    (if x < 0.0 { tail } else { 1.0 - tail }, density)
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x sigmoid(x)`.
    Silu,
    /// The exact `x Phi(x)` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `x sigmoid(1.702 x)`, CLIP's.
    QuickGelu,
}

const QUICK: f32 = 1.702;
const INVERSE_ROOT_TWO_PI: f32 = 0.398_942_3;

/// `x Phi(x)`.
#[inline(always)]
fn gelu1<S: Simd>(s: S, x: f32) -> f32 {
    x * normal(s, x).0
}

/// Its derivative.
#[inline(always)]
fn gelu_slope<S: Simd>(s: S, x: f32) -> f32 {
    let (phi, density) = normal(s, x);
    s.fma1(x * INVERSE_ROOT_TWO_PI, density, phi)
}

#[inline(always)]
fn quick_gelu1<S: Simd>(s: S, x: f32) -> f32 {
    x / (1.0 + exp(s, -QUICK * x))
}

/// `y = f(x)`, each activation in a loop of its own.
#[inline(always)]
fn value_piece<S: Simd>(s: S, f: Activation, x: &[f32], y: &mut [f32]) {
    match f {
        Activation::Silu => to(x, y, |x| silu1(s, x)),
        Activation::Gelu => to(x, y, |x| gelu1(s, x)),
        Activation::QuickGelu => to(x, y, |x| quick_gelu1(s, x)),
    }
}

#[inline(always)]
fn to(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

#[inline(always)]
fn here_piece<S: Simd>(s: S, f: Activation, y: &mut [f32]) {
    match f {
        Activation::Silu => here(y, |x| silu1(s, x)),
        Activation::Gelu => here(y, |x| gelu1(s, x)),
        Activation::QuickGelu => here(y, |x| quick_gelu1(s, x)),
    }
}

#[inline(always)]
fn here(y: &mut [f32], f: impl Fn(f32) -> f32) {
    for y in y {
        *y = f(*y);
    }
}

#[inline(always)]
fn slope_piece<S: Simd>(s: S, f: Activation, x: &[f32], g: &[f32], dx: &mut [f32]) {
    match f {
        Activation::Silu => times(x, g, dx, |x| silu_slope(s, x)),
        Activation::Gelu => times(x, g, dx, |x| gelu_slope(s, x)),
        Activation::QuickGelu => times(x, g, dx, |x| silu_slope(s, QUICK * x)),
    }
}

#[inline(always)]
fn times(x: &[f32], g: &[f32], dx: &mut [f32], slope: impl Fn(f32) -> f32) {
    for ((dx, &x), &g) in dx.iter_mut().zip(x).zip(g) {
        *dx = g * slope(x);
    }
}

multiversion! { pub(crate) fn activate_piece(f: Activation, x: &[f32], y: &mut [f32]) => value_piece }
multiversion! { pub(crate) fn activate_here(f: Activation, y: &mut [f32]) => here_piece }
multiversion! { fn slope_fast(f: Activation, x: &[f32], g: &[f32], dx: &mut [f32]) => slope_piece }

/// `y = f(x)`.
pub fn activate(f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    parts(y, PIECE, |i, y| activate_piece(f, &x[i * PIECE..][..y.len()], y));
}

/// `dx = g f'(x)`.
pub fn activate_vjp(f: Activation, x: &[f32], g: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dx.len() && x.len() == g.len());
    parts(dx, PIECE, |i, dx| slope_fast(f, &x[i * PIECE..][..dx.len()], &g[i * PIECE..][..dx.len()], dx));
}

/// `y = x`.
pub(crate) fn copy(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    parts(y, PIECE, |i, y| y.copy_from_slice(&x[i * PIECE..][..y.len()]));
}

/// `y = x sigmoid(x)`.
pub fn silu(x: &[f32], y: &mut [f32]) {
    activate(Activation::Silu, x, y);
}

/// `dx = g` times the derivative of [`silu`] at `x`.
pub fn silu_vjp(x: &[f32], g: &[f32], dx: &mut [f32]) {
    activate_vjp(Activation::Silu, x, g, dx);
}

/// `y += x`.
pub fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    parts(y, PIECE, |i, y| y.iter_mut().zip(&x[i * PIECE..]).for_each(|(y, x)| *y += x));
}

#[inline(always)]
fn geglu_piece<S: Simd>(s: S, value: &[f32], gate: &[f32], y: &mut [f32]) {
    for ((y, &value), &gate) in y.iter_mut().zip(value).zip(gate) {
        *y = value * gate * normal(s, gate).0;
    }
}

/// In place: `dvalue` holds `g` before.
#[inline(always)]
fn geglu_vjp_piece<S: Simd>(s: S, value: &[f32], gate: &[f32], dvalue: &mut [f32], dgate: &mut [f32]) {
    let both = dvalue.iter_mut().zip(dgate);
    for ((dvalue, dgate), (&value, &gate)) in both.zip(value.iter().zip(gate)) {
        let (phi, density) = normal(s, gate);
        let g = *dvalue;
        *dvalue = g * gate * phi;
        *dgate = g * value * s.fma1(gate * INVERSE_ROOT_TWO_PI, density, phi);
    }
}

multiversion! { fn geglu_fast(value: &[f32], gate: &[f32], y: &mut [f32]) => geglu_piece }
multiversion! {
    fn geglu_vjp_fast(value: &[f32], gate: &[f32], dvalue: &mut [f32], dgate: &mut [f32]) => geglu_vjp_piece
}

/// `y = value gelu(gate)` with the exact `gelu(x) = x Phi(x)` (Hendrycks and Gimpel, 2016; Shazeer, 2020).
pub fn geglu(value: &[f32], gate: &[f32], y: &mut [f32]) {
    assert!(value.len() == y.len() && gate.len() == y.len());
    parts(y, PIECE, |i, y| geglu_fast(&value[i * PIECE..][..y.len()], &gate[i * PIECE..][..y.len()], y));
}

/// The vector-Jacobian products of [`geglu`]: `dvalue` holds `g` before.
pub fn geglu_vjp(value: &[f32], gate: &[f32], dvalue: &mut [f32], dgate: &mut [f32]) {
    let len = dvalue.len();
    assert!(value.len() == len && gate.len() == len && dgate.len() == len);
    let dgate = Shared::new(dgate);
    parts(dvalue, PIECE, |i, dvalue| {
        let (at, len) = (i * PIECE, dvalue.len());
        // SAFETY: the piece is this task's.
        let dgate = unsafe { dgate.slice(at, len) };
        geglu_vjp_fast(&value[at..][..len], &gate[at..][..len], dvalue, dgate);
    });
}
