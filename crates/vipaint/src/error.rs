//! The errors of the library and of the command: what is wrong with which option or file, and what to do.

use std::path::Path;

/// Why a request could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option does not make sense, alone or with the others.
    #[error("{option}: {problem}; {remedy}")]
    Usage {
        /// The option, as it is written.
        option: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A file cannot be used.
    #[error("{name}: {problem}; {remedy}")]
    Input {
        /// The file.
        name: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Memory, a device or a disk does not suffice.
    #[error("{what}: {problem}; {remedy}")]
    Resource {
        /// What does not suffice.
        what: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Interrupted before there was anything to save.
    #[error("interrupted; {0}")]
    Interrupted(String),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Usage`].
    pub fn usage(option: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage { option: option.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An [`Error::Input`].
    pub fn input(name: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Input { name: name.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A file that cannot be opened or read.
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "make it readable",
            _ => "check that it is a readable file",
        };
        Self::input(path.display().to_string(), format!("cannot be read ({})", plain(error)), remedy)
    }

    /// The process's exit code: 2 wrong use, 3 bad input, 4 out of memory, device or disk, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Input { .. } => 3,
            Self::Resource { .. } => 4,
            Self::Interrupted(_) => 130,
        }
    }
}

/// An I/O error in words, without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

impl From<vipaint_core::Error> for Error {
    fn from(error: vipaint_core::Error) -> Self {
        use vipaint_core::Error as Core;
        match error {
            Core::Option { name: "method", problem } => Self::usage("--method", problem, "take another method"),
            Core::Option { name, problem } => Self::usage(format!("--set {name}"), problem, "set another value"),
            Core::Diverged { iteration } => Self::usage(
                "--set lr_mu",
                format!("the fit diverged at iteration {iteration}"),
                "lower lr_mu, lr_tau or lr_gamma, or raise --noise",
            ),
            Core::Shape { .. } => Self::input("prior", error.to_string(), "take the prior this was made for"),
            Core::PosteriorFile(problem) => Self::input("posterior", problem, "fit again"),
            Core::Denoiser(problem) => Self::Resource {
                what: "denoiser".into(),
                problem,
                remedy: "check the prior with `vipaint prior check`".into(),
            },
            Core::Interrupted => Self::Interrupted("nothing was saved".into()),
        }
    }
}

impl From<crate::draw::DrawError> for Error {
    fn from(error: crate::draw::DrawError) -> Self {
        Self::Resource { what: "picture".into(), problem: error.to_string(), remedy: "use a smaller picture".into() }
    }
}
