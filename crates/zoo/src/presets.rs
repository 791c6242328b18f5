//! Known priors by name: their architectures, as their authors' configuration files state them, without weights.

use vipaint_core::Schedule;
use vipaint_core::prior::Head;
use vipaint_core::schedule::Betas;

use crate::diffusers::unet2d;
use crate::openai::{Config, Transformer};
use crate::{Family, HEADER_FORMAT, Header, Parameterization, autoencoder, edm, imagenet};

/// A known prior.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it makes, and whose it is.
    pub about: &'static str,
    describe: fn(&'static str) -> Header,
}

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Architecture, schedule and head.
    pub fn header(&self) -> Header {
        (self.describe)(self.name)
    }
}

/// Every known prior.
pub const PRESETS: &[Preset] = &[
    Preset { name: "ldm-cin256", about: "ImageNet 256x256, class-conditional (CompVis cin256-v2)", describe: cin256 },
    Preset { name: "ldm-churches", about: "LSUN churches 256x256 (CompVis)", describe: churches },
    Preset { name: "ldm-bedrooms", about: "LSUN bedrooms 256x256 (CompVis)", describe: vq4 },
    Preset { name: "ldm-ffhq", about: "FFHQ faces 256x256 (CompVis)", describe: vq4 },
    Preset { name: "ldm-celeba", about: "CelebA-HQ faces 256x256 (CompVis)", describe: vq4 },
    Preset { name: "sd-1.5", about: "text to image 512x512 (Stable Diffusion 1.x)", describe: sd1 },
    Preset { name: "sd-2.1-base", about: "text to image 512x512 (Stable Diffusion 2.x, eps)", describe: sd2_base },
    Preset { name: "sd-2.1", about: "text to image 768x768 (Stable Diffusion 2.x, v)", describe: sd2 },
    Preset { name: "sdxl", about: "text to image 1024x1024 (Stable Diffusion XL base)", describe: sdxl },
    Preset { name: "adm-imagenet-64", about: "ImageNet 64x64, class-conditional (OpenAI)", describe: adm64 },
    Preset { name: "adm-imagenet-128", about: "ImageNet 128x128, class-conditional (OpenAI)", describe: adm128 },
    Preset { name: "adm-imagenet-256", about: "ImageNet 256x256 (OpenAI, unconditional)", describe: adm256_plain },
    Preset { name: "adm-imagenet-256-class", about: "ImageNet 256x256, class-conditional (OpenAI)", describe: adm256 },
    Preset { name: "adm-imagenet-512", about: "ImageNet 512x512, class-conditional (OpenAI)", describe: adm512 },
    Preset { name: "adm-ffhq-256", about: "FFHQ faces 256x256 (as used by DPS)", describe: adm_ffhq },
    Preset {
        name: "edm-cifar10-32x32-cond-vp",
        about: "CIFAR-10 32x32, class-conditional (NVIDIA)",
        describe: edm::cifar_cond_vp,
    },
    Preset {
        name: "edm-cifar10-32x32-cond-ve",
        about: "CIFAR-10 32x32, class-conditional (NVIDIA)",
        describe: edm::cifar_cond_ve,
    },
    Preset { name: "edm-cifar10-32x32-uncond-vp", about: "CIFAR-10 32x32 (NVIDIA)", describe: edm::cifar_vp },
    Preset { name: "edm-cifar10-32x32-uncond-ve", about: "CIFAR-10 32x32 (NVIDIA)", describe: edm::cifar_ve },
    Preset { name: "edm-ffhq-64x64-uncond-vp", about: "FFHQ faces 64x64 (NVIDIA)", describe: edm::faces_vp },
    Preset { name: "edm-ffhq-64x64-uncond-ve", about: "FFHQ faces 64x64 (NVIDIA)", describe: edm::faces_ve },
    Preset { name: "edm-afhqv2-64x64-uncond-vp", about: "AFHQv2 animal faces 64x64 (NVIDIA)", describe: edm::faces_vp },
    Preset { name: "edm-afhqv2-64x64-uncond-ve", about: "AFHQv2 animal faces 64x64 (NVIDIA)", describe: edm::faces_ve },
    Preset {
        name: "edm-imagenet-64x64-cond-adm",
        about: "ImageNet 64x64, class-conditional (NVIDIA)",
        describe: edm::imagenet_adm,
    },
    Preset { name: "ddpm-cifar10-32", about: "CIFAR-10 32x32 (google, Ho et al.)", describe: unet2d::ddpm_32 },
    Preset {
        name: "ddpm-celebahq-256",
        about: "CelebA-HQ faces 256x256 (google, Ho et al.)",
        describe: unet2d::ddpm_256,
    },
    Preset { name: "ddpm-church-256", about: "LSUN churches 256x256 (google, Ho et al.)", describe: unet2d::ddpm_256 },
    Preset { name: "ddpm-bedroom-256", about: "LSUN bedrooms 256x256 (google, Ho et al.)", describe: unet2d::ddpm_256 },
];

