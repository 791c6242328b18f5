//! Gradients of a convolution's weights and bias: sums over pixels and over the batch.
//!
//! Pixels are taken in blocks (a strip of an image, or several small images) small enough that the packed block stays in
//! the nearest cache while every kernel position uses it. Consecutive blocks form a chunk, which sums into a buffer of its
//! own; at the end the chunks are added in order. Blocks and chunks depend on the layer's shape and the batch size only.

use super::Conv;
use super::pixel_blocks::{BLOCK_PIXELS, Blocks, PackedBlock};
use crate::parallel::{give, pieces, take};
use crate::simd::{Simd, multiversion};
use crate::team::{map, parts};
use crate::tile::{COLS, ROWS};

/// Chunks at most: what can run at once.
const CHUNKS: usize = 8;
/// Values that a task adds up over the chunks.
const PIECE: usize = 4096;
/// Values that the buffers of all chunks may hold, unless two chunks need more.
const BUFFER_VALUES: usize = 1 << 25;

/// `dw[o, c, k, l] = sum_{b, i, j} g[b, i, j, o] x[b, i s + k - p, j s + l - p, c]`, `dw` as the weights.
pub fn direct_weight_grad(conv: &Conv, x: &[f32], g: &[f32], dw: &mut [f32]) {
    let batch = conv.source().count(x);
    assert_eq!(batch, conv.target().count(g), "batch of input and gradient");
    let area = conv.kernel * conv.kernel;
    assert_eq!(dw.len(), conv.c_out * conv.c_in * area, "gradient of the weights");

    let (x_panels, g_panels) = (conv.c_in.div_ceil(ROWS), conv.c_out.div_ceil(COLS));
    let size = g_panels * x_panels * area * ROWS * COLS;
    let blocks = Blocks::new(conv, batch);
    let chunks = blocks.count().min(CHUNKS).min((BUFFER_VALUES / size).max(2)).max(1);
    let per_chunk = blocks.count().div_ceil(chunks);
    let chunks = blocks.count().div_ceil(per_chunk);
    let blocks_of = pieces(blocks.count(), per_chunk);

    let mut buffer = take(chunks * size);
    let sums = &mut buffer[..chunks * size]; // [chunk][panel of c_out][panel of c_in][tap][ROWS][COLS]
    sums.fill(0.0);
    parts(sums, size, |chunk, sum| {
        let mut packed = PackedBlock::new(&blocks);
        for block in blocks_of(chunk) {
            packed.fill(&blocks, block, x, g);
            packed.add_to(sum);
        }
    });

    let (sum, others) = sums.split_at_mut(size);
    parts(sum, PIECE, |i, sum| {
        for other in others.chunks_exact(size) {
            sum.iter_mut().zip(&other[i * PIECE..]).for_each(|(sum, value)| *sum += value);
        }
    });
    parts(dw, conv.c_in * area, |o, row| {
        for (i, value) in row.iter_mut().enumerate() {
            let (c, tap) = (i / area, i % area);
            let tile = ((o / COLS) * x_panels + c / ROWS) * area + tap;
            *value = sum[(tile * ROWS + c % ROWS) * COLS + o % COLS];
        }
    });
    give(buffer);
}

/// `db[o] = sum_r g[r, o]` over rows of `c_out` values.
pub fn bias_grad(c_out: usize, g: &[f32], db: &mut [f32]) {
    assert!(c_out == db.len() && g.len().is_multiple_of(c_out), "rows of {c_out} values");
    let blocks: Vec<&[f32]> = g.chunks(c_out * BLOCK_PIXELS).collect();
    let partial = map(blocks.len(), |i| column_sums(c_out, blocks[i]));
    for (o, db) in db.iter_mut().enumerate() {
        // In double precision: there may be many blocks.
        *db = partial.iter().map(|sum| f64::from(sum[o])).sum::<f64>() as f32;
    }
}

multiversion! {
    /// Sums of the columns of a matrix with rows of `width`.
    fn column_sums(width: usize, rows: &[f32]) -> Vec<f32> => column_sums_body
}

#[inline(always)]
fn column_sums_body<S: Simd>(_: S, width: usize, rows: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}
