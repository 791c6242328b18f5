//! From sums to results.

use crate::amx::{LINE, NOWHERE, SIDE, put, want};
use crate::conv::apply::End;
use crate::elementwise::{activate_here, activate_piece};
use crate::parallel::Shared;

/// Results of some channels: of the sums `[row][SIDE]`, row `i` belongs at `places[i] + first`.
pub(super) struct Results<'a> {
    pub end: End<'a>,
    /// Added: from here on as many values as the target has, in its order, or the target's own.
    pub past: Option<*const f32>,
    pub target: Shared<'a>,
    pub before: Option<Shared<'a>>,
    /// The first channel, and how many, at most [`SIDE`].
    pub first: usize,
    pub count: usize,
}

impl Results<'_> {
    /// Asks for the memory of those at these places: by the time they are written, it has come.
    pub fn ask(&self, places: &[usize]) {
        for place in places.iter().filter(|&&place| place != NOWHERE) {
            let at = self.target.at(place + self.first);
            (0..self.count).step_by(LINE).for_each(|value| want(at.wrapping_add(value)));
        }
    }

    /// Writes those of the calling task.
    pub fn write(&self, sums: &[f32], places: &[usize]) {
        let mut bias = [0.0; SIDE];
        if let Some(all) = self.end.bias {
            bias[..self.count].copy_from_slice(&all[self.first..][..self.count]);
        }
        // SAFETY: this task's part of the target.
        unsafe { put(sums, places, &bias, self.past, self.target, self.first, self.count) };
        let Some(activation) = self.end.activation else { return };
        for place in places.iter().filter(|&&place| place != NOWHERE) {
            let at = place + self.first;
            // SAFETY: this task's part of the target; of `before`, which is as long, it is the same part.
            let target = unsafe { self.target.slice(at, self.count) };
            match &self.before {
                Some(before) => {
                    // SAFETY: as above.
                    let before = unsafe { before.slice(at, self.count) };
                    before.copy_from_slice(target);
                    activate_piece(activation, before, target);
                }
                None => activate_here(activation, target),
            }
        }
    }
}
