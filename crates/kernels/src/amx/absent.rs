//! What stands for the instructions where there are none: [`available`] says so, and nothing else is called.

pub(crate) struct Tiles(());

impl Tiles {
    pub(crate) fn new() -> Self {
        unreachable!("{NONE}")
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub left: usize,
    pub right: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    pub start: *const f32,
    pub lines: usize,
}

impl Ahead {
    pub(crate) const NOTHING: Self = Self { start: std::ptr::null(), lines: 0 };
}

const NONE: &str = "no processor for this program has tile registers";

pub(crate) fn available() -> bool {
    false
}

pub(crate) unsafe fn block(
    _: &Tiles,
    _: *const f32,
    _: usize,
    _: *const f32,
    _: &[Step],
    _: Ahead,
    _: *mut f32,
    _: bool,
) {
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

pub(crate) unsafe fn expand(_: *const f32, _: *mut f32) {
    unreachable!("{NONE}")
}

pub(crate) unsafe fn turn(_: *const f32, _: *mut f32) {
    unreachable!("{NONE}")
}
