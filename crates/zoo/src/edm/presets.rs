//! The networks NVIDIA published, as the `train.py` of EDM makes them.

use vipaint_core::Schedule;

use super::{Config, EmbeddingType, EncoderType};
use crate::presets::class_names;
use crate::{Family, HEADER_FORMAT, Header, Parameterization};

fn header(name: &str, network: Config) -> Header {
    Header {
        format: HEADER_FORMAT,
        name: name.to_owned(),
        classes: class_names(network.label_dim),
        network: Family::Edm(network),
        schedule: Schedule::Ve { sigma_min: 0.002, sigma_max: 80.0, rho: 7.0 },
        parameterization: Parameterization::Edm { sigma_data: 0.5 },
        data_std: 0.5,
        value_range: (-1.0, 1.0),
        autoencoder: None,
    }
}

/// `--arch=ddpmpp`, trained with augmentation.
fn ddpmpp(img_resolution: usize, channel_mult: &[usize], label_dim: usize) -> Config {
    let channel_mult = channel_mult.to_vec();
    Config { channel_mult, label_dim, augment_dim: 9, ..Config::song(img_resolution) }
}

/// `--arch=ncsnpp`.
fn ncsnpp(network: Config) -> Config {
    Config {
        embedding_type: EmbeddingType::Fourier,
        encoder_type: EncoderType::Residual,
        channel_mult_noise: 2,
        resample_filter: vec![1.0, 3.0, 3.0, 1.0],
        ..network
    }
}

pub(crate) fn cifar_cond_vp(name: &'static str) -> Header {
    header(name, ddpmpp(32, &[2, 2, 2], 10))
}

pub(crate) fn cifar_cond_ve(name: &'static str) -> Header {
    header(name, ncsnpp(ddpmpp(32, &[2, 2, 2], 10)))
}

pub(crate) fn cifar_vp(name: &'static str) -> Header {
    header(name, ddpmpp(32, &[2, 2, 2], 0))
}

pub(crate) fn cifar_ve(name: &'static str) -> Header {
    header(name, ncsnpp(ddpmpp(32, &[2, 2, 2], 0)))
}

/// FFHQ and AFHQv2 at 64x64.
pub(crate) fn faces_vp(name: &'static str) -> Header {
    header(name, ddpmpp(64, &[1, 2, 2, 2], 0))
}

pub(crate) fn faces_ve(name: &'static str) -> Header {
    header(name, ncsnpp(ddpmpp(64, &[1, 2, 2, 2], 0)))
}

pub(crate) fn imagenet_adm(name: &'static str) -> Header {
    header(name, Config { label_dim: 1000, ..Config::dhariwal(64) })
}
