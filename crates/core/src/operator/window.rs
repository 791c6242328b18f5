//! A window: the rest of the picture is not measured at all. `A A^T = I`.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use super::matrix::{check_shape, shape_array};
use super::{Kind, Linear, Operator, Saved, Setting, Shape3};
use crate::{Error, Result, noise::stream};

/// Cuts a rectangle out of the picture.
#[derive(Debug, Clone)]
pub struct Window {
    top: usize,
    left: usize,
    input: Shape3,
    output: Shape3,
    device: Device,
}

pub(super) const KIND: Kind = Kind {
    name: "window",
    load: |saved, device| {
        let place = saved.array("place")?.1;
        let [top, left] = place.try_into().map_err(|_| saved.bad("its place is not two numbers"))?;
        let [_, height, width] = saved.shape("output_shape")?;
        let place = (top as usize, left as usize);
        Ok(Arc::new(Window::new(place, (height, width), saved.shape("input_shape")?, device)?))
    },
    example: |input, seed, device| {
        let [channels, h, w] = input;
        let mut rng = stream(seed, 0, 0);
        let (height, width) = (rng.random_range(1..=h), rng.random_range(1..=w));
        let (top, left) = (rng.random_range(0..=h - height), rng.random_range(0..=w - width));
        Arc::new(Window { top, left, input, output: [channels, height, width], device: device.clone() })
    },
    settings: |shape, _, _, device| {
        let [_, h, w] = shape;
        let size = (h.div_ceil(2), w.div_ceil(2));
        let window = Window::new((h / 4, w / 4), size, shape, device)?;
        Ok(vec![Setting::new("window:2", "a window of half the side, of a larger picture", window)])
    },
};

impl Window {
    /// The rectangle of `(height, width)` with its first pixel at `(top, left)`.
    ///
    /// # Errors
    /// When it is empty or does not lie inside.
    pub fn new(
        (top, left): (usize, usize),
        (height, width): (usize, usize),
        input: Shape3,
        device: &Device,
    ) -> Result<Self> {
        let [channels, h, w] = check_shape(input)?;
        let inside = |start: usize, length: usize, limit: usize| length > 0 && start.saturating_add(length) <= limit;
        if !inside(top, height, h) || !inside(left, width, w) {
            let problem = format!("window: {width}x{height} at ({left}, {top}) is not inside {w}x{h}");
            return Err(Error::option("operator", problem));
        }
        Ok(Self { top, left, input, output: [channels, height, width], device: device.clone() })
    }
}

impl Operator for Window {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.input
    }

    fn output_shape(&self) -> Shape3 {
        self.output
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, height, width] = self.output;
        x.narrow(2, self.top, height).narrow(3, self.left, width)
    }

    /// The window in its place, each channel's mean around it.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        let mean = y.clone().mean_dim(3).mean_dim(2);
        let inside = y - mean.clone();
        self.adjoint(inside) + mean
    }

    fn linear(&self) -> Option<&dyn Linear> {
        Some(self)
    }

    fn save(&self) -> Saved {
        let arrays = vec![
            ("place", vec![2], vec![self.top as f32, self.left as f32]),
            shape_array("input_shape", self.input),
            shape_array("output_shape", self.output),
        ];
        Saved::new(KIND.name, arrays)
    }
}

impl Linear for Window {
    fn adjoint(&self, y: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = y.dims();
        let [_, h, w] = self.input;
        let device: Device = y.device();
        let zeros = |rows: usize, columns: usize| Tensor::<4>::zeros([batch, channels, rows, columns], &device);
        let (right, bottom) = (w - width - self.left, h - height - self.top);
        let mut band = y;
        // An empty tensor is no neighbour.
        for (size, before) in [(self.left, true), (right, false)] {
            if size > 0 {
                let zeros = zeros(height, size);
                band = Tensor::cat(if before { vec![zeros, band] } else { vec![band, zeros] }, 3);
            }
        }
        for (size, before) in [(self.top, true), (bottom, false)] {
            if size > 0 {
                let zeros = zeros(size, w);
                band = Tensor::cat(if before { vec![zeros, band] } else { vec![band, zeros] }, 2);
            }
        }
        band
    }

    fn spectrum(&self) -> Tensor<4> {
        let [c, h, w] = self.output;
        Tensor::ones([1, c, h, w], &self.device)
    }
}
