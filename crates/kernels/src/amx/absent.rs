//! What stands for the instructions where there are none: [`available`] says so, and nothing else is called.

use super::{Ahead, Steps};

pub(crate) struct Tiles(());

impl Tiles {
    pub(crate) fn new() -> Self {
        unreachable!("{NONE}")
    }
}

const NONE: &str = "no processor for this program has tile registers";

pub(crate) fn available() -> bool {
    false
}

pub(crate) fn want(_: *const f32) {
    unreachable!("{NONE}")
}

pub(crate) fn near(_: *const f32) {
    unreachable!("{NONE}")
}

pub(crate) fn block(_: &Tiles, _: &[f32], _: usize, _: &[f32], _: Steps, _: Ahead, _: &mut [f32], _: bool) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn split(
    _: *const f32,
    _: impl Fn(usize) -> usize,
    _: usize,
    _: usize,
    _: *mut f32,
    _: usize,
    _: usize,
) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn interleave(_: *const f32, _: usize, _: [usize; 2], _: *mut f32) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn expand(_: *const f32, _: *mut f32) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn turn(_: *const f32, _: *mut f32) {
    unreachable!("{NONE}")
}
