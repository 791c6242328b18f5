//! Multi-head attention without the matrix of scores: a block of queries at a time.

mod product;

use crate::amx::{LINE, with_lines};
use crate::elementwise::exp;
use crate::parallel::{Shared, pieces, with_scratch};
use crate::simd::{Simd, WIDE, multiversion};
use crate::team::{each, map, parts, threads};
use product::{Right, Rows, RowsMut, Sides, product, turned, write_columns, write_transposed};

/// Queries of a block at least: their scores stay in cache for a few hundred keys.
const BLOCK: usize = 48;
/// Channels of a head for which a block has so many queries. The more channels there are, the more is saved by going through
/// keys, values and their gradients, as large as the scores then, for more queries at a time.
const CHANNELS: usize = 128;
/// Rows of scores that are a task.
const ROWS: usize = 6;
/// Keys whose gradients are a task: these stay in cache from one block of queries to the next.
const KEYS: usize = 256;

/// `softmax(q k^T / sqrt(d)) v` for each head, `d = channels / heads`, heads in consecutive channels; without the batch.
///
/// `q` is `[batch, queries, channels]`, `k` and `v` are `[batch, keys, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Rows of `q`.
    pub queries: usize,
    /// Rows of `k` and `v`.
    pub keys: usize,
    /// Channels of all heads.
    pub channels: usize,
    /// Heads; they divide the channels.
    pub heads: usize,
}

impl Attention {
    fn dim(&self) -> usize {
        self.channels / self.heads
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.dim() as f64).sqrt()) as f32
    }

    /// The batch, after checking the lengths.
    fn batch(&self, q: &[f32], k: &[f32], v: &[f32]) -> usize {
        assert!(self.heads > 0 && self.channels.is_multiple_of(self.heads), "heads divide channels: {self:?}");
        let (q_len, k_len) = (self.queries * self.channels, self.keys * self.channels);
        assert!(q_len > 0 && k_len > 0 && q.len().is_multiple_of(q_len), "queries of {self:?}");
        let batch = q.len() / q_len;
        assert!(k.len() == batch * k_len && v.len() == batch * k_len, "keys and values of {self:?}");
        batch
    }

    /// Queries of a block: of an even number of nearly equal ones, which two threads finish together.
    fn block(&self) -> usize {
        let count = self.queries.div_ceil(BLOCK * (self.dim() / CHANNELS).clamp(1, 4));
        let count = if count > 1 { count.next_multiple_of(2) } else { 1 };
        self.queries.div_ceil(count).next_multiple_of(WIDE)
    }

    /// The blocks of queries.
    fn blocks(&self) -> Vec<std::ops::Range<usize>> {
        let within = |start: usize| start..(start + self.block()).min(self.queries);
        (0..self.queries).step_by(self.block()).map(within).collect()
    }

    /// The rows of a head of a sample, in a tensor of `len` rows a sample.
    fn head<'a>(&self, x: &'a [f32], len: usize, sample: usize, head: usize) -> Rows<'a> {
        let start = sample * len * self.channels + head * self.dim();
        Rows::new(&x[start..], len, self.dim(), self.channels)
    }

    fn head_mut<'a>(&self, x: &Shared<'a>, len: usize, sample: usize, head: usize) -> RowsMut<'a> {
        let start = sample * len * self.channels + head * self.dim();
        RowsMut::new(*x, start, len, self.dim(), self.channels)
    }

    /// Of a matrix of keys or values, transposed.
    fn by_channels(&self) -> Sides {
        Sides { terms: self.dim(), columns: self.keys }
    }

    /// Of a matrix of keys or values.
    fn by_keys(&self) -> Sides {
        Sides { terms: self.keys, columns: self.dim() }
    }

    /// Softmax of the scores of queries, into `p` `[queries, keys]`.
    fn probabilities(&self, q: Rows, k_columns: Right, p: &mut [f32]) {
        product(q, k_columns, false, RowsMut::whole(p, self.keys));
        parts(p, ROWS * self.keys, |_, rows| {
            rows.chunks_exact_mut(self.keys).for_each(|row| softmax(row, self.scale()));
        });
    }
}

