//! The measurement as particles see it, with the covariance that the denoiser's Jacobian gives.

use burn::tensor::Tensor;

use crate::krylov::{Denoise, Krylov};
use crate::moments::{Rows, Widen};
use crate::operator::{Shape3, values};
use crate::posterior::Problem;
use crate::{Level, Result};

/// Few measurements with their whole covariance, or any number in a few directions.
pub(super) enum Measured<'a> {
    Rows(Rows),
    Krylov(Box<Krylov<'a>>),
}

impl<'a> Measured<'a> {
    /// `None` where the covariance is not the Jacobian's.
    pub fn new(problem: &'a Problem, widen: Widen, directions: usize) -> Result<Option<Self>> {
        Ok(match widen {
            Widen::None | Widen::Isotropic => None,
            Widen::Jacobian => Some(Self::Rows(Rows::new(problem)?)),
            Widen::Krylov => Some(Self::Krylov(Box::new(Krylov::new(problem, directions)?))),
        })
    }

    /// Shape of the measurement's noise.
    pub fn shape(&self) -> Shape3 {
        match self {
            Self::Rows(rows) => [rows.len(), 1, 1],
            Self::Krylov(krylov) => krylov.shape(),
        }
    }

    /// The log-likelihood of every `z`, up to a constant, and how `x0_hat` moves towards the data.
    pub fn look(
        &self,
        z: &Tensor<4>,
        x0_hat: &Tensor<4>,
        level: Level,
        denoise: &Denoise,
    ) -> Result<(Vec<f64>, Tensor<4>)> {
        match self {
            Self::Rows(rows) => {
                let moments = rows.moments(z, x0_hat.clone(), level, denoise)?;
                let shift = moments.gain(&moments.residual);
                Ok((moments.log_likelihood, shift))
            }
            Self::Krylov(krylov) => {
                let solved = krylov.solve(z, x0_hat, level, &krylov.residual(x0_hat.clone()), denoise)?;
                Ok((solved.log_likelihood, solved.gain))
            }
        }
    }

    /// Matheron's rule, `x + K (y + noise - A x)`: a draw `x` of `z_0` given `z` becomes one given `y` too. `noise` is of the
    /// measurement's distribution, `[batch, ..shape]`.
    pub fn condition(
        &self,
        z: &Tensor<4>,
        x0_hat: &Tensor<4>,
        level: Level,
        x: Tensor<4>,
        noise: Tensor<4>,
        denoise: &Denoise,
    ) -> Result<Tensor<4>> {
        match self {
            Self::Rows(rows) => {
                let moments = rows.moments(z, x0_hat.clone(), level, denoise)?;
                let predicted = rows.apply(&(x.clone() - x0_hat.clone()));
                let terms = moments.residual.iter().zip(predicted).zip(values(&noise));
                let gap: Vec<f64> = terms.map(|((r, p), eps)| r - p + f64::from(eps)).collect();
                Ok(x + moments.gain(&gap))
            }
            Self::Krylov(krylov) => {
                let gap = krylov.residual(x.clone()) + noise;
                Ok(x + krylov.solve(z, x0_hat, level, &gap, denoise)?.gain)
            }
        }
    }
}
