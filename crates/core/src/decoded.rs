//! Data through a decoder: the linear model of `A(Dec(z_0))` around `x0_hat`, in which a step towards the data has a length that
//! holds whatever the decoder's Jacobian is like, and whatever the prior's covariance is. Under a prior on pixels it is the model of
//! `A` itself.
//!
//! Tweedie's formula moves `x0_hat` by `C J^T A^T u`, where `J` is the decoder's Jacobian, `C` the covariance of `z_0` given `z`, and
//! `u` solves `S u = y - A Dec(x0_hat)` with `S = sigma_y^2 I + A J C J^T A^T` (Kalman's gain; Song et al., 2023, eq. 8, for `J = I`).
//! A multiple of the identity in place of `S` is fair to no decoder whose Jacobian has unlike singular values: along directions where
//! `A J C J^T A^T` has more than twice that multiple each step leads further away than it started, and one such direction is
//! enough to diverge. So `S u = r` is solved by a few steps of conjugate gradients (as Rozet et al., 2024, section 4.2, do for
//! pixels) with `r^2 I` in place of `C`, which costs no network call, and what that replacement does to the length of the step
//! is undone by a line search. On pixels it is solved by `A`'s singular values, where they are known.
//!
//! The prior's own covariance is `C = (sigma^2 / alpha) d x0_hat / dz`, a forward call for each product with it; [`Decoded::explain`] takes
//! as many steps as there are calls for. The first already moves along what the data and the prior have most of in common.

use burn::tensor::Tensor;

use crate::measurement::Family;
use crate::noise::Noise;
use crate::operator::Linear;
use crate::problem::Problem;
use crate::{Level, Result};

/// Steps of conjugate gradients.
const ITERATIONS: usize = 5;
/// How far the decoder is probed for a difference quotient, over the standard deviation of its latents.
const PROBE: f64 = 0.03;
/// The random stream of the direction in which the decoder's Jacobian is measured.
const PURPOSE_PROBE: u64 = 7;
/// Keeps quotients finite where everything fits already.
const TINY: f32 = 1e-30;

/// `A(Dec(z_0))` near some `x0_hat`, in standard deviations of the noise: `B = A J / sigma_y` is its Jacobian there.
pub(crate) struct Decoded<'a> {
    problem: &'a Problem,
    /// `[batch, c, h, w]`.
    x0_hat: Tensor<4>,
    /// `y - A Dec(x0_hat)`, `[batch, ..output_shape]`.
    residual: Tensor<4>,
    /// The noise's standard deviation; it broadcasts over the residual.
    noise: Tensor<4>,
    /// `Dec(x0_hat)`, `[batch, ..image_shape]`.
    x_hat: Tensor<4>,
}

/// What some `u` makes.
struct Solved {
    /// `B^T u`, `[batch, c, h, w]`.
    pull: Tensor<4>,
    /// `C B^T u`, `[batch, c, h, w]`.
    step: Tensor<4>,
    /// `B C B^T u`, `[batch, ..output_shape]`.
    change: Tensor<4>,
}

impl<'a> Decoded<'a> {
    pub fn new(problem: &'a Problem, x0_hat: Tensor<4>) -> Self {
        let x_hat = problem.prior.autoencoder.decode(x0_hat.clone());
        let predicted = problem.measurement.operator.apply(x_hat.clone());
        let noise = problem.measurement.noise_variance(&predicted).sqrt();
        let residual = (predicted * -1.0 + problem.measurement.y.clone()) / noise.clone();
        Self { problem, x0_hat, residual, noise, x_hat }
    }

    /// `B^T u`, the gradient of `log p(y | z)` at `x0_hat` under the likelihood that knows the decoder, `[batch, c, h, w]`.
    ///
    /// # Errors
    /// Those of the decoder.
    pub fn pull(&self, level: Level) -> Result<Tensor<4>> {
        let variance = self.latent_variance(level);
        if let Some(linear) = self.linear().filter(|_| self.uniform()) {
            let spectrum = linear.spectrum();
            let measured = spectrum.clone().greater_elem(0.0).float();
            let onto = spectrum * variance / self.noise.clone().square() + 1.0;
            return Ok(self.transposed(linear.unrotate(linear.rotate(self.residual.clone()) * measured / onto)));
        }
        let solved = self.solve(ITERATIONS, &mut |v| Ok(v * variance.clone()))?;
        Ok(solved.pull)
    }

    /// How `x0_hat` moves towards the data where `covariance(v)` is `C v`, of any `C`: by so many steps of conjugate gradients, each
    /// of which asks for one such product.
    ///
    /// # Errors
    /// Those of the decoder and of `covariance`.
    pub fn explain(
        self,
        directions: usize,
        mut covariance: impl FnMut(Tensor<4>) -> Result<Tensor<4>>,
    ) -> Result<Tensor<4>> {
        let solved = self.solve(directions, &mut covariance)?;
        Ok(self.along(solved.step, solved.change, solved.pull))
    }