/// A standard deviation of pictures in [-1, 1].
pub(crate) const PIXEL_STD: f64 = 0.5;

/// CompVis's "linear" schedule is linear in sqrt(beta).
fn scaled_linear(start: f64, end: f64) -> Schedule {
    Schedule::vp(Betas::ScaledLinear { start, end, steps: 1000 })
}

fn linear() -> Schedule {
    Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 })
}

/// The names of a network's classes. A thousand are taken for ImageNet's; else they are not known, and called by their numbers.
pub(crate) fn class_names(classes: usize) -> Vec<String> {
    if classes == imagenet::COUNT {
        return imagenet::names().map(str::to_owned).collect();
    }
    (0..classes).map(|class| class.to_string()).collect()
}

fn header(name: &str, network: Config, schedule: Schedule, head: Head) -> Header {
    Header {
        format: HEADER_FORMAT,
        name: name.to_string(),
        classes: class_names(network.classes()),
        network: Family::Openai(network),
        schedule,
        parameterization: Parameterization::Head { head },
        data_std: PIXEL_STD,
        value_range: (-1.0, 1.0),
        autoencoder: None,
    }
}

/// A prior over latents, which are scaled to unit variance.
fn latent(header: Header, autoencoder: autoencoder::Config) -> Header {
    Header { data_std: 1.0, autoencoder: Some(autoencoder), ..header }
}

fn vq_f4() -> autoencoder::Config {
    autoencoder::Config { ch_mult: vec![1, 2, 4], z_channels: 3, embed_dim: 3, n_embed: 8192, ..Default::default() }
}

fn kl_f8(scale_factor: f64) -> autoencoder::Config {
    autoencoder::Config { scale_factor, ..Default::default() }
}

fn cin256(name: &'static str) -> Header {
    let network = Config {
        model_channels: 192,
        channel_mult: vec![1.0, 2.0, 3.0, 5.0],
        attention_resolutions: vec![8, 4, 2],
        transformer: Some(Transformer { context_dim: 512, n_classes: 1001, ..Default::default() }),
        ..Default::default()
    };
    latent(header(name, network, scaled_linear(0.0015, 0.0195), Head::Eps), vq_f4())
}

fn churches(name: &'static str) -> Header {
    let network = Config {
        image_size: 32,
        in_channels: 4,
        out_channels: 4,
        model_channels: 192,
        channel_mult: vec![1.0, 2.0, 2.0, 4.0, 4.0],
        attention_resolutions: vec![1, 2, 4, 8],
        num_heads: 8,
        use_scale_shift_norm: true,
        resblock_updown: true,
        ..Default::default()
    };
    // Its checkpoint says by what latents are scaled.
    latent(header(name, network, scaled_linear(0.0015, 0.0155), Head::Eps), kl_f8(1.0))
}

