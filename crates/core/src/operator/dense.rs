//! A small matrix, for benchmarks with few measurements: `y = A x`, `x` flattened.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand_distr::{Distribution, StandardNormal};

use super::{Kind, Linear, Operator, Saved, Setting, Shape3, tensor};
use crate::{Error, Result, noise::stream};

/// `y = A x` with `A` `[m, n]`, measurements shaped `[m, 1, 1]`.
#[derive(Debug, Clone)]
pub struct Dense {
    rows: Vec<f32>,
    matrix: Tensor<2>,     // [m, n]
    rotation: Tensor<2>,   // U^T, [m, m]
    eigenvalues: Vec<f32>, // of A A^T
    shape: Shape3,
}

pub(super) const KIND: Kind = Kind {
    name: "dense",
    load: |saved, device| {
        let (_, rows) = saved.array("matrix")?;
        let (_, shape) = saved.array("input_shape")?;
        let bad = || Error::PosteriorFile("dense: the arrays do not fit".into());
        let shape: Vec<usize> = shape.iter().map(|s| *s as usize).collect();
        Ok(Arc::new(Dense::new(rows, shape.try_into().map_err(|_| bad())?, device)?))
    },
    example: |shape, seed, device| {
        let n: usize = shape.iter().product();
        let rng = stream(seed, 0, 0);
        let rows: Vec<f32> = StandardNormal.sample_iter(rng).take(n.min(3) * n).map(|x: f64| x as f32).collect();
        Arc::new(Dense::build(&rows, shape, device))
    },
    settings: |shape, _, seed, device| {
        let n: usize = shape.iter().product();
        let rows = (n / 10).max(1);
        let scale = 1.0 / (n as f64).sqrt();
        let matrix = StandardNormal.sample_iter(stream(seed, 0, 0)).map(|x: f64| (scale * x) as f32);
        let matrix: Vec<f32> = matrix.take(rows * n).collect();
        let about = format!("{rows} random projections of {n} values (compressed sensing)");
        Ok(vec![Setting::new("dense:10", about, Dense::new(&matrix, shape, device)?)])
    },
};

impl Dense {
    /// `rows` is `A` in row-major order, `[m, product(shape)]`.
    ///
    /// # Errors
    /// When the length is not a positive multiple of the input's.
    pub fn new(rows: &[f32], shape: Shape3, device: &Device) -> Result<Self> {
        let n = shape.iter().product::<usize>();
        if n == 0 || rows.is_empty() || !rows.len().is_multiple_of(n) {
            return Err(Error::Shape { what: "matrix", expected: vec![1, n], got: vec![rows.len()] });
        }
        Ok(Self::build(rows, shape, device))
    }

    fn build(rows: &[f32], shape: Shape3, device: &Device) -> Self {
        let n = shape.iter().product::<usize>();
        let m = rows.len() / n;
        let gram: Vec<f64> =
            (0..m * m).map(|k| (0..n).map(|j| rows[k / m * n + j] as f64 * rows[k % m * n + j] as f64).sum()).collect();
        let (eigenvalues, vectors) = symmetric_eigen(gram, m);
        let transposed: Vec<f32> = (0..m * m).map(|k| vectors[k % m * m + k / m] as f32).collect();
        Self {
            rows: rows.to_vec(),
            matrix: Tensor::from_data(TensorData::new(rows.to_vec(), [m, n]), device),
            rotation: Tensor::from_data(TensorData::new(transposed, [m, m]), device),
            eigenvalues: eigenvalues.iter().map(|s| s.max(0.0) as f32).collect(),
            shape,
        }
    }

    fn measurements(&self) -> usize {
        self.eigenvalues.len()
    }
}

/// Rows that are multiplied together.
const BLOCK: usize = 16;

/// `rows matrix`, `[b, n]` times `[n, m]`, in blocks of as many rows (the last filled up with zeros): far faster than row by row,
/// and unlike one product of all, a row's result does not depend on how many there are.
pub(crate) fn in_blocks<const BLOCK: usize>(rows: Tensor<2>, matrix: &Tensor<2>) -> Tensor<2> {
    let [b, n] = rows.dims();
    let missing = b.next_multiple_of(BLOCK) - b;
    let filled = match missing {
        0 => rows,
        _ => Tensor::cat(vec![rows.clone(), Tensor::zeros([missing, n], &rows.device())], 0),
    };
    let blocks = (0..b).step_by(BLOCK).map(|i| filled.clone().slice_dim(0, i..i + BLOCK).matmul(matrix.clone()));
    Tensor::cat(blocks.collect(), 0).slice_dim(0, 0..b)
}

/// `x` times `matrix^T`, sample by sample.
fn multiply(x: Tensor<4>, matrix: Tensor<2>, [c, h, w]: Shape3) -> Tensor<4> {
    let [batch, n] = [x.dims()[0], matrix.dims()[1]];
    in_blocks::<BLOCK>(x.reshape([batch, n]), &matrix.transpose()).reshape([batch, c, h, w])
}

impl Operator for Dense {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.shape
    }

    fn output_shape(&self) -> Shape3 {
        [self.measurements(), 1, 1]
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        multiply(x, self.matrix.clone(), self.output_shape())
    }

    /// The least-norm solution `A^T (A A^T)^-1 y`, leaving out directions that are hardly measured.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        self.regularised_inverse(y, 0.0)
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let n = self.rows.len() / self.measurements();
        let shape = self.shape.iter().map(|s| *s as f32).collect();
        Saved::new(
            KIND.name,
            vec![("matrix", vec![self.measurements(), n], self.rows.clone()), ("input_shape", vec![3], shape)],
        )
    }
}

impl Linear for Dense {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        multiply(y, self.matrix.clone().transpose(), self.shape)
    }

    fn spectrum(&self) -> Tensor<4> {
        tensor(&self.eigenvalues, self.output_shape(), &self.matrix.device())
    }

    fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        multiply(y, self.rotation.clone(), self.output_shape())
    }

    fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        multiply(y, self.rotation.clone().transpose(), self.output_shape())
    }
}

/// Eigenvalues and eigenvectors (columns) of a symmetric `[m, m]` matrix by cyclic Jacobi rotations (Golub and Van Loan,
/// section 8.5); `m` is a handful here.
pub(crate) fn symmetric_eigen(mut a: Vec<f64>, m: usize) -> (Vec<f64>, Vec<f64>) {
    let mut v: Vec<f64> = (0..m * m).map(|k| f64::from(u8::from(k / m == k % m))).collect();
    for _ in 0..60 {
        let off: f64 = (0..m * m).filter(|k| k / m != k % m).map(|k| a[k] * a[k]).sum();
        let all: f64 = a.iter().map(|x| x * x).sum();
        if off <= 1e-30 * all {
            break;
        }
        for p in 0..m {
            for q in p + 1..m {
                if a[p * m + q] == 0.0 {
                    continue;
                }
                let theta = (a[q * m + q] - a[p * m + p]) / (2.0 * a[p * m + q]);
                let t = if theta >= 0.0 { 1.0 } else { -1.0 } / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..m {
                    let (x, y) = (a[k * m + p], a[k * m + q]);
                    (a[k * m + p], a[k * m + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..m {
                    let (x, y) = (a[p * m + k], a[q * m + k]);
                    (a[p * m + k], a[q * m + k]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..m {
                    let (x, y) = (v[k * m + p], v[k * m + q]);
                    (v[k * m + p], v[k * m + q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    ((0..m).map(|k| a[k * m + k]).collect(), v)
}
