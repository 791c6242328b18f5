//! What loops tell their caller: events go out, and the caller may ask to stop.

use std::ops::ControlFlow;

use crate::posterior::Terms;
use crate::prior::Calls;

/// Progress of a long computation.
#[derive(Debug, Clone)]
pub enum Event {
    /// A network step of the guided samples that a fit starts from was taken.
    Start {
        /// Steps taken so far.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Network calls so far, of this prior.
        calls: Calls,
    },
    /// An optimisation step of the posterior was taken.
    Fit {
        /// Steps taken so far.
        iteration: usize,
        /// Steps asked for.
        iterations: usize,
        /// The bound's terms at this step.
        terms: Terms,
        /// Network calls so far, of this prior.
        calls: Calls,
    },
    /// A network step on a batch of samples.
    Step {
        /// Steps taken on all batches so far.
        step: usize,
        /// Steps on all batches.
        steps: usize,
        /// Network calls so far, of this prior.
        calls: Calls,
    },
}

/// Receives events; [`ControlFlow::Break`] finishes the step and stops.
pub type Observer<'a> = dyn FnMut(&Event) -> ControlFlow<()> + 'a;

/// An observer that ignores everything.
pub fn silent() -> impl FnMut(&Event) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}
