//! Matrices along the sides of a picture: what separable operators and fast bases are made of.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Saved, Shape3, tensor};
use crate::{Error, Result};

/// The longest side of a picture that operators with a matrix for each side are built for.
const MAX_SIDE: usize = 4096;

/// A matrix in f64, row-major, to build operators from.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    pub fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        Self { rows, columns, values: (0..rows * columns).map(|k| f(k / columns, k % columns)).collect() }
    }

    pub fn add(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.columns + column] += value;
    }

    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |i, j| self.values[j * self.columns + i])
    }

    /// `self other`.
    pub fn times(&self, other: &Self) -> Self {
        let mut product = Self::zeros(self.rows, other.columns);
        for (row, out) in self.values.chunks_exact(self.columns).zip(product.values.chunks_exact_mut(other.columns)) {
            // Most matrices here are banded: zeros cost nothing.
            for (a, line) in row.iter().zip(other.values.chunks_exact(other.columns)).filter(|(a, _)| **a != 0.0) {
                out.iter_mut().zip(line).for_each(|(sum, b)| *sum += a * b);
            }
        }
        product
    }

    /// Squared norms of the rows.
    pub fn row_squares(&self) -> Vec<f64> {
        self.values.chunks_exact(self.columns).map(|row| row.iter().map(|v| v * v).sum()).collect()
    }

    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = self.values.iter().map(|v| *v as f32).collect();
        Tensor::from_data(TensorData::new(values, [self.rows, self.columns]), device)
    }
}

/// `rows x columns^T` for every channel of every sample, each by itself, so that a sample does not depend on its batch.
///
/// `x` is `[batch, c, h, w]`, `rows` `[oh, h]`, `columns` `[ow, w]`; the result `[batch, c, oh, ow]`.
pub(super) fn sandwich(x: Tensor<4>, rows: &Tensor<2>, columns: &Tensor<2>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let planes = (b * c) as i64;
    let stacked = |m: Tensor<2>| m.unsqueeze::<3>().expand([planes, -1, -1]);
    let y = x.reshape([b * c, h, w]).matmul(stacked(columns.clone().transpose()));
    let y = stacked(rows.clone()).matmul(y);
    y.reshape([b, c, rows.dims()[0], columns.dims()[0]])
}

/// The orthonormal DCT-II of `n` samples, `[frequency, place]`: the eigenvectors of every symmetric filter whose signal is
/// continued by reflection about its edges (half-sample symmetry: c b a | a b c | c b a).
pub(super) fn dct(n: usize) -> Matrix {
    Matrix::from_fn(n, n, |k, i| {
        let scale = (if k == 0 { 1.0 } else { 2.0 } / n as f64).sqrt();
        scale * (PI * k as f64 * (i as f64 + 0.5) / n as f64).cos()
    })
}

/// Place `i` of a signal of `n` samples that is continued by reflection about its edges.
pub(super) fn reflect(i: isize, n: usize) -> usize {
    let i = i.rem_euclid(2 * n as isize) as usize;
    i.min(2 * n - 1 - i)
}

/// A linear operator that acts on rows and columns separately and on all channels alike: `A X = R X C^T`, and
/// `A A^T = (R R^T) x (C C^T)`, diagonal in the basis of the DCT (or as it is).
#[derive(Debug, Clone)]
pub(super) struct Separable {
    rows: Tensor<2>,
    columns: Tensor<2>,
    dct: Option<[Tensor<2>; 2]>,
    spectrum: Tensor<4>,
    pub input: Shape3,
    pub output: Shape3,
}

impl Separable {
    /// `rows` `[oh, h]` and `columns` `[ow, w]` for pictures of `channels`. `by_dct` says that `R R^T` and `C C^T` are diagonal
    /// in the DCT's basis; otherwise they must be diagonal themselves.
    pub fn new(rows: &Matrix, columns: &Matrix, channels: usize, by_dct: bool, device: &Device) -> Self {
        let (oh, ow) = (rows.rows, columns.rows);
        let eigenvalues = |m: &Matrix| if by_dct { dct(m.rows).times(m).row_squares() } else { m.row_squares() };
        let (on_rows, on_columns) = (eigenvalues(rows), eigenvalues(columns));
        let spectrum: Vec<f32> =
            on_rows.iter().flat_map(|r| on_columns.iter().map(move |c| (r * c) as f32)).collect::<Vec<_>>();
        Self {
            rows: rows.tensor(device),
            columns: columns.tensor(device),
            dct: by_dct.then(|| [dct(oh).tensor(device), dct(ow).tensor(device)]),
            spectrum: tensor(&spectrum.repeat(channels), [channels, oh, ow], device),
            input: [channels, rows.columns, columns.columns],
            output: [channels, oh, ow],
        }
    }

    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        sandwich(x, &self.rows, &self.columns)
    }

    pub fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        sandwich(y, &self.rows.clone().transpose(), &self.columns.clone().transpose())
    }

    pub fn spectrum(&self) -> Tensor<4> {
        self.spectrum.clone()
    }

    pub fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        match &self.dct {
            Some([rows, columns]) => sandwich(y, rows, columns),
            None => y,
        }
    }

    pub fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        match &self.dct {
            Some([rows, columns]) => sandwich(y, &rows.clone().transpose(), &columns.clone().transpose()),
            None => y,
        }
    }
}

/// Checks that an operator can be built for pictures of this shape.
pub(super) fn check_shape(shape: Shape3) -> Result<Shape3> {
    let [c, h, w] = shape;
    if c == 0 || h == 0 || w == 0 || c > MAX_SIDE || h > MAX_SIDE || w > MAX_SIDE {
        let problem =
            format!("pictures must have between 1 and {MAX_SIDE} pixels a side, not {w}x{h} with {c} channels");
        return Err(Error::option("operator", problem));
    }
    Ok(shape)
}

/// A shape as an array that can be stored.
pub(super) fn shape_array(name: &'static str, shape: Shape3) -> (&'static str, Vec<usize>, Vec<f32>) {
    (name, vec![3], shape.iter().map(|side| *side as f32).collect())
}

impl Saved {
    /// A stored shape.
    pub(super) fn shape(&self, name: &str) -> Result<Shape3> {
        let (_, sides) = self.array(name)?;
        let sides: Vec<usize> = sides.iter().map(|side| *side as usize).collect();
        let shape = sides.try_into().map_err(|_| self.bad("a shape has not three sides"))?;
        check_shape(shape).map_err(|e| self.bad(&e.to_string()))
    }

    /// A stored number.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        match self.array(name)?.1 {
            [value] => Ok(f64::from(*value)),
            _ => Err(self.bad("a number is an array")),
        }
    }

    pub(super) fn bad(&self, problem: &str) -> Error {
        Error::PosteriorFile(format!("operator {}: {problem}", self.kind))
    }
}