fn vq4(name: &'static str) -> Header {
    let network = Config {
        model_channels: 224,
        attention_resolutions: vec![8, 4, 2],
        num_head_channels: Some(32),
        ..Default::default()
    };
    latent(header(name, network, scaled_linear(0.0015, 0.0195), Head::Eps), vq_f4())
}

fn stable(image_size: usize, transformer: Transformer) -> Config {
    Config {
        image_size,
        in_channels: 4,
        out_channels: 4,
        model_channels: 320,
        channel_mult: vec![1.0, 2.0, 4.0, 4.0],
        attention_resolutions: vec![4, 2, 1],
        num_heads: 8,
        transformer: Some(transformer),
        ..Default::default()
    }
}

fn sd1(name: &'static str) -> Header {
    let network = stable(64, Transformer::default());
    latent(header(name, network, scaled_linear(0.00085, 0.012), Head::Eps), kl_f8(0.18215))
}

fn second(name: &'static str, image_size: usize, head: Head) -> Header {
    let transformer = Transformer { context_dim: 1024, use_linear: true, ..Default::default() };
    let network = Config { num_head_channels: Some(64), ..stable(image_size, transformer) };
    latent(header(name, network, scaled_linear(0.00085, 0.012), head), kl_f8(0.18215))
}

fn sd2_base(name: &'static str) -> Header {
    second(name, 64, Head::Eps)
}

fn sd2(name: &'static str) -> Header {
    second(name, 96, Head::V)
}

fn sdxl(name: &'static str) -> Header {
    let network = Config {
        channel_mult: vec![1.0, 2.0, 4.0],
        attention_resolutions: vec![4, 2],
        num_head_channels: Some(64),
        adm_in_channels: 2816,
        ..stable(128, Transformer { context_dim: 2048, depth: vec![1, 2, 10], use_linear: true, n_classes: 0 })
    };
    latent(header(name, network, scaled_linear(0.00085, 0.012), Head::Eps), kl_f8(0.13025))
}

/// The flags all published models of guided diffusion share.
fn guided(image_size: usize, model_channels: usize, channel_mult: &[f64], attention: &[usize]) -> Config {
    Config {
        image_size,
        out_channels: 6,
        model_channels,
        channel_mult: channel_mult.to_vec(),
        attention_resolutions: attention.iter().map(|side| image_size / side).collect(),
        num_head_channels: Some(64),
        num_classes: 1000,
        use_scale_shift_norm: true,
        resblock_updown: true,
        ..Default::default()
    }
}

const MULT_256: &[f64] = &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0];
const ATTENTION: &[usize] = &[32, 16, 8];

fn adm64(name: &'static str) -> Header {
    let network = guided(64, 192, &[1.0, 2.0, 3.0, 4.0], ATTENTION);
    let network = Config { num_res_blocks: 3, use_new_attention_order: true, ..network };
    header(name, network, Schedule::vp(Betas::Cosine { steps: 1000 }), Head::Eps)
}

fn adm128(name: &'static str) -> Header {
    let network = guided(128, 256, &[1.0, 1.0, 2.0, 3.0, 4.0], ATTENTION);
    header(name, Config { num_heads: 4, num_head_channels: None, ..network }, linear(), Head::Eps)
}

fn adm256_plain(name: &'static str) -> Header {
    header(name, Config { num_classes: 0, ..guided(256, 256, MULT_256, ATTENTION) }, linear(), Head::Eps)
}

fn adm256(name: &'static str) -> Header {
    header(name, guided(256, 256, MULT_256, ATTENTION), linear(), Head::Eps)
}

fn adm512(name: &'static str) -> Header {
    let mult = [0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0];
    header(name, guided(512, 256, &mult, ATTENTION), linear(), Head::Eps)
}

fn adm_ffhq(name: &'static str) -> Header {
    let network = guided(256, 128, MULT_256, &[16]);
    let network = Config { num_res_blocks: 1, num_heads: 4, num_classes: 0, ..network };
    header(name, network, linear(), Head::Eps)
}
