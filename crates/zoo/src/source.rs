//! Where the weights of a frozen network come from, by the names of its original checkpoint.

use std::cell::RefCell;
use std::ops::{Deref, Range};

use crate::Result;
use crate::formats::TensorRef;

/// Tensors by name. Networks ask for each of theirs once, and keep it in another form: a source need not hold more than
/// what is asked for.
pub trait Source {
    /// The values of a tensor that has this shape.
    ///
    /// # Errors
    /// [`Error`] names the tensor that is missing, of another shape or of an unknown type.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;

    /// The same, where they are if that is possible.
    ///
    /// # Errors
    /// As there.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Values<'_>> {
        self.tensor(name, shape).map(Values::from)
    }
}

/// Values of a tensor: in a file that is mapped into memory, or made from it.
#[derive(Debug)]
pub struct Values<'a> {
    held: Held<'a>,
    /// What was read of the file, and is given back.
    read: Option<TensorRef<'a>>,
}

/// Memory that one tensor after another is converted in. Fresh memory for each would be touched for the first time by each, which
/// takes longer than the conversion.
pub(crate) type Buffer = RefCell<Vec<f32>>;

#[derive(Debug)]
enum Held<'a> {
    Mapped(&'a [f32]),
    Own(Vec<f32>),
    /// The first `len` values, in memory that goes back `to` where it was taken from.
    Lent {
        values: Vec<f32>,
        len: usize,
        to: &'a Buffer,
    },
}

impl<'a> Values<'a> {
    /// Those of a tensor of a file where they are, whose memory is given back when they are dropped.
    pub(crate) fn mapped(tensor: TensorRef<'a>, values: &'a [f32]) -> Self {
        Self { held: Held::Mapped(values), read: Some(tensor) }
    }

    /// Those that `convert` makes of such a tensor: the first of a vector, of which it says how many; in `buffer` if there is one.
    pub(crate) fn converted<E>(
        tensor: TensorRef<'a>,
        buffer: Option<&'a Buffer>,
        convert: impl FnOnce(&mut Vec<f32>) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut values = buffer.map(RefCell::take).unwrap_or_default();
        let len = convert(&mut values)?;
        let held = match buffer {
            Some(to) => Held::Lent { values, len, to },
            None => Held::Own(values),
        };
        Ok(Self { held, read: Some(tensor) })
    }

    /// A part of them.
    ///
    /// # Panics
    /// If it reaches beyond them.
    #[must_use]
    pub fn part(mut self, range: Range<usize>) -> Self {
        match &mut self.held {
            Held::Mapped(values) => *values = &values[range],
            Held::Own(values) => *values = values[range].to_vec(),
            Held::Lent { values, len, .. } => {
                let part = range.len();
                values[..*len].copy_within(range, 0);
                *len = part;
            }
        }
        self
    }

    /// Themselves, for good.
    pub fn into_vec(mut self) -> Vec<f32> {
        match &mut self.held {
            Held::Own(values) => std::mem::take(values),
            Held::Mapped(_) | Held::Lent { .. } => self.to_vec(),
        }
    }
}

impl From<Vec<f32>> for Values<'_> {
    fn from(values: Vec<f32>) -> Self {
        Self { held: Held::Own(values), read: None }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.held {
            Held::Mapped(values) => values,
            Held::Own(values) => values,
            Held::Lent { values, len, .. } => &values[..*len],
        }
    }
}

impl Drop for Values<'_> {
    fn drop(&mut self) {
        if let Some(tensor) = &self.read {
            tensor.release();
        }
        if let Held::Lent { values, to, .. } = &mut self.held {
            let (mut there, values) = (to.borrow_mut(), std::mem::take(values));
            // Of two that were lent at a time, the larger.
            if there.len() < values.len() {
                *there = values;
            }
        }
    }
}

/// Random weights, to measure and to compare networks without their checkpoints: the same name, shape and seed give the
/// same values, whatever else the network holds.
///
/// Value `i` of a tensor is `mix(fnv(name) + seed + (i + 1) g)`, the [SplitMix64] sequence, with its upper 24 bits read as
/// a number `u` in [-1, 1). Tensors of two or more dimensions are `u sqrt(3 / fan_in)` (variance `1 / fan_in`), vectors
/// `u / 10`, and `1 + u / 10` where the name ends in `weight`.
///
/// [SplitMix64]: https://doi.org/10.1145/2714064.2660195
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomWeights {
    /// Distinguishes networks of the same names.
    pub seed: u64,
}

/// `g`, the odd number nearest to 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Source for RandomWeights {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fan_in: usize = shape.iter().skip(1).product();
        let (centre, scale) = match shape.len() {
            0 | 1 if name.ends_with("weight") => (1.0, 0.1),
            0 | 1 => (0.0, 0.1),
            _ => (0.0, (3.0 / fan_in.max(1) as f64).sqrt() as f32),
        };
        let start = fnv(name).wrapping_add(self.seed);
        let value = |i: u64| centre + scale * unit(mix(start.wrapping_add(STEP.wrapping_mul(i + 1))));
        Ok((0..shape.iter().product::<usize>() as u64).map(value).collect())
    }
}

/// The upper 24 bits as a number in [-1, 1), exactly.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// The finaliser of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The 64-bit FNV-1a hash.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Tensors of another source under other names.
pub struct Renamed<'a> {
    /// The source.
    pub source: &'a dyn Source,
    /// Its name for a network's.
    pub name: &'a dyn Fn(&str) -> String,
}

impl Source for Renamed<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.source.tensor(&(self.name)(name), shape)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Values<'_>> {
        self.source.values(&(self.name)(name), shape)
    }
}
