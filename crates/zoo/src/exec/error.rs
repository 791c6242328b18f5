//! What can go wrong with an external program.

use std::time::Duration;

/// Why an external prior failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecError {
    /// The command is not one.
    #[error("exec: {0}")]
    Command(String),
    /// The program cannot be started.
    #[error("{program} cannot be started ({problem}); check the command")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        problem: String,
    },
    /// The program ended.
    #[error("the external program ended ({status}){}", last_words(.stderr))]
    Ended {
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The program did not answer in time and was stopped.
    #[error(
        "the external program did not answer `{op}` within {} s and was stopped (VIPAINT_EXEC_TIMEOUT sets the seconds){}",
        limit.as_secs_f64(),
        last_words(.stderr)
    )]
    Hung {
        /// What it was asked.
        op: &'static str,
        /// How long it was waited for.
        limit: Duration,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// The program wrote what is no message.
    #[error("the external program's answer is no message: {0}")]
    Garbage(String),
    /// A message larger than the protocol allows.
    #[error("a message of {0} bytes, more than the protocol's 1 GiB; lower --batch")]
    TooLarge(u64),
    /// The program reported an error of its own.
    #[error("the external program says: {0}")]
    Told(String),
    /// An answer that is not what was asked for.
    #[error("the external program's answer to `{op}` {problem}")]
    Answer {
        /// What it was asked.
        op: &'static str,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A failure of an earlier call; the program is not asked again.
    #[error("{0}")]
    Earlier(String),
}

/// A result with [`ExecError`].
pub type Result<T> = std::result::Result<T, ExecError>;

fn last_words(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!("; its last words: {}", stderr.trim()) }
}
