//! Vector quantisation (van den Oord et al., 2017).

use burn::tensor::Tensor;

/// Latents that may occur.
#[derive(Debug)]
pub(super) struct Codebook {
    entries: Tensor<2>, // [entries, channels]
    squared: Tensor<2>, // ||entry||^2, [1, entries]
}

/// Rows whose distances to all entries are held at once.
const ROWS: usize = 512;

impl Codebook {
    pub fn new(entries: Tensor<2>) -> Self {
        let squared = entries.clone().square().sum_dim(1).transpose();
        Self { entries, squared }
    }

    /// `z + stop_gradient(nearest(z) - z)`. // [batch, height, width, channels]
    pub fn quantise(&self, z: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = z.dims();
        let rows = z.clone().inner().reshape([b * h * w, c]);
        let nearest = |rows: Tensor<2>| {
            // ||z||^2 is the same for all entries.
            let distances = self.squared.clone() - rows.matmul(self.entries.clone().transpose()) * 2.0;
            let [n, _] = distances.dims();
            self.entries.clone().select(0, distances.argmin(1).reshape([n]))
        };
        let nearest = rows.clone().split(ROWS, 0).into_iter().map(nearest).collect();
        let step = (Tensor::cat(nearest, 0) - rows).reshape([b, h, w, c]);
        z + step
    }
}
