//! Frozen layers from a [`Source`], by name; or only the list of what they need.

use std::cell::RefCell;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_nn::layers::frozen::{Attention, Conv2d, GroupNorm, LayerNorm, Linear, Padding};
use vipaint_nn::layers::weights::Entry;
use vipaint_nn::ops;

use crate::{Result, Source, Values};

/// What a network needs, in the order in which it asks.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Names and shapes of the tensors it reads.
    pub entries: Vec<Entry>,
    /// Names of tensors that its checkpoints have and that it does not read.
    pub unused: Vec<String>,
    /// Multiply-adds of a forward call on one picture, in convolutions, linear maps and attention.
    pub multiply_adds: u64,
    /// Values that convolutions and linear maps put out in it.
    pub outputs: u64,
    /// Parts that can be computed again when a gradient is taken.
    pub parts: Parts,
}

/// Parts of a network that need not hold what is inside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Values of their inputs.
    pub inputs: u64,
    /// Values that convolutions and linear maps put out in them.
    pub outputs: u64,
    /// The same of the largest.
    pub largest: u64,
}

/// Values held for a gradient for each that convolutions and linear maps put out: layers hold their inputs, which are mostly
/// those, and some hold intermediate results. Compared with measurements in docs/stable-diffusion.md.
const HELD: f64 = 1.15;

/// Bytes held for so many values that convolutions and linear maps put out.
pub(crate) fn held_bytes(outputs: u64) -> u64 {
    (outputs as f64 * HELD * size_of::<f32>() as f64) as u64
}

impl Inventory {
    /// Number of values of all tensors.
    pub fn parameters(&self) -> usize {
        self.entries.iter().map(Entry::len).sum()
    }

    /// Bytes that a call on one picture holds until its gradient is taken.
    pub fn held_bytes(&self) -> u64 {
        held_bytes(self.outputs)
    }

    /// The same if the parts are computed again when it is taken: what a call holds, the parts' inputs, and the inside of the largest
    /// part, which is added while the gradient is taken.
    pub fn recomputed_bytes(&self) -> [u64; 2] {
        let Parts { inputs, outputs, largest } = self.parts;
        let outside = self.outputs.saturating_sub(outputs) as f64 * HELD;
        [outside + inputs as f64, largest as f64 * HELD].map(|values| (values * size_of::<f32>() as f64) as u64)
    }

    /// Takes the inventory of what `build` makes; the result itself, which has no weights, is dropped.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn of<T>(build: impl FnOnce(&Loader<'_>) -> Result<T>) -> Result<Self> {
        let list = RefCell::default();
        build(&Loader { mode: Mode::List(&list), device: &Device::flex(), half: false, path: String::new() })?;
        Ok(list.into_inner())
    }
}

#[derive(Clone, Copy)]
enum Mode<'a> {
    /// Notes down what is asked for, and answers with tensors of a single zero.
    List(&'a RefCell<Inventory>),
    Load(&'a dyn Source),
}

/// A place in the tree of a network's tensors, from which layers are made.
#[derive(Clone)]
pub struct Loader<'a> {
    mode: Mode<'a>,
    device: &'a Device,
    /// Whether packed weights are kept in half precision.
    half: bool,
    /// Ends in a dot, or is empty.
    path: String,
}

/// The shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Zeros around the input.
    pub padding: Padding,
    /// Height and width of the input.
    pub sides: [usize; 2],
}

impl Shape {
    /// A convolution that keeps the sides.
    pub fn same(c_in: usize, c_out: usize, kernel: usize, sides: [usize; 2]) -> Self {
        Self { c_in, c_out, kernel, stride: 1, padding: Padding::Same, sides }
    }
}

impl<'a> Loader<'a> {
    /// The root, with weights from `source`, kept on `device` (a plain one).
    pub fn new(source: &'a dyn Source, device: &'a Device) -> Self {
        Self { mode: Mode::Load(source), device, half: false, path: String::new() }
    }

    /// The same, but the layers made from here on keep their weights in half precision, for half the memory; arithmetic stays in
    /// single precision.
    #[must_use]
    pub fn halved(self) -> Self {
        Self { half: true, ..self }
    }

    /// A linear map `[c_out, c_in]`; one of a single zero without weights, which is never applied.
    fn map(&self, weight: Option<&[f32]>, bias: Option<&[f32]>, shape: [usize; 2]) -> Linear {
        match weight {
            Some(weight) => Linear::new(self.layer(weight, bias), shape),
            None => Linear::new(self.layer(&[0.0], None), [1, 1]),
        }
    }

