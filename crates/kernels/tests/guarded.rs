//! What kernels read and write ends where the slices end: each slice lies against a page that may not be touched, behind it and
//! then before it. The compiler's checks and a sanitizer's do not see what `asm!` reads; the processor does.

#![cfg(target_os = "linux")]

mod common;

use common::noise;
use std::ptr::{NonNull, null_mut, slice_from_raw_parts_mut};
use vipaint_kernels::conv::{Conv, Frozen, forward, input_grad, weight_grad};
use vipaint_kernels::{
    Activation, Attention, GroupNorm, Tail, add, attention, attention_vjp, average_pool2, average_pool2_vjp, geglu,
    geglu_vjp, group_norm, group_norm_vjp, group_norm_vjp_onto, join, layer_norm, layer_norm_vjp, silu, silu_vjp,
    split, upsample2, upsample2_vjp,
};

/// On which side of a slice the forbidden page is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    Behind,
    Before,
}

/// Values beside a page that may not be touched.
struct Guarded {
    pages: NonNull<libc::c_void>,
    bytes: usize,
    values: NonNull<[f32]>,
}

impl Guarded {
    fn new(values: &[f32], guard: Guard) -> Self {
        // SAFETY: asks for a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
        let size = size_of_val(values).next_multiple_of(page).max(page);
        let (bytes, flags) = (size + page, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new pages, one of which is then forbidden; the values begin at their start, or end at their end, which floats of
        // four bytes do in whole.
        unsafe {
            let pages = libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            let (forbidden, start) = match guard {
                Guard::Behind => (pages.byte_add(size), pages.byte_add(size - size_of_val(values))),
                Guard::Before => (pages, pages.byte_add(page)),
            };
            assert_eq!(libc::mprotect(forbidden, page, libc::PROT_NONE), 0, "{}", std::io::Error::last_os_error());
            let place = NonNull::new(slice_from_raw_parts_mut(start.cast(), values.len())).unwrap();
            let mut guarded = Self { pages: NonNull::new(pages).unwrap(), bytes, values: place };
            guarded.get_mut().copy_from_slice(values);
            guarded
        }
    }

    fn get(&self) -> &[f32] {
        // SAFETY: the values are alive and borrowed with `self`.
        unsafe { self.values.as_ref() }
    }

    fn get_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { self.values.as_mut() }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the pages of `new`.
        unsafe { libc::munmap(self.pages.as_ptr(), self.bytes) };
    }
}