/// Writes the result, shaped as `q`, to `y`.
pub fn attention(shape: &Attention, q: &[f32], k: &[f32], v: &[f32], y: &mut [f32]) {
    let heads = shape.batch(q, k, v) * shape.heads;
    assert_eq!(q.len(), y.len());
    let (y, blocks) = (Shared::new(y), shape.blocks());
    let place = |task: usize| (task / shape.heads, task % shape.heads);
    let sides = [shape.by_channels(), shape.by_keys()];
    let [first, second] = sides.map(Sides::room);
    let head = first + second;
    with_lines(heads * head, |packed| {
        let shared = Shared::new(&mut *packed);
        each(2 * heads, |task| {
            let ((sample, number), start) = (place(task / 2), task / 2 * head);
            // SAFETY: places of this task.
            match task % 2 {
                0 => write_transposed(shape.head(k, shape.keys, sample, number), unsafe { shared.slice(start, first) }),
                _ => write_columns(shape.head(v, shape.keys, sample, number), unsafe {
                    shared.slice(start + first, second)
                }),
            };
        });
        each(heads * blocks.len(), |task| {
            let (block, task) = (blocks[task % blocks.len()].clone(), task / blocks.len());
            let (sample, number) = place(task);
            let q = shape.head(q, shape.queries, sample, number);
            let y = shape.head_mut(&y, shape.queries, sample, number);
            let (k, v) = packed[task * head..][..head].split_at(first);
            with_scratch(block.len() * shape.keys, |p| {
                shape.probabilities(q.part(block.clone()), Right::new(k, sides[0]), p);
                product(Rows::whole(p, shape.keys), Right::new(v, sides[1]), false, y.part(block));
            });
        });
    });
}

/// The vector-Jacobian product of [`attention`] with `g`, into those of `dq`, `dk` and `dv` that are asked for.
///
/// With the probabilities `p` (computed again) and `dp = g v^T`: `dv = p^T g`, `ds = p (dp - sum_keys p dp)`,
/// `dq = ds k / sqrt(d)`, `dk = ds^T q / sqrt(d)`. Queries are added to `dk` and `dv` in order.
pub fn attention_vjp(
    shape: &Attention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    g: &[f32],
    dq: Option<&mut [f32]>,
    dk: Option<&mut [f32]>,
    dv: Option<&mut [f32]>,
) {
    let batch = shape.batch(q, k, v);
    assert!(g.len() == q.len() && dq.as_ref().is_none_or(|d| d.len() == q.len()));
    assert!([&dk, &dv].iter().all(|d| d.as_ref().is_none_or(|d| d.len() == k.len())));
    let [dq, dk, dv] = [dq, dk, dv].map(|d| d.map(Shared::new));
    let one = |task: usize| {
        let (sample, head) = (task / shape.heads, task % shape.heads);
        let (q, g) = (shape.head(q, shape.queries, sample, head), shape.head(g, shape.queries, sample, head));
        let (k, v) = (shape.head(k, shape.keys, sample, head), shape.head(v, shape.keys, sample, head));
        let [dk, dv] = [dk, dv].map(|d| d.map(|d| shape.head_mut(&d, shape.keys, sample, head)));
        let dq = dq.map(|d| shape.head_mut(&d, shape.queries, sample, head));
        head_vjp(shape, [q, k, v, g], dq, dk, dv);
    };
    // Tasks inside of tasks run where they are: a head is one thread's, or its blocks of queries are shared.
    let heads = batch * shape.heads;
    if heads < threads() { (0..heads).for_each(one) } else { each(heads, one) }
}

/// [`attention_vjp`] of one head.
///
/// As many blocks of queries at a time as there are threads, each block one thread's; then what they add to the gradients of
/// keys and values, some keys a task, one block after another: no result depends on how many there were.
fn head_vjp(shape: &Attention, [q, k, v, g]: [Rows; 4], dq: Option<RowsMut>, dk: Option<RowsMut>, dv: Option<RowsMut>) {
    let (blocks, keys_of) = (shape.blocks(), pieces(shape.keys, KEYS));
    let at_once = threads().min(blocks.len());
    let room = Room::new(shape, shape.block().min(shape.queries));
    let [turned, plain] = [shape.by_channels(), shape.by_keys()].map(Sides::room);
    with_lines(2 * turned + plain + at_once * room.all(), |scratch| {
        let (k_columns, rest) = scratch.split_at_mut(turned);
        let (v_columns, rest) = rest.split_at_mut(turned);
        let (k_rows, scratch) = rest.split_at_mut(plain);
        let packed = [Right::transposed(k, k_columns), Right::transposed(v, v_columns), Right::columns(k, k_rows)];
        for blocks in blocks.chunks(at_once) {
            let shared = Shared::new(&mut *scratch);
            let sums = map(blocks.len(), |i| {
                let block = || blocks[i].clone();
                // SAFETY: this task's part.
                let scratch = unsafe { shared.slice(i * room.all(), room.all()) };
                let (dq, wanted) = (dq.map(|dq| dq.part(block())), [dk, dv].map(|d| d.is_some()));
                block_vjp(shape, [q.part(block()), g.part(block())], packed, &room, scratch, dq, wanted)
            });
            each(2 * shape.keys.div_ceil(KEYS), |task| {
                let (keys, of) = (keys_of(task / 2), task % 2);
                for (block, sums) in blocks.iter().zip(&sums) {
                    if let (Some(d), Some(sum)) = ([dk, dv][of], &sums[of]) {
                        let left = Rows::whole(sum.left, block.len()).part(keys.clone());
                        product(left, sum.right, block.start > 0, d.part(keys.clone()));
                    }
                }
            });
        }
    });
}

