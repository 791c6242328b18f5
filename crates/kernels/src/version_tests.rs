//! The versions of every kernel that this processor runs, against the portable one.

use crate::conv::{Conv, Frozen, forward, input_grad, weight_grad};
use crate::{Attention, GroupNorm, Tail, Version};
use std::sync::{Mutex, PoisonError};

/// Runs `f` with nothing above a version; one such call at a time.
pub(crate) fn in_version<T>(version: Version, f: impl FnOnce() -> T) -> T {
    static LOCK: Mutex<()> = Mutex::new(());
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    version.limit();
    f()
}

fn noise(len: usize) -> Vec<f32> {
    let mut state = len as u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Every kernel, by name.
fn results() -> Vec<(String, Vec<f32>)> {
    let mut results = Vec::new();
    for (kernel, c_in, c_out) in [(3, 24, 40), (3, 264, 256), (3, 5, 7), (1, 16, 20), (1, 264, 256)] {
        for (stride, side) in [(1, 2), (1, 8), (2, 8)] {
            let conv = Conv { height: side, width: side, c_in, c_out, kernel, stride, padding: kernel / 2 };
            let outputs = conv.out_height() * conv.out_width() * c_out;
            let (x, w, b, g) =
                (noise(side * side * c_in), noise(c_in * c_out * kernel * kernel), noise(c_out), noise(outputs));
            let (mut y, mut dx, mut dw, mut db) = (g.clone(), x.clone(), w.clone(), b.clone());
            forward(&conv, &x, &w, Some(&b), &mut y);
            input_grad(&conv, &g, &w, &mut dx);
            weight_grad(&conv, &x, &g, &mut dw, Some(&mut db));
            let frozen = Frozen::new(&conv, &w, &b);
            let (mut frozen_y, mut frozen_dx, mut half_y, mut half_dx) = (g.clone(), x.clone(), g.clone(), x.clone());
            frozen.apply(&x, true, &mut frozen_y);
            frozen.input_grad(&g, &mut frozen_dx);
            let half = Frozen::halved(&conv, &w, &b);
            half.apply(&x, true, &mut half_y);
            half.input_grad(&g, &mut half_dx);
            results.push((format!("halved {conv:?}"), half_y));
            results.push((format!("dx of halved {conv:?}"), half_dx));
            for (name, values) in
                [("forward", y), ("dx", dx), ("dw", dw), ("db", db), ("frozen", frozen_y), ("its dx", frozen_dx)]
            {
                results.push((format!("{name} of {conv:?}"), values));
            }
        }
    }

    let x = noise(2 * 50 * 12);
    let mut y = x.clone();
    crate::silu(&x, &mut y);
    let mut dx = x.clone();
    crate::silu_vjp(&x, &y, &mut dx);
    results.extend([("silu".into(), y), ("its dx".into(), dx)]);

    let norm = GroupNorm { pixels: 50, channels: 12, groups: 3, eps: 1e-5, silu: true };
    let (weight, bias, mut y, mut dx) = (noise(12), noise(13)[1..].to_vec(), x.clone(), x.clone());
    let before = noise(24);
    let tail = Tail { before: Some(&before), weight: &weight, bias: &bias, modulation: None };
    let moments = crate::group_norm(&norm, &x, &tail, &mut y);
    let grads = crate::group_norm_vjp(&norm, &x, &moments, &tail, &noise(1200), &mut dx, true).unwrap();
    results.extend([("norm".into(), y), ("its dx".into(), dx), ("its dw".into(), grads.weight)]);

    let (mut y, mut dx) = (x.clone(), x.clone());
    crate::layer_norm(&x, &weight, &bias, 1e-5, &mut y);
    let [dw, db] = crate::layer_norm_vjp(&x, &weight, 1e-5, &noise(1200), &mut dx, true).unwrap();
    results.extend([("layer norm".into(), y), ("its dx".into(), dx), ("its dw".into(), dw), ("its db".into(), db)]);

    let gate: Vec<f32> = noise(1201)[1..].iter().map(|x| 4.0 * x).collect();
    let (mut y, mut dvalue, mut dgate) = (x.clone(), noise(1200), x.clone());
    crate::geglu(&x, &gate, &mut y);
    crate::geglu_vjp(&x, &gate, &mut dvalue, &mut dgate);
    results.extend([("geglu".into(), y), ("its dvalue".into(), dvalue), ("its dgate".into(), dgate)]);

    let shape = Attention { queries: 50, keys: 50, channels: 12, heads: 2 };
    let [mut y, mut dq, mut dk, mut dv] = std::array::from_fn(|_| x.clone());
    crate::attention(&shape, &x, &x, &x, &mut y);
    crate::attention_vjp(&shape, &x, &x, &x, &noise(1200), Some(&mut dq), Some(&mut dk), Some(&mut dv));
    results.extend([("attention".into(), y), ("dq".into(), dq), ("dk".into(), dk), ("dv".into(), dv)]);
    results
}

#[test]
fn versions_agree() {
    let of = |version: Version| in_version(version, results);
    let portable = of(Version::Portable);
    for version in Version::available().skip(1) {
        for ((name, fast), (_, portable)) in of(version).iter().zip(&portable) {
            // They differ by the rounding of products, in sums of up to 2400 terms; halved, on tiles, by that of the weights, which
            // are others than Winograd's algorithm has.
            let others = version == Version::Amx && name.contains("halved");
            let tolerance = if others { 2e-3 } else { 3e-5 };
            let size = fast.iter().fold(0f32, |max, x| max.max(x.abs()));
            for (a, b) in fast.iter().zip(portable) {
                assert!((a - b).abs() <= tolerance * size, "{name} with {version:?}: {a} and {b}");
            }
        }
    }
}
