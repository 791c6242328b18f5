//! Pieces of work, each on its own thread with its own (single-threaded) kernel pool.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};

/// Threads for a fixed number of pieces.
pub(crate) struct Pieces(Vec<ThreadPool>);

impl Pieces {
    /// # Errors
    /// [`Error::Threads`] when the system refuses one.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let pool =
            |_| ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| Error::Threads(error.to_string()));
        Ok(Self((0..count).map(pool).collect::<Result<_>>()?))
    }

    /// The results of `f(0), f(1), ...` in order, whatever the timing.
    pub(crate) fn run<T: Send>(&self, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let f = &f;
            let threads: Vec<_> =
                self.0.iter().enumerate().map(|(i, pool)| scope.spawn(move || pool.install(|| f(i)))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        })
    }

    /// `f` of every item, items dealt to the threads in turn, results in the order of the items.
    pub(crate) fn map<I: Sync, T: Send>(&self, items: &[I], f: impl Fn(&I) -> T + Sync) -> Vec<T> {
        let threads = self.0.len();
        let dealt = self.run(|piece| items.iter().skip(piece).step_by(threads).map(&f).collect::<Vec<T>>());
        let mut dealt: Vec<_> = dealt.into_iter().map(Vec::into_iter).collect();
        (0..items.len()).filter_map(|i| dealt[i % threads].next()).collect()
    }
}

/// Losses and gradients of the pieces, added in their order.
pub(crate) fn sum(results: Vec<(f64, Vec<f32>)>) -> (f64, Vec<f32>) {
    let mut results = results.into_iter();
    let (mut loss, mut gradient) = results.next().unwrap_or_default();
    for (l, g) in results {
        loss += l;
        gradient.iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
    }
    (loss, gradient)
}
