//! Attention, normalisation, and what goes value by value.

use crate::table::{Table, Work, noise};
use vipaint_kernels::{
    Attention, GroupNorm, Tail, attention, attention_vjp, average_pool2, average_pool2_vjp, geglu, geglu_vjp,
    group_norm, group_norm_vjp, layer_norm, layer_norm_vjp, silu, silu_vjp, upsample2, upsample2_vjp,
};

pub fn all(table: &mut Table) {
    for (batch, queries, keys, channels, heads) in
        [(8, 64, 64, 96, 3), (8, 16, 16, 128, 4), (1, 256, 256, 960, 1), (1, 4096, 4096, 512, 1), (1, 1024, 77, 640, 8)]
    {
        attend(table, batch, Attention { queries, keys, channels, heads });
    }
    for (batch, side, channels, groups) in [(8, 16, 48, 6), (8, 4, 128, 16), (1, 64, 192, 32), (1, 256, 128, 32)] {
        for modulated in [false, true] {
            normalise(
                table,
                batch,
                GroupNorm { pixels: side * side, channels, groups, eps: 1e-5, silu: true },
                modulated,
            );
        }
    }
    for (rows, channels) in [(77, 768), (4096, 320)] {
        layer(table, rows, channels);
    }
    for len in [1 << 14, 1 << 22] {
        activations(table, len);
    }
    for (batch, side, channels) in [(8, 8, 96), (1, 32, 576), (1, 128, 256)] {
        resample(table, batch, side, channels);
    }
}

fn attend(table: &mut Table, batch: usize, shape: Attention) {
    let Attention { queries, keys, channels, heads } = shape;
    let [q, k, v, g] = [queries, keys, keys, queries].map(|rows| noise(batch * rows * channels));
    let (mut y, mut dq, mut dk, mut dv) = (g.clone(), q.clone(), k.clone(), v.clone());
    let products = batch * queries * keys * channels;
    let mut run = || attention(&shape, &q, &k, &v, &mut y);
    let mut back = || attention_vjp(&shape, &q, &k, &v, &g, Some(&mut dq), Some(&mut dk), Some(&mut dv));
    let name = format!("{batch} x {queries} to {keys}, {channels}, {heads} heads");
    // Backward: scores again, and four products.
    let work = [2, 5].map(|count| Work::MultiplyAdds(count * products));
    table.row("attention", &name, (work[0], &mut run), (work[1], &mut back));
}

fn normalise(table: &mut Table, batch: usize, norm: GroupNorm, modulated: bool) {
    let GroupNorm { pixels, channels, groups, .. } = norm;
    let (x, g) = (noise(batch * pixels * channels), noise(batch * pixels * channels));
    let (weight, bias, modulation) = (noise(channels), noise(channels), noise(batch * channels));
    let modulation = modulated.then_some((&modulation[..], &modulation[..]));
    let tail = Tail { before: None, weight: &weight, bias: &bias, modulation };
    let (mut y, mut dx) = (x.clone(), x.clone());
    let moments = group_norm(&norm, &x, &tail, &mut y);
    let mut run = || drop(group_norm(&norm, &x, &tail, &mut y));
    let mut back = || drop(group_norm_vjp(&norm, &x, &moments, &tail, &g, &mut dx, false));
    let what = if modulated { ", scale and shift" } else { "" };
    let name = format!("{batch} x {pixels} pixels, {channels} in {groups}{what}");
    let work = [2, 3].map(|count| Work::Values(count * x.len()));
    table.row("group norm with SiLU", &name, (work[0], &mut run), (work[1], &mut back));
}

fn layer(table: &mut Table, rows: usize, channels: usize) {
    let (x, g) = (noise(rows * channels), noise(rows * channels));
    let (weight, bias) = (noise(channels), noise(channels));
    let (mut y, mut dx) = (x.clone(), x.clone());
    let mut run = || layer_norm(&x, &weight, &bias, 1e-5, &mut y);
    let mut back = || drop(layer_norm_vjp(&x, &weight, 1e-5, &g, &mut dx, false));
    let work = [2, 3].map(|count| Work::Values(count * x.len()));
    table.row("layer norm", &format!("{rows} rows of {channels}"), (work[0], &mut run), (work[1], &mut back));
}

fn activations(table: &mut Table, len: usize) {
    let (x, gate, g) = (noise(len), noise(len + 1)[1..].to_vec(), noise(len));
    let (mut y, mut dx, mut dgate) = (x.clone(), x.clone(), x.clone());
    let name = format!("{len} values");
    let (mut run, mut back) = (|| silu(&x, &mut y), || silu_vjp(&x, &g, &mut dx));
    table.row("SiLU", &name, (Work::Values(2 * len), &mut run), (Work::Values(3 * len), &mut back));
    // The gradient of the value takes the place of that of the result.
    let (mut run, mut back) = (|| geglu(&x, &gate, &mut y), || geglu_vjp(&x, &gate, &mut dx, &mut dgate));
    table.row("GEGLU", &name, (Work::Values(3 * len), &mut run), (Work::Values(5 * len), &mut back));
}

fn resample(table: &mut Table, batch: usize, side: usize, channels: usize) {
    let (small, large) = (noise(batch * side * side * channels), noise(4 * batch * side * side * channels));
    let (mut to_small, mut to_large) = (small.clone(), large.clone());
    let name = format!("{batch} x {channels}, {side}x{side}");
    let work = Work::Values(5 * small.len());
    {
        let mut run = || average_pool2(side, channels, &large, &mut to_small);
        let mut back = || average_pool2_vjp(side, channels, &small, &mut to_large);
        table.row("average pooling to", &name, (work, &mut run), (work, &mut back));
    }
    let mut run = || upsample2(side, channels, &small, &mut to_large);
    let mut back = || upsample2_vjp(side, channels, &large, &mut to_small);
    table.row("nearest upsampling from", &name, (work, &mut run), (work, &mut back));
}
