//! The errors of this crate.

/// Why a computation could not be set up or carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hyperparameter is outside its domain.
    #[error("{name}: {problem}")]
    Option {
        /// The option's name, as a user sets it.
        name: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two things that must agree in shape do not.
    #[error("{what}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// What has the wrong shape.
        what: &'static str,
        /// The shape that would fit.
        expected: Vec<usize>,
        /// The shape that was given.
        got: Vec<usize>,
    },
    /// The denoiser (a network, or an external process) failed.
    #[error("denoiser: {0}")]
    Denoiser(String),
    /// The fit left the finite numbers.
    #[error(
        "the fit diverged at iteration {iteration}: the loss is not finite; lower lr_mu, lr_tau or lr_gamma, or raise the noise level"
    )]
    Diverged {
        /// The iteration, counted from 0.
        iteration: usize,
    },
    /// A saved posterior cannot be read.
    #[error("posterior file: {0}")]
    PosteriorFile(String),
    /// The observer asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Option`].
    pub fn option(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Option { name, problem: problem.into() }
    }
}