/// Scratch memory of a block of queries.
struct Room {
    /// A value for each query and key.
    scores: usize,
    /// The queries, or gradients of their results, as a right factor.
    factor: usize,
}

impl Room {
    fn new(shape: &Attention, queries: usize) -> Self {
        let factor = Sides { terms: queries, columns: shape.dim() }.room();
        Self { scores: (queries * shape.keys).next_multiple_of(LINE), factor }
    }

    fn all(&self) -> usize {
        3 * self.scores + 2 * self.factor
    }
}

/// What a block of queries adds to a gradient, as a product.
struct Sum<'a> {
    left: &'a [f32],
    right: Right<'a>,
}

/// [`attention_vjp`] of a block of queries of one head: writes `dq`, and returns what is asked for of the sums for `dk` and `dv`.
/// `packed` are the transposes of keys and values, and the keys.
fn block_vjp<'a>(
    shape: &Attention,
    [q, g]: [Rows; 2],
    packed: [Right; 3],
    room: &Room,
    scratch: &'a mut [f32],
    dq: Option<RowsMut>,
    [dk, dv]: [bool; 2],
) -> [Option<Sum<'a>>; 2] {
    let (keys, len) = (shape.keys, q.count() * shape.keys);
    let (factors, scores) = scratch.split_at_mut(2 * room.factor);
    let (q_rows, g_rows) = factors.split_at_mut(room.factor);
    let (p, rest) = scores.split_at_mut(room.scores);
    let (ds, p_turned) = rest.split_at_mut(room.scores);
    let (p, ds, p_turned) = (&mut p[..len], &mut ds[..len], &mut p_turned[..len]);
    shape.probabilities(q, packed[0], p);
    if dv {
        turned(p, keys, p_turned);
    }
    if dq.is_some() || dk {
        product(g, packed[1], false, RowsMut::whole(ds, keys));
        parts(ds, ROWS * keys, |i, ds| {
            let p = &p[i * ROWS * keys..];
            for (ds, p) in ds.chunks_exact_mut(keys).zip(p.chunks_exact(keys)) {
                softmax_vjp(p, ds, shape.scale());
            }
        });
        if let Some(dq) = dq {
            product(Rows::whole(ds, keys), packed[2], false, dq);
        }
        if dk {
            turned(ds, keys, p); // the probabilities are not needed any more
        }
    }
    let factor = |rows: Rows, to: &'a mut [f32]| {
        let room = Sides { terms: rows.count(), columns: shape.dim() }.room();
        Right::columns(rows, &mut to[..room])
    };
    [
        dk.then(|| Sum { left: p, right: factor(q, q_rows) }),
        dv.then(|| Sum { left: p_turned, right: factor(g, g_rows) }),
    ]
}

multiversion! {
    /// Replaces scores by `softmax(scale scores)`.
    fn softmax(row: &mut [f32], scale: f32) => softmax_body
}

#[inline(always)]
fn softmax_body<S: Simd>(s: S, row: &mut [f32], scale: f32) {
    let max = row.iter().fold(f32::NEG_INFINITY, |max, &x| max.max(x));
    for x in row.iter_mut() {
        *x = exp(s, (*x - max) * scale);
    }
    let sum = lane_sum(row.len(), |i| row[i]);
    let inverse = 1.0 / sum;
    for x in row.iter_mut() {
        *x *= inverse;
    }
}

multiversion! {
    /// Replaces `ds`, the gradient of a row of probabilities `p`, by that of its scores before `scale`.
    fn softmax_vjp(p: &[f32], ds: &mut [f32], scale: f32) => softmax_vjp_body
}

#[inline(always)]
fn softmax_vjp_body<S: Simd>(_: S, p: &[f32], ds: &mut [f32], scale: f32) {
    let mean = lane_sum(p.len(), |i| p[i] * ds[i]);
    for (ds, &p) in ds.iter_mut().zip(p) {
        *ds = p * (*ds - mean) * scale;
    }
}

/// `sum_i term(i)`, in [`WIDE`] partial sums.
#[inline(always)]
fn lane_sum(len: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; WIDE];
    let whole = len / WIDE * WIDE;
    for i in (0..whole).step_by(WIDE) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(i + lane);
        }
    }
    for i in whole..len {
        lanes[i - whole] += term(i);
    }
    lanes.iter().sum()
}
