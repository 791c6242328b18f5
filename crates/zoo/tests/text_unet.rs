//! Text-conditioned latent priors: words, files, the autoencoder inside.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use vipaint_core::Schedule;
use vipaint_core::prior::{Condition, Guidance, Prior};
use vipaint_nn::layers::weights;
use vipaint_zoo::text_unet::{Config, Header, MAGIC_KEY, is_text_prior, load_bytes};
use vipaint_zoo::{kl_autoencoder, text, unet, write_weights};

fn words() -> Vec<String> {
    ["a", "beard", "blue", "hair", "red", "with"].map(String::from).to_vec()
}

fn header() -> Header {
    let text = text::Config { length: 5, width: 8, blocks: 1, heads: 2, words: words() };
    let unet = unet::Config {
        channels: 2,
        size: 4,
        patch: 1,
        widths: vec![8, 8],
        blocks: vec![1, 1],
        attention: vec![1],
        head_width: 8,
        group_width: 4,
        embedding: 8,
        time_scale: 16.0,
        classes: 0,
        context: 8,
    };
    let autoencoder = kl_autoencoder::Config {
        channels: 3,
        size: 16,
        patch: 2,
        widths: vec![8, 8],
        encoder_blocks: vec![1, 1],
        decoder_blocks: vec![1, 1],
        group_width: 4,
        latent_channels: 2,
    };
    let latent = [vec![0.5, -1.0], vec![2.0, 0.25]];
    let schedule = Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 };
    let mut header = Header::new("tiny".into(), Config { text, unet }, autoencoder, latent, 1.0, schedule);
    header.decoded_error = vec![(0.1, 0.05), (1.0, 0.2)];
    header
}

fn random(count: usize) -> Vec<f32> {
    (0..count).map(|i| 0.3 * (i as f32 * 0.37).sin()).collect()
}

fn file() -> Vec<u8> {
    let count = header().entries().unwrap().iter().map(weights::Entry::len).sum();
    header().encode(&random(count)).unwrap()
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn x0_hat(prior: &Prior, prompt: &str) -> Vec<f32> {
    let z = TensorData::new((0..32).map(|i| (i as f32 * 0.7).cos()).collect::<Vec<f32>>(), [1, 2, 4, 4]);
    let condition = Condition::context(prior.text.as_ref().unwrap().read(prompt).unwrap().context);
    let level = prior.schedule.level(1.0);
    let z = Tensor::from_data(z, &Device::flex());
    values(prior.x0_hat_at(z, level, &Guidance::new(condition, 1.0)).unwrap())
}

#[test]
fn words_are_known_unknown_or_cut() {
    let config = header().network.text;
    let tokens = config.tokenize("A Red, purple BEARD!");
    assert_eq!(tokens.unknown, ["purple"]);
    assert!(tokens.cut.is_empty());
    // The start, a, red, beard, and one to fill up.
    assert_eq!(tokens.ids, [0, 2, 6, 3, 1]);
    let long = config.tokenize("red hair with a beard unheard blue");
    assert_eq!(long.cut, ["beard", "blue"]);
    assert_eq!(long.unknown, ["unheard"]);
    assert_eq!(long.ids.len(), config.length);
    assert_eq!(config.tokenize("").ids, [0, 1, 1, 1, 1]);
}

#[test]
fn a_file_gives_back_its_prior() {
    let bytes = file();
    assert!(is_text_prior(&bytes).unwrap());
    let (prior, again) = (load_bytes(&bytes).unwrap(), load_bytes(&bytes).unwrap());
    assert_eq!(prior.hash, again.hash);
    assert_eq!((prior.shape(), prior.autoencoder.image_shape(prior.shape())), ([2, 4, 4], [3, 16, 16]));
    assert_eq!(prior.decoded_error, header().decoded_error);
    // The weights are those that were written, to within half precision: the network of the rounded weights is the same.
    let count = header().entries().unwrap().iter().map(weights::Entry::len).sum();
    let rounded: Vec<f32> = random(count).iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
    let direct = header().prior(&rounded).unwrap();
    assert_eq!(x0_hat(&prior, "red hair"), x0_hat(&direct, "red hair"));
    // A prompt counts, its words in the order they come; a word that is not known does not.
    assert_ne!(x0_hat(&prior, "red hair"), x0_hat(&prior, "blue hair"));
    assert_ne!(x0_hat(&prior, "red hair"), x0_hat(&prior, "hair red"));
    assert_eq!(x0_hat(&prior, "red hair"), x0_hat(&prior, "red, sparkling HAIR"));
}

#[test]
fn latents_are_scaled_channel_by_channel() {
    let prior = load_bytes(&file()).unwrap();
    let device = Device::flex();
    let x: Vec<f32> = (0..2 * 768).map(|i| (i as f32 * 0.11).sin()).collect();
    let x = Tensor::<4>::from_data(TensorData::new(x, [2, 3, 16, 16]), &device);
    let encoded = values(prior.autoencoder.encode(x.clone()));
    // The same autoencoder by itself.
    let bytes = file();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let own = header().autoencoder;
    let entries = weights::entries(&own.blank(&device).unwrap());
    let flat: Vec<f32> = entries
        .iter()
        .flat_map(|e| {
            let data = tensors.tensor(&format!("autoencoder.{}", e.name)).unwrap().data().to_vec();
            data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>()
        })
        .collect();
    let metadata = [(kl_autoencoder::MAGIC_KEY, own.to_json())];
    let (config, read) = kl_autoencoder::load_bytes(&write_weights(&entries, &flat, &metadata).unwrap()).unwrap();
    assert_eq!((&config, &read), (&own, &flat));
    let alone = weights::scatter(config.blank(&device).unwrap(), &read, &device);
    let (mean, log_variance) = alone.posterior(x);
    assert_eq!(log_variance.dims(), [2, 2, 4, 4]);
    for (i, (scaled, plain)) in encoded.iter().zip(values(mean)).enumerate() {
        let channel = i / 16 % 2;
        let expected = (plain - [0.5, -1.0][channel]) / [2.0, 0.25][channel];
        assert!((scaled - expected).abs() < 1e-4 * expected.abs().max(1.0), "{i}: {scaled} {expected}");
    }
    // Decoding undoes the scaling: a latent of nothing but the mean.
    let zeros = values(prior.autoencoder.decode(Tensor::zeros([1, 2, 4, 4], &device)));
    let means: Vec<f32> = (0..32).map(|i| if i < 16 { 0.5 } else { -1.0 }).collect();
    let plain = values(alone.decode(Tensor::from_data(TensorData::new(means, [1, 2, 4, 4]), &device)));
    assert!(zeros.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(1.0)));
}

