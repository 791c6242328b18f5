//! Pictures: files of any size and depth in, the prior's size for the work, the same kind of file out.
//!
//! [`Picture`] keeps the samples of its file, so that a pixel that is known is written back with the same bytes.
//! [`Mask`] says which pixels are known. [`Workspace`] cuts the square around the hole, brings it to the prior's size
//! and pastes results back.

mod decode;
mod encode;
mod frame;
mod mask;
mod profile;
mod resample;
mod seam;
mod workspace;

pub use decode::read;
pub use mask::{Keep, Mask};
pub use workspace::Workspace;

/// The samples of a picture, interleaved, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits a sample.
    U8(Vec<u8>),
    /// 16 bits a sample.
    U16(Vec<u16>),
}

/// What the channels of a picture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Grey.
    Grey,
    /// Grey and alpha.
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
}

impl Layout {
    /// Samples in a pixel.
    pub fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Samples in a pixel that are not alpha.
    pub fn colours(self) -> usize {
        match self {
            Self::Grey | Self::GreyAlpha => 1,
            Self::Rgb | Self::Rgba => 3,
        }
    }
}

/// A picture as its file has it, upright.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    layout: Layout,
    samples: Samples,
    icc: Option<Vec<u8>>,
}

impl Picture {
    /// An 8-bit grey picture; `None` if the number of samples is not `width * height`, or is 0.
    pub fn grey(width: usize, height: usize, samples: Vec<u8>) -> Option<Self> {
        (!samples.is_empty() && samples.len() == width * height).then_some(Self {
            width,
            height,
            layout: Layout::Grey,
            samples: Samples::U8(samples),
            icc: None,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// What the channels are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The samples, interleaved.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Bits in a sample.
    pub fn bits(&self) -> usize {
        match self.samples {
            Samples::U8(_) => 8,
            Samples::U16(_) => 16,
        }
    }

    /// Whether there is no colour in it; a file with three channels counts as grey if they are equal in every pixel.
    pub fn is_grey(&self) -> bool {
        fn equal<T: PartialEq>(samples: &[T], channels: usize) -> bool {
            samples.chunks_exact(channels).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
        }
        let channels = self.layout.channels();
        self.layout.colours() == 1
            || match &self.samples {
                Samples::U8(samples) => equal(samples, channels),
                Samples::U16(samples) => equal(samples, channels),
            }
    }

    /// Whether there is no transparency.
    pub fn is_opaque(&self) -> bool {
        let channels = self.layout.channels();
        channels == self.layout.colours()
            || match &self.samples {
                Samples::U8(samples) => samples.chunks_exact(channels).all(|pixel| pixel.last() == Some(&u8::MAX)),
                Samples::U16(samples) => samples.chunks_exact(channels).all(|pixel| pixel.last() == Some(&u16::MAX)),
            }
    }

    /// A sample in [0, 1]; of a grey picture, channels 1 and 2 are the grey, too.
    pub fn unit(&self, x: usize, y: usize, channel: usize) -> f32 {
        let channel = channel.min(self.layout.colours() - 1);
        let index = (y * self.width + x) * self.layout.channels() + channel;
        match &self.samples {
            Samples::U8(samples) => f32::from(samples[index]) / 255.0,
            Samples::U16(samples) => f32::from(samples[index]) / 65535.0,
        }
    }

    /// Sets the colours of a pixel from values in [0, 1] (clamped), leaving alpha alone. One value sets three channels
    /// alike; three values set a grey pixel to their mean.
    fn set_unit(&mut self, x: usize, y: usize, values: &[f32]) {
        let colours = self.layout.colours();
        let start = (y * self.width + x) * self.layout.channels();
        for channel in 0..colours {
            let value = match (colours, values.len()) {
                (3, 3) => values[channel],
                _ => values.iter().sum::<f32>() / values.len() as f32,
            };
            let value = value.clamp(0.0, 1.0);
            match &mut self.samples {
                Samples::U8(samples) => samples[start + channel] = (value * 255.0).round() as u8,
                Samples::U16(samples) => samples[start + channel] = (value * 65535.0).round() as u16,
            }
        }
    }

    /// A picture of another size, of the same depth, from values in [0, 1] (clamped), `channels` for each pixel; grey unless
    /// `colours`. The profile is kept if it fits.
    pub(crate) fn another(&self, width: usize, height: usize, colours: bool, channels: usize, values: &[f32]) -> Self {
        let layout = if colours { Layout::Rgb } else { Layout::Grey };
        let count = width * height * layout.channels();
        let samples = match self.samples {
            Samples::U8(_) => Samples::U8(vec![0; count]),
            Samples::U16(_) => Samples::U16(vec![0; count]),
        };
        let icc = self.icc.clone().filter(|_| layout.colours() == self.layout.colours());
        let mut picture = Self { width, height, layout, samples, icc };
        for (i, values) in values.chunks_exact(channels).enumerate() {
            picture.set_unit(i % width, i / width, values);
        }
        picture
    }

    /// Its colours (a grey one's three times) at another size, by means over areas or linear interpolation, in [0, 1].
    /// // [3, side, side]
    pub(crate) fn resized(&self, side: usize) -> Vec<f32> {
        let (rows, columns) = (resample::to_size(self.height, side), resample::to_size(self.width, side));
        let mut values = Vec::with_capacity(3 * side * side);
        for channel in 0..3 {
            let value = |x: usize, y: usize| f64::from(self.unit(x, y, channel));
            // Rows first: one mixed row serves a whole line.
            for row in &rows {
                let mix = |x| row.weights.iter().zip(row.start..).map(|(w, y)| w * value(x, y)).sum::<f64>();
                let mixed: Vec<f64> = (0..self.width).map(mix).collect();
                values.extend(columns.iter().map(|column| {
                    let taps = column.weights.iter().zip(&mixed[column.start..]);
                    taps.map(|(weight, value)| weight * value).sum::<f64>() as f32
                }));
            }
        }
        values
    }

    /// What the file is, in words: "28x28, 8-bit grey".
    pub fn describe(&self) -> String {
        let layout = match self.layout {
            Layout::Grey => "grey",
            Layout::GreyAlpha => "grey with alpha",
            Layout::Rgb => "RGB",
            Layout::Rgba => "RGB with alpha",
        };
        format!("{}x{}, {}-bit {layout}", self.width, self.height, self.bits())
    }
}
