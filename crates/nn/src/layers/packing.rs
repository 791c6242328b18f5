//! Packed weights of frozen layers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ops::PackedConv;

/// Whether a layer is frozen, and then its packed weights, made at the first call for each size of picture. Clones share
/// them.
#[derive(Clone, Debug, Default)]
pub(super) struct Packing(Option<Arc<Mutex<Sizes>>>);

type Sizes = Vec<([usize; 2], PackedConv)>;

impl Packing {
    /// Of a layer that is frozen from now on.
    pub fn frozen() -> Self {
        Self(Some(Arc::default()))
    }

    /// The packed weights for pictures with these sides; `None` unless frozen.
    pub fn get(&self, sides: [usize; 2], pack: impl FnOnce() -> PackedConv) -> Option<PackedConv> {
        // A thread that panicked while packing has left the list as it was.
        let mut sizes = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, packed)) = sizes.iter().find(|(known, _)| *known == sides) {
            return Some(packed.clone());
        }
        let packed = pack();
        sizes.push((sides, packed.clone()));
        Some(packed)
    }
}
