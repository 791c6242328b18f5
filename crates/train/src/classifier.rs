//! Training of the classifier that judges samples ([`vipaint_eval::classifier`]).

use burn::tensor::{Device, Tensor, TensorData, activation};
use rand::RngExt;
use vipaint_core::noise::stream;
use vipaint_eval::classifier::{CLASSES, Network, SIZE};
use vipaint_nn::layers::{Init, weights};

use crate::Result;
use crate::adam::State;
use crate::data::Images;
use crate::order::Order;
use crate::parallel::Pieces;
use crate::recipe::Optimizer;

/// Purpose number of the random shifts and flips.
const AUGMENT: u64 = 0x0c01;
/// Largest shift, in pixels.
const SHIFT: i64 = 1;
/// Steps between two reports.
const REPORT_EVERY: u64 = 100;

/// How the classifier is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifierSettings {
    /// Seed of weights, order and augmentation.
    pub seed: u64,
    /// Passes over the pictures.
    pub epochs: f64,
    /// Pictures a step.
    pub batch: usize,
    /// Peak learning rate; rises over a tenth of the run, then falls to 0.
    pub lr: f64,
    /// Threads, each with an equal piece of every batch.
    pub pieces: usize,
}

impl Default for ClassifierSettings {
    fn default() -> Self {
        Self { seed: 0, epochs: 8.0, batch: 64, lr: 2e-3, pieces: 2 }
    }
}

/// Trains on pictures `[1, 32, 32]`, shifted and mirrored at random; reports (pictures seen, mean loss) now and then.
/// Returns the averaged weights, for [`vipaint_eval::classifier::Classifier::to_bytes`].
///
/// # Errors
/// [`crate::Error::Threads`] when the system refuses a thread.
///
/// # Panics
/// If the pictures are not `[1, 32, 32]`, or a label exceeds [`CLASSES`].
pub fn train_classifier(
    images: &Images,
    settings: &ClassifierSettings,
    on: &mut dyn FnMut(u64, f64),
) -> Result<Vec<f32>> {
    assert!(images.shape == [1, SIZE, SIZE] && images.labels.iter().all(|l| *l < CLASSES), "wrong pictures");
    let total = (settings.epochs * images.len() as f64) as u64;
    let optimizer = Optimizer {
        batch: settings.batch,
        pieces: settings.pieces,
        lr: settings.lr,
        betas: [0.9, 0.99],
        eps: 1e-8,
        weight_decay: 0.05,
        clip: 1.0,
        warmup: total / 10,
        decay: 0.9,
        ema_half_life: 10_000.0,
        ema_ramp: 0.1,
        class_dropout: 0.0,
    };
    let mut state = State::new(weights::gather(&Network::new(&mut Init::seeded(&Device::flex(), settings.seed))));
    let mut order = Order::new(settings.seed, images.len());
    let pieces = Pieces::new(settings.pieces)?;
    let size = settings.batch / settings.pieces;
    let (mut sum, mut count) = (0.0, 0);
    while state.images < total {
        let before = state.images;
        let chosen: Vec<(u64, usize)> =
            (before..before + settings.batch as u64).map(|n| (n, order.picture(n))).collect();
        let results = pieces.run(|piece| {
            let mine = &chosen[piece * size..(piece + 1) * size];
            loss_and_gradient(images, mine, settings.seed, &state.weights, 1.0 / settings.batch as f64)
        });
        let (loss, gradient) = crate::parallel::sum(results);
        state.step(&gradient, optimizer.rate(before, total), &optimizer);
        (sum, count) = (sum + loss, count + 1);
        if count == REPORT_EVERY {
            on(state.images, sum / count as f64);
            (sum, count) = (0.0, 0);
        }
    }
    Ok(state.ema)
}

fn loss_and_gradient(
    images: &Images,
    chosen: &[(u64, usize)],
    seed: u64,
    values: &[f32],
    share: f64,
) -> (f64, Vec<f32>) {
    let device = Device::flex().autodiff();
    let network = weights::scatter(Network::new(&mut Init::blank(&device)), values, &device);
    let mut input = Vec::with_capacity(chosen.len() * SIZE * SIZE);
    let mut hot = vec![0f32; chosen.len() * CLASSES];
    for ((number, picture), row) in chosen.iter().zip(hot.chunks_exact_mut(CLASSES)) {
        input.extend(augmented(images, *picture, seed, *number));
        row[images.labels[*picture]] = 1.0;
    }
    let input = Tensor::<4>::from_data(TensorData::new(input, [chosen.len(), 1, SIZE, SIZE]), &device);
    let hot = Tensor::<2>::from_data(TensorData::new(hot, [chosen.len(), CLASSES]), &device);
    let loss = (activation::log_softmax(network.forward(input), 1) * hot).sum() * -share;
    let value = loss.clone().into_scalar::<f32>();
    (f64::from(value), weights::gradients(&network, &mut loss.backward()))
}

/// A picture, shifted (black comes in at the edge) and mirrored at random.
fn augmented(images: &Images, picture: usize, seed: u64, number: u64) -> Vec<f32> {
    let mut rng = stream(seed, AUGMENT, number);
    let (dx, dy) = (rng.random_range(-SHIFT..=SHIFT), rng.random_range(-SHIFT..=SHIFT));
    let mirror: bool = rng.random();
    let values: Vec<f32> = images.values(picture).collect();
    let side = SIZE as i64;
    (0..side * side)
        .map(|i| {
            let (y, x) = (i / side + dy, i % side + dx);
            if (0..side).contains(&y) && (0..side).contains(&x) {
                let x = if mirror { side - 1 - x } else { x };
                values[(y * side + x) as usize]
            } else {
                -1.0
            }
        })
        .collect()
}
