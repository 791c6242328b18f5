//! A switch by which a network's blocks do not hold their features for a gradient, but compute them again when it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};
use vipaint_nn::ops::{boundary, recomputed};

/// The switch of a network.
#[derive(Debug, Default)]
pub(crate) struct Recompute(AtomicBool);

impl Recompute {
    /// Switches it.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    fn on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Where the constants of a call on `x` are to be: a part that is run again reads them on the plain device.
    pub fn device(&self, x: &Tensor<4>) -> Device {
        if self.on() { x.device().without_autodiff() } else { x.device() }
    }

    /// `run(part, constants, x)`.
    pub fn run<P: Send + Sync + 'static, C: Send + Sync + 'static>(
        &self,
        (part, constants): (&Arc<P>, &Arc<C>),
        x: Tensor<4>,
        run: fn(&P, &C, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        if !self.on() {
            return run(part, constants, boundary(x));
        }
        let (part, constants) = (part.clone(), constants.clone());
        recomputed(x, Arc::new(move |x| run(&part, &constants, x)))
    }
}
