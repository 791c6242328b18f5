//! A convolution, or its adjoint, as passes of "every target pixel sums its taps".

use super::Conv;

/// One kernel position: the source pixel it reads, relative to the target pixel's place, and its index in the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub dy: isize,
    pub dx: isize,
    pub index: usize,
}

/// The target pixels `(origin + step i, origin + step j)`, which sum the taps at `(stride i + dy, stride j + dx)`.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub taps: Vec<Tap>,
    /// First target row and column.
    pub origin: [usize; 2],
    /// Between target pixels.
    pub step: usize,
    /// Between the source pixels they read.
    pub stride: usize,
    /// Count of target rows and columns.
    pub size: [usize; 2],
}

/// The convolution: a single pass over its outputs.
pub(super) fn forward(conv: &Conv) -> Vec<Pass> {
    let p = conv.padding as isize;
    let taps = kernel(conv).map(|(k, l, index)| Tap { dy: k as isize - p, dx: l as isize - p, index }).collect();
    vec![Pass { taps, origin: [0, 0], step: 1, stride: conv.stride, size: [conv.out_height(), conv.out_width()] }]
}

/// The adjoint: input pixel `y` receives from output `i` through kernel row `k` where `i s + k - p = y`, so pixels fall
/// into `s^2` classes by `y mod s`, each with taps of its own; no product with an inserted zero is computed.
pub(super) fn adjoint(conv: &Conv) -> Vec<Pass> {
    let s = conv.stride;
    let mut passes = Vec::new();
    for py in 0..s.min(conv.height) {
        for px in 0..s.min(conv.width) {
            let taps = kernel(conv)
                .filter_map(|(k, l, index)| {
                    let dy = exact_div((py + conv.padding) as isize - k as isize, s)?;
                    let dx = exact_div((px + conv.padding) as isize - l as isize, s)?;
                    Some(Tap { dy, dx, index })
                })
                .collect();
            let size = [(conv.height - py).div_ceil(s), (conv.width - px).div_ceil(s)];
            passes.push(Pass { taps, origin: [py, px], step: s, stride: 1, size });
        }
    }
    passes
}

fn kernel(conv: &Conv) -> impl Iterator<Item = (usize, usize, usize)> {
    let side = conv.kernel;
    (0..side * side).map(move |index| (index / side, index % side, index))
}

fn exact_div(a: isize, b: usize) -> Option<isize> {
    (a % b as isize == 0).then_some(a / b as isize)
}
