//! Operators one after the other: `A = A_n ... A_2 A_1`.
//!
//! If all parts are linear and all but the last have `A_i A_i^T = s_i I` (a window, means or sums over blocks, grey), then
//! `A A^T = s_1 s_2 ... A_n A_n^T` has the last part's basis. Other compositions have no singular values in closed form.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::{Kind, Linear, Loader, Operator, Saved, Setting, Shape3, downsample, gaussian, hdr, jpeg, load, values};
use crate::{Error, Result};

/// Operators that are applied in their order.
#[derive(Clone)]
pub struct Composition {
    parts: Vec<Arc<dyn Operator>>,
    /// Of `A A^T`, if it is known in closed form.
    spectrum: Option<Tensor<4>>,
}

pub(super) const KIND: Kind = Kind {
    name: "composition",
    load: LOAD,
    example: |shape, seed, device| {
        let kinds = if seed % 3 == 0 {
            [gaussian::KIND, downsample::KIND, gaussian::KIND]
        } else if seed % 3 == 1 {
            [super::window::KIND, super::blocks::KIND, gaussian::KIND]
        } else {
            [gaussian::KIND, hdr::KIND, jpeg::KIND]
        };
        let mut parts: Vec<Arc<dyn Operator>> = Vec::new();
        for kind in kinds {
            let input = parts.last().map_or(shape, |part| part.output_shape());
            parts.push((kind.example)(input, seed, device));
        }
        Arc::new(Composition::build(parts))
    },
    settings: |shape, range, _, device| {
        if shape[1] % 2 + shape[2] % 2 > 0 {
            return Ok(Vec::new());
        }
        let blur: Arc<dyn Operator> = Arc::new(super::GaussianBlur::new(1.0, shape, device)?);
        let half: Arc<dyn Operator> = Arc::new(super::Downsample::new(super::Shrink::Bicubic, 2, shape, device)?);
        let jpeg = Arc::new(super::Jpeg::new(30, half.output_shape(), range, device)?);
        let blurred = Composition::new(vec![blur, half.clone()])?;
        let compressed = Composition::new(vec![half, jpeg])?;
        Ok(vec![
            Setting::new("gaussian:1+bicubic:2", "blurred, then half as large", blurred),
            Setting::new("bicubic:2+jpeg:30", "half as large, then JPEG at quality 30", compressed),
        ])
    },
};

/// Arrays are named `PLACE.KIND.ARRAY`.
const LOAD: Loader = |saved, device| {
    let mut parts: Vec<Saved> = Vec::new();
    for place in 0.. {
        let start = format!("{place}.");
        let arrays = saved.arrays.iter().filter_map(|(name, shape, values)| {
            let (kind, name) = name.strip_prefix(&start)?.split_once('.')?;
            Some((kind, (name.to_owned(), shape.clone(), values.clone())))
        });
        let (kinds, arrays): (Vec<&str>, Vec<_>) = arrays.unzip();
        let Some(kind) = kinds.first() else { break };
        if kinds.iter().any(|other| other != kind) || *kind == KIND.name {
            return Err(saved.bad("its parts are mixed up"));
        }
        parts.push(Saved { kind: (*kind).to_owned(), arrays });
    }
    let parts = parts.iter().map(|part| load(part, device)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Composition::new(parts).map_err(|e| saved.bad(&e.to_string()))?))
};

impl Composition {
    /// `parts` in the order in which they are applied.
    ///
    /// # Errors
    /// No part at all, one that does not take what the one before gives, or one that is a composition itself.
    pub fn new(parts: Vec<Arc<dyn Operator>>) -> Result<Self> {
        if parts.is_empty() {
            return Err(Error::option("operator", "a composition needs at least one part"));
        }
        if parts.iter().any(|part| part.kind() == KIND.name) {
            return Err(Error::option("operator", "a composition cannot be a part of another; give all parts at once"));
        }
        for pair in parts.windows(2) {
            let (expected, got) = (pair[1].input_shape(), pair[0].output_shape());
            if expected != got {
                return Err(Error::Shape { what: "composition", expected: expected.to_vec(), got: got.to_vec() });
            }
        }
        Ok(Self::build(parts))
    }

    fn build(parts: Vec<Arc<dyn Operator>>) -> Self {
        let (last, inner) = (&parts[parts.len() - 1], &parts[..parts.len() - 1]);
        let scales = inner.iter().map(|part| {
            let spectrum = values(&part.linear()?.spectrum());
            let (first, rest) = spectrum.split_first()?;
            rest.iter().all(|s| (s - first).abs() <= 1e-6 * first).then_some(f64::from(*first))
        });
        let scale: Option<f64> = scales.product();
        let spectrum = scale.zip(last.linear()).map(|(scale, last)| last.spectrum() * scale);
        Self { parts, spectrum }
    }

    fn last(&self) -> &Arc<dyn Operator> {
        // A composition has a part.
        &self.parts[self.parts.len() - 1]
    }
}

impl Operator for Composition {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.parts[0].input_shape()
    }

    fn output_shape(&self) -> Shape3 {
        self.last().output_shape()
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        self.parts.iter().fold(x, |x, part| part.apply(x))
    }

    fn tangent(&self, x: Tensor<4>) -> Tensor<4> {
        self.parts.iter().fold(x, |x, part| part.tangent(x))
    }

    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        self.parts.iter().rev().fold(y, |y, part| part.rough_inverse(y))
    }

    fn linear(&self) -> Option<&dyn Linear> {
        self.spectrum.is_some().then_some(self)
    }

    fn save(&self) -> Saved {
        let mut arrays = Vec::new();
        for (place, part) in self.parts.iter().enumerate() {
            let saved = part.save();
            arrays
                .extend(saved.arrays.into_iter().map(|(name, s, v)| (format!("{place}.{}.{name}", saved.kind), s, v)));
        }
        Saved { kind: KIND.name.into(), arrays }
    }
}

/// [`Operator::linear`] gives this view only if all parts are linear and there is a spectrum.
impl Linear for Composition {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        self.parts.iter().rev().fold(y, |y, part| match part.linear() {
            Some(part) => part.adjoint(y),
            None => y,
        })
    }

    fn spectrum(&self) -> Tensor<4> {
        let [c, h, w] = self.output_shape();
        self.spectrum.clone().unwrap_or_else(|| Tensor::zeros([1, c, h, w], &Device::flex()))
    }

    fn rotate(&self, y: Tensor<4>) -> Tensor<4> {
        match self.last().linear() {
            Some(last) => last.rotate(y),
            None => y,
        }
    }

    fn unrotate(&self, y: Tensor<4>) -> Tensor<4> {
        match self.last().linear() {
            Some(last) => last.unrotate(y),
            None => y,
        }
    }
}