/// The decoder's gradient agrees with central differences.
#[test]
fn the_decoder_is_differentiable() {
    let prior = load_bytes(&file()).unwrap();
    let device = Device::flex();
    let z = |shift: f32| {
        let values: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).cos() + shift * (i as f32 * 1.3).sin()).collect();
        Tensor::<4>::from_data(TensorData::new(values, [1, 2, 4, 4]), &device)
    };
    let weight = Tensor::<4>::from_data(
        TensorData::new((0..768).map(|i| (i as f32 * 0.23).sin()).collect::<Vec<f32>>(), [1, 3, 16, 16]),
        &device,
    );
    let of = |z: Tensor<4>| (prior.autoencoder.decode(z) * weight.clone()).sum();
    let leaf = z(0.0).autodiff().require_grad();
    let mut grads = of(leaf.clone()).backward();
    let grad = values(leaf.grad_remove(&mut grads).unwrap());
    let along: f32 = grad.iter().enumerate().map(|(i, g)| g * (i as f32 * 1.3).sin()).sum();
    let step = 1e-2;
    let difference = (of(z(step)).into_scalar::<f32>() - of(z(-step)).into_scalar::<f32>()) / (2.0 * step);
    // Second-order error of the step, and rounding of sums of 768 terms.
    assert!((along - difference).abs() < 2e-2 * along.abs().max(0.1), "{along} {difference}");
}

#[test]
fn wrong_files_are_refused() {
    let fail = |change: &dyn Fn(&mut Header)| {
        let mut wrong = header();
        change(&mut wrong);
        Header::from_json(&wrong.to_json()).unwrap_err().to_string()
    };
    assert!(fail(&|h| h.network.text.words.reverse()).contains("text.words"));
    assert!(fail(&|h| h.network.unet.context = 4).contains("context"));
    assert!(fail(&|h| h.latent_std[1] = 0.0).contains("latent_std"));
    assert!(fail(&|h| h.autoencoder.latent_channels = 3).contains("latents"));
    assert!(fail(&|h| h.decoded_error.reverse()).contains("decoded_error"));
    assert!(fail(&|h| h.format = 99).contains("format"));
    let bytes = file();
    assert!(load_bytes(&bytes[..bytes.len() - 7]).is_err());
    let none = safetensors::serialize(
        Vec::<(String, safetensors::tensor::TensorView)>::new(),
        Some(HashMap::from([(MAGIC_KEY.to_string(), header().to_json())])),
    );
    assert!(load_bytes(&none.unwrap()).err().unwrap().to_string().contains("missing tensors"));
}