    fn layer<'v>(&'v self, weight: &'v [f32], bias: Option<&'v [f32]>) -> ops::Values<'v> {
        ops::Values { weight, bias, device: self.device, half: self.half }
    }

    /// The place `name` below this one.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { path: format!("{}{name}.", self.path), ..self.clone() }
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// A tensor.
    ///
    /// # Errors
    /// Those of the source.
    pub fn tensor<const D: usize>(&self, name: &str, shape: [usize; D]) -> Result<Tensor<D>> {
        Ok(match self.values(name, &shape)? {
            Some(values) => Tensor::from_data(TensorData::new(values, shape), self.device),
            None => Tensor::zeros([1; D], self.device),
        })
    }

    /// The values of a tensor; none while only the list is made.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>> {
        Ok(self.lent(name, shape)?.map(Values::into_vec))
    }

    /// The same, for a moment.
    pub(crate) fn lent(&self, name: &str, shape: &[usize]) -> Result<Option<Values<'a>>> {
        let name = format!("{}{name}", self.path);
        match self.mode {
            Mode::Load(source) => source.values(&name, shape).map(Some),
            Mode::List(list) => {
                list.borrow_mut().entries.push(Entry { name, shape: shape.to_vec() });
                Ok(None)
            }
        }
    }

    /// Notes a tensor of the checkpoints that the network does without.
    pub fn unused(&self, name: &str) {
        if let Mode::List(list) = self.mode {
            list.borrow_mut().unused.push(format!("{}{name}", self.path));
        }
    }

    /// Notes multiply-adds.
    pub fn count(&self, multiply_adds: usize) {
        if let Mode::List(list) = self.mode {
            list.borrow_mut().multiply_adds += multiply_adds as u64;
        }
    }

    /// Notes values that are put out.
    pub(crate) fn outputs(&self, values: u64) {
        if let Mode::List(list) = self.mode {
            list.borrow_mut().outputs += values;
        }
    }

    /// Makes a part that can be computed again from its input of so many values.
    ///
    /// # Errors
    /// Those of `build`.
    pub(crate) fn part<T>(&self, input: usize, build: impl FnOnce() -> Result<T>) -> Result<T> {
        let Mode::List(list) = self.mode else { return build() };
        let before = list.borrow().outputs;
        let part = build()?;
        let mut list = list.borrow_mut();
        let inside = list.outputs - before;
        let Parts { inputs, outputs, largest } = list.parts;
        list.parts = Parts { inputs: inputs + input as u64, outputs: outputs + inside, largest: largest.max(inside) };
        Ok(part)
    }

    /// `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn conv(&self, name: impl std::fmt::Display, shape: Shape) -> Result<Conv2d> {
        let Shape { c_in, c_out, kernel, stride, padding, sides } = shape;
        let at = self.at(name);
        let cells: usize = sides.iter().map(|side| side / stride).product();
        at.count(c_in * c_out * kernel * kernel * cells);
        at.outputs((c_out * cells) as u64);
        let (weight, bias) = (at.lent("weight", &[c_out, c_in, kernel, kernel])?, at.lent("bias", &[c_out])?);
        let Some(weight) = weight else {
            return Ok(Conv2d::new(self.layer(&[0.0], None), [1; 3], 1, Padding::Same, [1, 1]));
        };
        let values = self.layer(&weight, bias.as_deref());
        Ok(Conv2d::new(values, [c_out, c_in, kernel], stride, padding, sides))
    }

    /// [`Self::conv`] after nearest-neighbour upsampling by two; `shape` is that of the convolution.
    ///
    /// # Errors
    /// Those of the source.
    pub fn conv_after_upsampling(&self, name: impl std::fmt::Display, shape: Shape) -> Result<Conv2d> {
        let conv = self.conv(name, shape)?;
        Ok(match self.mode {
            Mode::Load(_) => conv.after_upsampling(),
            Mode::List(_) => conv,
        })
    }

    /// `name.weight` `[c_out, c_in]` and, if `bias`, `name.bias`, applied to `rows` rows.
    ///
    /// # Errors
    /// Those of the source.
    pub fn linear(
        &self,
        name: impl std::fmt::Display,
        [c_in, c_out]: [usize; 2],
        bias: bool,
        rows: usize,
    ) -> Result<Linear> {
        let at = self.at(name);
        at.count(c_in * c_out * rows);
        at.outputs((c_out * rows) as u64);
        let weight = at.lent("weight", &[c_out, c_in])?;
        let bias = if bias { at.lent("bias", &[c_out])? } else { None };
        Ok(self.map(weight.as_deref(), bias.as_deref(), [c_out, c_in]))
    }

    /// A linear map that the checkpoint keeps as a convolution: a weight with `ones` more dimensions of size one.
    ///
    /// # Errors
    /// Those of the source.
    pub fn pointwise(
        &self,
        name: impl std::fmt::Display,
        [c_in, c_out]: [usize; 2],
        ones: usize,
        rows: usize,
    ) -> Result<Linear> {
        let [linear] = self.split([c_in, c_out], ones, rows, name, [&|i| i])?;
        Ok(linear)
    }

    /// `N` linear maps `[c_in, c_out]` whose rows are interleaved in one tensor, with a bias: row `i` of map `n` is row
    /// `place[n](i)` of the tensor. As for [`Self::pointwise`], the weight has `ones` more dimensions.
    ///
    /// # Errors
    /// Those of the source.
    pub fn split<const N: usize>(
        &self,
        [c_in, c_out]: [usize; 2],
        ones: usize,
        rows: usize,
        name: impl std::fmt::Display,
        place: [&dyn Fn(usize) -> usize; N],
    ) -> Result<[Linear; N]> {
        let at = self.at(name);
        at.count(c_in * c_out * rows * N);
        at.outputs((c_out * rows * N) as u64);
        let shape = [vec![N * c_out, c_in], vec![1; ones]].concat();
        let (weight, bias) = (at.lent("weight", &shape)?, at.lent("bias", &[N * c_out])?);
        let (Some(weight), Some(bias)) = (weight, bias) else {
            return Ok(std::array::from_fn(|_| self.map(None, None, [1, 1])));
        };
        Ok(place.map(|place| {
            let first = place(0);
            if (0..c_out).all(|i| place(i) == first + i) {
                let (weight, bias) = (&weight[first * c_in..][..c_out * c_in], &bias[first..][..c_out]);
                return self.map(Some(weight), Some(bias), [c_out, c_in]);
            }
            let rows: Vec<f32> = (0..c_out).flat_map(|i| weight[place(i) * c_in..][..c_in].iter().copied()).collect();
            let offsets: Vec<f32> = (0..c_out).map(|i| bias[place(i)]).collect();
            self.map(Some(&rows), Some(&offsets), [c_out, c_in])
        }))
    }

    /// `name.weight` and `name.bias`, both `[channels]`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn group_norm(
        &self,
        name: impl std::fmt::Display,
        channels: usize,
        groups: usize,
        eps: f64,
    ) -> Result<GroupNorm> {
        let at = self.at(name);
        let (weight, bias) = (at.tensor("weight", [channels])?, at.tensor("bias", [channels])?);
        Ok(GroupNorm { weight, bias, groups, eps })
    }

    /// `name.weight` and `name.bias`, both `[channels]`; `eps` is PyTorch's default.
    ///
    /// # Errors
    /// Those of the source.
    pub fn layer_norm(&self, name: impl std::fmt::Display, channels: usize) -> Result<LayerNorm> {
        let at = self.at(name);
        let (weight, bias) = (at.tensor("weight", [channels])?, at.tensor("bias", [channels])?);
        Ok(LayerNorm { weight, bias, eps: 1e-5 })
    }

    /// Counts the products of an attention of `queries` over `keys`.
    pub fn count_attention(&self, queries: usize, keys: usize, channels: usize) {
        self.count(2 * queries * keys * channels);
    }
}