/// Runs `f` on plain slices and on guarded ones: from these inputs it fills results of these lengths.
fn same(what: &str, inputs: &[Vec<f32>], lens: &[usize], f: impl Fn(&[&[f32]], &mut [&mut [f32]])) {
    let plain: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut expected: Vec<Vec<f32>> = lens.iter().map(|len| vec![0.0; *len]).collect();
    f(&plain, &mut expected.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
    for guard in [Guard::Behind, Guard::Before] {
        let inputs: Vec<Guarded> = inputs.iter().map(|values| Guarded::new(values, guard)).collect();
        let mut outputs: Vec<Guarded> = lens.iter().map(|len| Guarded::new(&vec![0.0; *len], guard)).collect();
        let slices: Vec<&[f32]> = inputs.iter().map(Guarded::get).collect();
        f(&slices, &mut outputs.iter_mut().map(Guarded::get_mut).collect::<Vec<_>>());
        for (expected, output) in expected.iter().zip(&outputs) {
            assert_eq!(expected, output.get(), "{what}, guarded {guard:?}");
        }
    }
}

/// Batch, height, width, channels in and out, kernel, stride, padding.
const LAYERS: [[usize; 8]; 14] = [
    [1, 1, 1, 32, 32, 3, 1, 1],
    [1, 5, 3, 3, 17, 3, 1, 1],
    [2, 5, 7, 17, 3, 3, 1, 1],
    [2, 6, 6, 40, 33, 3, 1, 1],
    [1, 9, 7, 60, 33, 3, 1, 1],
    [1, 16, 16, 64, 64, 3, 1, 1],
    [2, 9, 7, 40, 60, 3, 2, 1],
    [1, 6, 5, 32, 30, 3, 1, 0],
    [1, 4, 6, 32, 32, 3, 1, 2],
    [2, 7, 9, 64, 96, 1, 1, 0],
    [5, 1, 1, 130, 260, 1, 1, 0],
    [70, 1, 1, 50, 47, 1, 1, 0],
    [1, 2, 2, 320, 64, 3, 1, 1],
    [300, 1, 1, 96, 32, 1, 1, 0],
];

fn layers() {
    for [batch, height, width, c_in, c_out, kernel, stride, padding] in LAYERS {
        let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
        let (w, b) = (noise(c_out * c_in * kernel * kernel, 2), noise(c_out, 3));
        let results = batch * conv.out_height() * conv.out_width() * c_out;
        let mut kinds = vec![("single", Frozen::new(&conv, &w, &b)), ("half", Frozen::halved(&conv, &w, &b))];
        if stride == 1 && height % 2 == 0 && width % 2 == 0 {
            kinds.push(("upsampling", Frozen::new(&conv, &w, &b).after_upsampling()));
        }
        for (kind, layer) in kinds {
            let [rows, columns] = layer.input_sides();
            let pixels = batch * rows * columns * c_in;
            let inputs = [noise(pixels, 1), noise(results, 4), noise(results, 5)];
            let name = format!("{kind} {conv:?}");
            same(&name, &inputs, &[results, results, results, results, pixels, pixels], |x, y| {
                let [plain, onto, activated, before, dx, of_activated] = y else { unreachable!() };
                layer.apply(x[0], false, plain);
                layer.apply_onto(x[0], x[1], onto);
                layer.apply_activated(x[0], Activation::Silu, activated, Some(before));
                layer.input_grad(x[2], dx);
                layer.input_grad_activated(Activation::Silu, x[1], x[2], of_activated);
            });
        }
    }
}

/// Layers whose weights change from call to call.
fn training() {
    for [batch, height, width, c_in, c_out, kernel, stride, padding] in LAYERS {
        let conv = Conv { height, width, c_in, c_out, kernel, stride, padding };
        let (pixels, results) = (batch * height * width * c_in, batch * conv.out_height() * conv.out_width() * c_out);
        let weights = c_out * c_in * kernel * kernel;
        let inputs = [noise(pixels, 1), noise(weights, 2), noise(c_out, 3), noise(results, 4)];
        same(&format!("training {conv:?}"), &inputs, &[results, pixels, weights, c_out], |x, y| {
            let [result, dx, dw, db] = y else { unreachable!() };
            forward(&conv, x[0], x[1], Some(x[2]), result);
            input_grad(&conv, x[3], x[1], dx);
            weight_grad(&conv, x[0], x[3], dw, Some(db));
        });
    }
}

fn attentions() {
    for [batch, queries, keys, channels, heads] in
        [[1, 1, 1, 3, 1], [2, 7, 5, 12, 3], [1, 50, 49, 48, 1], [1, 130, 77, 100, 2], [2, 64, 1, 96, 1]]
    {
        let shape = Attention { queries, keys, channels, heads };
        let (q, k) = (batch * queries * channels, batch * keys * channels);
        let inputs = [noise(q, 1), noise(k, 2), noise(k, 3), noise(q, 4)];
        same(&format!("{shape:?}"), &inputs, &[q, q, k, k], |x, y| {
            let [result, dq, dk, dv] = y else { unreachable!() };
            attention(&shape, x[0], x[1], x[2], result);
            attention_vjp(&shape, x[0], x[1], x[2], x[3], Some(dq), Some(dk), Some(dv));
        });
    }
}

fn the_rest() {
    for (batch, pixels, channels, groups) in [(1, 1, 4, 2), (2, 15, 20, 5), (1, 64, 96, 32), (2, 9, 33, 3)] {
        let shape = GroupNorm { pixels, channels, groups, eps: 1e-5, silu: true };
        let len = batch * pixels * channels;
        let inputs = [noise(len, 1), noise(channels, 2), noise(channels, 3), noise(batch * channels, 4), noise(len, 5)];
        same(&format!("{shape:?}"), &inputs, &[len, len, len], |x, y| {
            let [result, dx, onto] = y else { unreachable!() };
            let tail = Tail { before: Some(x[3]), weight: x[1], bias: x[2], modulation: Some((x[3], x[3])) };
            let moments = group_norm(&shape, x[0], &tail, result);
            group_norm_vjp(&shape, x[0], &moments, &tail, x[4], dx, true);
            group_norm_vjp_onto(&shape, x[0], &moments, &tail, x[4], x[0], onto);
            add(x[4], onto);
        });
        let rows = len / channels;
        let inputs = [&inputs[0], &inputs[1], &inputs[2], &inputs[4]].map(Vec::clone);
        same(&format!("rows of {channels}"), &inputs, &[len; 7], |x, y| {
            let [normed, dx, active, slope, gated, value, gate] = y else { unreachable!() };
            layer_norm(x[0], x[1], x[2], 1e-5, normed);
            layer_norm_vjp(x[0], x[1], 1e-5, x[3], dx, true);
            silu(x[0], active);
            silu_vjp(x[0], x[3], slope);
            geglu(x[0], x[3], gated);
            value.copy_from_slice(x[3]);
            geglu_vjp(x[0], x[3], value, gate);
        });
        let inputs = [noise(len, 1), noise(3 * rows, 7)];
        same(&format!("{channels} and 3 channels"), &inputs, &[len + 3 * rows, len, 3 * rows], |x, y| {
            let [joined, first, second] = y else { unreachable!() };
            join([x[0], x[1]], [channels, 3], joined);
            split(joined, [channels, 3], [first, second]);
        });
    }
    for (width, height, channels) in [(1, 1, 3), (3, 2, 17), (4, 4, 32)] {
        let len = width * height * channels;
        let inputs = [noise(len, 1), noise(4 * len, 2)];
        same(&format!("{width} pixels of {channels}"), &inputs, &[4 * len, len, len, 4 * len], |x, y| {
            let [large, halved, pooled, spread] = y else { unreachable!() };
            upsample2(width, channels, x[0], large);
            upsample2_vjp(width, channels, x[1], halved);
            average_pool2(width, channels, x[1], pooled);
            average_pool2_vjp(width, channels, x[0], spread);
        });
    }
}

fn everything() {
    layers();
    training();
    attentions();
    the_rest();
}

in_every_version!(everything);