    /// So many steps of conjugate gradients for `S u = r`, from 0.
    fn solve(&self, steps: usize, covariance: &mut dyn FnMut(Tensor<4>) -> Result<Tensor<4>>) -> Result<Solved> {
        let zeros = self.x0_hat.zeros_like();
        let mut solved = Solved { pull: zeros.clone(), step: zeros, change: self.residual.zeros_like() };
        let mut left = self.residual.clone();
        let mut direction = left.clone();
        for _ in 0..steps {
            let pull = self.transposed(direction.clone());
            let step = covariance(pull.clone())?;
            let change = self.push(step.clone());
            let onto = change.clone() + direction.clone();
            let before = dot(left.clone(), left.clone());
            // Never below the noise's own part: a decoder that is not smooth (a codebook's) or a network's Jacobian may say
            // otherwise.
            let least = dot(direction.clone(), direction.clone()).clamp_min(TINY);
            let length = before.clone() / dot(direction.clone(), onto.clone()).max_pair(least);
            solved.pull = solved.pull + pull * length.clone();
            solved.step = solved.step + step * length.clone();
            solved.change = solved.change + change * length.clone();
            left = left - onto * length;
            let after = dot(left.clone(), left.clone());
            direction = left.clone() + direction * (after / before.clamp_min(TINY));
        }
        self.problem.prior.check()?;
        Ok(solved)
    }

    /// How `x0_hat` moves along `step`, which came of `pull`, to where the posterior is highest.
    ///
    /// The quadratic model of its negative logarithm along the step, `1/2 |r - l w|^2 + 1/2 l^2 d^T C^-1 d` with `w = B d`, has its
    /// minimum at `l = r^T w / (w^T w + d^T C^-1 d)`, and `d = C B^T u` makes the last product `(B^T u)^T d`.
    pub fn shift(self, step: Tensor<4>, pull: Tensor<4>) -> Tensor<4> {
        let change = self.push(step.clone());
        self.along(step, change, pull)
    }

    fn along(self, step: Tensor<4>, change: Tensor<4>, pull: Tensor<4>) -> Tensor<4> {
        let curvature = dot(change.clone(), change.clone()) + dot(pull, step.clone()).clamp_min(0.0);
        let length = (dot(self.residual, change) / curvature.clamp_min(TINY)).clamp_min(0.0);
        step * length
    }

    /// The operator on `z_0` itself, if it is linear and there is no decoder between.
    fn linear(&self) -> Option<&dyn Linear> {
        self.problem.measurement.operator.linear().filter(|_| self.problem.prior.autoencoder.is_identity())
    }

    /// Whether the noise is the same everywhere, so that it stays white in any basis.
    fn uniform(&self) -> bool {
        !matches!(self.problem.measurement.likelihood.family, Family::Poisson { .. })
    }

    /// The variance of an element of `z_0` given `z`, `[batch, 1, 1, 1]`: the one that explains the prior's measured error of
    /// decoded pictures, to first order `N error^2 = r^2 tr(J^T J)`; a random direction has about the mean gain. Of a prior without
    /// measurements that of Gaussian data.
    fn latent_variance(&self, level: Level) -> Tensor<4> {
        let prior = &self.problem.prior;
        let Some(error) = prior.measured_error(level) else {
            return self
                .x0_hat
                .clone()
                .slice([0..1, 0..1, 0..1, 0..1])
                .full_like(level.posterior_std(prior.data_std).powi(2));
        };
        let direction = Noise::new(0, PURPOSE_PROBE, [0]).normal(prior.shape(), &self.problem.device());
        let probe = PROBE * prior.data_std;
        let moved = prior.autoencoder.decode(self.x0_hat.clone() + direction * probe);
        let change = (moved - self.x_hat.clone()) / probe;
        let values = change.dims()[1..].iter().product::<usize>() as f64;
        dot(change.clone(), change).clamp_min(TINY).recip() * (values * error.powi(2))
    }

    /// `B v`, as a difference quotient if there is a decoder.
    fn push(&self, v: Tensor<4>) -> Tensor<4> {
        let (prior, measurement) = (&self.problem.prior, &self.problem.measurement);
        if prior.autoencoder.is_identity() {
            return measurement.operator.tangent(v) / self.noise.clone();
        }
        let size = (dot(v.clone(), v.clone()) / v.dims()[1..].iter().product::<usize>() as f64).sqrt();
        let probe = size.clamp_min(TINY).recip() * (PROBE * prior.data_std);
        let moved = prior.autoencoder.decode(self.x0_hat.clone() + v * probe.clone());
        let change = measurement.operator.apply(moved) - measurement.operator.apply(self.x_hat.clone());
        change / self.noise.clone() / probe
    }

    /// `B^T u`.
    fn transposed(&self, u: Tensor<4>) -> Tensor<4> {
        if let Some(linear) = self.linear() {
            return linear.adjoint(u / self.noise.clone());
        }
        let leaf = self.x0_hat.clone().autodiff().require_grad();
        let predicted = self.problem.measurement.operator.apply(self.problem.prior.autoencoder.decode(leaf.clone()));
        let mut grads = (predicted * (u / self.noise.clone())).sum().backward();
        leaf.grad_remove(&mut grads).unwrap_or_else(|| self.x0_hat.zeros_like())
    }
}

/// Inner products, sample by sample: `[batch, 1, 1, 1]`.
fn dot(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let [batch, c, h, w] = a.dims();
    (a * b).reshape([batch, c * h * w]).sum_dim(1).reshape([batch, 1, 1, 1])
}