/// Self-attention over a picture from its four maps.
pub(crate) fn self_attention([query, key, value]: [Linear; 3], out: Linear, heads: usize) -> Attention {
    Attention { query, key, value, out, heads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_convolutions_and_linear_maps() {
        let build = |loader: &Loader<'_>| {
            let shape = Shape { c_in: 3, c_out: 8, kernel: 3, stride: 2, padding: Padding::Same, sides: [6, 4] };
            loader.conv("conv", shape)?;
            loader.linear("linear", [3, 7], true, 5)?;
            loader.layer_norm("norm", 7).map(drop)
        };
        let inventory = Inventory::of(build).unwrap();
        assert_eq!(inventory.outputs, 8 * (3 * 2) + 7 * 5);
        assert_eq!(inventory.multiply_adds, 8 * 3 * 9 * (3 * 2) + 3 * 7 * 5);
        assert_eq!(inventory.held_bytes(), ((8 * 6 + 35) as f64 * HELD * 4.0) as u64);
        let parts = Inventory::of(|loader| {
            loader.part(10, || build(loader))?;
            loader.part(5, || loader.linear("small", [3, 2], false, 1).map(drop))?;
            loader.linear("outside", [2, 3], false, 1).map(drop)
        });
        let parts = parts.unwrap();
        assert_eq!(parts.parts, Parts { inputs: 15, outputs: 83 + 2, largest: 83 });
        assert_eq!(parts.recomputed_bytes(), [(3.0 * HELD + 15.0) * 4.0, 83.0 * HELD * 4.0].map(|bytes| bytes as u64));
    }
}
