//! JPEG: the loss of a baseline JPEG without chroma subsampling (ITU-T T.81; tables of its annex K scaled by quality as the
//! Independent JPEG Group does): YCbCr (JFIF), 8x8 DCT, division by the table, rounding, and all the way back. Pictures
//! with one channel have the luma's table alone. Sides that are no multiples of 8 are continued by their last pixels.
//!
//! Its gradient is straight-through: rounding counts as the identity, and so, all maps around it being each other's
//! inverses, does the whole. With `y` a picture that went through JPEG, the residual `y - A(x_hat)` is zero in every
//! coefficient that rounds as in `y`, so that what pulls on `x_hat` vanishes exactly when it explains the file.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use super::matrix::{Matrix, check_shape, dct, sandwich, shape_array};
use super::{Kind, Operator, Saved, Setting, Shape3, straight_through, tensor};
use crate::{Error, Result, noise::stream};

/// Quantisation tables, row by row (T.81, tables K.1 and K.2).
#[rustfmt::skip]
const LUMA: [u16; 64] = [
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
];
#[rustfmt::skip]
const CHROMA: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];

/// RGB to YCbCr and back (JFIF 1.02).
const TO_YCBCR: [f64; 9] = [0.299, 0.587, 0.114, -0.168735892, -0.331264108, 0.5, 0.5, -0.418687589, -0.081312411];
const TO_RGB: [f64; 9] = [1.0, 0.0, 1.402, 1.0, -0.344136286, -0.714136286, 1.0, 1.772, 0.0];

/// Compresses and decompresses.
#[derive(Debug, Clone)]
pub struct Jpeg {
    quality: u8,
    range: (f64, f64),
    forward: [Tensor<2>; 2], // pads and transforms: [h8, h], [w8, w]
    back: [Tensor<2>; 2],    // transforms back and cuts: [h, h8], [w, w8]
    table: Tensor<4>,        // [1, c, h8, w8]
    colours: Option<[Tensor<2>; 2]>,
    shape: Shape3,
}

pub(super) const KIND: Kind = Kind {
    name: "jpeg",
    load: |saved, device| {
        let quality = saved.number("quality")? as u8;
        let range = (saved.number("low")?, saved.number("high")?);
        Ok(Arc::new(Jpeg::new(quality, saved.shape("input_shape")?, range, device)?))
    },
    example: |shape, seed, device| {
        Arc::new(Jpeg::build(stream(seed, 0, 0).random_range(5..=95), shape, (-1.0, 1.0), device))
    },
    settings: |shape, range, _, device| {
        Ok(vec![Setting::new("jpeg:10", "JPEG at quality 10", Jpeg::new(10, shape, range, device)?)])
    },
};

impl Jpeg {
    /// `quality` from 1 to 100; `range` are the values of black and white.
    ///
    /// # Errors
    /// A quality, a shape or a range that makes no sense.
    pub fn new(quality: u8, shape: Shape3, range: (f64, f64), device: &Device) -> Result<Self> {
        if !(1..=100).contains(&quality) {
            let problem = format!("jpeg: the quality must be between 1 and 100, not {quality}");
            return Err(Error::option("operator", problem));
        }
        super::check_range("jpeg", range)?;
        Ok(Self::build(quality, check_shape(shape)?, range, device))
    }

    fn build(quality: u8, shape: Shape3, range: (f64, f64), device: &Device) -> Self {
        let [c, h, w] = shape;
        let side =
            |n: usize| {
                let padded = n.div_ceil(8) * 8;
                let transform = dct(8);
                let blocks = Matrix::from_fn(padded, padded, |k, i| {
                    if k / 8 == i / 8 { transform.values[k % 8 * 8 + i % 8] } else { 0.0 }
                });
                let pad = Matrix::from_fn(padded, n, |i, j| f64::from(u8::from(i.min(n - 1) == j)));
                let cut = Matrix::from_fn(n, padded, |i, j| f64::from(u8::from(i == j)));
                (blocks.times(&pad).tensor(device), cut.times(&blocks.transposed()).tensor(device), padded)
            };
        let ((rows, rows_back, h8), (columns, columns_back, w8)) = (side(h), side(w));
        let tables: Vec<f32> = (0..c)
            .flat_map(|channel| {
                let table = scaled(if c == 3 && channel > 0 { &CHROMA } else { &LUMA }, quality);
                (0..h8 * w8).map(move |at| table[at / w8 % 8 * 8 + at % w8 % 8])
            })
            .collect();
        let three = |m: [f64; 9]| Matrix { rows: 3, columns: 3, values: m.to_vec() }.tensor(device);
        Self {
            quality,
            range,
            forward: [rows, columns],
            back: [rows_back, columns_back],
            table: tensor(&tables, [c, h8, w8], device),
            colours: (c == 3).then(|| [three(TO_YCBCR), three(TO_RGB)]),
            shape,
        }
    }

    /// The picture as a decoder gives it, but not rounded to whole levels.
    fn compress(&self, x: Tensor<4>) -> Tensor<4> {
        let (low, high) = self.range;
        // Levels from -128 to 127; in YCbCr that moves only Y, since the other two ignore grey.
        let levels = (x - low) * (255.0 / (high - low)) - 128.0;
        let levels = match &self.colours {
            Some([to, _]) => on_channels(levels, to),
            None => levels,
        };
        let frequencies = sandwich(levels, &self.forward[0], &self.forward[1]);
        let kept = (frequencies / self.table.clone()).round() * self.table.clone();
        let levels = sandwich(kept, &self.back[0], &self.back[1]);
        let levels = match &self.colours {
            Some([_, from]) => on_channels(levels, from),
            None => levels,
        };
        (levels + 128.0).clamp(0.0, 255.0) * ((high - low) / 255.0) + low
    }
}

/// A table at a quality: the Independent JPEG Group's `jpeg_set_quality`, baseline.
fn scaled(table: &[u16; 64], quality: u8) -> [f32; 64] {
    let quality = u32::from(quality);
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    table.map(|step| ((u32::from(step) * percent + 50) / 100).clamp(1, 255) as f32)
}

/// A matrix on the channels of every pixel.
fn on_channels(x: Tensor<4>, matrix: &Tensor<2>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    matrix.clone().unsqueeze::<3>().expand([b as i64, -1, -1]).matmul(x.reshape([b, c, h * w])).reshape([b, c, h, w])
}

impl Operator for Jpeg {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_shape(&self) -> Shape3 {
        self.shape
    }

    fn output_shape(&self) -> Shape3 {
        self.shape
    }

    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        straight_through(x, |x| self.tangent(x), |x| self.compress(x))
    }

    fn tangent(&self, x: Tensor<4>) -> Tensor<4> {
        x
    }

    /// The file's picture itself.
    fn rough_inverse(&self, y: Tensor<4>) -> Tensor<4> {
        y
    }

    fn save(&self) -> Saved {
        let number = |name, value: f64| (name, vec![1], vec![value as f32]);
        let arrays = vec![
            number("quality", f64::from(self.quality)),
            number("low", self.range.0),
            number("high", self.range.1),
            shape_array("input_shape", self.shape),
        ];
        Saved::new(KIND.name, arrays)
    }
}
