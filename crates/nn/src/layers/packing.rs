//! Packed weights of frozen layers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ops::PackedConv;

/// Whether a layer is frozen, and then its packed weights, or another form of what it is, made at the first call for each size of
/// picture. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Packing<T = PackedConv>(Option<Arc<Mutex<Sizes<T>>>>);

type Sizes<T> = Vec<([usize; 2], T)>;

impl<T> Default for Packing<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Packing<T> {
    /// Of a layer that is frozen from now on.
    pub fn frozen() -> Self {
        Self(Some(Arc::default()))
    }

    /// The packed weights for pictures with these sides; `None` unless frozen.
    pub fn get(&self, sides: [usize; 2], pack: impl FnOnce() -> T) -> Option<T> {
        let sizes = self.0.as_ref()?;
        // A thread that panicked has left the list as it was.
        let lock = || sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().iter().find(|(known, _)| *known == sides).map(|(_, packed)| packed.clone());
        if known.is_some() {
            return known;
        }
        // Not under the lock: packing runs on the thread pool, whose waiting threads may take up another call of this layer.
        let packed = pack();
        let mut sizes = lock();
        if let Some((_, first)) = sizes.iter().find(|(known, _)| *known == sides) {
            return Some(first.clone());
        }
        sizes.push((sides, packed.clone()));
        Some(packed)
    }
}
